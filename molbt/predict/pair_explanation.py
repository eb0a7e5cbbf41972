"""What a prediction of LightGBM on pairs rests on: the training pairs that its trees put into the same leaves, and each block's share."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from molbt.predict.boosted_pairs import BoostedPairs, leaves_of, tree_inputs
from molbt.predict.features import FeatureSet
from molbt.predict.pair_block import PairBlock
from molbt.predict.training_pairs import TrainingPairs

BASE = "base"

_BATCH = 20_000
"""Training pairs that are compared at a time."""


@dataclass(frozen=True, eq=False)
class PairExplanation:
    """One molecule in one described assay.

    Attributes
    ----------
    blocks : dict of str to float
        What each block of features adds to the log-odds of activity (TreeSHAP, summed over the columns of a block), and ``base``, the mean
        over training pairs. Together they are the prediction's log-odds. Of a twin's embeddings the blocks are ``molecule``, ``text`` and
        what is made of both: ``product``, ``difference``, ``cosine``.
    pairs : DataFrame
        Training pairs that share most leaves with it, most first: ``smiles``, ``assay``, ``text``, ``label`` and ``shared``, the share of
        trees that put both into one leaf. A pair that was measured several times with one label stands once.
    assays : DataFrame
        Training assays by the mean of ``shared`` over their pairs, most first: ``assay``, ``text``, ``pairs``, ``shared``.

    References
    ----------
    Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nat. Mach. Intell. 2020, 2, 56.
    """

    blocks: dict[str, float]
    pairs: pd.DataFrame
    assays: pd.DataFrame

    @property
    def log_odds(self) -> float:
        """The prediction before any calibration."""
        return sum(self.blocks.values())


def explain_pairs(boosted: BoostedPairs, features: FeatureSet, *, n: int = 5) -> list[PairExplanation | None]:
    """Return what the prediction of each row rests on, in order; None where the row is refused.

    Parameters
    ----------
    boosted : BoostedPairs
    features : FeatureSet
        Of pairs, built as those that it learned from.
    n : int
        Training pairs and assays to return for each.
    """
    widths = _block_widths(features)
    leaves = leaves_of(boosted.head, features)
    found: list[PairExplanation | None] = [None] * features.n_rows
    for rows, matrix in tree_inputs(boosted.head, features):
        # Of dense rows: LightGBM gives the contributions of sparse ones in a form of its own.
        dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
        contributions = np.asarray(boosted.head.booster_.predict(dense, pred_contrib=True, num_threads=boosted.head.n_jobs))
        for row, of_row in zip(rows.tolist(), contributions, strict=True):
            blocks = _by_block(of_row, boosted.head.columns_, widths)
            found[row] = PairExplanation(blocks, *_neighbours(boosted.pairs, _shared(boosted.leaves, leaves[row]), n))
    return found


def _shared(leaves: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """The share of trees in which each training pair is in the leaf asked for; 0 for one that did not train."""
    return np.concatenate([(leaves[start : start + _BATCH] == asked).mean(axis=1) for start in range(0, len(leaves), _BATCH)])


def _neighbours(pairs: TrainingPairs, shared: np.ndarray, n: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = pd.DataFrame({"molecule": pairs.molecule, "assay": pairs.assay, "label": pairs.label, "shared": shared})
    best = table.sort_values("shared", ascending=False, kind="stable").drop_duplicates(["molecule", "assay", "label"]).head(n)
    assays = table.groupby("assay")["shared"].agg(["size", "mean"]).sort_values("mean", ascending=False, kind="stable").head(n)
    return (
        pd.DataFrame(
            {
                "smiles": [pairs.smiles[place] for place in best["molecule"]],
                "assay": [pairs.assays[place] for place in best["assay"]],
                "text": [pairs.texts[place] for place in best["assay"]],
                "label": best["label"].to_numpy(),
                "shared": best["shared"].to_numpy(),
            }
        ),
        pd.DataFrame(
            {
                "assay": [pairs.assays[place] for place in assays.index],
                "text": [pairs.texts[place] for place in assays.index],
                "pairs": assays["size"].to_numpy(),
                "shared": assays["mean"].to_numpy(),
            }
        ),
    )


def _block_widths(features: FeatureSet) -> dict[str, int]:
    widths: dict[str, int] = {}
    for name, block in features.blocks.items():
        widths |= block.part_widths if isinstance(block, PairBlock) else {name: block.shape[1]}
    return widths


def _by_block(contributions: np.ndarray, columns: np.ndarray, widths: dict[str, int]) -> dict[str, float]:
    block = np.searchsorted(np.cumsum(list(widths.values())), columns, side="right")
    sums = {name: float(contributions[:-1][block == number].sum()) for number, name in enumerate(widths)}
    return {**sums, BASE: float(contributions[-1])}
