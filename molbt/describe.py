"""What a directory holds and what an installation offers, in words."""

import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from molbt import __version__, registry
from molbt.config import preset_names
from molbt.data.json_files import read_json
from molbt.errors import DataError

_MAX_BYTES = 256 << 20  # as of a corpus's manifest, the largest of them
_PACKAGES = ("torch", "rdkit", "lightgbm", "scikit-learn", "transformers", "torch-geometric", "pandas", "pyarrow", "numpy")


def installation() -> str:
    """Return versions, the names that a configuration can use, and the encoders that come with molbt."""
    from molbt.model.checkpoint import shipped_models  # loads torch

    versions = [f"{package} {importlib.metadata.version(package)}" for package in _PACKAGES]
    kinds = [f"{kind}: {', '.join(registry.available(kind))}" for kind in ("modalities", "objectives", "benchmarks")]
    presets, encoders = f"presets: {', '.join(preset_names())}", f"encoders that come with molbt (--model): {', '.join(shipped_models())}"
    return "\n".join([f"molbt {__version__}", ", ".join(versions), *kinds, presets, encoders])


def directory(path: Path) -> str:
    """Return what a run, model, corpus or predictor directory holds, or an encoder that comes with molbt, named as such.

    Raises
    ------
    DataError
        If it is none of these.
    """
    if not path.exists():
        from molbt.model.checkpoint import find_model, shipped_models  # loads torch

        path = find_model(path) if str(path) in shipped_models() else path
    for name, describe in (
        ("predictor.json", _predictor),
        ("zero_shot.json", _zero_shot),
        ("run.json", _run),
        ("config.json", _model),
        ("manifest.json", _corpus),
    ):
        if (path / name).is_file():
            content = read_json(path / name, remedy="make it again", error=DataError, max_bytes=_MAX_BYTES)
            try:
                return "\n".join(describe(path, content))
            except (LookupError, TypeError, ValueError, AttributeError) as error:  # whatever else it holds
                raise DataError(f"{path / name} was not written by this version of molbt ({error!r}); make it again") from error
    raise DataError(
        f"expected a run, model, corpus or predictor at {path}, found none of their files; name a directory that molbt pretrain, prepare, "
        "fit or calibrate wrote"
    )


def course_in_words(epochs: int) -> str:
    """Return what fine-tuning did: no epoch at all where validation preferred the encoder as it was, or there was no validation."""
    return f"fine-tuned for {epochs} epochs" if epochs else "linear output on the encoder as it was: validation preferred no fine-tuning"


def bound_in_words(n_train: int, parameters: Mapping[str, Any]) -> str:
    """Return, in parentheses, that a head learned from as many rows as it takes; "" where it learned from all."""
    return " (its max_rows: drawn at random, all rows of a rare class among them)" if parameters.get("max_rows") == n_train else ""


def blend_in_words(weights: Mapping[str, float], losses: Mapping[str, float], task_type: str) -> str:
    """Return what the head ``auto`` consists of: its members with their weights and held-out losses, those that weigh most first."""
    if len(weights) == 1:
        return f"auto is made of {next(iter(weights))} alone"
    if not losses:
        return f"auto is made of {', '.join(weights)} in equal parts: there was nothing to weigh them by"
    loss = "RMSE" if task_type == "regression" else "root Brier score"
    heaviest = sorted(weights, key=weights.__getitem__, reverse=True)
    members = ", ".join(f"{name} {100 * weights[name]:.0f} % ({losses[name]:.4f})" for name in heaviest)
    return f"auto is made of {members}; together {losses['auto']:.4f} (held-out {loss})"


def _run(path: Path, content: dict[str, Any]) -> list[str]:
    hardware = content["hardware"]
    finished = (path / "model" / "config.json").is_file()
    lines = [
        f"run: {path} ({'finished' if finished else 'unfinished; continue with --resume'})",
        f"molecules: {content['samples']:,} distinct samples of {content['rows']:,} rows of {content['source']}",
        f"views: {_views(content['config'])}",
        f"objectives: {', '.join(o['name'] for o in content['config']['objectives'])}",
        f"hardware: {hardware['machine']}, {hardware['device']}, {hardware['precision']}, {hardware['num_threads']} threads",
        f"versions: {', '.join(f'{name} {version}' for name, version in content['versions'].items())}",
    ]
    if (path / "metrics.csv").is_file():
        import pandas as pd

        last = pd.read_csv(path / "metrics.csv").iloc[-1]
        lines.append(f"last epoch: {int(last['epoch'])}, loss {last['loss']:.4g}, {int(last['samples_seen']):,} molecules seen")
    return lines


def _model(path: Path, content: dict[str, Any]) -> list[str]:
    run = content["run_config"]
    facts = [f"{name.replace('_', ' ')}: {_in_words(value)}" for name, value in content["facts"].items() if value not in ({}, [])]
    return [f"model: {path}", f"views: {_views(run)}", f"embedding width: {run['encoder']['embedding_dim']}", *facts]


def _corpus(path: Path, content: dict[str, Any]) -> list[str]:
    unique = ", ".join(f"{count:,} distinct values of {column}" for column, count in content["unique"].items())
    return [f"corpus: {path}", f"source: {content['source']} ({content['rows']:,} rows)", unique, f"RDKit {content['rdkit']}"]


def _predictor(path: Path, content: dict[str, Any]) -> list[str]:
    facts = dict(content["facts"])
    # Facts are the caller's own; those of molbt fit have these.
    folds, labels, policy, finetuning = (
        facts.pop(name) if isinstance(facts.get(name), dict) else {} for name in ("folds", "labels", "policy", "finetuning")
    )
    lines = [f"predictor: {path}"]
    for target in content["targets"]:
        name, head = target["name"], target["head"]
        unit = f" in {target['unit']}" if target["unit"] else ""
        metric = "RMSE" if head["task_type"] == "regression" else "ROC AUC"
        lines += [
            f"{name}: {head['task_type']}{unit} with head {head['name']} on {content['features']}, "
            f"{head['counts']['n_train']:,} training rows{bound_in_words(head['counts']['n_train'], head['parameters'])}",
            *_blend(target),
            *([f"{name}: {_listed(labels[name])}"] if name in labels else []),
            *_calibration(target),
            *(f"{name}: {metric} in {len(values)} random folds, {of}: {_mean(values)}" for of, values in folds.get(name, {}).items()),
            *(f"{name}: {metric} in fine-tuning's validation, {of}: {score}" for of, score in _scores(finetuning, name)),
        ]
    lines += [course_in_words(finetuning["epochs"])] if "epochs" in finetuning else []
    lines += [f"policy of labels: {_listed(policy)}"] if policy else []
    return [*lines, *(f"{name}: {_in_words(value)}" for name, value in facts.items())]


def _blend(target: dict[str, Any]) -> list[str]:
    head = target["head"]
    weights = {name: member["weight"] for name, member in head.get("members", {}).items()}
    return [f"{target['name']}: {blend_in_words(weights, head['losses'], head['task_type'])}"] if weights else []


def _zero_shot(path: Path, content: dict[str, Any]) -> list[str]:
    from molbt.predict.calibration import CalibrationDescription
    from molbt.predict.ranking_quality import RankingQuality

    ranking = RankingQuality.model_validate(content["ranking"], strict=False)  # intervals are tuples
    calibration = CalibrationDescription.model_validate(content["calibration"])
    by_rows = ["its coverage was counted over rows, which says little of new assays: make it anew with molbt calibrate"]
    head = "head lightgbm" if content.get("boosted") else "head twin"
    return [
        f"predictor for assays without labels: {path}, {head}",
        *filter(None, (ranking.line(), ranking.twin_line(), ranking.warning())),
        *(calibration.lines("classification") if calibration.n_assays is not None else by_rows),
    ]


def _calibration(target: dict[str, Any]) -> list[str]:
    if target["calibration"] is None:
        return [f"{target['name']}: not calibrated"]
    from molbt.predict.calibration import CalibrationDescription

    lines = CalibrationDescription.model_validate(target["calibration"]).lines(target["head"]["task_type"], target["unit"])
    return [f"{target['name']}: {line}" for line in lines]


def _scores(finetuning: dict[str, Any], target: str) -> list[tuple[str, str]]:
    """By what predicted: a score, where it is defined."""
    scores = finetuning.get("scores", {}).get(target, {})
    return [(name, "undefined" if score is None else f"{score:.4f}") for name, score in scores.items()]


def _listed(values: dict[str, Any]) -> str:
    """What was counted or chosen; what was left open says nothing, nor does a count of zero, but a threshold of zero does."""
    said = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items() if value)


def _in_words(value: Any) -> str:
    """A JSON value without its brackets."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {entry}" for name, entry in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _mean(values: list[float | None]) -> str:
    """The mean of the folds' scores; a fold that had none was saved as null."""
    known = [value for value in values if value is not None]
    return f"{sum(known) / len(known):.4f}" if known else "undefined"


def _views(config: dict[str, Any]) -> str:
    return ", ".join(f"{name} ({view['modality']} of {view['column']})" for name, view in config["views"].items())
