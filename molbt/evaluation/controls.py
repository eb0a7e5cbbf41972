"""The controls that every table holds: what plain chemistry, principal components and an untrained encoder give under the same heads.

An encoder earned its place where ``embedding`` or ``counts+embedding`` beats these, first of all ``CONTROL``.
"""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError, DataError, suggestion
from molbt.modalities.base import Modality
from molbt.predict.features import COMPUTED, LEARNED, Embed, FeatureBuilder, FeatureSet, feature_builders, input_matrices
from molbt.predict.scaling import BlockScaler

CONTROL = ("counts", "tanimoto_svm")
"""Features and head that the others are compared with: the strongest cheap control measured so far (on MoleculeACE ahead of everything
published)."""


def control_features(
    learned: Mapping[str, Embed] | None = None,
    names: Sequence[str] | None = None,
    *,
    policy: ParsePolicy | None = None,
    n_jobs: int = 1,
) -> list[tuple[str, FeatureBuilder]]:
    """Return the features of a table, controls first, ready for ``evaluate``.

    Parameters
    ----------
    learned : mapping of str to callable, optional
        ``pca`` (see ``PrincipalComponents``), ``untrained`` (the encoder as it was initialised), ``embedding`` (the encoder in question),
        or any other name. ``embedding`` and ``untrained`` come a second time beside ``counts``: what an encoder adds to plain
        fingerprints is fairly told only by the same encoder untrained in the same place.
    names : sequence of str, optional
        Only these, such as ``counts+descriptors+embedding``, and with them what they must be compared with: ``counts``, and for an
        ``embedding`` the same features with the encoder untrained.
    policy : ParsePolicy, optional
        How SMILES are read for counts and descriptors.
    n_jobs : int
        Processes for counts and descriptors.

    Raises
    ------
    ConfigError
        If a name is not one of features that can be had here; those of an encoder need one.
    """
    learned = dict(learned or {})
    order = ["pca", "untrained", "embedding"]
    plain = ["counts", "descriptors", "counts+descriptors"]
    encoded = sorted(learned, key=lambda name: order.index(name) if name in order else len(order))
    encoded += [f"counts+{name}" for name in ("untrained", "embedding") if name in learned]
    chosen = [*plain, *encoded] if names is None else _with_their_controls(names, [*plain, *encoded], learned)
    return list(feature_builders(chosen, learned=learned, policy=policy, n_jobs=n_jobs).items())


def _with_their_controls(names: Sequence[str], usual: Sequence[str], learned: Mapping[str, Embed]) -> list[str]:
    """Return the names and those they are judged by, in the usual order, other combinations last."""
    known = (*COMPUTED, *learned)
    for name in names:
        for part in name.split("+"):
            if part not in known:
                needs = "those of an encoder need --model" if part in LEARNED else "join several by a plus sign"
                raise ConfigError(f"unknown features {part!r} in {name!r} of this table{suggestion(part, known)}; {needs}")
    wanted = dict.fromkeys(["counts", *(each for name in names for each in (name.replace("embedding", "untrained"), name))])
    return sorted(wanted, key=lambda name: usual.index(name) if name in usual else len(usual))


class PrincipalComponents:
    """Principal components of an encoder's inputs, fitted on the molecules it was pretrained on: what a linear map learns from the same
    data.

    Fitting on a task's training rows instead would give the control other data than the encoder had. Inputs are scaled as ``BlockScaler``
    does it: log(1 + count) for a fingerprint, z-scores for descriptors. Counts are not centred, which keeps them sparse; their first
    component is then close to their mean.

    Parameters
    ----------
    modality : Modality
        Of the encoder; it must have a matrix form of its inputs.
    n_components : int
        Width of the embedding that this is a control for.
    policy : ParsePolicy, optional
    random_state : int
        Of the randomised decomposition.
    """

    def __init__(self, modality: Modality, n_components: int, *, policy: ParsePolicy | None = None, random_state: int = 0) -> None:
        if n_components < 1:
            raise ConfigError(f"n_components must be at least 1, got {n_components}")
        self.modality = modality
        self.n_components = n_components
        self.policy = policy or ParsePolicy()
        self.random_state = random_state

    def fit(self, smiles: Sequence[str]) -> Self:
        """Learn from molecules; refused ones are left out. No more components are kept than there are molecules or input columns.

        Raises
        ------
        DataError
            If fewer than two molecules can be used.
        """
        inputs = self._inputs(smiles)
        inputs = inputs.rows(inputs.valid)
        if inputs.n_rows < 2:
            raise DataError(f"principal components need at least two usable molecules, got {inputs.n_rows} of {len(smiles)}")
        self._scaler = BlockScaler().fit(inputs)
        matrix = self._scaler.transform(inputs).matrix()
        self.n_components_ = min(self.n_components, *matrix.shape)
        self._svd = TruncatedSVD(self.n_components_, random_state=self.random_state).fit(matrix)
        return self

    def __call__(self, smiles: Sequence[str]) -> np.ndarray:
        """Return ``(n, n_components_)`` float32, NaN where a molecule was refused."""
        inputs = self._inputs(smiles)
        components = np.full((inputs.n_rows, self.n_components_), np.nan, dtype=np.float32)
        if inputs.valid.any():
            components[inputs.valid] = self._svd.transform(self._scaler.transform(inputs.rows(inputs.valid)).matrix())
        return components

    def _inputs(self, smiles: Sequence[str]) -> FeatureSet:
        [matrices], valid = input_matrices([self.modality], list(smiles), self.policy)
        block = sparse.csr_array(sparse.vstack(matrices)) if sparse.issparse(matrices[0]) else np.concatenate(matrices)
        return FeatureSet("inputs", {"inputs": block}, valid)
