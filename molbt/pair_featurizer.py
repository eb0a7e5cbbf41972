"""Frozen embeddings of molecules and texts, side by side, and how well they match."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from molbt.data.rows import text_of
from molbt.errors import ConfigError, InvalidMoleculeError, ShapeError
from molbt.featurizer import MoleculeFeaturizer, encode_columns
from molbt.model.twin_model import TwinModel

INTERACTIONS = ("product", "difference", "cosine")


class PairFeaturizer(TransformerMixin, BaseEstimator):
    """Turn pairs of a SMILES and a text into the frozen embeddings of a twin model of molecules and texts.

    Parameters
    ----------
    model : path
        A run or model directory with a view of molecules, a view of texts, and a pair of the two.
    interactions : sequence of {"product", "difference", "cosine"}
        What to add to the two embeddings: their product and difference, element by element, and their cosine. A tree on the two embeddings
        alone has to find by itself that they belong together.
    on_invalid : {"raise", "nan"}
        What to do with a pair whose molecule or text cannot be used: raise an error that lists them, or give a row of NaN.
    n_jobs, batch_size, device
        As in ``MoleculeFeaturizer``.

    Attributes
    ----------
    molecule_view_, text_view_ : str
    molecules_ : MoleculeFeaturizer
        Of the view of molecules.
    n_features_out_ : int
    reasons_ : list of str
        Of the last ``transform``: for each row why it was refused, or ``""``.

    Notes
    -----
    Each distinct molecule and each distinct text is embedded once, whatever the number of pairs.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        interactions: Sequence[str] = (),
        on_invalid: Literal["raise", "nan"] = "raise",
        n_jobs: int = 1,
        batch_size: int = 1024,
        device: str = "auto",
    ) -> None:
        self.model = model
        self.interactions = interactions
        self.on_invalid = on_invalid
        self.n_jobs = n_jobs
        self.batch_size = batch_size
        self.device = device

    def fit(self, X: Any = None, y: Any = None) -> "PairFeaturizer":
        """Load the encoders; nothing is learned from ``X``.

        Raises
        ------
        ConfigError
            If a parameter has no valid value, or the model pairs no view of molecules with one of texts.
        CheckpointError
            If there is no whole model at the path.
        """
        for name in self.interactions:
            if name not in INTERACTIONS:
                raise ConfigError(f"interactions must be among {', '.join(INTERACTIONS)}, received {name!r}")
        if self.on_invalid not in ("raise", "nan"):
            raise ConfigError(f"on_invalid must be 'raise' or 'nan', received {self.on_invalid!r}")
        loader = MoleculeFeaturizer(self.model, on_invalid="nan", n_jobs=self.n_jobs, batch_size=self.batch_size, device=self.device).fit()
        self.molecule_view_, self.text_view_ = _paired_views(loader._fitted_twin(), self.model)
        self.molecules_ = loader.set_params(view=self.molecule_view_).fit()
        twin = self.molecules_._fitted_twin()
        self.widths_ = {view: twin.embedding_dim(view) for view in (self.molecule_view_, self.text_view_)}
        if self.interactions and len(set(self.widths_.values())) > 1:
            raise ConfigError(f"interactions need embeddings of one width, the model has {self.widths_}; leave interactions out")
        self.feature_names_ = self._names()
        self.n_features_out_ = len(self.feature_names_)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of pairs: ``(n, n_features_out_)`` float32, one row per row of ``X``, in order.

        Parameters
        ----------
        X : DataFrame with two columns or array of shape (n, 2)
            SMILES and text.

        Raises
        ------
        InvalidMoleculeError
            With ``on_invalid="raise"``, if any pair cannot be used: the count and the first five with their reasons.
        """
        check_is_fitted(self, "n_features_out_")
        smiles, texts = pairs_of(X)
        molecules, molecule_reasons = self.embed_molecules(smiles)
        embedded, text_reasons = self.embed_texts(texts)
        self.reasons_ = [one or (f"text: {other}" if other else "") for one, other in zip(molecule_reasons, text_reasons, strict=True)]
        refused = np.array([bool(reason) for reason in self.reasons_], dtype=bool)
        if self.on_invalid == "raise" and refused.any():
            first = "; ".join(f"row {row}: {self.reasons_[row]}" for row in np.flatnonzero(refused)[:5].tolist())
            raise InvalidMoleculeError(
                f"{int(refused.sum())} of {len(refused)} pairs cannot be used: {first}. Correct them, or pass on_invalid='nan'"
            )
        features = interactions_of(molecules, embedded, self.interactions)
        features[refused] = np.nan
        return features

    def score(self, smiles: Sequence[Any], texts: Sequence[Any]) -> np.ndarray:
        """Return how well molecules match texts: ``(molecules, texts)`` float32, NaN where either cannot be used.

        The score is the dot product of the two projections over √d: what the objective ``matching`` trains, without its scale and bias,
        which change no ranking. Each molecule and each text passes its network once.
        """
        check_is_fitted(self, "n_features_out_")
        molecules, _ = self.embed_molecules(smiles)
        embedded, _ = self.embed_texts(texts)
        z_molecules, z_texts = self._project(self.molecule_view_, molecules), self._project(self.text_view_, embedded)
        if z_molecules.shape[1] != z_texts.shape[1]:
            raise ConfigError(
                f"scores need projections of one width, the model has {z_molecules.shape[1]} and {z_texts.shape[1]}; train it with matching"
            )
        return z_molecules @ z_texts.T / np.float32(z_molecules.shape[1] ** 0.5)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return ``molecule_0`` …, ``text_0`` …, then the interactions, such as ``product_0`` and ``cosine``."""
        check_is_fitted(self, "n_features_out_")
        return np.asarray(self.feature_names_, dtype=object)

    def _names(self) -> list[str]:
        width = self.widths_[self.molecule_view_]
        names = [f"molecule_{i}" for i in range(width)] + [f"text_{i}" for i in range(self.widths_[self.text_view_])]
        for name in ("product", "difference"):
            names += [f"{name}_{i}" for i in range(width)] if name in self.interactions else []
        return names + (["cosine"] if "cosine" in self.interactions else [])

    def embed_molecules(self, smiles: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
        """Return the embedding of each molecule, ``(n, width)``, NaN where it was refused, and the reasons."""
        return self.molecules_.transform(list(smiles)), self.molecules_.reasons_

    def embed_texts(self, texts: Sequence[Any]) -> tuple[np.ndarray, list[str]]:
        """Return the embedding of each text, ``(n, width)``, NaN where it was refused, and the reasons."""
        twin = self.molecules_._fitted_twin()
        numbers: dict[str, int] = {}
        place = np.array([numbers.setdefault(text_of(text), len(numbers)) for text in texts], dtype=np.int64)
        prepared = twin.modalities[self.text_view_].prepare(list(numbers), self.molecules_.policy_)
        device = next(twin.parameters()).device
        embedded = encode_columns(twin, self.text_view_, prepared.columns, len(numbers), "embedding", self.batch_size, device)
        embedded[~prepared.valid] = np.nan
        return embedded[place], [prepared.reasons[number] for number in place]

    def _project(self, view: str, embedding: np.ndarray) -> np.ndarray:
        twin = self.molecules_._fitted_twin()
        device = next(twin.parameters()).device
        with torch.inference_mode():
            parts = [
                twin.project(view, torch.from_numpy(embedding[start : start + self.batch_size]).to(device)).float().cpu().numpy()
                for start in range(0, len(embedding), self.batch_size)
            ]
        return np.concatenate(parts) if parts else np.zeros((0, twin.projection_dim(view)), dtype=np.float32)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.requires_fit = True
        tags.transformer_tags.preserves_dtype = []
        return tags


def interactions_of(molecules: np.ndarray, texts: np.ndarray, interactions: Sequence[str]) -> np.ndarray:
    """Return the two embeddings of each pair side by side, and the interactions named: ``(n, …)`` float32."""
    parts = [molecules, texts]
    if "product" in interactions:
        parts.append(molecules * texts)
    if "difference" in interactions:
        parts.append(molecules - texts)
    if "cosine" in interactions:
        lengths = np.linalg.norm(molecules, axis=1) * np.linalg.norm(texts, axis=1)
        parts.append(((molecules * texts).sum(axis=1) / np.maximum(lengths, 1e-12))[:, None])
    return np.concatenate(parts, axis=1).astype(np.float32, copy=False)


def pairs_of(X: Any) -> tuple[list[Any], list[Any]]:
    """Return the SMILES and the texts of a DataFrame with two columns or an array of shape (n, 2).

    Raises
    ------
    ShapeError
        If there are not two columns.
    """
    array = X.to_numpy(dtype=object) if isinstance(X, pd.DataFrame) else np.asarray(X, dtype=object)
    if array.ndim != 2 or array.shape[1] != 2:
        raise ShapeError(f"expected pairs of shape (n, 2), SMILES and text, received shape {array.shape}; pass frame[['smiles', 'text']]")
    return array[:, 0].tolist(), array[:, 1].tolist()


def _paired_views(twin: TwinModel, model: str | Path) -> tuple[str, str]:
    """Return the first pair of a view of molecules and one of something else that the model was trained on."""
    for pair in twin.config.pairs:
        molecular = [view for view in pair if twin.modalities[view].is_molecular]
        others = [view for view in pair if not twin.modalities[view].is_molecular]
        if len(molecular) == 1:
            return molecular[0], others[0]
    raise ConfigError(
        f"expected a model that pairs molecules with texts, {model} has the pairs {[list(pair) for pair in twin.config.pairs]}; "
        "pretrain with a view of modality lsa or text"
    )
