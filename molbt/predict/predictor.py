"""A predictor: fitted heads together with the features they need, from SMILES to predictions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from molbt.data.corpus import Progress
from molbt.errors import CheckpointError, ConfigError, ShapeError
from molbt.featurizer import MoleculeFeaturizer, smiles_of
from molbt.predict.applicability import Applicability
from molbt.predict.calibration import CROSS, Calibration, check_calibration, fit_calibrated
from molbt.predict.encoder_part import builders_with, encoder_for
from molbt.predict.finetune import FineTuned, fine_tune
from molbt.predict.finetune_outcome import calibrations_of, encoder_of, held_out_scores
from molbt.predict.finetune_settings import FineTuning
from molbt.predict.fitted_predictor import FittedPredictor
from molbt.predict.fold_scores import fold_scores
from molbt.predict.head import Head
from molbt.predict.heads import build_head
from molbt.predict.saved_predictor import read_predictor, write_predictor
from molbt.predict.search import SearchResult, search_head
from molbt.predict.targets import infer_task_type, naming, target_columns


class Predictor(FittedPredictor):
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
    finetune : bool or dict
        Whether to train the encoder of ``model`` together with a linear output for each target (``molbt.predict.finetune``), or changes of
        its settings, such as ``{"epochs": 50}``. The head and the features named above are then what it is compared with.
    calibration : {"cross"}, float or None
        How intervals and prediction sets are calibrated. ``"cross"``: on predictions of all rows by copies of each head that learned from
        the other folds, which takes about five more fits. A number such as 0.2: on that share of the molecules, which the head then does
        not learn from. None: there are no intervals. See ``molbt.predict.calibration.fit_calibrated``.
    applicability : bool
        Whether to keep the labelled molecules, to show the nearest one beside a prediction. They are saved with the predictor.
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
    calibrations_ : dict of str to Calibration
        Of the targets that had enough rows.
    applicability_ : Applicability or None
    finetuned_ : FineTuned or None
        What fine-tuning made, and how it fared in validation; not of a loaded predictor.
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
        finetune: bool | dict[str, Any] = False,
        calibration: float | str | None = CROSS,
        applicability: bool = True,
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
        self.finetune = finetune
        self.calibration = calibration
        self.applicability = applicability
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device

    def fit(self, X: Any, y: Any, *, units: Mapping[str, str | None] | None = None, progress: Progress | None = None) -> Self:
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
        progress : callable, optional
            Called as ``progress(label, done, total)`` while fine-tuning.

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
        check_calibration(self.calibration)
        units = dict(units or {})
        if not set(units) <= set(targets):
            raise ConfigError(f"units are given for {', '.join(units)}, the targets are {', '.join(targets)}; name targets only")
        heads = {}
        for name, column in zip(targets, labels.T, strict=True):
            with naming(name):
                heads[name] = self._new_head(name, column)  # before any work: a wrong name costs no time
        self.finetuned_ = self._fine_tuned(smiles, labels, {name: head.task_type for name, head in heads.items()}, progress)
        if self.finetuned_ is None:
            self.featurizer_ = self._new_encoder([self.features])
        self.targets_, self.features_ = targets, self.features if self.finetuned_ is None else "embedding"
        self._features, compared = self._built(smiles, [self.features_, self._compared if self.applicability else self.features_])
        self.refused_ = ~self._features.valid
        self.calibrations_: dict[str, Calibration] = {}
        if self.finetuned_ is None:
            self.heads_, self._labels = heads, self._fit_heads(heads, labels, smiles)
        else:
            self.heads_, self._labels = dict(self.finetuned_.heads), labels
            self.calibrations_ |= calibrations_of(self.finetuned_) if self.calibration is not None else {}
        labelled = np.isfinite(labels).any(axis=1) & ~self.refused_
        self.applicability_ = Applicability.fit(compared, smiles, labelled) if self.applicability else None
        self.units_ = {name: unit for name, unit in units.items() if unit}
        self._is_matrix = np.ndim(y) == 2
        return self

    def compare_finetuned(self, X: Any) -> dict[str, dict[str, float]]:
        """Return, for each target, the score of fine-tuning in its validation beside those of frozen features, on the same rows.

        RMSE for regression, ROC AUC for classification, of the network (``fine-tuned``), of the named head on the named features, and of
        ``tanimoto_svm`` on counts. Each learned from the same rows and predicts the same others.

        Parameters
        ----------
        X
            As it was given to ``fit``.

        Raises
        ------
        ConfigError
            If this predictor was not fine-tuned in this process, or in so few rows that nothing was validated.
        ShapeError
            If there are more or fewer molecules than in ``fit``.
        """
        check_is_fitted(self, "heads_")
        finetuned, smiles = getattr(self, "finetuned_", None), smiles_of(X)
        if finetuned is None or not finetuned.folds:
            raise ConfigError("expected a predictor with a validated fine-tuning, received another; fit it with finetune=True on more rows")
        if len(smiles) != len(finetuned.labels):
            raise ShapeError(f"expected the {len(finetuned.labels)} molecules given to fit, received {len(smiles)}")
        columns = dict(zip(self.targets_, finetuned.labels.T, strict=True))
        builders = builders_with(list({self.features: 0, "counts": 0}), self._new_encoder([self.features]), n_jobs=self.n_jobs)
        return held_out_scores(
            finetuned,
            {
                f"{self.head} on {self.features}": (builders[self.features](smiles), lambda name: self._new_head(name, columns[name])),
                "tanimoto_svm on counts": (
                    builders["counts"](smiles),
                    lambda name: build_head("tanimoto_svm", self.heads_[name].task_type, random_state=self.random_state),
                ),
            },
        )

    def search(self, X: Any, y: Any, *, n_trials: int = 30, seconds: float | None = None) -> SearchResult:
        """Search the head's parameters for one target by inner validation, and take them over for ``fit``.

        Needs Optuna (``pip install molbt[hpo]``). What was given as ``head_parameters`` gives way to what is found; nothing changes where
        no trial beats the head's defaults. Folds of the same rows look a little better afterwards than new molecules will.

        Parameters
        ----------
        X, y
            As for ``fit``, with one target.
        n_trials, seconds
            The budget: see ``molbt.predict.search.search_head``.

        Raises
        ------
        ConfigError
            If there are several targets, the predictor is to be fine-tuned, or the head has nothing to search for.
        """
        smiles = smiles_of(X)
        targets, labels = target_columns(y, len(smiles))
        if len(targets) > 1 or self.finetune:
            raise ConfigError(
                f"a search is for the head of one target, received {', '.join(targets)}; search one target, without fine-tuning"
            )
        task_type = self._task_type_of(targets[0], labels[:, 0])
        built = builders_with([self.features], self._new_encoder([self.features]), n_jobs=self.n_jobs)[self.features](smiles)
        budget: dict[str, Any] = {"n_trials": n_trials, "seconds": seconds}
        found = search_head(self.head, built, labels[:, 0], task_type, random_state=self.random_state, n_jobs=self.n_jobs, **budget)
        if found.parameters:
            self.head_parameters = {**(self.head_parameters or {}), **found.parameters}
        return found

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
        builders = builders_with(features, self._new_encoder(features), n_jobs=self.n_jobs)
        columns = dict(zip(targets, labels.T, strict=True))
        return fold_scores(columns, smiles, builders, self._new_head, n_splits=n_splits, random_state=self.random_state)

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
        settings = {
            "head_parameters": dict(self.head_parameters or {}),
            "finetune": self.finetuned_.settings.model_dump() if self.finetuned_ is not None else None,
            "calibration": self.calibration,
            "is_matrix": self._is_matrix,
            "facts": dict(facts or {}),
        }
        return write_predictor(self, self._features, self._labels, Path(directory), settings)

    @classmethod
    def load(cls, directory: str | Path, *, n_jobs: int = 1, device: str = "auto") -> "Predictor":
        """Read a predictor that ``save`` wrote.

        Raises
        ------
        CheckpointError
            If it is missing, damaged or of another format, or if a head no longer predicts what it did.
        """
        content, heads, calibrations, applicability, model = read_predictor(Path(directory), n_jobs=n_jobs)
        first, types = next(iter(heads.values())), {name: head.task_type for name, head in heads.items()}
        finetune = content.get("finetune") or False
        predictor = cls(
            **({} if finetune else {"head": first.name}),
            head_parameters=content["head_parameters"] or None,
            features=content["features"],
            model=model,
            layer=content["layer"],
            task_type=types if len(set(types.values())) > 1 else first.task_type,
            finetune=finetune,
            calibration=content["calibration"],
            applicability=applicability is not None,
            random_state=first.random_state,
            n_jobs=n_jobs,
            device=device,
        )
        predictor.heads_, predictor.targets_, predictor.features_ = heads, list(heads), content["features"]
        predictor.units_ = {target["name"]: target["unit"] for target in content["targets"] if target["unit"]}
        predictor.facts_, predictor._is_matrix = content["facts"], content["is_matrix"]
        predictor.featurizer_ = predictor._new_encoder([predictor.features_])
        predictor.calibrations_, predictor.applicability_ = calibrations, applicability
        found = predictor.features_of([]).widths
        for head in heads.values():
            if found != head.widths_:
                raise CheckpointError(f"a head in {directory} expects the blocks {head.widths_}, its features are {found}; fit it anew")
        return predictor

    def _fine_tuned(
        self, smiles: Sequence[Any], labels: np.ndarray, task_types: Mapping[str, str], progress: Progress | None
    ) -> FineTuned | None:
        """Fine-tune if that was asked for, and take its encoder."""
        settings = FineTuning.of(self.finetune)
        if settings is None:
            return None
        if self.calibration not in (None, CROSS):
            raise ConfigError(
                "fine-tuning is calibrated on the rows that its validation holds out, received "
                f"calibration={self.calibration!r}; use 'cross' or None (--calibrate cross or none)"
            )
        if self.model is None:
            raise ConfigError("fine-tuning needs an encoder to start from, received no model; pass model='runs/a' (--model runs/a)")
        start = MoleculeFeaturizer(self.model, output=self.layer, on_invalid="nan", n_jobs=self.n_jobs, device=self.device).fit()
        finetuned = fine_tune(start, smiles, labels, task_types, settings=settings, random_state=self.random_state, progress=progress)
        self.featurizer_ = encoder_of(finetuned, start)
        return finetuned

    def _fit_heads(self, heads: Mapping[str, Head], labels: np.ndarray, smiles: Sequence[Any]) -> np.ndarray:
        """Fit and calibrate the heads, and return the labels that they learned from."""
        learned = []
        for (name, head), column in zip(heads.items(), labels.T, strict=True):
            with naming(name):
                fitted = fit_calibrated(head, self._features, column, smiles, self.calibration, name=name)
            learned.append(fitted.learned)
            if fitted.calibration is not None:
                self.calibrations_[name] = fitted.calibration
        return np.column_stack(learned)

    def _task_type_of(self, target: str, labels: np.ndarray) -> str:
        task_type = self.task_type.get(target, "auto") if isinstance(self.task_type, dict) else self.task_type
        return infer_task_type(labels) if task_type == "auto" else task_type

    def _new_head(self, target: str, labels: np.ndarray) -> Head:
        parameters = self.head_parameters or {}
        reserved = sorted({"name", "task_type", "random_state", "n_jobs"} & set(parameters))
        if reserved:
            raise ConfigError(f"expected parameters of the head's own, received {', '.join(reserved)}; set it for the predictor")
        return build_head(self.head, self._task_type_of(target, labels), random_state=self.random_state, n_jobs=self.n_jobs, **parameters)

    def _new_encoder(self, names: Sequence[str]) -> MoleculeFeaturizer | None:
        return encoder_for(names, self.model, layer=self.layer, n_jobs=self.n_jobs, device=self.device)
