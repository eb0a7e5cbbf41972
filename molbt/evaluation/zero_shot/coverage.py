"""Whether prediction sets hold the label on assays that took no part in their calibration."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from molbt.errors import DataError
from molbt.evaluation.coverage import COLUMNS
from molbt.predict.assay_calibration import FOLDS, assay_folds, held_out_probabilities
from molbt.predict.conformal import Conformal
from molbt.predict.coverage import set_coverage
from molbt.predict.observed_coverage import CONFIDENCES

Scored = Callable[[str, Sequence[str]], np.ndarray]


def held_out_coverage(score: Scored, assays: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> pd.DataFrame:
    """Calibrate scores on four fifths of the assays, and count on the last; each assay is counted once.

    Probabilities (Platt's sigmoid, every assay of equal weight) and sets (conformal, within each class) are both of other assays. The
    promise of conformal prediction is for rows that are exchangeable; assays differ, so the coverage of a single one may be far from the
    mean.

    Parameters
    ----------
    score : callable
        From the name of an assay and SMILES to scores, such as ``KeptScores``.
    assays : mapping of str to (SMILES, labels)
        Labels are 0, 1 or NaN.

    Returns
    -------
    DataFrame
        ``molbt.evaluation.coverage.COLUMNS``, a row for each assay and level; ``width`` is the mean number of classes in a set.

    Raises
    ------
    DataError
        If fewer than five assays have both classes among their scored rows.
    """
    table = _scored_rows(score, assays)
    names = table["assay"].unique()
    if len(names) < FOLDS:
        raise DataError(f"expected {FOLDS} or more assays with actives and inactives to count coverage on, received {len(names)}")
    number = pd.Index(names).get_indexer(table["assay"])
    fold = assay_folds(number, len(names))
    probabilities, labels = held_out_probabilities(table, fold), table["label"].to_numpy()
    p_values, sets = np.empty((len(table), 2)), np.empty((len(CONFIDENCES), len(table), 2), dtype=bool)
    calibration_rows = np.empty(len(table), dtype=np.int64)
    for held_out in np.unique(fold):
        inside = fold == held_out
        conformal = Conformal.fit(probabilities[~inside], labels[~inside], "classification")
        p_values[inside], calibration_rows[inside] = conformal.p_values(probabilities[inside]), (~inside).sum()
        for level, confidence in enumerate(CONFIDENCES):
            sets[level, inside] = conformal.sets(probabilities[inside], confidence)
    rows = []
    for place, name in enumerate(names.tolist()):
        own = number == place
        for level, confidence in enumerate(CONFIDENCES):
            found = set_coverage(labels[own], p_values[own], sets[level, own])
            counted = found.covered, found.low, found.high, found.single + 2 * found.both, found.n, int(calibration_rows[own][0])
            rows.append((name, name, "classification", "assays", 0, confidence, *counted))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _scored_rows(score: Scored, assays: Mapping[str, tuple[Sequence[str], np.ndarray]]) -> pd.DataFrame:
    tables = [
        pd.DataFrame({"assay": name, "score": np.asarray(score(name, smiles), dtype=np.float64), "label": labels})
        for name, (smiles, labels) in assays.items()
    ]
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"assay": [], "score": [], "label": []})
    table = table[np.isfinite(table["score"]) & table["label"].notna()]
    both = table.groupby("assay")["label"].transform("nunique") == 2
    return table[both].reset_index(drop=True)
