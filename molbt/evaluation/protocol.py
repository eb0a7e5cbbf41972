"""One protocol for every benchmark: features × heads × tasks × repeats, one tidy table, restartable."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molbt.errors import ConfigError, ShapeError
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS, Benchmark, Task
from molbt.evaluation.metrics import find_metric
from molbt.evaluation.results_file import ResultsFile
from molbt.predict.features import FeatureSet
from molbt.predict.head import Head
from molbt.predict.heads import HEADS, build_head

Builder = Callable[[Sequence[str]], FeatureSet]
Progress = Callable[[str], None]

logger = logging.getLogger(__name__)


def evaluate(
    benchmark: Benchmark,
    feature_sets: Sequence[tuple[str, Builder]],
    heads: Sequence[str],
    *,
    random_state: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
    results_path: str | Path | None = None,
    identities: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Fit each head on each features of each task, and score the test rows.

    Features are built once per task and shared by the heads. A head that cannot use some features, or does not do the type of task, is
    skipped. Heads see the rows of ``train`` only; a part ``valid`` is left alone. Repeat ``r`` is fitted with ``random_state + r``.

    Parameters
    ----------
    benchmark : Benchmark
    feature_sets : sequence of (name, builder)
        A builder turns SMILES into a ``FeatureSet``, row by row; see ``controls.control_features``.
    heads : sequence of str
        Names in ``HEADS``.
    random_state : int
    n_jobs : int
        Threads or processes of a head.
    progress : callable, optional
        Receives one line of text after each cell.
    results_path : path, optional
        CSV that finished cells (task, repeat, features, head) are written to and read from: a restart skips them. Beside it lies
        ``<results_path>.settings.json``; results made with other settings are refused.
    identities : dict of str to str, optional
        What the values of a part (``embedding`` in ``counts+embedding``) depend on, for example a checksum of the encoder; kept among the
        settings.

    Returns
    -------
    DataFrame
        Columns ``RESULT_COLUMNS``, one row per metric: in the order tasks, features, heads, metrics, whatever was read from the file. A
        metric that is not defined (one class, no row of the group) is NaN. Test rows without a label or whose features were refused are
        left out; ``n_test`` is the number of rows that the value was computed on.

    Raises
    ------
    ConfigError
        If a head is unknown, features are named twice, no head can use any of the features, or the file holds results of other settings.
    ShapeError
        If a builder loses or adds rows.
    """
    _check_names(feature_sets, heads)
    finished = None
    if results_path is not None:
        settings = _settings(benchmark, feature_sets, heads, random_state, identities or {})
        finished = ResultsFile.open(Path(results_path), settings)
    rows: list[dict[str, Any]] = []
    usable: dict[tuple[str, str], list[str]] = {}
    told: set[tuple[str, bytes]] = set()
    for task in benchmark.tasks():
        metrics = benchmark.metrics(task)
        for name, builder in feature_sets:
            features: FeatureSet | None = None
            if (task.task_type, name) not in usable:
                # Which heads fit depends on the kinds of blocks alone, so two rows tell; a restart must not build features to find out.
                usable[task.task_type, name] = _usable_heads(builder(task.smiles[:2]), heads, task.task_type)
            for head_name in usable[task.task_type, name]:
                cell = (benchmark.name, task.name, task.split, task.repeat, name, head_name)
                scored = finished.rows(cell, metrics) if finished else None
                if scored is None:
                    features = _built(builder, name, task, told) if features is None else features
                    head = build_head(head_name, task.task_type, random_state=random_state + task.repeat, n_jobs=n_jobs)
                    scored = [dict(zip(RESULT_COLUMNS, (*cell, *result), strict=True)) for result in _scores(task, features, head, metrics)]
                    if finished:
                        finished.append(scored)
                rows += scored
                if progress:
                    progress(_line(scored))
    if not rows:
        raise ConfigError(
            f"none of the heads {list(heads)} can use any of the features {[name for name, _ in feature_sets]} on {benchmark.name}; "
            "add a head such as 'lightgbm'"
        )
    return pd.DataFrame(rows, columns=list(RESULT_COLUMNS)).astype({"value": np.float64})


def _usable_heads(features: FeatureSet, heads: Sequence[str], task_type: str) -> list[str]:
    return [name for name in heads if task_type in HEADS[name].task_types and build_head(name, task_type).supports(features)]


def _built(builder: Builder, name: str, task: Task, told: set[tuple[str, bytes]]) -> FeatureSet:
    features = builder(task.smiles)
    if features.n_rows != len(task.frame):
        raise ShapeError(
            f"the features {name!r} must have one row for each of the {len(task.frame)} rows of {task.name}, got {features.n_rows}"
        )
    refused = int((~features.valid).sum())
    rows = (task.name, features.valid.tobytes())
    if refused and rows not in told:  # as a rule all features refuse the same rows, in each repeat: once is enough
        told.add(rows)
        logger.warning("%s: %d of %d rows have no features %r and are left out", task.name, refused, features.n_rows, name)
    return features


def _scores(task: Task, features: FeatureSet, head: Head, metrics: Sequence[str]) -> Iterator[tuple[str, float, int, int]]:
    """Yield name, value, number of training rows and number of scored rows of each metric."""
    head.fit(features.rows(task.parts["train"]), task.y[task.parts["train"]])
    test = task.parts["test"]
    predictions = head.predict(features.rows(test))
    scored = np.isfinite(predictions) & np.isfinite(task.y[test])
    for name in metrics:
        metric, group = find_metric(name)
        chosen = scored & task.groups[group][test] if group else scored
        value = metric.function(task.y[test][chosen], predictions[chosen])
        if np.isnan(value):
            logger.warning("%s: %s is not defined on its %d scored test rows", task.name, name, chosen.sum())
        yield name, value, head.n_train_, int(chosen.sum())


def _line(scored: Sequence[dict[str, Any]]) -> str:
    first = scored[0]
    values = "  ".join(f"{row['metric']} {row['value']:.3f}" for row in scored)
    repeat = f" #{first['repeat']}" if first["repeat"] else ""
    return f"{first['task']}{repeat}  {first['features']} × {first['head']}  {values}"


def _check_names(feature_sets: Sequence[tuple[str, Builder]], heads: Sequence[str]) -> None:
    names = [name for name, _ in feature_sets]
    for what, values in (("features", names), ("heads", list(heads))):
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"expected one or more different names of {what}, got {values}; name each once")
    for head in heads:
        build_head(head, HEADS[head].task_types[0] if head in HEADS else "regression")


def _settings(
    benchmark: Benchmark, feature_sets: Sequence[tuple[str, Builder]], heads: Sequence[str], random_state: int, identities: dict[str, str]
) -> dict[str, Any]:
    """What the results depend on, in sections: what all cells share, and what those of one features or head do."""
    return {
        "shared": {"benchmark": benchmark.name, "random_state": random_state, **benchmark.settings()},
        "features": {name: [identities.get(part, part) for part in name.split("+")] for name, _ in feature_sets},
        "heads": {head: HEADS[head]().parameters() for head in heads},
    }
