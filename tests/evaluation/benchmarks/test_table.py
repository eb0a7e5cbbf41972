from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molbt import registry
from molbt.data.splits import SPLITS
from molbt.errors import ConfigError, DataError
from molbt.evaluation.benchmarks.table import TableBenchmark
from molbt.evaluation.protocol import evaluate
from molbt.predict.features import feature_builders
from molbt.predict.label_policy import LabelPolicy


@pytest.fixture
def path(tmp_path: Path) -> Path:
    smiles = ["C" * n + end for n in range(1, 13) for end in ("O", "N", "c1ccccc1", "C1CC1")]
    frame = pd.DataFrame({"SMILES": smiles, "pIC50": np.linspace(4, 9, 48), "active": np.arange(48) % 2, "note": "text"})
    frame.loc[[0, 5], "pIC50"] = np.nan
    frame.loc[3, "SMILES"] = "not a molecule"
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def test_table_tells_regression_and_classification_apart_and_says_so(path) -> None:
    benchmark = TableBenchmark(path, target=["pIC50", "active"], smiles_column="SMILES", split="random")
    assert benchmark.task_types == {"pIC50": "regression", "active": "classification"}
    assert benchmark.notes()[:2] == ["pIC50: regression, 46 labels", "active: classification, 48 labels"]
    policy = LabelPolicy(task_type="regression")
    told = TableBenchmark(path, target="active", smiles_column="SMILES", split="random", policy=policy)
    assert told.task_types == {"active": "regression"}


def test_table_reads_labels_as_fit_does_and_counts_what_is_left_out(tmp_path) -> None:
    frame = pd.DataFrame(
        {
            "smiles": ["CCO", "OCC", "CCN", "CCCl", "CCCN", "CCCO", "CCCCO", "CCCCN"],
            "IC50": ["100", "1000", ">10000", "0", "10", "20", "about 5", "40"],
            "sign": ["", "", "", "", "", "<", "", ""],
        }
    )
    frame.to_csv(tmp_path / "raw.csv", index=False)
    policy = LabelPolicy(unit="nM", scale="pIC50", duplicates="mean", max_spread=1.0)
    options = {"target": "IC50", "split": "random", "test_fraction": 0.4}
    benchmark = TableBenchmark(tmp_path / "raw.csv", policy=policy, relation_columns=["sign"], **options)
    (task,) = benchmark.tasks()
    nan = np.nan  # pIC50 is 9 − log10(nM); ethanol's 7 and 6 become one 6.5
    np.testing.assert_allclose(task.y, [6.5, nan, nan, nan, 8.0, nan, nan, 9 - np.log10(40)])
    assert benchmark.label_unit == "pIC50"
    summary, said = benchmark.notes()
    for count in ("3 labels", "bounds 2", "replicates of other rows 1", "neither number nor class 1", "not convertible 1"):
        assert count in summary
    assert said == "Policy of labels: pIC50 from nM; bounds drop; replicates mean; conflicts beyond 1 drop."
    used = TableBenchmark(tmp_path / "raw.csv", policy=replace(policy, censored="value"), relation_columns=["sign"], **options)
    assert np.isfinite(next(used.tasks()).y).sum() == 5
    assert used.settings() != benchmark.settings()


def test_table_makes_classes_by_a_threshold(path) -> None:
    policy = LabelPolicy(active_above=6.5)
    (task,) = TableBenchmark(path, target="pIC50", smiles_column="SMILES", split="random", policy=policy).tasks()
    values = pd.read_csv(path)["pIC50"].to_numpy()
    np.testing.assert_array_equal(task.y, np.where(np.isnan(values), np.nan, values >= 6.5))
    assert task.task_type == "classification"


def test_table_says_which_units_its_targets_are_in(path) -> None:
    options = {"target": ["pIC50", "active"], "smiles_column": "SMILES", "split": "random"}
    assert TableBenchmark(path, **options).label_units() == {"pIC50": ""}
    known = TableBenchmark(path, policy=LabelPolicy(unit="kcal/mol"), **options)
    assert known.label_units() == {"pIC50": "kcal/mol"}
    assert known.label_unit == "kcal/mol"


def test_table_reads_two_classes_in_words_and_says_what_it_cannot_read(path) -> None:
    frame = pd.read_csv(path)
    frame["class"] = np.where(frame["active"] == 1, "Active", "inactive")
    frame.loc[2, "class"], frame.loc[4, "class"] = "unclear", ""
    frame.to_csv(path, index=False)
    benchmark = TableBenchmark(path, target="class", smiles_column="SMILES", split="random")
    task = next(benchmark.tasks())
    expected = frame["active"].to_numpy(dtype=float, copy=True)
    expected[[2, 4]] = np.nan
    np.testing.assert_array_equal(task.y, expected)
    assert task.task_type == "classification"
    assert benchmark.notes()[0] == "class: classification, 46 labels; left out: neither number nor class 1"
    assert benchmark.labels[0].reasons[2].startswith("'unclear'")


def test_table_yields_every_target_and_repeat_with_shared_parts(path) -> None:
    benchmark = TableBenchmark(path, target=["pIC50", "active"], smiles_column="SMILES", split="random", repeats=2, random_state=4)
    tasks = list(benchmark.tasks())
    assert [(task.name, task.repeat) for task in tasks] == [("pIC50", 0), ("pIC50", 1), ("active", 0), ("active", 1)]
    for task in tasks:
        train, _, test = SPLITS["random"](task.smiles, fractions=(0.8, 0.0, 0.2), random_state=4 + task.repeat)
        np.testing.assert_array_equal(task.parts["train"], train)
        np.testing.assert_array_equal(task.parts["test"], test)
        assert list(task.frame.columns) == ["smiles"]
    assert np.flatnonzero(np.isnan(tasks[0].y)).tolist() == [0, 5]


def test_table_runs_through_the_protocol_with_refused_and_unlabelled_rows(path) -> None:
    benchmark = TableBenchmark(path, target=["pIC50", "active"], smiles_column="SMILES", split="random")
    results = evaluate(benchmark, list(feature_builders(["counts"]).items()), ["tanimoto_svm"]).set_index(["task", "metric"])
    assert set(results.loc["pIC50"].index) == {"rmse", "mae", "r2"}
    assert set(results.loc["active"].index) == {"roc_auc", "average_precision", "delta_auprc"}
    assert results.loc[("pIC50", "rmse"), ["n_train", "n_test"]].sum() == 48 - 3
    assert results.loc[("active", "roc_auc"), ["n_train", "n_test"]].sum() == 48 - 1


def test_table_test_fraction_changes_the_parts(path) -> None:
    benchmark = TableBenchmark(path, target="active", smiles_column="SMILES", split="random", test_fraction=0.5)
    assert len(next(benchmark.tasks()).parts["test"]) == 24


def test_table_split_by_time_tests_the_latest_whatever_way_time_is_written(path) -> None:
    frame = pd.read_csv(path)
    order = np.random.default_rng(0).permutation(48)
    frame["year"] = 1_950 + order
    frame["date"] = [f"{year}-03-01" for year in frame["year"]]
    frame["stamp"] = [f"{year}-03-01T10:00:00Z" if year % 2 else str(year) for year in frame["year"]]
    frame.to_csv(path, index=False)
    parquet = path.with_suffix(".parquet")
    frame.assign(date=pd.to_datetime(frame["date"])).to_parquet(parquet)
    options = {"target": "active", "smiles_column": "SMILES", "split": "time", "test_fraction": 0.25}
    for file, column in ((path, "year"), (path, "date"), (path, "stamp"), (parquet, "year"), (parquet, "date")):
        (task,) = TableBenchmark(file, time_column=column, **options).tasks()
        assert sorted(order[task.parts["test"]]) == list(range(36, 48))
    frame.loc[7, "date"] = "spring"
    frame.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"1 of 48 without one \(rows 7\)"):
        TableBenchmark(path, time_column="date", **options)


def test_table_keeps_the_rows_of_a_molecule_in_one_part(tmp_path) -> None:
    smiles = ["C" * n + "N" for n in range(1, 31)]
    frame = pd.DataFrame({"smiles": [*smiles, *("N" + "C" * n for n in range(1, 31))], "y": np.arange(60.0)})
    frame.to_csv(tmp_path / "twice.csv", index=False)
    policy = LabelPolicy(duplicates="keep")
    for task in TableBenchmark(tmp_path / "twice.csv", target="y", split="random", repeats=3, policy=policy).tasks():
        test = task.parts["test"]
        assert set(test % 30) == set(test[test < 30])
        assert len(test) == 12


def test_table_settings_change_with_the_file(path) -> None:
    options = {"target": "active", "smiles_column": "SMILES", "split": "random"}
    before = TableBenchmark(path, **options).settings()
    path.write_text(path.read_text() + "CCCl,5,1,text\n")
    assert TableBenchmark(path, **options).settings() != before


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target": "pic50"}, DataError, "pass --target pIC50"),
        ({"target": "note"}, DataError, "column 'note' leaves no label"),
        ({"target": "pIC50", "relation_columns": ["note", "note"]}, ConfigError, "--relation-column"),
        ({"target": "pIC50", "relation_columns": ["sign"]}, DataError, "--relation-column"),
        ({"target": []}, ConfigError, "one or more different target columns"),
        ({"target": "pIC50", "split": "scafold"}, ConfigError, "did you mean 'scaffold'"),
        ({"target": "pIC50", "test_fraction": 1.0}, ConfigError, "between 0 and 1"),
        ({"target": "pIC50", "repeats": 0}, ConfigError, "at least 1"),
        ({"target": "pIC50", "split": "scaffold", "repeats": 3}, ConfigError, "the same each time"),
        ({"target": "pIC50", "split": "time"}, ConfigError, "--time-column"),
        ({"target": "pIC50", "split": "random", "time_column": "pIC50"}, ConfigError, "takes no times"),
        ({"target": "pIC50", "split": "time", "time_column": "year"}, DataError, "column 'year' is not in"),
        ({"target": "pIC50", "policy": LabelPolicy(task_type="classification")}, DataError, "received 4"),
        ({"target": "pIC50", "smiles_column": "smiles"}, DataError, "--smiles-column SMILES"),
    ],
)
def test_table_refuses_what_it_cannot_use(path, options, error, message) -> None:
    with pytest.raises(error, match=message):
        TableBenchmark(path, **{"smiles_column": "SMILES", **options})


def test_benchmarks_are_found_by_name() -> None:
    assert {"moleculeace", "table"} <= set(registry.available("benchmarks"))
    assert registry.find("benchmarks", "table") is TableBenchmark
