"""Overlaps of an evaluation with a pretraining, counted by hand."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_run import small_config

from molbt.data.sources import embedded_activities
from molbt.errors import ConfigError, DataError
from molbt.evaluation.benchmarks.base import Benchmark, Task
from molbt.evaluation.benchmarks.table import TableBenchmark
from molbt.evaluation.leakage import LEAKAGE_COLUMNS, benchmark_exclusions, find_leakage
from molbt.training.trainer import pretrain

# Benzylamine, phenol, acetic acid and toluene are pretrained on, in forms other than those of the tasks.
PRETRAINED = ["NCc1ccccc1", "Oc1ccccc1", "CC(=O)O", "Cc1ccccc1", "C1CCNCC1", "CCOC(C)=O", "c1ccncc1", "CCCCCC"]
FIRST = ["CCO", "[NH3+]Cc1ccccc1.[Cl-]", "C1CC", "CC(=O)[O-].[Na+]", "Fc1ccccc1", "C1CCCCC1", "OCC"]
SECOND = ["CCN", "C1CCOC1", "CCCl", "C1=CC=CC=C1"]


class TwoTasks(Benchmark):
    name = "two"

    def tasks(self) -> Iterator[Task]:
        # The last row of the test part has no label, and so is not evaluated.
        y = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
        yield Task("first", pd.DataFrame({"smiles": FIRST}), y, {"train": np.array([0, 5]), "test": np.array([1, 2, 3, 4, 6])})
        labels = np.array([1.0, 0.0, 1.0, np.nan])
        yield Task("second", pd.DataFrame({"smiles": SECOND}), labels, {"train": np.array([0]), "test": np.array([1, 2, 3])})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config(trainer={"epochs": 1, "batch_size": 8})
    return pretrain(PRETRAINED, tmp_path_factory.mktemp("leakage") / "run", config=config).directory


def test_molecules_scaffolds_and_repeats_are_counted(run):
    leakage = find_leakage(TwoTasks(), run)
    assert tuple(leakage.table.columns) == LEAKAGE_COLUMNS
    first, second = leakage.table.to_dict("records")
    # Test molecules of the first task: benzylamine, acetic acid, fluorobenzene and ethanol; [C1CC] cannot be read.
    assert (first["train_molecules"], first["test_molecules"]) == (2, 4)
    assert first["test_seen"] == 2  # benzylamine as a salt, acetic acid as a salt
    assert first["test_scaffolds_seen"] == 2  # benzene, of benzylamine and of fluorobenzene
    assert first["train_seen"] == 0
    assert first["test_in_train"] == 1  # ethanol, written in two ways
    assert (first["hits_checked"], first["hits_confirmed"]) == (2, 2)  # the run keeps all of so few molecules
    assert (second["test_molecules"], second["test_seen"], second["test_scaffolds_seen"]) == (2, 0, 0)


def test_sentence_tells_the_shares_of_all_test_molecules(run):
    sentence = find_leakage(TwoTasks(), run).sentence()
    assert "Pretraining saw 33.3 % of test molecules (2 of 2 hits that could be compared agree by InChIKey)" in sentence
    assert "scaffolds of 33.3 %" in sentence
    assert "16.7 % of test molecules also stand in the training part" in sentence


def test_a_clean_evaluation_is_let_through_and_another_refused_with_its_tasks(run):
    leakage = find_leakage(TwoTasks(), run)
    with pytest.raises(DataError, match=r"saw test molecules of 1 of 2 tasks: first \(2\); pretrain with --exclude-overlap"):
        leakage.require_clean()
    leakage.table["test_seen"] = 0.0
    leakage.require_clean()


def test_a_model_without_a_record_is_told_and_not_taken_for_clean(run, tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    for path in (run / "model").iterdir():
        if not path.name.startswith("seen_"):
            (copy / path.name).write_bytes(path.read_bytes())
    leakage = find_leakage(TwoTasks(), copy)
    assert leakage.table["test_seen"].isna().all()
    assert leakage.table["test_in_train"].tolist() == [1, 0]
    assert "is not recorded beside this model" in leakage.sentence()
    with pytest.raises(DataError, match="has no record of the molecules"):
        leakage.require_clean()


def test_a_copied_model_directory_keeps_the_record_but_not_the_molecules_to_confirm_with(run, tmp_path):
    copy = tmp_path / "model"
    copy.mkdir()
    for path in (run / "model").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    leakage = find_leakage(TwoTasks(), copy)
    assert leakage.table["test_seen"].tolist() == [2, 0]
    assert leakage.table["hits_checked"].tolist() == [0, 0]
    assert "InChIKey" not in leakage.sentence()


def test_without_an_encoder_only_repeats_within_tasks_are_told(tmp_path):
    leakage = find_leakage(TwoTasks())
    assert leakage.sentence() == "16.7 % of test molecules also stand in the training part of their task."
    leakage.require_clean()
    leakage.save(tmp_path / "leakage.csv")
    assert pd.read_csv(tmp_path / "leakage.csv")["test_in_train"].tolist() == [1, 0]


def test_exclusions_of_benchmarks_are_all_their_molecules(tmp_path, monkeypatch):
    folder = tmp_path / "moleculeace"
    folder.mkdir()
    columns = "smiles,y [pEC50/pKi],cliff_mol,split\n"
    (folder / "CHEMBL1_Ki.csv.gz").write_bytes(gzip.compress(f"{columns}CCO,1,0,train\nCCN,2,0,test\n".encode()))
    (folder / "CHEMBL2_Ki.csv.gz").write_bytes(gzip.compress(f"{columns}CCN,1,0,train\nCCC,2,1,test\n".encode()))
    own = tmp_path / "own.csv"
    own.write_text("structure\nCCCC\n")
    ace, table = benchmark_exclusions(["moleculeace", f"table:{own}:structure", "moleculeace"], tmp_path)
    assert (ace.name, set(ace.smiles)) == ("moleculeace", {"CCO", "CCN", "CCC"})
    assert table.smiles == ("CCCC",)


def test_a_run_that_excluded_a_benchmark_is_clean_on_it(tmp_path):
    series = embedded_activities()
    path = tmp_path / "series.csv"
    series.head(60).to_csv(path, index=False)
    excluded = benchmark_exclusions([f"table:{path}"], None)
    config = small_config(trainer={"epochs": 1})
    run = pretrain(series["smiles"].head(200).tolist(), tmp_path / "run", config=config, exclude=excluded)
    leakage = find_leakage(TableBenchmark(path, target="activity", split="random"), run.directory)
    leakage.require_clean()
    assert leakage.is_known
    assert leakage.share("test_seen") == 0
    # The negative control: what it did train on is seen.
    other = tmp_path / "trained_on.csv"
    series.iloc[60:120].to_csv(other, index=False)
    with pytest.raises(DataError):
        find_leakage(TableBenchmark(other, target="activity", split="random"), run.directory).require_clean()


@pytest.mark.parametrize(("name", "message"), [("table", "pass --exclude FILE"), ("nothing", "nothing")])
def test_benchmarks_without_molecules_of_their_own_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        benchmark_exclusions([name], None)
