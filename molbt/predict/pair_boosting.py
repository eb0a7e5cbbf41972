"""LightGBM on pairs, with settings for hundreds of thousands of them."""

from typing import Any

from molbt.predict.boosting import LightGBM

PARAMETERS: dict[str, Any] = {
    "n_trees": 200,
    "learning_rate": 0.1,
    "num_leaves": 63,
    "min_rows_in_leaf": 20,
    "column_fraction": 0.3,
    "bin_rows": 20_000,
}

EMBEDDINGS = {"column_fraction": 0.1}
"""What differs on embeddings: all columns are dense, so that a tenth of them is as many numbers as the others' third."""


def pair_boosting(*, random_state: int, n_jobs: int, **changes: Any) -> LightGBM:
    """Return the unfitted head that all methods on pairs share, so that they differ in little but their features."""
    return LightGBM(task_type="classification", random_state=random_state, n_jobs=n_jobs, **PARAMETERS | changes)
