"""Zero-shot methods beside two controls: molecules without a text, and plain features of both without any pretraining."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from molbt.evaluation.few_shot.strata import STRATA
from molbt.evaluation.statistics import paired_differences, summarise

CONTROLS = (("molecules", "frequent_hitters"), ("molecules and texts", "lightgbm_pairs"))
"""Features and head of what a gain is claimed over."""

METRICS = ("roc_auc", "delta_auprc")
ALL = "all assays"
COLUMNS = (
    *("group", "metric", "features", "head", "mean", "standard_error", "n_tasks"),
    *("control", "difference", "ci_low", "ci_high", "claim"),
)
_CHANCE = {"roc_auc": 0.5, "delta_auprc": 0.0}
BELOW_CHANCE = "the control is worse than chance"


def compare_methods(results: pd.DataFrame, group_of: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Return means over assays, and paired differences to each control, of all assays and of each group.

    Parameters
    ----------
    results : DataFrame
        Of one table without support sets, perhaps with published methods.
    group_of : mapping of str to str, optional
        From assay to a group, such as the share of its molecules that training saw.

    Returns
    -------
    DataFrame
        ``COLUMNS``, one row per group (all assays, strata in their order, others by name), metric, method and control, the best mean
        first; a control that is not there has no rows, and
        without any, ``control`` is ``""``. ``claim`` is that of ``paired_differences``, but nothing is claimed over a control that is worse
        than chance: a difference to it would pass for a gain.
    """
    groups = {ALL: results}
    present = set((group_of or {}).values())
    for group in [*(name for name in STRATA if name in present), *sorted(present - set(STRATA))]:
        groups[group] = results[[(group_of or {}).get(task) == group for task in results["task"]]]
    rows = [row for group, own in groups.items() for metric in METRICS for row in _compared(group, metric, own[own["metric"] == metric])]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _compared(group: str, metric: str, own: pd.DataFrame) -> list[dict[Any, Any]]:
    if own.empty or not own["value"].notna().any():
        return []
    means = summarise(own)[["features", "head", "mean", "standard_error", "n_tasks"]]
    rows = []
    present = [control for control in CONTROLS if control in set(zip(means["features"], means["head"], strict=True))]
    for control in present or [("", "")]:
        differences = {(row["features"], row["head"]): row for row in _differences(own, control)}
        of_control = means.loc[(means["features"] == control[0]) & (means["head"] == control[1]), "mean"]
        worse_than_chance = len(of_control) > 0 and float(of_control.iloc[0]) < _CHANCE[metric]
        for row in means.to_dict("records"):
            found = differences.get((row["features"], row["head"]), {})
            claim = "the control" if (row["features"], row["head"]) == control else str(found.get("claim", ""))
            rows.append(
                {
                    "group": group,
                    "metric": metric,
                    **row,
                    "control": control[1],
                    "difference": found.get("mean_difference", np.nan),
                    "ci_low": found.get("ci_low", np.nan),
                    "ci_high": found.get("ci_high", np.nan),
                    "claim": BELOW_CHANCE if worse_than_chance and claim == "better" else claim,
                }
            )
    return rows


def _differences(own: pd.DataFrame, control: tuple[str, str]) -> list[dict[Any, Any]]:
    return [] if control == ("", "") else paired_differences(own, control).to_dict("records")
