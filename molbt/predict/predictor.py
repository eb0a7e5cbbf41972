"""A predictor: fitted heads together with the features they need, from SMILES to predictions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted

from molbt.data.corpus import Progress
from molbt.errors import CheckpointError, ConfigError
from molbt.featurizer import MoleculeFeaturizer, smiles_of
from molbt.predict.applicability import Applicability
from molbt.predict.calibration import CROSS, Calibration, check_calibration, fit_calibrated
from molbt.predict.compared_predictor import ComparedPredictor
from molbt.predict.finetune import FineTuned, fine_tune
from molbt.predict.finetune_outcome import calibrations_of, encoder_of
from molbt.predict.head import Head
from molbt.predict.replicates import molecule_numbers
from molbt.predict.saved_predictor import read_predictor, write_predictor
from molbt.predict.targets import naming, target_columns


class Predictor(ComparedPredictor):
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
    memory_limit : int, optional
        Bytes for features. Dense ones that take more are kept in a file of the cache directory, from which the head ``lightgbm`` learns
        batch by batch, and becomes the same as from memory. Counts are held in memory: those that take more are refused.

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
        memory_limit: int | None = None,
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
        self.memory_limit = memory_limit

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
        self._features = replace(self._features, molecules=molecule_numbers(smiles))
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
        named: dict[str, Any] = {} if finetune else {"head": first.name}
        predictor = cls(
            **named,
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
        settings = self._finetuning()
        if settings is None or self.model is None:
            return None
        start = MoleculeFeaturizer(self.model, output=self.layer, on_invalid="nan", n_jobs=self.n_jobs, device=self.device).fit()
        finetuned = fine_tune(start, smiles, labels, task_types, settings=settings, random_state=self.random_state, progress=progress)
        self.featurizer_ = encoder_of(finetuned, start, smiles)
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
