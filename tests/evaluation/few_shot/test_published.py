from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_fs_mol import write_fs_mol

from molbt.evaluation.benchmarks.base import RESULT_COLUMNS
from molbt.evaluation.benchmarks.fsmol import FSMol
from molbt.evaluation.few_shot.published import published_results
from molbt.evaluation.statistics import summarise


def test_published_precisions_become_results_by_both_definitions(tmp_path: Path) -> None:
    table = published_results(write_fs_mol(tmp_path) / "fs-mol", ["T1", "T2"], {16: "fsmol_16", 32: "fsmol_32"})
    assert tuple(table.columns) == RESULT_COLUMNS
    values = table.set_index(["benchmark", "task", "metric"])["value"]
    expected = {
        ("fsmol_16", "T1"): (0.7, 0.7 - 0.45, 0.7 - 0.5),
        ("fsmol_16", "T2"): (0.6, 0.6 - 0.42, 0.6 - 0.4),
        ("fsmol_32", "T1"): (0.8, 0.8 - 0.45, 0.8 - 0.5),  # T2 was too small for 32, T9 is not asked for
    }
    assert len(values) == 3 * len(expected)
    for (name, task), (precision, of_query, of_support) in expected.items():
        assert values[name, task, "average_precision"] == pytest.approx(precision)
        assert values[name, task, "delta_auprc"] == pytest.approx(of_query)
        assert values[name, task, "delta_auprc_support"] == pytest.approx(of_support)


def test_zero_shot_results_are_named_by_assay_and_averaged_over_replicates(tmp_path: Path) -> None:
    table = published_results(write_fs_mol(tmp_path) / "fs-mol", ["T1", "T2"], {0: "fsmol_0"})
    assert table["task"].unique().tolist() == ["T2"]
    values = table.set_index("metric")["value"]
    np.testing.assert_allclose(values[["roc_auc", "average_precision", "delta_auprc"]], [0.65, 0.6, 0.2])


def test_without_files_nothing_is_published(tmp_path: Path) -> None:
    table = published_results(tmp_path, ["T1"], {0: "fsmol_0", 16: "fsmol_16"})
    assert tuple(table.columns) == RESULT_COLUMNS
    assert table.empty


def test_published_means_are_those_of_the_data_set_description(real_data: Path) -> None:
    benchmark = FSMol(real_data, support=[0, 16, 32, 64, 128])
    table = summarise(benchmark.published().query("metric == 'delta_auprc'")).set_index(["benchmark", "head"])
    # The description of the collection: means over the 133 tasks that are there, and over 105 for TwinBooster.
    for head, means in (
        ("ProtoNet-gnn+ecfp+fc-Support64", [0.216, 0.251, 0.280, 0.310]),
        ("random_forest", [0.104, 0.136, 0.174, 0.223]),
    ):
        assert [round(table.loc[(f"fsmol_{size}", head), "mean"], 3) for size in (16, 32, 64, 128)] == means
        assert table.loc[("fsmol_16", head), "n_tasks"] == 133
    zero_shot = table.loc[("fsmol_0", "TwinBooster zero-shot")]
    assert (round(zero_shot["mean"], 3), zero_shot["n_tasks"]) == (0.210, 105)
    precise = benchmark.published().query("metric == 'average_precision' and task == 'CHEMBL1006005' and head == 'kNN'")
    raw = pd.read_csv(real_data / "fs-mol" / "baselines" / "kNN_summary.csv").set_index("TASK_ID")
    assert precise["value"].tolist() == [float(raw.loc["CHEMBL1006005", f"{n}_train"].split("+")[0]) for n in (128, 16, 32, 64)]
