"""What ``fit`` prints of a fitted head: the scores that it was compared by, and what they show."""

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    import numpy as np

    from molbt.predict.finetune_outcome import HeldOutScore
    from molbt.predict.head import Head


def show_head(target: str, head: "Head") -> None:
    """What a blend consists of, and whether a head learned nothing but one number."""
    from molbt.describe import blend_in_words
    from molbt.predict.automatic import Automatic

    if head.constant_ is not None:
        typer.echo(f"{target}: all rows that could be used have the label {head.constant_:g}, which is predicted for every molecule")
    elif isinstance(head, Automatic):
        typer.echo(f"{target}: {blend_in_words(head.weights_, head.losses_, head.task_type)}")


def show_folds(target: str, task_type: str, scores: "dict[str, np.ndarray]", features: str) -> None:
    """The scores of each feature set in the same folds, and their difference to plain counts."""
    for name, values in scores.items():
        known = values[values == values]
        control = "  (control)" if name == "counts" and len(scores) > 1 else ""
        spread = f"{known.mean():.4f} (fold to fold sd {known.std(ddof=1):.4f})" if len(known) > 1 else "undefined"
        undefined = f", undefined in {len(values) - len(known)} of them" if 1 < len(known) < len(values) else ""
        typer.echo(f"{target}: {_metric(task_type)} in {len(values)} random folds, {name}: {spread}{undefined}{control}")
    if len(scores) > 1:
        claim = _show_difference(target, task_type, (features, scores[features]), ("counts", scores["counts"]), 1 / len(scores[features]))
        if claim == "worse":
            typer.echo(f"{target}: plain counts did better in these folds than {features}: consider --features counts")


def show_validation(target: str, task_type: str, scores: "dict[str, HeldOutScore]") -> None:
    """What fine-tuning brought, beside frozen features on the same held-out rows."""
    from molbt.predict.finetune_outcome import FINE_TUNED

    for name, held_out in scores.items():
        typer.echo(f"{target}: {_metric(task_type)} on the molecules held out of fine-tuning's validation, {name}: {held_out.score:.4f}")
    for name, held_out in scores.items():
        if name != FINE_TUNED:
            tuned = scores[FINE_TUNED]
            claim = _show_difference(target, task_type, (FINE_TUNED, tuned.parts), (name, held_out.parts), tuned.test_share)
            if claim == "worse":
                typer.echo(f"{target}: {name} did better there than fine-tuning: consider it instead")


def _show_difference(
    target: str, task_type: str, judged: "tuple[str, np.ndarray]", control: "tuple[str, np.ndarray]", test_share: float
) -> str:
    """Print the mean difference over the folds and what it shows, and return that claim."""
    from molbt.predict.fold_differences import fold_difference

    found = fold_difference(judged[1], control[1], task_type, test_share=test_share)
    interval = f" (95 % interval {found.low:+.4f} to {found.high:+.4f})" if found.low == found.low else ""
    typer.echo(f"{target}: {_metric(task_type)} of {judged[0]} − {control[0]}: {found.mean:+.4f}{interval}: {found.claim}")
    return found.claim


def _metric(task_type: str) -> str:
    return "RMSE" if task_type == "regression" else "ROC AUC"
