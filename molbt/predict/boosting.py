"""Gradient boosting with LightGBM, sized to the number of rows."""

from dataclasses import dataclass
from typing import Any, ClassVar

import lightgbm
import numpy as np
from scipy import sparse

from molbt.predict.batches import Batches
from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import Block, FeatureSet
from molbt.predict.head import Head, Trial
from molbt.predict.stored_block import BATCH_ROWS

_ROWS_PER_LEAF = 4
# A tree sees at least so many columns: a share of a few columns would leave each tree one or two.
_FEWEST_COLUMNS = 32


@dataclass(kw_only=True, eq=False, repr=False)
class LightGBM(Head):
    """LightGBM; missing numbers are its own, sparse counts stay sparse.

    The defaults were chosen on counts, by four-fold validation inside the training parts of seven MoleculeACE targets; what mattered was
    ``min_rows_in_leaf`` (mean RMSE .688 at 1, .696 at 5, .707 at 20) and ``column_fraction`` (.686 at 0.1, .688 at 0.2). With few rows
    LightGBM's own defaults (20 rows per leaf, 3 per bin) allow no split and predict the mean of the labels: here a tree has at most one
    leaf per four rows, a leaf may hold a single row, and a bin too. Columns that no split could use are left out before training.

    Parameters
    ----------
    n_trees : int
        With ``patience``, the largest number.
    patience : int
        Early stopping: inner folds of the training rows decide the number of trees, and stop when so many more did not lower their mean
        loss; then all rows train that many. 0 trains ``n_trees``, and so do sets too small for folds.
    folds : int
        Of early stopping; fewer when there are fewer rows (regression) or rows of the smaller class (classification).
    learning_rate : float
    num_leaves : int
        Largest number of leaves; lowered to a quarter of the rows.
    min_rows_in_leaf : int
    column_fraction : float
        Share of columns drawn for each tree, but no fewer than 32 columns.
    row_fraction : float
        Share of rows drawn for each tree.
    l2 : float
    max_bin : int
    bin_rows : int
        Rows, drawn at random, that the bins are chosen from. Where features are kept in a file, memory holds these at 16 bytes a number,
        beside one byte for each number of all rows.

    Attributes
    ----------
    n_trees_ : int
        Number of trees trained.
    booster_ : lightgbm.Booster
    columns_ : ndarray of int
        Columns of ``FeatureSet.matrix()`` that the booster was given, in order.
    """

    name: ClassVar[str] = "lightgbm"
    reads_stored: ClassVar[bool] = True

    n_trees: int = 500
    patience: int = 0
    folds: int = 5
    learning_rate: float = 0.05
    num_leaves: int = 31
    min_rows_in_leaf: int = 1
    column_fraction: float = 0.1
    row_fraction: float = 0.8
    l2: float = 1.0
    max_bin: int = 63
    bin_rows: int = 200_000

    def suggest(self, trial: Trial, features: FeatureSet) -> dict[str, Any]:
        return {
            "n_trees": trial.suggest_int("n_trees", 50, 1_000, log=True),
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.2, log=True),
            "num_leaves": trial.suggest_int("num_leaves", 4, 64, log=True),
            "min_rows_in_leaf": trial.suggest_int("min_rows_in_leaf", 1, 20, log=True),
            "column_fraction": trial.suggest_float("column_fraction", 0.02, 0.5, log=True),
            "row_fraction": trial.suggest_float("row_fraction", 0.4, 1.0),
            "l2": trial.suggest_float("l2", 0.01, 30.0, log=True),
        }

    def _fit(self, features: FeatureSet, y: np.ndarray) -> None:
        data, settings = self._dataset(features, y), self._settings(len(y))
        self.n_trees_ = self._validated_trees(data, y, settings, features.molecules) if self.patience else self.n_trees
        self.booster_ = lightgbm.train(settings, data, num_boost_round=self.n_trees_)

    def _predict(self, features: FeatureSet) -> np.ndarray:
        if features.is_stored:
            batches = Batches(features, self.columns_)
            return np.concatenate([self._predicted(batches[start : start + BATCH_ROWS]) for start in range(0, len(batches), BATCH_ROWS)])
        return self._predicted(_taken(features.matrix(), self.columns_))

    def _predicted(self, matrix: np.ndarray | sparse.csr_matrix) -> np.ndarray:
        return np.asarray(self.booster_.predict(matrix, num_threads=self.n_jobs), dtype=np.float64)

    def _dataset(self, features: FeatureSet, y: np.ndarray) -> lightgbm.Dataset:
        """Choose the columns, and return them with the labels; bins are made when training begins."""
        if features.is_stored:
            self.columns_ = _or_the_first(Batches(features).varying_columns())
            return lightgbm.Dataset(Batches(features, self.columns_), y, free_raw_data=True)
        matrix = features.matrix()
        self.columns_ = _splittable_columns(matrix, self.min_rows_in_leaf)
        return lightgbm.Dataset(_taken(matrix, self.columns_), y, free_raw_data=True)

    def _validated_trees(self, data: lightgbm.Dataset, y: np.ndarray, settings: dict[str, Any], molecules: np.ndarray | None) -> int:
        folds = inner_folds(y, self.task_type, self.folds, self.random_state, molecules)
        if not folds:
            return self.n_trees
        stopping = lightgbm.early_stopping(self.patience, verbose=False)
        curves: dict[str, Any] = lightgbm.cv(settings, data, num_boost_round=self.n_trees, folds=folds, callbacks=[stopping])
        return len(curves["valid l2-mean" if self.task_type == "regression" else "valid binary_logloss-mean"])

    def _settings(self, n_rows: int) -> dict[str, Any]:
        return {
            "objective": "regression" if self.task_type == "regression" else "binary",
            "learning_rate": self.learning_rate,
            "num_leaves": int(np.clip(n_rows // _ROWS_PER_LEAF, 2, self.num_leaves)),
            "min_data_in_leaf": self.min_rows_in_leaf,
            "min_sum_hessian_in_leaf": 0.0 if self.task_type == "regression" else 1e-3,
            "min_data_in_bin": 1,
            "max_bin": self.max_bin,
            "bin_construct_sample_cnt": self.bin_rows,
            "feature_fraction": min(1.0, max(self.column_fraction, _FEWEST_COLUMNS / len(self.columns_))),
            "bagging_fraction": self.row_fraction,
            "bagging_freq": 1,
            "lambda_l2": self.l2,
            "seed": self.random_state,
            "data_random_seed": self.random_state,  # of the rows for bins; a file's reader does not derive it from the seed
            "num_threads": self.n_jobs,
            # Together these make the result independent of the number of threads.
            "deterministic": True,
            "force_row_wise": True,
            "verbose": -1,
        }


def _splittable_columns(matrix: Block, min_rows: int) -> np.ndarray:
    """Columns that vary, and in a sparse matrix have enough rows off zero to fill a leaf; the first column where none does."""
    return _or_the_first(_varies(matrix, min_rows))


def _or_the_first(varies: np.ndarray) -> np.ndarray:
    chosen = np.flatnonzero(varies)
    # LightGBM refuses a table without columns; one that cannot be split gives the mean of the labels.
    return chosen if len(chosen) else np.zeros(1, dtype=chosen.dtype)


def _varies(matrix: Block, min_rows: int) -> np.ndarray:
    if isinstance(matrix, np.ndarray):
        return (matrix != matrix[:1]).any(axis=0) & ~np.isnan(matrix).all(axis=0)
    n_rows, width = matrix.shape
    stored = np.bincount(matrix.indices, minlength=width)
    smallest, largest = np.full(width, np.inf, np.float32), np.full(width, -np.inf, np.float32)
    np.fmin.at(smallest, matrix.indices, matrix.data)
    np.fmax.at(largest, matrix.indices, matrix.data)
    varies = (stored < n_rows) | (smallest != largest) | np.bincount(matrix.indices[np.isnan(matrix.data)], minlength=width).astype(bool)
    return (stored >= min_rows) & (stored > 0) & varies


def _taken(matrix: Block, columns: np.ndarray) -> np.ndarray | sparse.csr_matrix:
    # LightGBM 4 knows SciPy's matrices, not its arrays.
    taken = matrix[:, columns]
    return np.ascontiguousarray(taken) if isinstance(taken, np.ndarray) else sparse.csr_matrix(taken)
