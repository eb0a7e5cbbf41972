"""The control that is principal components of an encoder's inputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

from molbt.data.array_files import read_array
from molbt.data.files import write_array
from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError, DataError
from molbt.modalities.base import Modality
from molbt.predict.features import FeatureSet, input_matrices
from molbt.predict.scaling import BlockScaler

_REMEDY = "remove the directory: it is fitted anew"


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
        self._components = TruncatedSVD(self.n_components_, random_state=self.random_state).fit(matrix).components_
        return self

    def save(self, directory: str | Path) -> None:
        """Write what was fitted as ``.npy`` files into a directory that is there."""
        for name, array in {"components": self._components, **self._scaler.arrays()}.items():
            write_array(Path(directory) / f"{name}.npy", array)

    def load(self, directory: str | Path) -> Self:
        """Read what ``save`` wrote; the numbers, and so what is computed from them, are the same.

        Raises
        ------
        DataError
            If a file is missing or damaged.
        """
        self._components = read_array(Path(directory) / "components.npy", remedy=_REMEDY)
        self.n_components_ = len(self._components)
        arrays = {path.stem: read_array(path, remedy=_REMEDY) for path in Path(directory).glob("inputs.*.npy")}
        self._scaler = BlockScaler.from_arrays(arrays)
        return self

    def __call__(self, smiles: Sequence[str]) -> np.ndarray:
        """Return ``(n, n_components_)`` float32, NaN where a molecule was refused."""
        inputs = self._inputs(smiles)
        components = np.full((inputs.n_rows, self.n_components_), np.nan, dtype=np.float32)
        if inputs.valid.any():
            components[inputs.valid] = self._scaler.transform(inputs.rows(inputs.valid)).matrix() @ self._components.T
        return components

    def _inputs(self, smiles: Sequence[str]) -> FeatureSet:
        [matrices], valid = input_matrices([self.modality], list(smiles), self.policy)
        block = sparse.csr_array(sparse.vstack(matrices)) if sparse.issparse(matrices[0]) else np.concatenate(matrices)
        return FeatureSet("inputs", {"inputs": block}, valid)
