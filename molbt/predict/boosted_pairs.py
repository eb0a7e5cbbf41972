"""LightGBM on pairs of molecules and described assays, beside the leaves of its training pairs."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from molbt.errors import DataError
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.boosting import LightGBM
from molbt.predict.features import FeatureSet
from molbt.predict.pair_block import pair_features
from molbt.predict.pair_boosting import EMBEDDINGS, pair_boosting
from molbt.predict.stored_block import BATCH_ROWS
from molbt.predict.training_pairs import TrainingPairs


@dataclass(frozen=True, eq=False)
class BoostedPairs:
    """Trees that learned from pairs, and where each of these pairs ended up in them.

    Parameters
    ----------
    head : LightGBM
        Fitted on more than one label.
    pairs : TrainingPairs of n pairs
        What it learned from.
    leaves : ndarray of shape (n, trees), int
        ``leaves_of`` the pairs.
    """

    head: LightGBM
    pairs: TrainingPairs
    leaves: np.ndarray

    @classmethod
    def fit(cls, twin: PairFeaturizer, pairs: TrainingPairs, *, random_state: int = 0, n_jobs: int = 1) -> Self:
        """Learn from the frozen embeddings of a twin: molecule, text, product, difference and cosine of each pair.

        Parameters
        ----------
        twin : PairFeaturizer
            Fitted, with ``on_invalid="nan"``.
        pairs : TrainingPairs
            Every one is used; draw from them first (``TrainingPairs.sampled``).

        Raises
        ------
        DataError
            If fewer than two of the pairs can be used, or all that can have one label.

        References
        ----------
        Schuh et al., "TwinBooster: Synergising Large Language Models with Barlow Twins and Gradient Boosting for Enhanced Molecular
        Property Prediction", 2024, https://arxiv.org/abs/2401.04478 (there on the two embeddings alone)
        """
        features = pair_features(twin.embed_molecules(pairs.smiles)[0], twin.embed_texts(pairs.texts)[0], pairs.molecule, pairs.assay)
        head = pair_boosting(random_state=random_state, n_jobs=n_jobs, **EMBEDDINGS)
        head.fit(features, pairs.label)
        if head.constant_ is not None:
            raise DataError(
                f"expected training pairs with both labels, received {head.n_train_} usable ones that are all {head.constant_:g}; "
                "give more of them"
            )
        return cls(head, pairs, leaves_of(head, features))

    def score(self, molecules: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Return the log-odds of activity of each molecule for each text: ``(molecules, texts)`` float64, NaN where an embedding is.

        Parameters
        ----------
        molecules, texts : ndarray of shape (molecules, width) and (texts, width), float32
            Embeddings.
        """
        scores = np.empty((len(molecules), len(texts)))
        for place in range(len(texts)):
            scores[:, place] = self.score_for(molecules, texts[place])
        return scores

    def score_for(self, molecules: np.ndarray, text: np.ndarray) -> np.ndarray:
        """Return the log-odds of activity of each molecule for one text, given as embeddings: ``(molecules,)`` float64."""
        return log_odds(self.head, pair_features(molecules, text[None], np.arange(len(molecules)), np.zeros(len(molecules), np.int64)))


def log_odds(head: LightGBM, features: FeatureSet) -> np.ndarray:
    """Return what the trees add up to, which ``head.predict`` turns into probabilities: ``(n,)`` float64, NaN where a row is refused."""
    found = np.full(features.n_rows, np.nan)
    for rows, matrix in tree_inputs(head, features):
        found[rows] = head.booster_.predict(matrix, raw_score=True, num_threads=head.n_jobs)
    return found


def leaves_of(head: LightGBM, features: FeatureSet) -> np.ndarray:
    """Return the leaf of each row in each tree: ``(n, trees)`` int, of as few bytes as hold them; −1 throughout where a row is refused."""
    leaves = np.full((features.n_rows, head.booster_.num_trees()), -1, dtype=np.min_scalar_type(-head.num_leaves))
    for rows, matrix in tree_inputs(head, features):
        leaves[rows] = head.booster_.predict(matrix, pred_leaf=True, num_threads=head.n_jobs)
    return leaves


def tree_inputs(head: LightGBM, features: FeatureSet) -> Iterator[tuple[np.ndarray, np.ndarray | sparse.csr_matrix]]:
    """Yield the places of valid rows, some thousands at a time, and the columns of them that the trees look at, as LightGBM takes them."""
    usable = np.flatnonzero(features.valid)
    for start in range(0, len(usable), BATCH_ROWS):
        rows = usable[start : start + BATCH_ROWS]
        matrix = features.rows(rows).matrix()[:, head.columns_]
        # In the precision of the thresholds. LightGBM 4 knows SciPy's matrices, not its arrays.
        yield rows, (matrix if isinstance(matrix, np.ndarray) else sparse.csr_matrix(matrix)).astype(np.float64)
