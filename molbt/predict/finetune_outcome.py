"""What becomes of a fine-tuning: an encoder that can be featurized with, calibrations, and scores beside those of frozen features."""

import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molbt.data.identity import molecule_and_scaffold_hashes
from molbt.data.seen_molecules import SeenMolecules
from molbt.featurizer import MoleculeFeaturizer
from molbt.model.checkpoint import find_model, read_config, save_pretrained
from molbt.predict.calibration import FEWEST_ROWS, Calibration, calibrated
from molbt.predict.cross_validation import fold_score
from molbt.predict.features import FeatureSet
from molbt.predict.finetune import FineTuned
from molbt.predict.head import Head
from molbt.predict.out_of_fold import OutOfFold

FINE_TUNED = "fine-tuned"
"""What scores call the fine-tuned network."""

logger = logging.getLogger(__name__)

# The molecules held out of one validation are divided in so many parts: to count the coverage of each by the others, and to see how much
# a score varies.
_PARTS = 5


@dataclass(frozen=True, eq=False)
class HeldOutScore:
    """RMSE or ROC AUC on the rows that fine-tuning's validation held out.

    Attributes
    ----------
    score : float
        Over all of them.
    parts : ndarray of shape (parts,), float64
        In each fold, or where there was one only, in each fifth of its molecules: how these vary tells nothing of another training then.
        NaN where it is undefined.
    test_share : float
        The share of a part in the rows that it and its training have together.
    """

    score: float
    parts: np.ndarray
    test_share: float


def encoder_of(finetuned: FineTuned, start: MoleculeFeaturizer, smiles: Sequence[Any]) -> MoleculeFeaturizer:
    """Return a featurizer of the fine-tuned encoders, otherwise like the one that fine-tuning started from.

    It has seen what that one had, and the labelled ones of these molecules. Their model lies in a temporary directory, which is
    deleted with the featurizer: a featurizer reads its weights from a path.
    """
    directory = tempfile.mkdtemp(prefix="molbt-fine-tuned-")
    before, seen = read_config(find_model(start.model)), SeenMolecules.load(find_model(start.model))
    rows = int(np.isfinite(finetuned.labels).any(axis=1).sum())
    note = f"on {', '.join(finetuned.heads)}, {rows} labelled rows, {finetuned.epochs} epochs, from the weights {before['sha256'][:12]}"
    save_pretrained(finetuned.twin, directory, facts={**before["facts"], "fine_tuned": note})
    if seen is not None:
        labelled = [str(smiles[row]) for row in np.flatnonzero(np.isfinite(finetuned.labels).any(axis=1)).tolist()]
        seen.joined(SeenMolecules.of_hashes([molecule_and_scaffold_hashes(labelled, start.policy_)])).save(Path(directory))
    featurizer = MoleculeFeaturizer(directory, output=start.output, on_invalid="nan", n_jobs=start.n_jobs, device=start.device).fit()
    weakref.finalize(featurizer, shutil.rmtree, directory, ignore_errors=True)
    return featurizer


def calibrations_of(finetuned: FineTuned) -> dict[str, Calibration]:
    """Return the calibration of each target on the rows that validation held out, where there are enough of them.

    Those were predicted by networks that learned from the other rows. The network that predicts new molecules learned from all, so what
    ``molbt.predict.out_of_fold`` says of its promise holds here too.
    """
    found, part = {}, _part_of(finetuned)
    for (name, head), predicted, labels in zip(finetuned.heads.items(), finetuned.held_out.T, finetuned.labels.T, strict=True):
        known = np.isfinite(predicted) & np.isfinite(labels)
        if known.sum() < FEWEST_ROWS or head.constant_ is not None:
            problem = f"validation held out {known.sum()} labelled rows, {FEWEST_ROWS} or more with different labels are needed"
            logger.warning("%s: not calibrated, so there will be no intervals or sets: %s", name, problem)
            continue
        found[name] = calibrated(OutOfFold(predicted, np.where(known, part, -1)), labels, head.task_type, how="cross")
    return found


def held_out_scores(
    finetuned: FineTuned, candidates: Mapping[str, tuple[FeatureSet, Callable[[str], Head]]]
) -> dict[str, dict[str, HeldOutScore]]:
    """Return, for each target, the score of the fine-tuned network on the rows that validation held out, and those of frozen features.

    Every candidate learns from the rows that the network learned from.

    Parameters
    ----------
    finetuned : FineTuned
    candidates : mapping of str to (FeatureSet of n rows, callable)
        What to compare with, by name; the callable makes an unfitted head for a target.
    """
    part, (train, held) = _part_of(finetuned), finetuned.folds[0]
    n_parts, n_test = int(part.max()) + 1, len(held) / (1 if len(finetuned.folds) > 1 else _PARTS)

    def score(labels: np.ndarray, predicted: np.ndarray, task_type: str) -> HeldOutScore:
        known = np.isfinite(predicted) & np.isfinite(labels)
        masks = [known, *(known & (part == number) for number in range(n_parts))]
        whole, *parts = [fold_score(labels[mask], predicted[mask], task_type) for mask in masks]
        return HeldOutScore(whole, np.array(parts), n_test / (n_test + len(train)))

    scores: dict[str, dict[str, HeldOutScore]] = {}
    for (name, fitted), predicted, labels in zip(finetuned.heads.items(), finetuned.held_out.T, finetuned.labels.T, strict=True):
        rows = np.isfinite(predicted) & np.isfinite(labels)
        scores[name] = {FINE_TUNED: score(labels, predicted, fitted.task_type)}
        for label, (features, new_head) in candidates.items():
            others = np.full(len(labels), np.nan)
            for train, held in finetuned.folds:
                if np.isfinite(labels[train]).sum() > 1:
                    others[held] = new_head(name).fit(features.rows(train), labels[train]).predict(features.rows(held))
            scores[name][label] = score(labels, np.where(rows, others, np.nan), fitted.task_type)
    return scores


def _part_of(finetuned: FineTuned) -> np.ndarray:
    """The part of each row that validation held out, −1 elsewhere: its fold, or a fifth of the molecules of the only one."""
    part = np.full(len(finetuned.labels), -1)
    for number, (_, held) in enumerate(finetuned.folds):
        part[held] = number if len(finetuned.folds) > 1 else pd.factorize(finetuned.molecules[held])[0] % _PARTS
    return part
