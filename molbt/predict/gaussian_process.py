"""Exact Gaussian process on the blended kernel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.optimize import minimize_scalar

from molbt.errors import ConfigError
from molbt.predict.features import FeatureSet
from molbt.predict.kernel_head import Folds, KernelHead

# Logarithms of the noise variance in signal variances, from labels that were computed to labels that are all noise. The lower end keeps
# equal rows invertible: with eigenvalues of some thousands it leaves float64 six digits. The likelihood can have two maxima, so the best of
# a grid is refined rather than the first one found.
_LOG_NOISES = np.linspace(np.log(1e-6), np.log(10.0), 33)


@dataclass(kw_only=True, eq=False, repr=False)
class GaussianProcess(KernelHead):
    """Gaussian process regression; the marginal likelihood sets the variances of signal and noise.

    Classification is regression on labels of −1 and +1 with a sigmoid on held-out means, "least-squares classification" of Rasmussen and
    Williams, section 6.5: one eigendecomposition instead of a Laplace approximation for each candidate. Held-out means are exact and cost
    no further fit: those of the fold F are ``y_F − ([K⁻¹]_FF)⁻¹ [K⁻¹ (y − c)]_F`` with the mean label c of the other rows (the
    leave-one-out equations, 5.12, for blocks), at the variances that the likelihood of all rows sets.

    Attributes
    ----------
    noise_, signal_ : float
        Variances of noise and signal in the square of the label's unit; in classification of labels −1 and +1.

    References
    ----------
    Rasmussen and Williams, "Gaussian Processes for Machine Learning", MIT Press 2006, sections 2.3, 5.4.1, 5.4.2 and 6.5,
    https://gaussianprocess.org/gpml/
    """

    name: ClassVar[str] = "gp"

    max_rows: int = 5_000

    @property
    def noise_(self) -> float:
        return self._machine.noise * self.signal_

    @property
    def signal_(self) -> float:
        return self._machine.signal * self._spread**2

    def predict_std(self, features: FeatureSet) -> np.ndarray:
        """Return the standard deviation of a new label at each row, ``(n,)`` float64, in the label's unit: signal and noise together.

        NaN for a refused row, and for all rows where training had only one label.

        Raises
        ------
        ConfigError
            If the head was made for classification.
        ShapeError
            If the blocks or their widths differ from those seen in training.
        """
        if self.task_type != "regression":
            raise ConfigError(
                "the head 'gp' has standard deviations for regression, got task_type='classification'; its predictions are "
                "probabilities already"
            )
        self._check_widths(features)
        deviations = np.full(features.n_rows, np.nan)
        if self.constant_ is None and features.valid.any():
            kernel = self._kernels.between(features.rows(features.valid)).blend(self.dense_share_)
            deviations[features.valid] = np.sqrt(self._machine.variances(kernel)) * self._spread
        return deviations

    def _held_out(self, kernel: np.ndarray, targets: np.ndarray, folds: Folds, settings: Sequence[float]) -> np.ndarray:
        posterior = self._new_machine(kernel, targets, np.nan)
        decisions = np.empty(len(targets))
        scaled = posterior.vectors / (posterior.values + posterior.noise)
        weights_of_one = scaled @ posterior.vectors.sum(axis=0)  # K⁻¹ 1: what a change of the centre does to the weights
        for train, rest in folds:
            inverse = scaled[rest] @ posterior.vectors[rest].T
            weights = posterior.weights[rest] + (posterior.centre - targets[train].mean()) * weights_of_one[rest]
            decisions[rest] = targets[rest] - np.linalg.solve(inverse, weights)
        return decisions[None]

    def _new_machine(self, kernel: np.ndarray, targets: np.ndarray, setting: float) -> "_Posterior":
        return _posterior(kernel, targets)

    def _decide(self, machine: "_Posterior", kernel: np.ndarray) -> np.ndarray:
        return kernel @ machine.weights + machine.centre


@dataclass(frozen=True)
class _Posterior:
    """A fitted process: kernel = vectors · diag(values) · vectorsᵀ, covariance of the labels = signal · (kernel + noise · identity)."""

    values: np.ndarray
    vectors: np.ndarray
    noise: float
    signal: float
    centre: float
    weights: np.ndarray

    def variances(self, kernel: np.ndarray) -> np.ndarray:
        """Of new labels; a row's kernel with itself is 1."""
        explained = ((kernel @ self.vectors) ** 2 / (self.values + self.noise)).sum(axis=1)
        return self.signal * (np.maximum(1.0 - explained, 0.0) + self.noise)


def _posterior(kernel: np.ndarray, targets: np.ndarray) -> _Posterior:
    """Fit the noise by the marginal likelihood, in which the best signal variance has a closed form."""
    centre = float(targets.mean())
    values, vectors = np.linalg.eigh(kernel)
    values = np.maximum(values, 0.0)
    projected = vectors.T @ (targets - centre)

    def signal(log_noise: float) -> float:
        return float(np.mean(projected**2 / (values + np.exp(log_noise))))

    def loss(log_noise: float) -> float:
        return len(values) * np.log(signal(log_noise)) + float(np.log(values + np.exp(log_noise)).sum())

    best = int(np.argmin([loss(log_noise) for log_noise in _LOG_NOISES]))
    bounds = _LOG_NOISES[max(best - 1, 0)], _LOG_NOISES[min(best + 1, len(_LOG_NOISES) - 1)]
    log_noise = float(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x)
    noise = float(np.exp(log_noise))
    return _Posterior(values, vectors, noise, signal(log_noise), centre, vectors @ (projected / (values + noise)))
