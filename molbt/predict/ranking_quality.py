"""How well the scores of a zero-shot predictor rank the molecules of held-out assays, beside the same scores with the text ignored."""

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score


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
        Rows of assays with both classes: ``assay``, ``score``, ``blind`` (the score with the text ignored) and ``label``.
    """
    values = np.array(
        [(roc_auc_score(rows["label"], rows["score"]), roc_auc_score(rows["label"], rows["blind"])) for _, rows in table.groupby("assay")]
    )
    gain = values[:, 0] - values[:, 1]
    return RankingQuality(
        n_assays=len(values),
        roc_auc=float(values[:, 0].mean()),
        roc_auc_interval=_interval(values[:, 0]),
        text_ignored=float(values[:, 1].mean()),
        gain=float(gain.mean()),
        gain_interval=_interval(gain),
    )


def _interval(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of a mean by Student's t."""
    half = float(student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half
