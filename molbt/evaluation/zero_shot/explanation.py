"""What a prediction of LightGBM on pairs rests on: the training pairs that its trees put into the same leaves, and each block's share."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from molbt.errors import InvalidMoleculeError
from molbt.evaluation.zero_shot.methods.lightgbm_pairs import LightgbmPairs
from molbt.predict.features import FeatureSet

_BATCH = 20_000
"""Training pairs whose leaves are held at a time."""


@dataclass(frozen=True, eq=False)
class PairExplanation:
    """One molecule in one described assay.

    Attributes
    ----------
    blocks : dict of str to float
        What ``ecfp4``, ``descriptors`` and ``text`` add to the log-odds of activity (TreeSHAP, summed over the columns of a block), and
        ``base``, the mean over training pairs. Together they are the prediction's log-odds.
    pairs : DataFrame
        Training pairs that share most leaves with it, most first: ``smiles``, ``assay``, ``text``, ``label`` and ``shared``, the share of
        trees that put both into one leaf.
    assays : DataFrame
        Training assays by the mean of ``shared`` over their pairs, most first: ``assay``, ``text``, ``pairs``, ``shared``.

    References
    ----------
    Lundberg et al., "From local explanations to global understanding with explainable AI for trees", Nat. Mach. Intell. 2020, 2, 56.
    """

    blocks: dict[str, float]
    pairs: pd.DataFrame
    assays: pd.DataFrame


def explain_pair(method: LightgbmPairs, smiles: str, text: str, *, n: int = 5) -> PairExplanation:
    """Return what a fitted method's prediction of a molecule in an assay rests on.

    Parameters
    ----------
    method : LightgbmPairs
        Fitted.
    smiles, text : str
    n : int
        Training pairs and assays to return.

    Raises
    ------
    InvalidMoleculeError
        If the molecule cannot be used.
    """
    asked = method.pair_features([smiles], text)
    if not asked.valid.all():
        raise InvalidMoleculeError(f"expected a molecule that can be explained, received {smiles!r}, which has no features; correct it")
    head, sample = method.head_, method.training.sample
    leaves = _leaves(method, asked)[0]
    # Of a dense row: LightGBM gives the contributions of a sparse one in a form of its own.
    dense = _matrix(method, asked).toarray()
    contributions = np.asarray(head.booster_.predict(dense, pred_contrib=True))[0]
    shared = np.zeros(len(sample))
    for start in range(0, len(sample), _BATCH):
        rows = np.arange(start, min(start + _BATCH, len(sample)))
        batch = method.training_features(rows)
        shared[rows] = np.where(batch.valid, (_leaves(method, batch) == leaves).mean(axis=1), 0.0)
    table = pd.DataFrame({"molecule": sample.molecule, "assay": sample.assay, "label": sample.label, "shared": shared})
    best = table.sort_values("shared", ascending=False, kind="stable").head(n)
    assays = table.groupby("assay")["shared"].agg(["size", "mean"]).sort_values("mean", ascending=False, kind="stable").head(n)
    return PairExplanation(
        _by_block(contributions, head.columns_, asked.widths),
        pd.DataFrame(
            {
                "smiles": [sample.smiles[place] for place in best["molecule"]],
                "assay": [sample.assays[place] for place in best["assay"]],
                "text": [sample.texts[place] for place in best["assay"]],
                "label": best["label"].to_numpy(),
                "shared": best["shared"].to_numpy(),
            }
        ),
        pd.DataFrame(
            {
                "assay": [sample.assays[place] for place in assays.index],
                "text": [sample.texts[place] for place in assays.index],
                "pairs": assays["size"].to_numpy(),
                "shared": assays["mean"].to_numpy(),
            }
        ),
    )


def _leaves(method: LightgbmPairs, features: FeatureSet) -> np.ndarray:
    """The leaf of each row in each tree: (rows, trees)."""
    return np.asarray(method.head_.booster_.predict(_matrix(method, features), pred_leaf=True))


def _matrix(method: LightgbmPairs, features: FeatureSet) -> sparse.csr_matrix:
    # LightGBM 4 knows SciPy's matrices, not its arrays.
    return sparse.csr_matrix(features.matrix()[:, method.head_.columns_])


def _by_block(contributions: np.ndarray, columns: np.ndarray, widths: dict[str, int]) -> dict[str, float]:
    ends = np.cumsum(list(widths.values()))
    block = np.searchsorted(ends, columns, side="right")
    sums = {name: float(contributions[:-1][block == number].sum()) for number, name in enumerate(widths)}
    return {**sums, "base": float(contributions[-1])}
