"""What can be said of a predictor's head and features before it is fitted, and how they fare beside others: in folds, in a search, beside
fine-tuning."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from molbt.errors import ConfigError, ShapeError
from molbt.featurizer import MoleculeFeaturizer, smiles_of
from molbt.predict.calibration import CROSS, check_calibration
from molbt.predict.encoder_part import builders_with, encoder_for
from molbt.predict.finetune import FineTuned
from molbt.predict.finetune_outcome import HeldOutScore, held_out_scores
from molbt.predict.finetune_settings import FineTuning
from molbt.predict.fitted_predictor import FittedPredictor
from molbt.predict.fold_scores import fold_scores
from molbt.predict.head import Head
from molbt.predict.heads import HEADS, build_head
from molbt.predict.replicates import molecule_numbers
from molbt.predict.search import SearchResult, search_head
from molbt.predict.targets import infer_task_type, target_columns


class ComparedPredictor(FittedPredictor):
    """The part of ``Predictor`` that helps to choose its head and features; the parameters are those of ``Predictor``."""

    head: str
    head_parameters: dict[str, Any] | None
    features: str
    model: str | Path | None
    layer: str
    task_type: str | dict[str, str]
    finetune: bool | dict[str, Any]
    calibration: float | str | None
    random_state: int
    device: str
    finetuned_: FineTuned | None

    def check_settings(self) -> None:
        """Refuse what no labels can make right, before any are read: names, the head's parameters, the model and its layer.

        Raises
        ------
        ConfigError
            If a parameter has no valid value, or two exclude each other.
        CheckpointError
            If the features or the fine-tuning need a model, and there is no whole one.
        """
        check_calibration(self.calibration)
        task_types = set(self.task_type.values() if isinstance(self.task_type, dict) else [self.task_type])
        any_type = HEADS[self.head].task_types[0] if self.head in HEADS else "regression"
        for task_type in task_types:
            self._head_for(any_type if task_type == "auto" else task_type)
        is_finetuned = self._finetuning() is not None
        encoder_for([self.features, *(["embedding"] if is_finetuned else [])], self.model, layer=self.layer, device=self.device)

    def cross_validate(self, X: Any, y: Any, *, features: Sequence[str], n_splits: int = 5) -> dict[str, dict[str, np.ndarray]]:
        """Return, for each target and each of several feature sets, the head's score in each fold of the same random folds.

        RMSE for regression, ROC AUC for classification; NaN where a fold has too few usable rows. All rows of a molecule are in the same
        fold (`molecule_folds`). So a user sees whether the encoder earns its place on their data before any prediction is made. A target
        with fewer than three labelled molecules, or fewer than two of a class, is left out, and that is said in the log.

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
        """
        smiles = smiles_of(X)
        targets, labels = target_columns(y, len(smiles))
        builders = builders_with(features, self._new_encoder(features), n_jobs=self.n_jobs, memory_limit=self.memory_limit)
        columns = dict(zip(targets, labels.T, strict=True))
        return fold_scores(columns, smiles, builders, self._new_head, n_splits=n_splits, random_state=self.random_state)

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
        encoder = self._new_encoder([self.features])
        built = builders_with([self.features], encoder, n_jobs=self.n_jobs, memory_limit=self.memory_limit)[self.features](smiles)
        built = replace(built, molecules=molecule_numbers(smiles))
        budget: dict[str, Any] = {"n_trials": n_trials, "seconds": seconds}
        found = search_head(self.head, built, labels[:, 0], task_type, random_state=self.random_state, n_jobs=self.n_jobs, **budget)
        if found.parameters:
            self.head_parameters = {**(self.head_parameters or {}), **found.parameters}
        return found

    def compare_finetuned(self, X: Any) -> dict[str, dict[str, HeldOutScore]]:
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
        built = {name: replace(builder(smiles), molecules=finetuned.molecules) for name, builder in builders.items()}
        return held_out_scores(
            finetuned,
            {
                f"{self.head} on {self.features}": (built[self.features], lambda name: self._new_head(name, columns[name])),
                "tanimoto_svm on counts": (
                    built["counts"],
                    lambda name: build_head("tanimoto_svm", self.heads_[name].task_type, random_state=self.random_state),
                ),
            },
        )

    def _task_type_of(self, target: str, labels: np.ndarray) -> str:
        task_type = self.task_type.get(target, "auto") if isinstance(self.task_type, dict) else self.task_type
        return infer_task_type(labels) if task_type == "auto" else task_type

    def _finetuning(self) -> FineTuning | None:
        """The settings of fine-tuning, or None where none was asked for; ConfigError where something excludes it."""
        settings = FineTuning.of(self.finetune)
        if settings is None:
            return None
        if self.calibration not in (None, CROSS):
            raise ConfigError(
                "fine-tuning is calibrated on the rows that its validation holds out, received "
                f"calibration={self.calibration!r}; use 'cross' or None (--calibrate cross or none)"
            )
        if self.memory_limit is not None:
            raise ConfigError("fine-tuning holds its features in memory, received a memory_limit; leave one of them out (--memory-limit)")
        if self.model is None:
            raise ConfigError("fine-tuning needs an encoder to start from, received no model; pass model='runs/a' (--model runs/a)")
        return settings

    def _new_head(self, target: str, labels: np.ndarray) -> Head:
        return self._head_for(self._task_type_of(target, labels))

    def _head_for(self, task_type: str) -> Head:
        parameters = self.head_parameters or {}
        reserved = sorted({"name", "task_type", "random_state", "n_jobs"} & set(parameters))
        if reserved:
            raise ConfigError(f"expected parameters of the head's own, received {', '.join(reserved)}; set it for the predictor")
        return build_head(self.head, task_type, random_state=self.random_state, n_jobs=self.n_jobs, **parameters)

    def _new_encoder(self, names: Sequence[str]) -> MoleculeFeaturizer | None:
        return encoder_for(names, self.model, layer=self.layer, n_jobs=self.n_jobs, device=self.device)
