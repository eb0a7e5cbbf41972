"""Groups of assays that results are shown by: how many of their molecules the training tasks label, and the enzyme class of the target."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from molbt.evaluation.benchmarks.fsmol import FSMol
from molbt.evaluation.few_shot.training_labels import TrainingLabels
from molbt.evaluation.statistics import paired_differences, summarise

STRATA = ("< 10 % seen", "10–50 % seen", "> 50 % seen")
_CELL = ["benchmark", "features", "head"]
GROUP_COLUMNS = ("group", "support", "features", "head", "mean", "standard_error", "n_tasks", "difference", "ci_low", "ci_high", "claim")


def seen_shares(benchmark: FSMol, labels: TrainingLabels) -> pd.DataFrame:
    """Return how many distinct molecules of each assay have labels in the training tasks.

    Returns
    -------
    DataFrame
        One row per assay: ``task``, ``molecules`` (distinct SMILES with a label), ``seen``, ``share`` and ``stratum`` (of ``STRATA``).
    """
    smiles = {assay: _labelled(benchmark, assay) for assay in benchmark.assays}
    distinct = list(dict.fromkeys(text for texts in smiles.values() for text in texts))
    seen = dict(zip(distinct, labels.seen(distinct).tolist(), strict=True))
    table = pd.DataFrame(
        {"task": assay, "molecules": len(texts), "seen": sum(seen[text] for text in texts)} for assay, texts in smiles.items()
    )
    table["share"] = table["seen"] / table["molecules"]
    table["stratum"] = np.select([table["share"] < 0.1, table["share"] <= 0.5], STRATA[:2], STRATA[2])
    return table


def results_by_group(
    results: pd.DataFrame, group_of: Mapping[str, str], control: tuple[str, str], metric: str, sizes: Mapping[str, int]
) -> pd.DataFrame:
    """Return the mean of each features and head within groups of assays, and the paired difference to the control there.

    Parameters
    ----------
    results : DataFrame
        As ``evaluate_few_shot`` returns it, perhaps with published results.
    group_of : mapping of str to str
        From assay to group.
    control : (features, head)
        Where it has no value (size 0), there are no differences.
    metric : str
    sizes : mapping of str to int
        From the name of a table (column ``benchmark``) to the size of its support set.

    Returns
    -------
    DataFrame
        ``GROUP_COLUMNS``: strata in their order, other groups by name, sizes ascending, the best mean first. Standard errors and 95 %
        intervals are over assays, NaN for a single one.
    """
    tables = []
    chosen = results[results["metric"] == metric]
    present = set(group_of.values())
    for group in [*(name for name in STRATA if name in present), *sorted(present - set(STRATA))]:
        own = chosen[[group_of.get(task) == group for task in chosen["task"]]]
        if own.empty:
            continue
        table = summarise(own)
        if ((own["features"] == control[0]) & (own["head"] == control[1])).any():
            differences = paired_differences(own, control)[[*_CELL, "mean_difference", "ci_low", "ci_high", "claim"]]
            table = table.drop(columns=["ci_low", "ci_high"]).merge(differences, on=_CELL, how="left")
        else:
            table = table.assign(mean_difference=np.nan, ci_low=np.nan, ci_high=np.nan, claim=None)
        tables.append(table.assign(group=group, support=table["benchmark"].map(dict(sizes))))
    merged = pd.concat(tables, ignore_index=True).rename(columns={"mean_difference": "difference"})
    is_control = (merged["features"] == control[0]) & (merged["head"] == control[1])
    merged["claim"] = merged["claim"].astype(object).where(~is_control, "the control").fillna("")
    groups = list(dict.fromkeys(merged["group"]))
    order = merged.assign(place=merged["group"].map(groups.index)).sort_values(["place", "support"], kind="stable", ignore_index=True)
    return order[list(GROUP_COLUMNS)]


def _labelled(benchmark: FSMol, assay: str) -> list[str]:
    task = benchmark.read(assay)
    return list(dict.fromkeys(task.frame["smiles"][np.isfinite(task.y)]))
