"""What becomes of a fine-tuning: an encoder that can be featurized with, calibrations, and scores beside those of frozen features."""

import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
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

# The molecules held out of one validation are divided in so many parts, to count the coverage of each by the others.
_PARTS = 5


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
    found = {}
    part = np.empty(len(finetuned.labels), dtype=np.int64)
    for number, (_, held) in enumerate(finetuned.folds):
        part[held] = number if len(finetuned.folds) > 1 else pd.factorize(finetuned.molecules[held])[0] % _PARTS
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
) -> dict[str, dict[str, float]]:
    """Return, for each target, the score of the fine-tuned network on the rows that validation held out, and those of frozen features.

    RMSE or ROC AUC over all held-out rows; every candidate learns from the rows that the network learned from.

    Parameters
    ----------
    finetuned : FineTuned
    candidates : mapping of str to (FeatureSet of n rows, callable)
        What to compare with, by name; the callable makes an unfitted head for a target.
    """
    scores: dict[str, dict[str, float]] = {}
    for (name, fitted), predicted, labels in zip(finetuned.heads.items(), finetuned.held_out.T, finetuned.labels.T, strict=True):
        rows = np.isfinite(predicted) & np.isfinite(labels)
        scores[name] = {FINE_TUNED: fold_score(labels[rows], predicted[rows], fitted.task_type)}
        for label, (features, new_head) in candidates.items():
            others = np.full(len(labels), np.nan)
            for train, held in finetuned.folds:
                if np.isfinite(labels[train]).sum() > 1:
                    others[held] = new_head(name).fit(features.rows(train), labels[train]).predict(features.rows(held))
            scores[name][label] = fold_score(labels[rows], others[rows], fitted.task_type)
    return scores
