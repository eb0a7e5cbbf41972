"""A predictor: a fitted head together with the features it needs, from SMILES to predictions."""

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import lightgbm
import numpy as np
import pandas as pd
import rdkit
import sklearn
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from molbt import __version__
from molbt.data.files import sync_directory
from molbt.data.identity import identity_hashes, replicates
from molbt.data.molecules import ParsePolicy
from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError
from molbt.featurizer import MoleculeFeaturizer, smiles_of
from molbt.predict.cross_validation import fold_score, random_folds
from molbt.predict.features import FeatureBuilder, feature_builders, parse_feature_name
from molbt.predict.head import Head
from molbt.predict.heads import build_head
from molbt.predict.saved_heads import read_head, write_head
from molbt.predict.saved_predictor import (
    FORMAT,
    FORMAT_VERSION,
    check_model,
    check_new_directory,
    copy_model,
    read_description,
    write_description,
)

logger = logging.getLogger(__name__)


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
    features_ : str
    head_ : Head
    featurizer_ : MoleculeFeaturizer or None

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
        """Learn from SMILES and labels; refused molecules and missing labels (NaN) are left out and counted in ``head_``.

        Parameters
        ----------
        X : sequence of str, Series, or DataFrame with one column
        y : sequence of numbers of the same length
            Measured values, or 0 and 1.

        Raises
        ------
        ConfigError
            If a parameter has no valid value.
        DataError
            If labels are no numbers, or fewer than two rows can be used.
        ShapeError
            If there are more or fewer labels than molecules.
        """
        smiles = smiles_of(X)
        labels = _labels_of(y, len(smiles))
        task_type = infer_task_type(labels) if self.task_type == "auto" else self.task_type
        head = self._new_head(task_type)  # before any work: a wrong name costs no time
        self.featurizer_ = self._new_featurizer([self.features])
        self._features = self._builders([self.features], self.featurizer_)[self.features](smiles)
        self._labels = labels
        self.head_ = head.fit(self._features, labels)
        self.task_type_, self.features_ = task_type, self.features
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return ``(n,)`` float64: values, or probabilities of class 1; NaN where the molecule was refused."""
        check_is_fitted(self, "head_")
        builder = self._builders([self.features_], self.featurizer_)[self.features_]
        return self.head_.predict(builder(smiles_of(X)))

    def cross_validate(self, X: Any, y: Any, *, features: Sequence[str], n_splits: int = 5) -> dict[str, np.ndarray]:
        """Return, for each of several feature sets, the head's score in each fold of the same random folds.

        RMSE for regression, ROC AUC for classification; NaN where a fold has too few usable rows for either. This is how a user sees
        whether the encoder earns its place on their data before any prediction is made.

        Parameters
        ----------
        X, y
            As for ``fit``.
        features : sequence of str
            Names as in the parameter ``features``.
        n_splits : int
            Lowered to the number of labelled rows, or of rows of the smaller class.

        Raises
        ------
        ConfigError
            If fewer than two folds were asked for.
        DataError
            If there are fewer than three labelled rows, or fewer than two of a class.
        """
        smiles = smiles_of(X)
        labels = _labels_of(y, len(smiles))
        task_type = infer_task_type(labels) if self.task_type == "auto" else self.task_type
        known = np.flatnonzero(np.isfinite(labels))
        folds = random_folds(labels[known], task_type, n_splits, self.random_state)
        hashes = identity_hashes([str(smiles[row]) for row in known], ParsePolicy())
        repeated = sum(replicates(hashes, train, test) for train, test in folds)
        if repeated:
            logger.warning(
                "%d of %d labelled rows hold a molecule that stands in another fold too, so the scores below look better than for new "
                "molecules; average the measurements of a molecule first",
                repeated,
                len(known),
            )
        scores: dict[str, np.ndarray] = {}
        for name, builder in self._builders(features, self._new_featurizer(features)).items():
            built, values = builder(smiles), []
            for train, test in folds:
                head = self._new_head(task_type).fit(built.rows(known[train]), labels[known[train]])
                values.append(fold_score(labels[known[test]], head.predict(built.rows(known[test])), task_type))
            scores[name] = np.array(values)
        return scores

    def save(self, directory: str | Path, *, facts: dict[str, Any] | None = None) -> Path:
        """Write the predictor into a new or empty directory, its encoder included, and return the directory.

        Parameters
        ----------
        directory : path
            Appears whole or not at all.
        facts : dict, optional
            JSON values about the training that ``molbt info`` shows. Numbers that are not finite become null.

        Raises
        ------
        ConfigError
            If the directory is not empty.
        CheckpointError
            If the predictor was loaded, or the encoder's directory changed after ``fit``.
        """
        check_is_fitted(self, "head_")
        if not hasattr(self, "_labels"):
            raise CheckpointError("this predictor was loaded, and its training rows are not all kept; copy its directory instead")
        directory = Path(directory)
        check_new_directory(directory)
        directory.parent.mkdir(parents=True, exist_ok=True)
        temporary = directory.with_name(f"{directory.name}.tmp.{os.getpid()}")
        temporary.mkdir()
        try:
            content = {
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "features": self.features_,
                "head": write_head(self.head_, self._features, self._labels, temporary),
                "model_sha256": copy_model(self.featurizer_, temporary / "model") if self.featurizer_ is not None else None,
                "versions": {
                    "molbt": __version__,
                    "rdkit": rdkit.__version__,
                    "lightgbm": lightgbm.__version__,
                    "scikit-learn": sklearn.__version__,
                },
                "facts": dict(facts or {}),
            }
            write_description(content, temporary)
            os.replace(temporary, directory)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_directory(directory.parent)
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
        head = read_head(content["head"], directory, n_jobs=n_jobs)
        has_model = content["model_sha256"] is not None
        if has_model:
            check_model(directory / "model", content["model_sha256"])
        predictor = cls(
            head=head.name,
            features=content["features"],
            model=directory / "model" if has_model else None,
            task_type=head.task_type,
            random_state=head.random_state,
            n_jobs=n_jobs,
        )
        predictor.task_type_, predictor.features_, predictor.head_ = head.task_type, content["features"], head
        predictor.featurizer_ = predictor._new_featurizer([predictor.features_])
        found = predictor._builders([predictor.features_], predictor.featurizer_)[predictor.features_]([]).widths
        if found != head.widths_:
            raise CheckpointError(f"the head in {directory} expects the blocks {head.widths_}, its features are {found}; fit it anew")
        return predictor

    def _new_head(self, task_type: str) -> Head:
        return build_head(self.head, task_type, random_state=self.random_state, n_jobs=self.n_jobs)

    def _new_featurizer(self, names: Sequence[str]) -> MoleculeFeaturizer | None:
        """Return the encoder that the named features need, or None."""
        parts = {part for name in names for part in parse_feature_name(name)}
        foreign = parts - {"counts", "descriptors", "embedding"}
        if foreign:
            raise ConfigError(
                f"the features {', '.join(sorted(foreign))} are controls of an evaluation; use counts, descriptors or embedding"
            )
        if "embedding" not in parts:
            return None
        if self.model is None:
            raise ConfigError(f"the features {', '.join(names)} need an encoder, received no model; pass model='runs/a' (--model runs/a)")
        return MoleculeFeaturizer(self.model, on_invalid="nan", n_jobs=self.n_jobs).fit()

    def _builders(self, names: Sequence[str], featurizer: MoleculeFeaturizer | None) -> dict[str, FeatureBuilder]:
        if featurizer is None:
            return feature_builders(names, n_jobs=self.n_jobs)
        return feature_builders(names, learned={"embedding": featurizer.transform}, policy=featurizer.policy_, n_jobs=self.n_jobs)


def infer_task_type(labels: np.ndarray) -> str:
    """Return ``"classification"`` when every label is 0 or 1 (NaN aside), else ``"regression"``."""
    known = labels[np.isfinite(labels)]
    return "classification" if len(known) and np.isin(known, (0.0, 1.0)).all() else "regression"


def _labels_of(y: Any, n_molecules: int) -> np.ndarray:
    try:
        labels = y.to_numpy(np.float64, na_value=np.nan) if isinstance(y, pd.Series) else np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"labels must be numbers, NaN where there is none: {error}; convert them first") from error
    if labels.shape != (n_molecules,):
        raise ShapeError(f"expected one label for each of {n_molecules} molecules, received labels of shape {labels.shape}")
    return labels
