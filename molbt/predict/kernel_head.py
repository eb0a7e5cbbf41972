"""What heads on kernels have in common: a bound on rows, a share of the dense blocks and a setting chosen by inner validation, and
probabilities."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from joblib import Parallel, delayed
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mean_squared_error, roc_auc_score

from molbt.errors import ConfigError
from molbt.predict.block_kernels import BlockKernels, Grams
from molbt.predict.bounded_rows import bounded_rows, class_weights
from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.head import Head, Trial
from molbt.predict.tanimoto import row_parts

Folds = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(kw_only=True, eq=False, repr=False)
class KernelHead(Head):
    """A model on a blend of kernels (see ``BlockKernels``): (1 − share) · counts + share · dense.

    The share of the dense blocks and the head's own setting are chosen by inner validation on training rows: the setting at the first
    share, then the share at that setting, by squared error or by the mean ROC AUC of the folds; the first of equals wins. With a share
    of 0 among the candidates, a block that tells nothing costs little. The kernels are computed once.

    Regression works on standardised labels, so a change of unit changes nothing; classification on −1 and +1. Decision values become
    probabilities by a sigmoid fitted on held-out decision values (Platt 1999). Without folds, or where that sigmoid would fall (held-out
    decisions worse than chance, which few rows can give), it is the plain logistic function.

    A kernel between n rows has n² numbers, and fitting on it takes longer still. Beyond ``max_rows`` a head learns from that many rows,
    drawn by ``bounded_rows`` (all rows of a rare class among them); the sigmoid weighs them so that probabilities are those of all rows.
    ``n_train_`` is the number it learned from.

    Parameters
    ----------
    dense_shares : sequence of float in [0, 1]
        Candidates for the share of the dense blocks where there are counts too; the middle one is used when there are too few rows to
        choose.
    folds : int
        Inner folds, fewer when there are fewer rows (regression) or rows of the smaller class (classification).
    max_rows : int
        Most rows to learn from.

    Attributes
    ----------
    dense_share_, setting_ : float
        What was chosen; the setting is NaN for a head without one.
    losses_ : dict of (share, setting) to float
        Inner validation: squared error in variances of the labels, or −ROC AUC. Empty where there was no choice to make.
    """

    dense_shares: Sequence[float] = (0.0, 0.15, 0.3, 0.5)
    folds: int = 5
    max_rows: int = 10_000

    _candidates: ClassVar[str | None] = None
    """The parameter that lists the candidates of the head's own setting, if it has one."""
    _kernel_power: ClassVar[int] = 1

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        if not (features.sparse_blocks and features.dense_blocks):
            return {}
        return {"dense_shares": [trial.suggest_float("dense_share", 0.0, 0.7)]}

    def chosen_parameters(self) -> dict[str, Any]:
        chosen = self.parameters()
        if self.constant_ is None:
            chosen["dense_shares"] = [self.dense_share_]
            if self._candidates:
                chosen[self._candidates] = [self.setting_]
        return chosen

    def fit_with_held_out(self, features: FeatureSet, y: np.ndarray, folds: Folds) -> np.ndarray:
        if len(y) > self.max_rows:  # rows that it does not learn from are in the folds too
            return super().fit_with_held_out(features, y, folds)
        rows, labels = self._training_rows(features, y)
        return self._values(self._fit_on(rows, labels, folds))

    def _check(self, features: FeatureSet) -> None:
        super()._check(features)
        if not all(0 <= share <= 1 for share in self.dense_shares):
            raise ConfigError(
                f"the dense_shares of the head {self.name!r} must be numbers from 0 to 1, received {list(self.dense_shares)}; give such as "
                "0 and 0.3"
            )
        if self.max_rows < 2:
            raise ConfigError(f"the head {self.name!r} learns from two rows or more, received max_rows {self.max_rows}; give such as 10000")

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        weights = None
        if len(y) > self.max_rows:
            kept = bounded_rows(y, self.task_type, self.max_rows, self.random_state)
            weights = class_weights(y, kept) if self.task_type == "classification" else None
            features, y, self.n_train_ = features.rows(kept), y[kept], len(kept)
        self._fit_on(features, y, inner_folds(y, self.task_type, self.folds, self.random_state, features.molecules), weights)

    def _fit_on(self, features: FeatureSet, y: np.ndarray, folds: Folds, weights: np.ndarray | None = None) -> np.ndarray:
        """Choose and fit; return the held-out decision values of the choice, NaN without folds."""
        is_regression = self.task_type == "regression"
        self._centre, self._spread = (float(y.mean()), float(y.std())) if is_regression else (0.0, 1.0)
        targets = (y - self._centre) / self._spread if is_regression else 2.0 * y - 1.0
        self._kernels = BlockKernels(self._kernel_power).fit(features)
        grams = self._kernels.between()
        decisions = self._choose(grams, targets, folds)
        self._sigmoid: LogisticRegression | None = None
        if not is_regression and folds:
            sigmoid = LogisticRegression(C=1e3).fit(decisions[:, None], y, sample_weight=weights)
            self._sigmoid = sigmoid if sigmoid.coef_[0, 0] > 0 else None
        self._machine = self._new_machine(grams.blend(self.dense_share_), targets, self.setting_)
        return decisions

    def _predict(self, features: FeatureSet) -> np.ndarray:
        # In parts: the kernel to the training rows need not fit into memory.
        parts = row_parts(features.n_rows, self._kernels.n_rows)
        kernels = (self._kernels.between(features.rows(np.arange(part.start, part.stop))).blend(self.dense_share_) for part in parts)
        return self._values(np.concatenate([self._decide(self._machine, kernel) for kernel in kernels]))

    def _values(self, decisions: np.ndarray) -> np.ndarray:
        """Labels or probabilities from decision values."""
        if self.task_type == "regression":
            return decisions * self._spread + self._centre
        return expit(decisions) if self._sigmoid is None else self._sigmoid.predict_proba(decisions[:, None])[:, 1]

    def _choose(self, grams: Grams, targets: np.ndarray, folds: Folds) -> np.ndarray:
        shares, settings = grams.shares(self.dense_shares), tuple(getattr(self, self._candidates)) if self._candidates else (np.nan,)
        self.losses_: dict[tuple[float, float], float] = {}
        self.dense_share_, self.setting_ = shares[len(shares) // 2], settings[len(settings) // 2]
        decisions = np.full(len(targets), np.nan)
        if not folds:
            return decisions
        smallest = np.inf
        for place, share in enumerate(shares):
            tried = settings if place == 0 else (self.setting_,)
            for setting, held_out in zip(tried, self._held_out(grams.blend(share), targets, folds, tried), strict=True):
                loss = self.losses_[share, setting] = self._loss(targets, held_out, folds)
                if loss < smallest:
                    smallest, decisions, self.dense_share_, self.setting_ = loss, held_out, share, setting
        return decisions

    def _loss(self, targets: np.ndarray, decisions: np.ndarray, folds: Folds) -> float:
        if self.task_type == "regression":
            return float(mean_squared_error(targets, decisions))
        return -float(np.mean([roc_auc_score(targets[held_out], decisions[held_out]) for _, held_out in folds]))

    def _held_out(self, kernel: np.ndarray, targets: np.ndarray, folds: Folds, settings: Sequence[float]) -> np.ndarray:
        """Return the decision values of held-out rows for each setting: (number of settings, n)."""

        def fold_decisions(setting: float, train: np.ndarray, held_out: np.ndarray) -> np.ndarray:
            machine = self._new_machine(kernel[np.ix_(train, train)], targets[train], setting)
            return self._decide(machine, kernel[np.ix_(held_out, train)])

        # Threads: libsvm and linear algebra release Python's lock, and the kernel is not copied to other processes.
        jobs = [(place, train, held_out) for place in range(len(settings)) for train, held_out in folds]
        parts = Parallel(n_jobs=self.n_jobs, prefer="threads")(
            delayed(fold_decisions)(settings[place], train, held_out) for place, train, held_out in jobs
        )
        decisions = np.empty((len(settings), len(targets)))
        for (place, _, held_out), part in zip(jobs, parts, strict=True):
            decisions[place, held_out] = part
        return decisions

    @abstractmethod
    def _new_machine(self, kernel: np.ndarray, targets: np.ndarray, setting: float) -> Any:
        """Return a model fitted on a kernel of shape (n, n)."""

    @abstractmethod
    def _decide(self, machine: Any, kernel: np.ndarray) -> np.ndarray:
        """Return the decision values, (n_new,), from the kernel between new rows and training rows."""
