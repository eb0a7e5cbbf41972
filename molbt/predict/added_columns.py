"""What ``featurize`` and ``predict`` add to the rows of a table: work that can be sent to another machine, where it reads the model itself.

The model's directory must be at the same path there, or be one that comes with molbt; its checksum is compared.
"""

import threading
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Self

import pandas as pd
import rdkit

from molbt import __version__
from molbt.data.files import sha256_of
from molbt.data.isolation import ISOLATED_FROM, isolating, map_blocks
from molbt.data.molecules import refusal_reasons
from molbt.data.rows import text_of
from molbt.data.sharded_tables import REASON
from molbt.errors import CheckpointError
from molbt.featurizer import MoleculeFeaturizer
from molbt.model.checkpoint import find_model, read_config, shipped_models
from molbt.predict.predictor import Predictor
from molbt.predict.saved_predictor import read_description

# A worker may have several threads; a model takes one at a time.
_ONE_AT_A_TIME = threading.Lock()
_VERSIONS = {"molbt": __version__, "rdkit": rdkit.__version__}


@dataclass(frozen=True)
class EmbeddingColumns:
    """The frozen embeddings of molecules, behind the reason for each refused row; parameters are those of ``MoleculeFeaturizer``."""

    model: str
    view: str | None = None
    layer: str = "embedding"
    n_jobs: int = 1
    device: str = "auto"
    sha256: str = ""

    @classmethod
    def of(cls, model: str, **parameters: Any) -> Self:
        """Return the columns of a model as it is now; errors are those of ``MoleculeFeaturizer.fit``."""
        directory = find_model(model)
        # One that comes with molbt goes by its name: another machine may have it elsewhere.
        path = model if model in shipped_models() and not Path(model).exists() else str(directory.absolute())
        columns = cls(path, **parameters, sha256=read_config(directory)["sha256"])
        with _ONE_AT_A_TIME:
            _featurizer(columns)
        return columns

    def settings(self) -> Mapping[str, Any]:
        with _ONE_AT_A_TIME:
            featurizer = _featurizer(self)
        return {
            "columns": "embedding",
            "model_sha256": self.sha256,
            "views": featurizer.views_,
            "layer": self.layer,
            "policy": featurizer.policy_.as_dict(),
            "device": self.device,
            **_VERSIONS,
        }

    def __call__(self, values: Sequence[Any]) -> pd.DataFrame:
        with _ONE_AT_A_TIME:
            featurizer = _featurizer(self)
            features = featurizer.transform(values)
            reasons = featurizer.reasons_
        names = [str(name) for name in featurizer.get_feature_names_out()]
        return pd.concat([pd.DataFrame({REASON: reasons}, dtype="str"), pd.DataFrame(features, columns=names)], axis=1)


@dataclass(frozen=True)
class PredictionColumns:
    """The predictions of a saved predictor and what stands beside them, before the reason for each refused row; parameters are those of
    ``Predictor.load`` and ``Predictor.predict_table``."""

    predictor: str
    confidence: float | None = None
    nearest: bool | None = None
    n_jobs: int = 1
    device: str = "auto"
    sha256: str = ""

    @classmethod
    def of(cls, predictor: Path, **parameters: Any) -> Self:
        """Return the columns of a predictor as it is now; errors are those of ``Predictor.load`` and ``Predictor.predict_table``."""
        read_description(predictor)
        columns = cls(str(predictor.absolute()), **parameters, sha256=sha256_of(predictor / "predictor.json"))
        with _ONE_AT_A_TIME:
            _predictor(columns).predict_table([], confidence=columns.confidence, nearest=columns.nearest)
        return columns

    def settings(self) -> Mapping[str, Any]:
        own = {"confidence": self.confidence, "nearest": self.nearest, "device": self.device}
        return {"columns": "prediction", "predictor_sha256": self.sha256, **own, **_VERSIONS}

    def __call__(self, values: Sequence[Any]) -> pd.DataFrame:
        with _ONE_AT_A_TIME:
            predictor = _predictor(self)
            added = predictor.predict_table(values, confidence=self.confidence, nearest=self.nearest)
        refused = added.iloc[:, 0].isna().to_numpy()  # the first target's prediction; a refused molecule has none of any
        reasons = [""] * len(values)
        rows = refused.nonzero()[0].tolist()
        texts = [text_of(values[row]) for row in rows]
        # What was refused because it killed its process would do so again.
        with isolating() if len(values) > ISOLATED_FROM else nullcontext():
            found = list(chain.from_iterable(map_blocks(refusal_reasons, texts, predictor.policy, n_jobs=self.n_jobs)))
        for row, reason in zip(rows, found, strict=True):
            reasons[row] = reason or "its features cannot be computed"
        return added.assign(**{REASON: pd.Series(reasons, dtype="str")})


@lru_cache(maxsize=1)
def _featurizer(columns: EmbeddingColumns) -> MoleculeFeaturizer:
    """The model of a process, read once."""
    _compare(columns.model, read_config(find_model(columns.model))["sha256"], columns.sha256)
    return MoleculeFeaturizer(
        columns.model, view=columns.view, output=columns.layer, on_invalid="nan", n_jobs=columns.n_jobs, device=columns.device
    ).fit()


@lru_cache(maxsize=1)
def _predictor(columns: PredictionColumns) -> Predictor:
    """The predictor of a process, read once."""
    read_description(Path(columns.predictor))
    _compare(columns.predictor, sha256_of(Path(columns.predictor) / "predictor.json"), columns.sha256)
    return Predictor.load(columns.predictor, n_jobs=columns.n_jobs, device=columns.device)


def _compare(path: str, found: str, expected: str) -> None:
    if found != expected:
        raise CheckpointError(
            f"the model at {path} is another one here (SHA-256 {found[:12]}) than where the command was given ({expected[:12]}); "
            "bring that one here"
        )
