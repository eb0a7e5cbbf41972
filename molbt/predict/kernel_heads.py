"""Support-vector heads: on the count Tanimoto kernel (the strongest cheap control) and on standardised dense features."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mean_squared_error, roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.svm import SVC, SVR

from molbt.predict.features import FeatureSet
from molbt.predict.head import Head
from molbt.predict.scaling import BlockScaler
from molbt.predict.tanimoto import mean_tanimoto_kernel


@dataclass(kw_only=True, eq=False, repr=False)
class _KernelHead(Head):
    """Support-vector machine on a precomputed kernel; the cost C is chosen by inner validation on training rows.

    Regression works on standardised labels, so C and ε are in standard deviations of the training labels and a change of unit changes
    nothing. Classification weighs the classes equally, and maps decision values to probabilities with a sigmoid fitted on out-of-fold
    decision values (Platt 1999); with fewer than two rows of a class there are no folds, and the plain logistic function is used.

    Parameters
    ----------
    costs : sequence of float
        Candidates for C. The middle one is used when there are too few rows to choose.
    folds : int
        Inner folds, fewer when there are fewer rows (regression) or rows of the smaller class (classification).
    epsilon : float
        Width of the insensitive tube of regression, in standard deviations of the training labels.
    """

    costs: Sequence[float] = (1.0, 3.0, 10.0, 30.0)
    folds: int = 5
    epsilon: float = 0.05

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        self._train = self._fit_features(features)
        kernel = self._kernel(self._train, self._train)
        is_regression = self.task_type == "regression"
        self._centre, self._spread = (float(y.mean()), float(y.std())) if is_regression else (0.0, 1.0)
        targets = (y - self._centre) / self._spread
        folds = list(self._inner_folds(targets))
        self.cost_ = self.costs[len(self.costs) // 2]
        self._sigmoid: LogisticRegression | None = None
        if folds:
            held_out = {cost: self._held_out_decisions(kernel, targets, folds, cost) for cost in self.costs}
            self.cost_ = min(self.costs, key=lambda cost: self._loss(targets, held_out[cost], folds))
            if self.task_type == "classification":
                self._sigmoid = LogisticRegression(C=1e3).fit(held_out[self.cost_][:, None], targets)
        self._machine = self._new_machine(self.cost_).fit(kernel, targets)

    def _predict(self, features: FeatureSet) -> np.ndarray:
        decisions = self._decide(self._machine, self._kernel(self._prepare(features), self._train))
        if self.task_type == "regression":
            return decisions * self._spread + self._centre
        if self._sigmoid is None:
            return expit(decisions)
        return self._sigmoid.predict_proba(decisions[:, None])[:, 1]

    def _inner_folds(self, targets: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        rarest = len(targets) if self.task_type == "regression" else int(np.bincount(targets.astype(int)).min())
        # Regression folds of fewer than two training rows, or classification folds without both classes, cannot be fitted.
        n_folds = min(self.folds, rarest)
        if n_folds < 2 or len(targets) < 4:
            return iter(())
        splitter = KFold if self.task_type == "regression" else StratifiedKFold
        return splitter(n_folds, shuffle=True, random_state=self.random_state).split(np.zeros((len(targets), 1)), targets)

    def _held_out_decisions(self, kernel: np.ndarray, targets: np.ndarray, folds: list, cost: float) -> np.ndarray:
        decisions = np.empty(len(targets))
        for train, held_out in folds:
            machine = self._new_machine(cost).fit(kernel[np.ix_(train, train)], targets[train])
            decisions[held_out] = self._decide(machine, kernel[np.ix_(held_out, train)])
        return decisions

    def _loss(self, targets: np.ndarray, decisions: np.ndarray, folds: list) -> float:
        if self.task_type == "regression":
            return float(mean_squared_error(targets, decisions))
        return -float(np.mean([roc_auc_score(targets[held_out], decisions[held_out]) for _, held_out in folds]))

    def _new_machine(self, cost: float) -> SVR | SVC:
        if self.task_type == "regression":
            return SVR(kernel="precomputed", C=cost, epsilon=self.epsilon, cache_size=500)
        return SVC(kernel="precomputed", C=cost, class_weight="balanced", cache_size=500)

    def _decide(self, machine: SVR | SVC, kernel: np.ndarray) -> np.ndarray:
        return machine.predict(kernel) if self.task_type == "regression" else machine.decision_function(kernel)

    def _fit_features(self, features: FeatureSet) -> FeatureSet:
        self._scaler = BlockScaler().fit(features)
        return self._prepare(features)

    def _prepare(self, features: FeatureSet) -> FeatureSet:
        scaled = self._scaler.transform(features)
        return FeatureSet(features.name, features.sparse_blocks | scaled.dense_blocks, features.valid)

    @abstractmethod
    def _kernel(self, rows_a: FeatureSet, rows_b: FeatureSet) -> np.ndarray:
        """Return the kernel between prepared rows: ``(rows of a, rows of b)`` float64."""


@dataclass(kw_only=True, eq=False, repr=False)
class TanimotoSVM(_KernelHead):
    """Support vectors on the mean of the blocks' kernels: count Tanimoto for counts, cosine of z-scores for a dense block.

    Every block has the same weight; a set without counts is refused.

    References
    ----------
    Ralaivola et al. 2005 (the kernel). On 24 MoleculeACE targets its mean over ECFP4 and atom-pair counts reaches an RMSE below every
    published one.
    """

    name: ClassVar[str] = "tanimoto_svm"
    _remedy: ClassVar[str] = "it needs at least one block of counts: add counts+ to the features, or use the head 'svm'"

    def supports(self, features: FeatureSet) -> bool:
        return bool(features.sparse_blocks)

    def _kernel(self, rows_a: FeatureSet, rows_b: FeatureSet) -> np.ndarray:
        counts_a, counts_b = list(rows_a.sparse_blocks.values()), list(rows_b.sparse_blocks.values())
        kernel = mean_tanimoto_kernel(counts_a, counts_b) * len(counts_a)
        for name, block in rows_a.dense_blocks.items():
            kernel += _unit_rows(block) @ _unit_rows(rows_b.dense_blocks[name]).T
        return kernel / len(rows_a.blocks)


@dataclass(kw_only=True, eq=False, repr=False)
class DenseSVM(_KernelHead):
    """Support vectors on the Gaussian kernel exp(−‖a − b‖² / width) of z-scored dense features; a set with counts is refused."""

    name: ClassVar[str] = "svm"
    _remedy: ClassVar[str] = "it needs dense features only: use 'tanimoto_svm' for counts"

    def supports(self, features: FeatureSet) -> bool:
        return not features.sparse_blocks

    def _kernel(self, rows_a: FeatureSet, rows_b: FeatureSet) -> np.ndarray:
        matrix_a, matrix_b = rows_a.matrix().astype(np.float64), rows_b.matrix().astype(np.float64)
        return rbf_kernel(matrix_a, matrix_b, gamma=1.0 / matrix_a.shape[1])


def _unit_rows(values: np.ndarray) -> np.ndarray:
    """Rows of length 1 in float64; a row of zeros stays zero."""
    rows = values.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, lengths, out=rows, where=lengths > 0)
