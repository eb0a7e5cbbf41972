"""How well the scores of a zero-shot predictor rank the molecules of held-out assays, beside the same scores with the text ignored."""

from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import roc_auc_score

from molbt.predict.assay_intervals import mean_interval


class RankingQuality(BaseModel):
    """How well scores rank the molecules of held-out assays: means over assays, with 95 % intervals over assays.

    Attributes
    ----------
    n_assays : int
        Held-out assays with both classes.
    roc_auc, roc_auc_interval
        Of the scores with each assay's own description.
    text_ignored : float
        Of the same molecules' mean score over the held-out descriptions (on large tables, trees score some of them only): what a frequent
        hitter gets whatever the assay. It is the control.
    gain, gain_interval
        The mean paired difference of the two.
    twin, gain_over_twin, gain_over_twin_interval
        Of the twin's own scores of the same pairs, and the mean paired difference to them; None where the scores are the twin's own.
    n_descriptions, n_seen : int
        The held-out assays' descriptions, and those of them that pretraining had; None where the model does not tell.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    n_assays: int
    roc_auc: float
    roc_auc_interval: tuple[float, float]
    text_ignored: float
    gain: float
    gain_interval: tuple[float, float]
    twin: float | None = None
    gain_over_twin: float | None = None
    gain_over_twin_interval: tuple[float, float] | None = None
    n_descriptions: int | None = None
    n_seen: int | None = None

    def line(self) -> str:
        """Return it in words."""
        low, high = self.gain_interval
        told = "the text tells something" if low > 0 else "the text costs" if high < 0 else "no gain from the text is shown"
        if self.text_ignored < 0.5:  # beaten by a constant: a difference to it would pass for a gain
            told = "without the text these scores are worse than chance, so the difference claims nothing"
        return (
            f"ROC AUC on {self.n_assays} held-out assays {self.roc_auc:.3f} ({self.roc_auc_interval[0]:.3f} to "
            f"{self.roc_auc_interval[1]:.3f}), with the text ignored {self.text_ignored:.3f}; difference {self.gain:+.3f} ({low:+.3f} to "
            f"{high:+.3f}): {told}"
        )

    def twin_line(self) -> str:
        """Return in words how the trees fare beside the twin that they learned on, or ``""`` where there are no trees."""
        if self.twin is None or self.gain_over_twin is None or self.gain_over_twin_interval is None:
            return ""
        low, high = self.gain_over_twin_interval
        told = "LightGBM ranks better" if low > 0 else "LightGBM ranks worse: --head twin" if high < 0 else "no gain from LightGBM is shown"
        return (
            f"ROC AUC of the twin's own scores of the same pairs {self.twin:.3f}; difference of LightGBM to it {self.gain_over_twin:+.3f} "
            f"({low:+.3f} to {high:+.3f}): {told}"
        )

    def warning(self) -> str:
        """Return what the pretraining saw of these assays, or ``""`` where that is nothing, or not known."""
        if not self.n_seen:
            return ""
        return (
            f"{self.n_seen} of the {self.n_descriptions} descriptions were in the model's pretraining: what was found on them is no "
            "evidence for new assays; calibrate on others"
        )


def ranking_of(table: pd.DataFrame) -> RankingQuality:
    """Return how well scores rank.

    Parameters
    ----------
    table : DataFrame
        Rows of assays with both classes: ``assay``, ``score``, ``blind`` (the score with the text ignored) and ``label``; with ``twin``,
        its own scores, where the scores are those of trees.
    """
    score, blind = _by_assay(table, "score"), _by_assay(table, "blind")
    beside: dict[str, Any] = {}
    if "twin" in table:
        twin = _by_assay(table, "twin")
        over = score - twin
        beside = {"twin": float(twin.mean()), "gain_over_twin": float(over.mean()), "gain_over_twin_interval": mean_interval(over)}
    return RankingQuality(
        n_assays=len(score),
        roc_auc=float(score.mean()),
        roc_auc_interval=mean_interval(score),
        text_ignored=float(blind.mean()),
        gain=float((score - blind).mean()),
        gain_interval=mean_interval(score - blind),
        **beside,
    )


def _by_assay(table: pd.DataFrame, column: str) -> np.ndarray:
    return np.array([roc_auc_score(rows["label"], rows[column]) for _, rows in table.groupby("assay")])
