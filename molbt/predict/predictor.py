"""A predictor: fitted heads together with the features they need, from SMILES to predictions."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from molbt.errors import CheckpointError, ConfigError, MolbtError
from molbt.featurizer import MoleculeFeaturizer, smiles_of
from molbt.predict.cross_validation import fold_score
from molbt.predict.encoder_part import builders_with, encoder_for
from molbt.predict.features import FeatureBuilder, FeatureSet
from molbt.predict.head import Head
from molbt.predict.heads import build_head
from molbt.predict.replicates import molecule_folds
from molbt.predict.saved_heads import read_head, write_head
from molbt.predict.saved_predictor import check_model, copy_model, head_directory, new_directory, read_description, write_description
from molbt.predict.targets import infer_task_type, target_columns


class Predictor(BaseEstimator):
    """From SMILES to predictions of one or several targets, with a head for each.

    Parameters
    ----------
    head : str
        A name of ``molbt.predict.heads.HEADS``.
    head_parameters : dict, optional
        The head's own parameters (JSON values), such as ``{"n_trees": 200}``.
    features : str
        Parts joined with ``+``: ``counts``, ``descriptors``, ``embedding`` (which needs ``model``).
    model : str or path, optional
        A run or model directory, or the name of an encoder that comes with molbt.
    layer : str
        The encoder's output that is called ``embedding``: itself, or an earlier one such as ``"hidden_1"``.
    task_type : {"auto", "regression", "classification"}, or a dict of them by target
        ``auto``: classification when every label of the target is 0 or 1.
    random_state, n_jobs : int
    device : str
        Of the encoder: ``"auto"``, ``"cpu"``, ``"cuda"``, …

    Attributes
    ----------
    targets_ : list of str
        Names of the targets.
    heads_ : dict of str to Head
        The fitted head of each target; ``head_`` and ``task_type_`` are those of the only one.
    units_ : dict of str to str
        What labels and predictions of a target are in, where it was said.
    features_ : str
    featurizer_ : MoleculeFeaturizer or None
    refused_ : ndarray of shape (n,), bool
        The rows given to ``fit`` whose molecule was refused.
    facts_ : dict
        Of a loaded predictor: what ``save`` was told.

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
        head_parameters: dict[str, Any] | None = None,
        features: str = "counts+embedding",
        model: str | Path | None = None,
        layer: str = "embedding",
        task_type: str | dict[str, str] = "auto",
        random_state: int = 0,
        n_jobs: int = 1,
        device: str = "auto",
    ) -> None:
        self.head = head
        self.head_parameters = head_parameters
        self.features = features
        self.model = model
        self.layer = layer
        self.task_type = task_type
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    @property
    def head_(self) -> Head:
        """The head of the only target; ConfigError where there are several."""
        if len(self.heads_) != 1:
            raise ConfigError(
                f"expected a predictor of one target, this one has {', '.join(self.targets_)}; use heads_[{self.targets_[0]!r}]"
            )
        return self.heads_[self.targets_[0]]

    @property
    def task_type_(self) -> str:
        """The task type of the only target."""
        return self.head_.task_type

    def fit(self, X: Any, y: Any, *, units: Mapping[str, str | None] | None = None) -> Self:
        """Learn from SMILES and labels.

        Refused molecules and missing labels (NaN) are left out and counted in each head; a row that lacks the label of one target still
        teaches the others. ``molbt.predict.labels.make_labels`` makes labels of bounds, units, classes in words, and replicates.

        Parameters
        ----------
        X : sequence of str, Series, or DataFrame with one column
        y : sequence of numbers of the same length, array of shape (n, targets), or DataFrame with a column for each target
            Measured values, or 0 and 1.
        units : mapping of target to unit, optional
            Kept and shown beside predictions.

        Raises
        ------
        ConfigError
            If a parameter has no valid value, or a unit is given for something that is no target.
        DataError
            If labels are no numbers, or fewer than two rows of a target can be used.
        ShapeError
            If there are more or fewer labels than molecules.
        """
        smiles = smiles_of(X)
        targets, labels = target_columns(y, len(smiles))
        units = dict(units or {})
        if not set(units) <= set(targets):
            raise ConfigError(f"units are given for {', '.join(units)}, the targets are {', '.join(targets)}; name targets only")
        heads = {}
        for name, column in zip(targets, labels.T, strict=True):
            with _naming(name):
                heads[name] = self._new_head(name, column)  # before any work: a wrong name costs no time
        self.featurizer_ = self._new_encoder([self.features])
        self._features = self._builders([self.features], self.featurizer_)[self.features](smiles)
        self.refused_, self._labels = ~self._features.valid, labels
        for (name, head), column in zip(heads.items(), labels.T, strict=True):
            with _naming(name):
                head.fit(self._features, column)
        self.heads_ = heads
        self.targets_, self.features_ = targets, self.features
        self.units_ = {name: unit for name, unit in units.items() if unit}
        self._is_matrix = np.ndim(y) == 2
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return ``(n,)`` float64, or ``(n, targets)`` if the labels had columns.

        Values, or probabilities of class 1; NaN where the molecule was refused.
        """
        check_is_fitted(self, "heads_")
        built = self._builders([self.features_], self.featurizer_)[self.features_](smiles_of(X))
        predictions = np.column_stack([self.heads_[name].predict(built) for name in self.targets_])
        return predictions if self._is_matrix else predictions[:, 0]

    def cross_validate(self, X: Any, y: Any, *, features: Sequence[str], n_splits: int = 5) -> dict[str, dict[str, np.ndarray]]:
        """Return, for each target and each of several feature sets, the head's score in each fold of the same random folds.

        RMSE for regression, ROC AUC for classification; NaN where a fold has too few usable rows. All rows of a molecule are in the same
        fold (`molecule_folds`). So a user sees whether the encoder earns its place on their data before any prediction is made.

        Parameters
        ----------
        X, y
            As for ``fit``.
        features : sequence of str
            Names as in the parameter ``features``.
        n_splits : int
            Lowered to the number of labelled molecules, or of molecules of the smaller class.

        Raises
        ------
        ConfigError
            If fewer than two folds were asked for.
        DataError
            If a target has fewer than three labelled molecules, or fewer than two of a class.
        """
        smiles = smiles_of(X)
        targets, labels = target_columns(y, len(smiles))
        known, folds = [np.flatnonzero(np.isfinite(column)) for column in labels.T], []
        for name, column, rows in zip(targets, labels.T, known, strict=True):
            task_type, molecules = self._task_type_of(name, column), [smiles[row] for row in rows]
            with _naming(name):
                folds.append(molecule_folds(column[rows], molecules, task_type, n_splits, self.random_state))
        scores: dict[str, dict[str, np.ndarray]] = {name: {} for name in targets}
        for name, builder in self._builders(features, self._new_encoder(features)).items():
            built = builder(smiles)
            for target, column, rows, parts in zip(targets, labels.T, known, folds, strict=True):
                usable, y_usable = built.rows(rows), column[rows]
                scores[target][name] = np.array([self._score(target, usable, y_usable, train, test) for train, test in parts])
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
        check_is_fitted(self, "heads_")
        if not hasattr(self, "_labels"):
            raise CheckpointError("this predictor was loaded, and its training rows are not all kept; copy its directory instead")
        with new_directory(directory) as temporary:
            targets = []
            for number, (name, labels) in enumerate(zip(self.targets_, self._labels.T, strict=True)):
                place = head_directory(temporary, number)
                place.mkdir(parents=True)
                head = write_head(self.heads_[name], self._features, labels, place)
                targets.append({"name": name, "unit": self.units_.get(name), "head": head})
            content = {
                "features": self.features_,
                "layer": self.featurizer_.output if self.featurizer_ is not None else "embedding",
                "head_parameters": dict(self.head_parameters or {}),
                "targets": targets,
                "is_matrix": self._is_matrix,
                "model_sha256": copy_model(self.featurizer_, temporary / "model") if self.featurizer_ is not None else None,
                "facts": dict(facts or {}),
            }
            write_description(content, temporary)
        return Path(directory)

    @classmethod
    def load(cls, directory: str | Path, *, n_jobs: int = 1, device: str = "auto") -> "Predictor":
        """Read a predictor that ``save`` wrote.

        Raises
        ------
        CheckpointError
            If it is missing, damaged or of another format, or if a head no longer predicts what it did.
        """
        directory = Path(directory)
        content = read_description(directory)
        heads = {
            target["name"]: read_head(target["head"], head_directory(directory, number), n_jobs=n_jobs)
            for number, target in enumerate(content["targets"])
        }
        model = directory / "model" if content["model_sha256"] is not None else None
        if model is not None:
            check_model(model, content["model_sha256"])
        first, types = next(iter(heads.values())), {name: head.task_type for name, head in heads.items()}
        predictor = cls(
            head=first.name,
            head_parameters=content["head_parameters"] or None,
            features=content["features"],
            model=model,
            layer=content["layer"],
            task_type=types if len(set(types.values())) > 1 else first.task_type,
            random_state=first.random_state,
            n_jobs=n_jobs,
            device=device,
        )
        predictor.heads_, predictor.targets_, predictor.features_ = heads, list(heads), content["features"]
        predictor.units_ = {target["name"]: target["unit"] for target in content["targets"] if target["unit"]}
        predictor.facts_, predictor._is_matrix = content["facts"], content["is_matrix"]
        predictor.featurizer_ = predictor._new_encoder([predictor.features_])
        found = predictor._builders([predictor.features_], predictor.featurizer_)[predictor.features_]([]).widths
        for head in heads.values():
            if found != head.widths_:
                raise CheckpointError(f"a head in {directory} expects the blocks {head.widths_}, its features are {found}; fit it anew")
        return predictor

    def _task_type_of(self, target: str, labels: np.ndarray) -> str:
        task_type = self.task_type.get(target, "auto") if isinstance(self.task_type, dict) else self.task_type
        return infer_task_type(labels) if task_type == "auto" else task_type

    def _new_head(self, target: str, labels: np.ndarray) -> Head:
        parameters = self.head_parameters or {}
        reserved = sorted({"name", "task_type", "random_state", "n_jobs"} & set(parameters))
        if reserved:
            raise ConfigError(f"expected parameters of the head's own, received {', '.join(reserved)}; set it for the predictor")
        return build_head(self.head, self._task_type_of(target, labels), random_state=self.random_state, n_jobs=self.n_jobs, **parameters)

    def _score(self, target: str, features: FeatureSet, labels: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
        """The score of one fold."""
        with _naming(target):
            head = self._new_head(target, labels).fit(features.rows(train), labels[train])
        return fold_score(labels[test], head.predict(features.rows(test)), head.task_type)

    def _new_encoder(self, names: Sequence[str]) -> MoleculeFeaturizer | None:
        return encoder_for(names, self.model, layer=self.layer, n_jobs=self.n_jobs, device=self.device)

    def _builders(self, names: Sequence[str], featurizer: MoleculeFeaturizer | None) -> dict[str, FeatureBuilder]:
        return builders_with(names, featurizer, n_jobs=self.n_jobs)


@contextmanager
def _naming(target: str) -> Iterator[None]:
    """Say in an error which target it is about."""
    try:
        yield
    except MolbtError as error:
        raise type(error)(f"target {target!r}: {error}") from error
