"""Retrieval: the training assays whose descriptions are most alike vote, each by the labels of its molecules that are most alike."""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse

from molbt.evaluation.zero_shot.methods.base import ZeroShotMethod
from molbt.predict.features import FeatureBuilder, feature_builders
from molbt.predict.tanimoto import tanimoto_kernel

ASSAYS = 50
"""Training assays that vote: with more, memory grows and the weights of the others are small."""

TEXT_POWER = 4
MOLECULE_POWER = 4
PRIOR = 0.1
"""What the sum of a molecule's weights is compared with: an assay without a molecule like it has no say."""

_ROWS = 256  # molecules scored at a time: bounds the kernel


class Retrieval(ZeroShotMethod):
    """``Σ_a cos(t, t_a)⁴ · Σ_i s_i (y_i − ȳ_a) / (Σ_i s_i + 0.1)`` over the fifty nearest assays a, with s_i the Tanimoto similarity of
    ECFP4 counts to the power of four: 1 for the molecule itself, whose own label so weighs most where it was measured."""

    name: ClassVar[str] = "retrieval"
    features: ClassVar[str] = "nearest assays"

    def fit(self) -> Self:
        pairs = self.training.pairs
        self._builder: FeatureBuilder = feature_builders(["ecfp"], n_jobs=self.training.n_jobs)["ecfp"]
        self._counts, self._known = self._ecfp(pairs.smiles)
        self._weights = self.training.texts.weights(pairs.texts)
        cells = pairs.molecule, pairs.assay
        shape = len(pairs.smiles), len(pairs.assays)
        # A pair that was measured twice counts twice.
        measured = sparse.csr_array(sparse.coo_array((np.ones(len(pairs)), cells), shape=shape))
        self._measured, self._active = measured.tocsc(), sparse.csr_array(sparse.coo_array((pairs.label, cells), shape=shape)).tocsc()
        return self

    def score(self, smiles: Sequence[str], text: str) -> np.ndarray:
        cosine = (self._weights @ self.training.texts.weights([text]).T).toarray()[:, 0]
        nearest = np.argsort(-cosine, kind="stable")[:ASSAYS]
        measured, active = self._measured[:, nearest], self._active[:, nearest]
        rows = np.flatnonzero(np.diff(sparse.csr_array(measured).indptr) * self._known)
        measured, active = sparse.csr_array(measured)[rows], sparse.csr_array(active)[rows]
        rate = active.sum(axis=0) / np.maximum(measured.sum(axis=0), 1)
        # Labels as differences to the assay's own share of actives: an assay of many actives is no evidence for a molecule.
        excess = sparse.csr_array(active - measured.multiply(rate[None, :]))
        counts, known = self._ecfp(smiles)
        scores = np.full(len(smiles), np.nan)
        for start in range(0, len(smiles), _ROWS):
            place = np.arange(start, min(start + _ROWS, len(smiles)))
            similar = tanimoto_kernel(counts[place], self._counts[rows]) ** MOLECULE_POWER
            votes = (similar @ excess) / (similar @ measured + PRIOR)
            scores[place] = votes @ np.maximum(cosine[nearest], 0.0) ** TEXT_POWER
        scores[~known] = np.nan
        return scores

    def _ecfp(self, smiles: Sequence[str]) -> tuple[sparse.csr_array, np.ndarray]:
        features = self._builder(list(smiles))
        return features.sparse_blocks["ecfp4"], features.valid

    @classmethod
    def parameters(cls) -> dict[str, Any]:
        return {"assays": ASSAYS, "text_power": TEXT_POWER, "molecule_power": MOLECULE_POWER, "prior": PRIOR}
