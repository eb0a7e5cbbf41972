"""The options of ``fit``: what their texts mean, and which have no effect beside others."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from molbt.predict.label_policy import LabelPolicy
    from molbt.predict.labels import Labels
    from molbt.predict.predictor import Predictor

FOLDS = 5
"""The default of ``--folds``."""


def refuse_what_has_no_effect(predictor: "Predictor", policy: "LabelPolicy", folds: int, search: int) -> None:
    """Raise ConfigError for options that would be passed over, or that only the fit would refuse."""
    from molbt.errors import ConfigError
    from molbt.predict.features import parse_feature_name

    named = {
        "--model": predictor.model is not None,
        f"--layer {predictor.layer}": predictor.layer != "embedding",
    }
    needs_encoder = predictor.finetune is not False or "embedding" in parse_feature_name(predictor.features)
    for option in (option for option, is_given in named.items() if is_given and not needs_encoder):
        raise ConfigError(
            f"{option} has no effect on the features {predictor.features}; "
            + ("name them with +embedding" if predictor.model is not None else "pass --model runs/a")
            + f", or leave {option.split()[0]} out"
        )
    if predictor.finetune is not False and search:
        raise ConfigError("--search is for the parameters of a head, received fine-tuning beside it; leave one of them out")
    if predictor.finetune is not False and folds != FOLDS:
        raise ConfigError(f"--folds {folds} has no effect on fine-tuning, which has a validation of its own; leave it out")
    if folds == 1:
        raise ConfigError("the comparison needs two or more folds, received --folds 1; ask for more, or leave it out (--folds 0)")
    idle = policy.without_effect(policy.known_task_type)
    if idle:
        why = "with --duplicates keep" if policy.known_task_type != "classification" else "on classes"
        has, it = ("has", "it") if len(idle) == 1 else ("have", "them")
        raise ConfigError(f"{' and '.join(idle)} {has} no effect {why}; leave {it} out")


def tell_what_had_no_effect(policy: "LabelPolicy", labels: "Sequence[Labels]") -> None:
    """Print the options that changed nothing because all targets turned out to be classes."""
    idle = policy.without_effect("classification")
    if idle and policy.known_task_type == "auto" and all(entry.task_type == "classification" for entry in labels):
        typer.echo(f"no effect on classes: {', '.join(idle)}")


def calibration_of(text: str) -> float | str | None:
    """Return what ``--calibrate`` means; ConfigError where it means nothing."""
    from molbt.errors import ConfigError

    if text in ("cross", "none"):
        return None if text == "none" else text
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f"--calibrate must be cross, none or a share of the molecules such as 0.2, received {text!r}") from error


def settings_of(changes: Sequence[str], example: str) -> dict[str, Any]:
    """Return the parameters that texts such as ``n_trees=200`` set, their values read as YAML; ConfigError where there is no ``=``."""
    from molbt.config_text import parse_yaml
    from molbt.errors import ConfigError

    parameters = {}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"expected NAME=VALUE, received {change!r}; for example {example}")
        parameters[name.strip()] = parse_yaml(text, source=f"the value in {change!r}")
    return parameters
