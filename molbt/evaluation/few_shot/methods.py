"""Heads as they are used on 16 to 256 labels: nothing is chosen by inner validation, which has too few rows to choose by."""

from typing import Any

from molbt.errors import ConfigError, suggestion
from molbt.evaluation.few_shot.blended_logistic import BlendedLogistic
from molbt.predict.head import Head
from molbt.predict.heads import HEADS, build_head

PARAMETERS: dict[str, dict[str, Any]] = {
    "forest": {"n_trees": 100},
    "gp": {"dense_shares": [0.5], "folds": 0},
    "knn": {"neighbours": [5], "dense_shares": [0.5], "folds": 0},
    "lightgbm": {"n_trees": 100},
    "logistic": {"costs": [0.1], "folds": 0},
    "tanimoto_logistic": {"costs": [3.0], "dense_shares": [0.5], "folds": 0},
    "tanimoto_svm": {"costs": [3.0], "dense_shares": [0.5], "folds": 0},
}
"""What differs from a head's defaults. A head that is not named here is used as it is."""


def few_shot_head(name: str, *, random_state: int = 0) -> Head:
    """Return an unfitted classification head with the settings for few labels.

    Raises
    ------
    ConfigError
        If the head is unknown or does not classify.
    """
    if name == BlendedLogistic.name:
        return BlendedLogistic(task_type="classification", random_state=random_state)
    if name not in HEADS:
        raise ConfigError(f"unknown head {name!r}{suggestion(name, few_shot_heads())}")
    return build_head(name, "classification", random_state=random_state, **PARAMETERS.get(name, {}))


def few_shot_heads() -> list[str]:
    """Return the names of the heads that classify; ``auto`` fits several with inner validation and is slow and noisy here."""
    return [*(name for name, head in HEADS.items() if "classification" in head.task_types), BlendedLogistic.name]
