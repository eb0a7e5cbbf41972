"""Published results on FS-Mol, assay by assay, as a results table beside ours."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from molbt.evaluation.benchmarks.base import RESULT_COLUMNS
from molbt.evaluation.few_shot.sampling import SPLIT

_ENDING = "_summary.csv"
_COLUMNS = ["task", "metric", "value", "n_train", "benchmark", "head"]


def published_results(directory: Path, assays: Sequence[str], table_names: Mapping[int, str]) -> pd.DataFrame:
    """Return the published values of these assays, means over ten draws, with ``RESULT_COLUMNS``; ``head`` is the method.

    Parameters
    ----------
    directory : Path
        Of FS-Mol: ``baselines/`` holds the methods of Stanley et al. 2021 (average precision per support size) and TwinBooster's zero-shot
        results (by PubChem id, which ``aid_lookup.csv`` translates), shown at size 0. What is not there is not shown.
    assays : sequence of str
    table_names : mapping of int to str
        Size of the support set, and what its table is called.

    Notes
    -----
    The share of actives that ``delta_auprc_support`` subtracts is the file's ``fraction_positive_train``, a mean over draws of all sizes.
    """
    baselines = directory / "baselines"
    tables = [pd.DataFrame(columns=_COLUMNS)]
    for path in sorted(baselines.glob(f"*{_ENDING}")):
        tables += _by_size(pd.read_csv(path), path.name.removesuffix(_ENDING), table_names)
    zero_shot, ids = baselines / "TwinBooster_zero_shot.csv", directory / "aid_lookup.csv"
    if 0 in table_names and zero_shot.is_file() and ids.is_file():
        tables.append(_zero_shot(pd.read_csv(zero_shot), pd.read_csv(ids)).assign(benchmark=table_names[0]))
    table = pd.concat([each for each in tables if len(each)] or tables, ignore_index=True)
    table = table[table["task"].isin(assays)].dropna(subset="value")
    table = table.assign(data_set=table["task"], split=SPLIT, repeat=0, fraction=1.0, features="FS-Mol (published)", n_test=0)
    return table.sort_values(["benchmark", "head", "task", "metric"], ignore_index=True)[list(RESULT_COLUMNS)]


def _by_size(wide: pd.DataFrame, method: str, table_names: Mapping[int, str]) -> list[pd.DataFrame]:
    tables = []
    for size, name in table_names.items():
        if f"{size}_train" not in wide.columns:
            continue
        # "0.538+/-0.031": mean and standard deviation over draws; empty where the assay is too small.
        precision = pd.to_numeric(wide[f"{size}_train"].astype("str").str.partition("+/-")[0], errors="coerce")
        values = {
            "delta_auprc": precision - wide["fraction_positive_test"],
            "delta_auprc_support": precision - wide["fraction_positive_train"],
            "average_precision": precision,
        }
        tables += [
            pd.DataFrame({"task": wide["TASK_ID"], "metric": metric, "value": value, "n_train": size, "benchmark": name, "head": method})
            for metric, value in values.items()
        ]
    return tables


def _zero_shot(results: pd.DataFrame, ids: pd.DataFrame) -> pd.DataFrame:
    assay_of = dict(zip(ids["aid"], ids["chembl_id"], strict=True))
    means = results.groupby("aid")[["dpr", "pr", "roc"]].mean().rename(index=assay_of)
    means.columns = pd.Index(["delta_auprc", "average_precision", "roc_auc"])
    return means.rename_axis("task").reset_index().melt("task", var_name="metric").assign(n_train=0, head="TwinBooster zero-shot")
