"""How several feature sets fare with the same head in the same folds."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from molbt.errors import DataError
from molbt.predict.cross_validation import fold_score, random_folds
from molbt.predict.features import FeatureBuilder
from molbt.predict.head import Head
from molbt.predict.replicates import molecule_numbers
from molbt.predict.targets import naming

logger = logging.getLogger(__name__)


def fold_scores(
    labels: Mapping[str, np.ndarray],
    smiles: Sequence[str],
    builders: Mapping[str, FeatureBuilder],
    new_head: Callable[[str, np.ndarray], Head],
    *,
    n_splits: int,
    random_state: int,
) -> dict[str, dict[str, np.ndarray]]:
    """Return, for each target and feature set, the head's score in each fold: RMSE or ROC AUC, NaN where it is undefined.

    A target with too few molecules for folds is left out, and that is said in the log.

    Parameters
    ----------
    labels : mapping of target to ndarray of shape (n,), float64
        NaN where there is no label; such rows are in no fold of that target.
    smiles : sequence of n str
        All rows of a molecule are in the same fold.
    builders : mapping of str to FeatureBuilder
    new_head : callable
        From a target and its labels to an unfitted head.
    n_splits, random_state : int
        As in ``random_folds``.

    Raises
    ------
    ConfigError, DataError
        As ``random_folds`` (fewer than two folds asked for) and ``Head.fit`` do; the target is named.
    """
    known = {name: np.flatnonzero(np.isfinite(column)) for name, column in labels.items()}
    folds, molecules = {}, molecule_numbers(smiles)
    for name, rows in known.items():
        with naming(name):
            task_type = new_head(name, labels[name]).task_type
        try:
            folds[name] = random_folds(labels[name][rows], task_type, n_splits, random_state, molecules[rows])
        except DataError as error:
            logger.warning("%s: not compared in folds: %s", name, error)
    scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in folds}
    for features, builder in builders.items() if folds else ():
        built = replace(builder(smiles), molecules=molecules)
        for name in folds:
            usable, y = built.rows(known[name]), labels[name][known[name]]
            values = []
            for train, test in folds[name]:
                if usable.valid[train].sum() < 2:
                    values.append(math.nan)
                    continue
                with naming(name):
                    head = new_head(name, y).fit(usable.rows(train), y[train])
                values.append(fold_score(y[test], head.predict(usable.rows(test)), head.task_type))
            scores[name][features] = np.array(values)
    return scores
