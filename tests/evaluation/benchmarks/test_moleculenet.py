import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molbt.cli import options
from molbt.data.splits import SPLITS
from molbt.errors import ConfigError, DataError
from molbt.evaluation.benchmarks.moleculenet import DATA_SETS, DEFAULT, MoleculeNet
from molbt.evaluation.protocol import evaluate
from molbt.evaluation.statistics import summarise
from molbt.predict.features import feature_builders

CORES = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNC1", "c1ccc2ccccc2c1", "C1CC1", "c1ccsc1", "C1CCOC1", "c1cncnc1", "C1CNCCN1"]
SMILES = [core + "C" * n for core in CORES for n in range(1, 7)]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Files of 60 rows in the layout of the published ones; row 5 cannot be read."""
    rng = np.random.default_rng(0)
    smiles = [*SMILES[:5], "nonsense", *SMILES[6:]]
    columns = {
        "bbbp": {"num": np.arange(60), "name": "x", "p_np": rng.integers(0, 2, 60)},
        "esol": {"Minimum Degree": 1, "measured log solubility in mols per litre": rng.normal(size=60)},
        "freesolv": {"iupac": "x", "expt": rng.normal(size=60), "calc": 0.0},
        "tox21": {"NR-AR": rng.integers(0, 2, 60), "SR-p53": np.where(rng.random(60) < 0.3, np.nan, 0.0), "mol_id": "TOX"},
    }
    (tmp_path / "moleculenet").mkdir()
    for name, values in columns.items():
        frame = pd.DataFrame({"smiles": smiles, **values})
        frame.to_csv(tmp_path / "moleculenet" / f"{name}.csv.gz", index=False)
    return tmp_path


def test_each_label_column_is_a_task_of_its_data_set(data_dir) -> None:
    tasks = list(MoleculeNet(data_dir, datasets=["tox21", "bbbp", "esol"]).tasks())
    assert [(task.name, task.data_set, task.task_type) for task in tasks] == [
        ("tox21/NR-AR", "tox21", "classification"),
        ("tox21/SR-p53", "tox21", "classification"),
        ("bbbp", "bbbp", "classification"),
        ("esol", "esol", "regression"),
    ]
    file = pd.read_csv(data_dir / "moleculenet" / "tox21.csv.gz")
    np.testing.assert_array_equal(tasks[1].y, file["SR-p53"])
    assert tasks[1].smiles == file["smiles"].tolist()
    assert list(tasks[1].frame.columns) == ["smiles"]  # a builder sees no label


def test_all_columns_of_a_data_set_share_the_split_by_name(data_dir) -> None:
    for split in ("scaffold", "scaffold_deepchem"):
        first, second = MoleculeNet(data_dir, datasets=["tox21"], split=split).tasks()
        expected = SPLITS[split](first.smiles, random_state=0)
        for task in (first, second):
            assert (task.split, task.repeat, list(task.parts)) == (split, 0, ["train", "valid", "test"])
            for part, rows in zip(task.parts.values(), expected, strict=True):
                np.testing.assert_array_equal(part, rows)


def test_random_splits_are_repeated_five_times_with_seeds_in_turn(data_dir) -> None:
    tasks = list(MoleculeNet(data_dir, datasets=["bbbp"], split="scaffold_random", random_state=3).tasks())
    assert [task.repeat for task in tasks] == list(range(5))
    for task in tasks:
        np.testing.assert_array_equal(task.parts["test"], SPLITS["scaffold_random"](task.smiles, random_state=3 + task.repeat)[2])
    assert len(list(MoleculeNet(data_dir, datasets=["bbbp"], split="cluster", repeats=2).tasks())) == 2


def test_results_keep_the_families_apart_and_count_data_sets(data_dir, caplog) -> None:
    benchmark = MoleculeNet(data_dir, datasets=["bbbp", "esol", "freesolv", "tox21"])
    results = evaluate(benchmark, list(feature_builders(["counts"]).items()), ["tanimoto_svm"])
    metrics = results.groupby("data_set")["metric"].unique().map(set)
    assert metrics["bbbp"] == metrics["tox21"] == {"roc_auc", "average_precision"}
    assert metrics["esol"] == metrics["freesolv"] == {"rmse", "mae", "r2"}
    table = summarise(results).set_index("metric")
    assert table.loc["rmse", "n_tasks"] == 2
    assert table.loc["roc_auc", "n_tasks"] == 2
    # The column without a positive is undefined, said, and leaves the other column to speak for the data set.
    undefined = results[results["task"] == "tox21/SR-p53"]
    assert undefined["value"].isna().all()
    assert "tox21/SR-p53 #0: its 3" in caplog.text
    expected = results[(results["metric"] == "roc_auc") & results["task"].isin(["bbbp", "tox21/NR-AR"])]["value"].mean()
    assert table.loc["roc_auc", "mean"] == pytest.approx(expected)
    assert "bbbp: 1 of 60 rows have no features" in caplog.text
    assert results[results["task"] == "bbbp"]["n_train"].iloc[0] + 1 == len(next(benchmark.tasks()).parts["train"])


def test_a_set_is_cut_only_when_asked_and_that_is_said(data_dir) -> None:
    whole = MoleculeNet(data_dir, datasets=["bbbp"], split="random")
    assert [len(task.frame) for task in whole.tasks()] == [60] * 5
    assert whole.notes() == []
    cut = MoleculeNet(data_dir, datasets=["bbbp"], split="random", max_rows=40)
    task = next(cut.tasks())
    assert len(task.frame) == len(task.y) == 40
    assert cut.notes() == ["bbbp: 40 of 60 rows, drawn at random before the split (max_rows): not comparable with results on all rows."]
    file = pd.read_csv(data_dir / "moleculenet" / "bbbp.csv.gz").set_index("smiles")["p_np"]
    np.testing.assert_array_equal(task.y, file[task.smiles])
    assert next(MoleculeNet(data_dir, datasets=["bbbp"], split="random", max_rows=40).tasks()).smiles == task.smiles
    assert next(MoleculeNet(data_dir, datasets=["bbbp"], split="random", max_rows=40, random_state=1).tasks()).smiles != task.smiles
    assert cut.settings() != whole.settings()


def test_units_that_differ_are_said(data_dir) -> None:
    assert MoleculeNet(data_dir, datasets=["bbbp"]).label_unit == ""
    assert MoleculeNet(data_dir, datasets=["esol"]).label_unit == "log mol/L for esol"
    (note,) = MoleculeNet(data_dir, datasets=["esol", "freesolv"]).notes()
    assert "esol and freesolv are in different units" in note


def test_muv_puts_average_precision_first() -> None:
    assert DATA_SETS["muv"].metrics == ("average_precision", "roc_auc")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"datasets": ["bbbq"]}, ConfigError, "did you mean 'bbbp'"),
        ({"datasets": []}, ConfigError, "one or more different data sets"),
        ({"datasets": ["bbbp", "bbbp"]}, ConfigError, "name each once"),
        ({"datasets": ["hiv"]}, DataError, "molbt data get"),
        ({"split": "time"}, ConfigError, "unknown split 'time'"),
        ({"split": "scaffold", "repeats": 2}, ConfigError, "got 2 for 'scaffold'"),
        ({"split": "random", "repeats": 0}, ConfigError, "at least 1"),
        ({"max_rows": 0}, ConfigError, "max_rows must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_used_is_refused(data_dir, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        MoleculeNet(data_dir, **arguments)


def test_a_file_without_its_label_is_refused(data_dir) -> None:
    (data_dir / "moleculenet" / "bbbp.csv.gz").write_bytes((data_dir / "moleculenet" / "esol.csv.gz").read_bytes())
    with pytest.raises(DataError, match="column 'p_np' is not in"):
        next(MoleculeNet(data_dir, datasets=["bbbp"]).tasks())


def test_the_command_line_names_the_data_sets() -> None:
    default, _, others = options.DATASETS_HELP.partition("by default")
    assert all(name in default for name in DEFAULT)
    assert all(name in others for name in set(DATA_SETS) - set(DEFAULT))


def test_the_published_files_have_the_labels_that_their_description_counts(real_data, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        columns = {
            name: list(MoleculeNet(real_data, datasets=[name], split="random", repeats=1, max_rows=50).tasks())
            for name in ("bbbp", "esol", "freesolv", "sider", "tox21")
        }
    assert {name: len(tasks) for name, tasks in columns.items()} == {"bbbp": 1, "esol": 1, "freesolv": 1, "sider": 27, "tox21": 12}
    assert all(set(np.unique(task.y[np.isfinite(task.y)])) <= {0.0, 1.0} for task in columns["sider"] + columns["tox21"])
    assert caplog.text == ""
