"""What zero-shot methods share: the training pairs, features of molecules and texts made once, and the run, if there is one."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import sparse

from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError
from molbt.evaluation.zero_shot.text_features import TextFeatures
from molbt.modalities.descriptors import Descriptors
from molbt.modalities.fingerprint import Fingerprint
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.features import FeatureSet, input_matrices
from molbt.predict.training_pairs import MAX_PAIRS, TrainingPairs

COUNT_WIDTH = 2_048
"""Columns that ECFP4 counts are folded into: so few that trees on pairs come across the text between them."""

DESCRIPTORS = (
    *("MolWt", "MolLogP", "MolMR", "TPSA", "LabuteASA", "FractionCSP3", "HeavyAtomCount", "NumHDonors", "NumHAcceptors", "NumHeteroatoms"),
    *("NumRotatableBonds", "RingCount", "NumAromaticRings", "NumAliphaticRings", "NumAromaticHeterocycles", "NumSaturatedRings"),
)
"""The quick ones: all of RDKit's would take seven times as long for hundreds of thousands of molecules."""


class Training:
    """Training pairs with features, each made when it is first asked for.

    Parameters
    ----------
    pairs : TrainingPairs
    run : path, optional
        A run that pairs molecules with texts.
    max_pairs : int
        Of ``sample``; all pairs are in ``pairs``.
    random_state, n_jobs : int
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        *,
        run: str | Path | None = None,
        max_pairs: int = MAX_PAIRS,
        random_state: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.pairs = pairs
        self.run = run
        self.max_pairs = max_pairs
        self.random_state = random_state
        self.n_jobs = n_jobs
        self._places: dict[str, int] = {}

    @cached_property
    def sample(self) -> TrainingPairs:
        """At most ``max_pairs`` of the pairs, for methods that hold features of each pair."""
        return self.pairs.sampled(self.max_pairs, self.random_state)

    @cached_property
    def texts(self) -> TextFeatures:
        """Features of texts, learned from all training assays."""
        return TextFeatures(self.pairs.texts)

    @cached_property
    def sample_molecules(self) -> FeatureSet:
        """``molecules`` of the sample's molecules."""
        return molecule_features(self.sample.smiles, self.n_jobs)

    def molecules(self, smiles: Sequence[str]) -> FeatureSet:
        """Return folded ECFP4 counts and descriptors of some molecules; each distinct one is computed once and kept."""
        if not self._places:
            self._kept = self.sample_molecules
            self._places = {value: place for place, value in enumerate(self.sample.smiles)}
        new = [value for value in dict.fromkeys(smiles) if value not in self._places]
        if new:
            self._places |= {value: self._kept.n_rows + place for place, value in enumerate(new)}
            self._kept = _stacked(self._kept, molecule_features(new, self.n_jobs))
        return self._kept.rows(np.array([self._places[value] for value in smiles], dtype=np.int64))

    @cached_property
    def twin(self) -> PairFeaturizer:
        """The run's networks.

        Raises
        ------
        ConfigError
            If there is no run, or it pairs no molecules with texts.
        """
        if self.run is None:
            raise ConfigError("expected a run that pairs molecules with texts, received none; pass --model RUN, or leave the method out")
        return PairFeaturizer(self.run, on_invalid="nan", n_jobs=self.n_jobs).fit()

    @cached_property
    def sample_embeddings(self) -> tuple[np.ndarray, np.ndarray]:
        """The twin's embeddings of the sample's molecules and of its assays' texts; NaN rows where refused."""
        return self.twin.embed_molecules(self.sample.smiles)[0], self.twin.embed_texts(self.sample.texts)[0]


def molecule_features(smiles: Sequence[str], n_jobs: int = 1) -> FeatureSet:
    """Return ``ecfp4`` counts of width ``COUNT_WIDTH`` and ``DESCRIPTORS``, row by row."""
    modalities = [Fingerprint(kinds=("ecfp4",), width=COUNT_WIDTH, counts=True), Descriptors(names=DESCRIPTORS)]
    (counts, descriptors), valid = input_matrices(modalities, list(smiles), ParsePolicy(), n_jobs)
    blocks = {
        "ecfp4": sparse.csr_array(sparse.vstack(counts, format="csr"), dtype=np.float32),
        "descriptors": np.vstack(descriptors).astype(np.float32),
    }
    return FeatureSet("molecules", blocks, valid)


def _stacked(above: FeatureSet, below: FeatureSet) -> FeatureSet:
    counts = sparse.vstack([above.sparse_blocks["ecfp4"], below.sparse_blocks["ecfp4"]], format="csr")
    descriptors = np.vstack([above.dense_blocks["descriptors"], below.dense_blocks["descriptors"]])
    blocks = {"ecfp4": sparse.csr_array(counts), "descriptors": descriptors}
    return FeatureSet(above.name, blocks, np.concatenate([above.valid, below.valid]))
