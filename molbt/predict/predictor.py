"""A predictor: a fitted head together with the features it needs, from SMILES to predictions."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import lightgbm
import numpy as np
import rdkit
import sklearn
from sklearn.base import BaseEstimator
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.validation import check_is_fitted

from molbt import __version__
from molbt.data.files import atomic_write
from molbt.data.molecules import ParsePolicy
from molbt.errors import CheckpointError, ConfigError, DataError
from molbt.featurizer import MoleculeFeaturizer, smiles_of
from molbt.model.checkpoint import find_model, read_config
from molbt.predict.features import FeatureBuilder, feature_builders, parse_feature_name
from molbt.predict.head import Head
from molbt.predict.heads import build_head
from molbt.predict.saved_heads import dumps, read_head, write_head

FORMAT = "molbt.predictor"
FORMAT_VERSION = 1


class Predictor(BaseEstimator):
    """From SMILES to predictions of one target.

    Parameters
    ----------
    head : str
        A name of ``molbt.predict.heads.HEADS``.
    features : str
        Parts joined with ``+``: ``counts``, ``descriptors``, ``embedding`` (which needs ``model``).
    model : path, optional
        A run or model directory.
    task_type : {"auto", "regression", "classification"}
        ``auto``: classification when every label is 0 or 1.
    random_state, n_jobs : int

    Attributes
    ----------
    task_type_ : str
    head_ : Head

    Examples
    --------
    >>> predictor = Predictor(features="counts", head="ridge")
    >>> predictor.fit(["C" * n for n in range(1, 30)], list(range(1, 30))).predict(["CCCC", "not a molecule"]).round()
    array([ 4., nan])
    """

    def __init__(
        self,
        *,
        head: str = "lightgbm",
        features: str = "counts+embedding",
        model: str | Path | None = None,
        task_type: str = "auto",
        random_state: int = 0,
        n_jobs: int = 1,
    ) -> None:
        self.head = head
        self.features = features
        self.model = model
        self.task_type = task_type
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any) -> Self:
        """Learn from SMILES and labels (NaN where there is none); refused molecules are left out and counted in ``head_``."""
        smiles, labels = smiles_of(X), np.asarray(y, dtype=np.float64)
        self.task_type_ = infer_task_type(labels) if self.task_type == "auto" else self.task_type
        self._features = self._builder()(smiles)
        self._labels = labels
        self.head_ = self._new_head().fit(self._features, labels)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return ``(n,)`` float64: values, or probabilities of class 1; NaN where the molecule was refused."""
        check_is_fitted(self, "head_")
        return self.head_.predict(self._builder()(smiles_of(X)))

    def cross_validate(self, X: Any, y: Any, *, features: Sequence[str], n_splits: int = 5) -> dict[str, np.ndarray]:
        """Return, for each of several feature sets, the head's score in each fold of the same random folds.

        RMSE for regression, ROC AUC for classification. This is how a user sees whether the encoder earns its place on their data
        before any prediction is made.
        """
        smiles, labels = smiles_of(X), np.asarray(y, dtype=np.float64)
        task_type = infer_task_type(labels) if self.task_type == "auto" else self.task_type
        metric = root_mean_squared_error if task_type == "regression" else roc_auc_score
        known = np.flatnonzero(np.isfinite(labels))
        splitter: Any = KFold if task_type == "regression" else StratifiedKFold
        n_splits = min(n_splits, len(known))
        if n_splits < 2:
            raise DataError(f"cross-validation needs at least two labelled rows, received {len(known)}; give more labels")
        folds = list(splitter(n_splits, shuffle=True, random_state=self.random_state).split(known, labels[known]))
        scores: dict[str, np.ndarray] = {}
        for name, builder in self._builders(features).items():
            built, values = builder(smiles), []
            for train, test in folds:
                rows = known[train], known[test]
                head = build_head(self.head, task_type, random_state=self.random_state, n_jobs=self.n_jobs)
                predicted = head.fit(built.rows(rows[0]), labels[rows[0]]).predict(built.rows(rows[1]))
                kept = np.isfinite(predicted)
                values.append(metric(labels[rows[1]][kept], predicted[kept]))
            scores[name] = np.array(values)
        return scores

    def save(self, directory: str | Path, *, facts: dict[str, Any] | None = None) -> Path:
        """Write the predictor into a new or empty directory, its encoder included, and return the directory."""
        check_is_fitted(self, "head_")
        if not hasattr(self, "_labels"):
            raise CheckpointError("this predictor was loaded, and its training rows are not all kept; copy its directory instead")
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise ConfigError(f"expected a new or empty directory for the predictor, {directory} is not empty; choose another")
        if self._needs_model:
            shutil.copytree(find_model(self._model_path()), directory / "model")
        content = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "features": self.features,
            "head": write_head(self.head_, self._features, self._labels, directory),
            "versions": {
                "molbt": __version__,
                "rdkit": rdkit.__version__,
                "lightgbm": lightgbm.__version__,
                "scikit-learn": sklearn.__version__,
            },
            "facts": dict(facts or {}),
        }
        # The description comes last: a directory without it is no predictor.
        with atomic_write(directory / "predictor.json") as file:
            file.write(dumps(content))
        return directory

    @classmethod
    def load(cls, directory: str | Path, *, n_jobs: int = 1) -> "Predictor":
        """Read a predictor that ``save`` wrote.

        Raises
        ------
        CheckpointError
            If it is missing, damaged or of another format, or if its head no longer predicts what it did.
        """
        directory = Path(directory)
        content = read_description(directory)
        head = content["head"]
        predictor = cls(
            head=head["name"],
            features=content["features"],
            model=directory / "model" if (directory / "model").is_dir() else None,
            task_type=head["task_type"],
            random_state=head["random_state"],
            n_jobs=n_jobs,
        )
        predictor.task_type_ = head["task_type"]
        predictor.head_ = read_head(head, directory, n_jobs=n_jobs)
        return predictor

    def _new_head(self) -> Head:
        return build_head(self.head, self.task_type_, random_state=self.random_state, n_jobs=self.n_jobs)

    @property
    def _needs_model(self) -> bool:
        return "embedding" in parse_feature_name(self.features)

    def _model_path(self) -> Path:
        if self.model is None:
            raise ConfigError(f"the features {self.features!r} need an encoder, received no model; pass model='runs/a' (--model runs/a)")
        return Path(self.model)

    def _builder(self) -> FeatureBuilder:
        if not hasattr(self, "_cached_builder"):
            self._cached_builder = self._builders([self.features])[self.features]
        return self._cached_builder

    def _builders(self, names: Sequence[str]) -> dict[str, FeatureBuilder]:
        parts = {part for name in names for part in parse_feature_name(name)}
        foreign = parts - {"counts", "descriptors", "embedding"}
        if foreign:
            raise ConfigError(
                f"the features {', '.join(sorted(foreign))} are controls of an evaluation; use counts, descriptors or embedding"
            )
        if "embedding" not in parts:
            return feature_builders(names)
        policy = ParsePolicy(**read_config(find_model(self._model_path()))["run_config"]["molecules"])
        featurizer = MoleculeFeaturizer(self._model_path(), on_invalid="nan", n_jobs=self.n_jobs).fit()
        return feature_builders(names, learned={"embedding": featurizer.transform}, policy=policy)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_cached_builder", None)  # it holds closures, and is made again when needed
        return state


def infer_task_type(labels: np.ndarray) -> str:
    """Return ``"classification"`` when every label is 0 or 1 (NaN aside), else ``"regression"``."""
    known = labels[np.isfinite(labels)]
    return "classification" if len(known) and np.isin(known, (0.0, 1.0)).all() else "regression"


def read_description(directory: Path) -> dict[str, Any]:
    """Return ``predictor.json`` of a directory, checked for format and version."""
    path = directory / "predictor.json"
    if not path.is_file():
        raise CheckpointError(f"expected a predictor at {directory}, found no predictor.json; make one with: molbt fit FILE -o {directory}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); copy it again or fit the predictor anew") from error
    if not isinstance(content, dict) or (content.get("format"), content.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise CheckpointError(f"{path} is not of format {FORMAT} {FORMAT_VERSION}; fit the predictor anew with this version of molbt")
    return content
