"""Frozen embeddings as a scikit-learn transformer."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from molbt.data.columns import Column
from molbt.data.isolation import BLOCK_SIZE
from molbt.data.preparing import prepare_blocks
from molbt.data.rows import text_of
from molbt.errors import CheckpointError, ConfigError, InvalidMoleculeError, ShapeError, suggestion
from molbt.model.checkpoint import find_model, from_pretrained, read_config
from molbt.model.twin_model import TwinModel
from molbt.training.hardware import resolve_device

# Rows are prepared and encoded in blocks of this many: memory stays flat, and a row's embedding does not depend on its block.
_BLOCK = BLOCK_SIZE


class MoleculeFeaturizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Turn SMILES into frozen embeddings of a pretrained encoder.

    Parameters
    ----------
    model : path
        A run directory or a model directory.
    view : str, optional
        Which view's encoder to use; by default all encoders of molecules, their embeddings side by side.
    output : str
        ``"embedding"``, or an earlier layer that the encoder offers, such as ``"hidden_1"``.
    on_invalid : {"raise", "nan"}
        What to do with SMILES that cannot be used: raise an error that lists them, or give a row of NaN.
    n_jobs : int
        Worker processes for reading molecules; the result does not depend on it. More than a few hundred molecules are read in another
        process in any case, so that one which RDKit does not survive costs its own row (``molbt.data.isolation``).
    batch_size : int
        Rows encoded at a time.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"``, …

    Attributes
    ----------
    views_ : list of str
        The views whose encoders are used, one for each encoder.
    policy_ : ParsePolicy
        How SMILES are read: as the model's training molecules were.
    n_features_out_ : int
    model_sha256_ : str
        Of the weights. A fitted featurizer refuses to work with other ones, should those in the directory change.
    reasons_ : list of str
        Of the last ``transform``: for each row why it was refused, or ``""``.

    Notes
    -----
    Embeddings are float32, computed in evaluation mode without autocast. Each distinct SMILES is read once. Pickling and cloning carry
    the path, not the weights.

    Examples
    --------
    >>> featurizer = MoleculeFeaturizer("runs/a", on_invalid="nan")  # doctest: +SKIP
    >>> featurizer.set_output(transform="pandas").fit_transform(["CCO", "c1ccccc1"]).shape  # doctest: +SKIP
    (2, 512)
    """

    def __init__(
        self,
        model: str | Path,
        *,
        view: str | None = None,
        output: str = "embedding",
        on_invalid: Literal["raise", "nan"] = "raise",
        n_jobs: int = 1,
        batch_size: int = 1024,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.view = view
        self.output = output
        self.on_invalid = on_invalid
        self.n_jobs = n_jobs
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> "MoleculeFeaturizer":
        """Load the encoder; nothing is learned from ``X``.

        Raises
        ------
        ConfigError
            If a parameter has no valid value, or the model has no such view or output.
        CheckpointError
            If there is no whole model at the path.
        """
        self._check_parameters()
        twin = self._twin = from_pretrained(self.model).to(resolve_device(self.device))
        self.model_sha256_ = read_config(find_model(self.model))["sha256"]
        self.policy_ = twin.config.molecules.policy()
        self.views_ = _molecule_views(twin, self.view)
        for view in self.views_:
            dims = twin.encoder_of(view).output_dims
            if self.output not in dims:
                raise ConfigError(
                    f"the encoder of view {view!r} in {self.model} has no output {self.output!r}{suggestion(self.output, dims)}"
                )
        self.n_features_out_ = sum(twin.encoder_of(view).output_dims[self.output] for view in self.views_)
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return embeddings: one row per row of ``X``, in order.

        Parameters
        ----------
        X : sequence of str, Series, array of shape (n,) or (n, 1), or DataFrame with one column
            SMILES.

        Returns
        -------
        ndarray of shape (n, n_features_out_), float32
            A refused row is NaN with ``on_invalid="nan"``.

        Raises
        ------
        InvalidMoleculeError
            With ``on_invalid="raise"``, if any SMILES cannot be used: the count and the first five with their reasons.
        """
        check_is_fitted(self, "n_features_out_")
        self._check_parameters()
        values = smiles_of(X)
        unique, inverse = _unique(values)
        features = np.full((len(unique), self.n_features_out_), np.nan, dtype=np.float32)
        reasons = [""] * len(unique)
        for start, block, block_reasons in self._encode_blocks(unique):
            features[start : start + len(block)] = block
            reasons[start : start + len(block)] = block_reasons
        self.reasons_ = [reasons[position] for position in inverse]
        if self.on_invalid == "raise":
            _refuse_invalid(values, self.reasons_)
        return features[inverse]

    def _encode_blocks(self, values: Sequence[str]) -> Iterable[tuple[int, np.ndarray, list[str]]]:
        twin = self._fitted_twin()
        device = next(twin.parameters()).device
        modalities = [twin.modalities[view] for view in self.views_]
        blocks = prepare_blocks(modalities, values, self.policy_, n_jobs=self.n_jobs, block_size=_BLOCK)
        for start, prepared in zip(range(0, max(len(values), 1), _BLOCK), blocks, strict=True):
            parts = [
                encode_columns(twin, view, ready.columns, len(ready.reasons), self.output, self.batch_size, device)
                for view, ready in zip(self.views_, prepared, strict=True)
            ]
            reasons = [next((r for r in row if r), "") for row in zip(*(ready.reasons for ready in prepared), strict=True)]
            block = np.concatenate(parts, axis=1)
            block[[bool(reason) for reason in reasons]] = np.nan
            yield start, block, reasons

    def _check_parameters(self) -> None:
        if self.on_invalid not in ("raise", "nan"):
            raise ConfigError(f"on_invalid must be 'raise' or 'nan', received {self.on_invalid!r}")
        if not isinstance(self.batch_size, int | np.integer) or self.batch_size < 1:
            raise ConfigError(f"batch_size must be a whole number of 1 or more, received {self.batch_size!r}")

    def _fitted_twin(self) -> TwinModel:
        """Return the encoder, read again in a process that received this featurizer by pickling."""
        if not hasattr(self, "_twin"):
            found = read_config(find_model(self.model))["sha256"]
            if found != self.model_sha256_:
                raise CheckpointError(
                    f"the model at {self.model} is not the one this featurizer was fitted with (SHA-256 {found[:12]}, then "
                    f"{self.model_sha256_[:12]}); fit it again, or bring the model back"
                )
            self._twin = from_pretrained(self.model).to(resolve_device(self.device))
        return self._twin

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_twin", None)
        return state

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.requires_fit = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def encode_columns(
    twin: TwinModel, view: str, columns: dict[str, Column], n: int, output: str, batch_size: int, device: torch.device
) -> np.ndarray:
    """Return an encoder's output for all entries of prepared columns: ``(n, width)`` float32, in evaluation mode, without autocast."""
    twin.eval()
    modality = twin.modalities[view]
    on_device = {name: column.to(device) for name, column in columns.items()}
    parts = []
    with torch.inference_mode():
        for start in range(0, n, batch_size):
            index = torch.arange(start, min(start + batch_size, n), device=device)
            parts.append(twin.encode(view, modality.collate(on_device, index), output).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, twin.encoder_of(view).output_dims[output]), dtype=np.float32)


def smiles_of(X: Any) -> list[Any]:
    """Return the SMILES in whatever holds them: a list, a Series, an array or a DataFrame of one column."""
    if isinstance(X, str):
        raise ShapeError(f"expected a sequence of SMILES, received the single string {X[:40]!r}; put it in a list: [smiles]")
    if isinstance(X, pd.DataFrame):
        if X.shape[1] != 1:
            raise ShapeError(
                f"expected one column of SMILES, received a DataFrame with {X.shape[1]} ({', '.join(map(str, X.columns[:5]))}); "
                "pass the column: frame['smiles']"
            )
        return X.iloc[:, 0].tolist()
    if isinstance(X, pd.Series):
        return X.tolist()
    array = np.asarray(X, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ShapeError(f"expected SMILES of shape (n,) or (n, 1), received shape {array.shape}; pass one SMILES per row")
    return array.tolist()


def _refuse_invalid(values: Sequence[Any], reasons: Sequence[str]) -> None:
    """Raise InvalidMoleculeError that counts the refused rows and names the first five."""
    bad = [(row, value, reason) for row, (value, reason) in enumerate(zip(values, reasons, strict=True)) if reason]
    if bad:
        first = "; ".join(f"row {row}: {value!r:.60} ({reason})" for row, value, reason in bad[:5])
        raise InvalidMoleculeError(
            f"{len(bad)} of {len(values)} SMILES cannot be used: {first}{'; …' if len(bad) > 5 else ''}. "
            "Correct them, or pass on_invalid='nan' to keep their rows as NaN"
        )


def _unique(values: Sequence[Any]) -> tuple[list[Any], np.ndarray]:
    numbers: dict[Any, int] = {}
    inverse = np.array([numbers.setdefault(text_of(value), len(numbers)) for value in values], dtype=np.int64)
    return list(numbers), inverse


def _molecule_views(twin: TwinModel, view: str | None) -> list[str]:
    """Return one view per molecular encoder, or the one that was asked for."""
    if view is not None:
        twin.encoder_key(view)
        if not twin.modalities[view].is_molecular:
            raise ConfigError(f"view {view!r} reads {twin.config.views[view].modality}, not molecules; choose a molecular view")
        return [view]
    keys = dict.fromkeys(twin.encoder_key(name) for name, modality in twin.modalities.items() if modality.is_molecular)
    if not keys:
        raise ConfigError("this model has no view of molecules, so it cannot featurize SMILES")
    return list(keys)
