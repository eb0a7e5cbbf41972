"""One draw: fit on the support set, score the query set."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from molbt.evaluation.benchmarks.fsmol import METRICS
from molbt.evaluation.few_shot.methods import few_shot_head
from molbt.evaluation.metrics import average_precision, roc_auc
from molbt.predict.features import FeatureSet


class Draw(NamedTuple):
    """A support set: its size and seed, and the rows of both sets; None where it cannot be made."""

    size: int
    seed: int
    rows: tuple[np.ndarray, np.ndarray] | None


Values = dict[tuple[int, int], tuple[list[float], int, int]]
"""By size and seed: the metrics in the order of ``METRICS``, the number of support rows used and that of query rows scored."""


def fit_and_score(features: FeatureSet, y: np.ndarray, draws: Sequence[Draw], head_name: str, random_state: int) -> Values:
    """Return the values of some draws of a task: a head is fitted on each support set, with the seed of the draw added to its own.

    A draw that cannot be made, or whose support set lacks a class once refused rows are gone, has the value NaN.
    """
    values: Values = {}
    for draw in draws:
        scores, n_train = np.full(len(y), np.nan), 0
        if draw.rows is not None:
            support, query = draw.rows
            support = support[features.valid[support]]
            if len(np.unique(y[support])) == 2:  # a refused row can be the last of its class
                head = few_shot_head(head_name, random_state=random_state + draw.seed).fit(features.rows(support), y[support])
                scores[query], n_train = head.predict(features.rows(query)), head.n_train_
        values[draw.size, draw.seed] = score_query(scores, y, draw, n_train)
    return values


def score_query(scores: np.ndarray, y: np.ndarray, draw: Draw, n_train: int) -> tuple[list[float], int, int]:
    """Return the metrics of scores of all rows (NaN where there is none) on the query set; NaN unless both classes were scored."""
    if draw.rows is None:
        return [np.nan] * len(METRICS), n_train, 0
    support, query = draw.rows
    query = query[np.isfinite(scores[query])]
    labels = y[query]
    if len(np.unique(labels)) < 2:
        return [np.nan] * len(METRICS), n_train, len(query)
    precision = average_precision(labels, scores[query])
    in_support = float(y[support].mean()) if len(support) else np.nan
    values = {
        "delta_auprc": precision - float(labels.mean()),
        "delta_auprc_support": precision - in_support,
        "average_precision": precision,
        "roc_auc": roc_auc(labels, scores[query]),
    }
    return [values[metric] for metric in METRICS], n_train, len(query)
