"""Search for a head's parameters with Optuna, inside the training rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from molbt.errors import ConfigError, DataError, require
from molbt.predict.cross_validation import fold_score, inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.heads import build_head


@dataclass(frozen=True)
class SearchResult:
    """What a search found.

    Parameters
    ----------
    parameters : dict
        For ``build_head``; empty where no trial was better than the head's defaults.
    score, default_score : float
        Mean over inner folds of the RMSE or the ROC AUC, of the best and of the defaults. The best of many trials looks a little better
        than it is: judge it on rows that the search did not see.
    scores : tuple of float
        Of the trials, in order.
    """

    parameters: dict[str, Any]
    score: float
    default_score: float
    scores: tuple[float, ...]


def search_head(
    name: str,
    features: FeatureSet,
    y: np.ndarray,
    task_type: str = "regression",
    *,
    n_trials: int = 30,
    seconds: float | None = None,
    folds: int = 5,
    random_state: int = 0,
    n_jobs: int = 1,
) -> SearchResult:
    """Search the space that the head suggests, by a tree-structured Parzen estimator.

    Parameters
    ----------
    name : str
        A key of ``HEADS``.
    features, y : FeatureSet of n rows, ndarray of shape (n,)
        Training rows; refused and unlabelled ones are left out, and rows of one molecule (``features.molecules``) share a fold.
    task_type : {"regression", "classification"}
    n_trials : int
    seconds : float, optional
        No trial is started after so long. Only searches that end by ``n_trials`` are the same each time.
    folds : int
        Inner folds, the same for all trials; fewer when there are fewer rows (regression) or rows of the smaller class (classification).
    random_state, n_jobs : int
        Of the folds, the search and the heads.

    Raises
    ------
    MissingDependencyError
        If Optuna is not installed.
    ConfigError
        If the head has nothing to search for or cannot use the features, or the budget is not positive.
    DataError
        If there are too few rows for folds.

    References
    ----------
    Akiba et al., "Optuna: A Next-generation Hyperparameter Optimization Framework", KDD 2019, https://arxiv.org/abs/1907.10902
    """
    optuna = require("optuna", extra="hpo", purpose="searching for the parameters of a head")
    if n_trials < 1 or (seconds is not None and seconds <= 0):
        raise ConfigError(f"a search needs at least one trial and a positive time, got n_trials={n_trials} and seconds={seconds}")
    y = np.asarray(y, dtype=np.float64)
    usable = features.valid & np.isfinite(y)
    rows, labels = features.rows(usable), y[usable]
    splits = inner_folds(labels, task_type, folds, random_state, rows.molecules)
    if not splits or (labels == labels[0]).all():
        raise DataError(
            f"a search needs two or more folds of at least four different labels (two of each class), got {len(labels)} labelled rows and "
            f"folds={folds}; use the head's defaults"
        )

    def score(parameters: dict[str, Any]) -> float:
        head = build_head(name, task_type, random_state=random_state, n_jobs=n_jobs, **parameters)
        held_out = head.fit_with_held_out(rows, labels, splits)
        return float(np.mean([fold_score(labels[rest], held_out[rest], task_type) for _, rest in splits]))

    def trial_score(trial: Any) -> float:
        parameters = defaults.suggest(trial, rows)
        if not parameters:
            raise ConfigError(f"the head {name!r} has nothing to search for on the features {features.name!r}; use another head")
        trial.set_user_attr("parameters", parameters)
        return score(parameters)

    defaults = build_head(name, task_type)
    higher_is_better = task_type == "classification"
    verbosity = optuna.logging.get_verbosity()
    # It would write a line for each trial, and a traceback where one fails; that error is raised as it is.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            direction="maximize" if higher_is_better else "minimize", sampler=optuna.samplers.TPESampler(seed=random_state)
        )
        study.optimize(trial_score, n_trials=n_trials, timeout=seconds)
    finally:
        optuna.logging.set_verbosity(verbosity)
    default_score = score({})
    is_better = study.best_value > default_score if higher_is_better else study.best_value < default_score
    return SearchResult(
        parameters=study.best_trial.user_attrs["parameters"] if is_better else {},
        score=float(study.best_value) if is_better else default_score,
        default_score=default_score,
        scores=tuple(float(trial.value) for trial in study.trials),
    )
