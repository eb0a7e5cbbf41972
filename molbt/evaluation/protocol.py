"""One protocol for every benchmark: features × heads × tasks × repeats × fractions, one tidy table, restartable."""

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molbt.errors import ConfigError, ShapeError
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS, Benchmark, Task
from molbt.evaluation.metrics import find_metric
from molbt.evaluation.results_file import ResultsFile
from molbt.evaluation.task_molecules import TaskMolecules
from molbt.evaluation.training_subsets import check_fractions, training_subset
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
    fractions: Sequence[float] = (1.0,),
    random_state: int = 0,
    n_jobs: int = 1,
    progress: Progress | None = None,
    results_path: str | Path | None = None,
    identities: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Fit each head on each features of each task, and score the test rows.

    Features are built once per task and shared by the heads. A head that cannot use some features, or does not do the type of task, is
    skipped. Heads see the rows of ``train`` only, and keep all rows of a molecule on one side of their inner folds; a part ``valid`` is
    left alone. Repeat ``r`` is fitted with ``random_state + r``.

    Parameters
    ----------
    benchmark : Benchmark
    feature_sets : sequence of (name, builder)
        A builder turns SMILES into a ``FeatureSet``, row by row; see ``controls.control_features``.
    heads : sequence of str
        Names in ``HEADS``.
    fractions : sequence of float
        Shares of the training labels to learn from, for low-label curves: the same rows for all features and heads, those of a smaller
        share among those of a larger one; see ``training_subset``. The test rows stay the same.
    random_state : int
    n_jobs : int
        Threads or processes of a head.
    progress : callable, optional
        Receives one line of text after each cell.
    results_path : path, optional
        CSV that finished cells (task, repeat, features, head, fraction) are written to and read from: a restart skips them. Beside it lies
        ``<results_path>.settings.json``; results made with other settings are refused. It is locked: a second evaluation waits.
    identities : dict of str to str, optional
        What the values of a part (``embedding`` in ``counts+embedding``) depend on, for example a checksum of the encoder; kept among the
        settings.

    Returns
    -------
    DataFrame
        Columns ``RESULT_COLUMNS``, one row per metric: in the order tasks, features, heads, fractions, metrics, whatever was read
        from the file. A metric that is not defined (one class in the training or the test rows, no row of the group) is NaN, and said.
        Test rows without a label or whose features were refused are left out; ``n_test`` is the number of rows that the value was
        computed on.

    Raises
    ------
    ConfigError
        If a head is unknown, features are named twice, a fraction is not above 0 and up to 1, no head can use any of the features, or the
        file holds results of other settings.
    ShapeError
        If a builder loses or adds rows.
    """
    _check_names(feature_sets, heads)
    fractions = check_fractions(fractions)
    settings = _settings(benchmark, feature_sets, heads, random_state, identities or {})
    rows: list[dict[str, Any]] = []
    usable: dict[tuple[str, str], list[str]] = {}
    warn, molecules = _Warnings(), TaskMolecules()
    with ResultsFile.open(Path(results_path), settings) if results_path is not None else nullcontext() as finished:
        for task in benchmark.tasks():
            metrics = benchmark.metrics(task)
            seed = random_state + task.repeat
            train, data_set = task.parts["train"], task.data_set or task.name
            subsets = {share: training_subset(task.y, train, share, task_type=task.task_type, random_state=seed) for share in fractions}
            for name, builder in feature_sets:
                features: FeatureSet | None = None
                if (task.task_type, name) not in usable:
                    # Which heads fit depends on the kinds of blocks alone, so two rows tell; a restart must not build features to find out.
                    usable[task.task_type, name] = _usable_heads(builder(task.smiles[:2]), heads, task.task_type)
                for head_name, share in itertools.product(usable[task.task_type, name], fractions):
                    cell = (benchmark.name, data_set, task.name, task.split, task.repeat, share, name, head_name)
                    scored = finished.rows(cell, metrics) if finished else None
                    if scored is None:
                        features = _built(builder, name, task, molecules, warn) if features is None else features
                        head = build_head(head_name, task.task_type, random_state=seed, n_jobs=n_jobs)
                        results = _scores(task, subsets[share], features, head, metrics, warn)
                        scored = [dict(zip(RESULT_COLUMNS, (*cell, *result), strict=True)) for result in results]
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


class _Warnings:
    """Says each thing once: as a rule it is the same for all features and heads, and in each repeat."""

    def __init__(self) -> None:
        self._said: set[object] = set()

    def __call__(self, key: object, text: str, *values: object) -> None:
        if key not in self._said:
            self._said.add(key)
            logger.warning(text, *values)


def _built(builder: Builder, name: str, task: Task, molecules: TaskMolecules, warn: _Warnings) -> FeatureSet:
    features = builder(task.smiles)
    if features.n_rows != len(task.frame):
        raise ShapeError(
            f"the features {name!r} must have one row for each of the {len(task.frame)} rows of {task.name}, got {features.n_rows}"
        )
    refused = int((~features.valid).sum())
    if refused:
        where = task.data_set or task.name
        text = "%s: %d of %d rows have no features %r and are left out"
        warn((where, features.valid.tobytes()), text, where, refused, features.n_rows, name)
    return replace(features, molecules=molecules(task))


def _scores(
    task: Task, train: np.ndarray, features: FeatureSet, head: Head, metrics: Sequence[str], warn: _Warnings
) -> Iterator[tuple[str, float, int, int]]:
    """Yield name, value, number of training rows and number of scored rows of each metric."""
    test = task.parts["test"]
    labels = task.y[train][features.valid[train] & np.isfinite(task.y[train])]
    if task.task_type == "classification" and len(np.unique(labels)) < 2:
        # A constant prediction has a ROC AUC of one half: a number where nothing could be learnt.
        text = "%s #%d: its %d usable training labels are not of both classes, so nothing is fitted and its metrics are undefined"
        warn((task.name, task.repeat, "train"), text, task.name, task.repeat, len(labels))
        yield from ((name, np.nan, len(labels), 0) for name in metrics)
        return
    predictions = head.fit(features.rows(train), task.y[train]).predict(features.rows(test))
    scored = np.isfinite(predictions) & np.isfinite(task.y[test])
    for name in metrics:
        metric, group = find_metric(name)
        chosen = scored & task.groups[group][test] if group else scored
        value = metric.function(task.y[test][chosen], predictions[chosen])
        if np.isnan(value):
            text = "%s #%d: %s is not defined on its %d scored test rows"
            warn((task.name, task.repeat, name, int(chosen.sum())), text, task.name, task.repeat, name, chosen.sum())
        yield name, value, head.n_train_, int(chosen.sum())


def _line(scored: Sequence[dict[str, Any]]) -> str:
    first = scored[0]
    values = "  ".join(f"{row['metric']} {row['value']:.3f}" for row in scored)
    repeat = f" #{first['repeat']}" if first["repeat"] else ""
    share = f" {first['fraction']:g} of the labels" if first["fraction"] < 1 else ""
    return f"{first['task']}{repeat}{share}  {first['features']} × {first['head']}  {values}"


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
