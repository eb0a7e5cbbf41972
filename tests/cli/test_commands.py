"""Each command by its arguments: what it writes, what it prints, and its exit code."""

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from molbt.cli.main import run
from molbt.evaluation.benchmarks.table import TableBenchmark

SMALL = [
    "--set", "views.a.width=256", "--set", "encoder.embedding_dim=16", "--set", "encoder.hidden=[32]", "--set", "projector.widths=[32, 32]",
    "--set", "trainer.epochs=2", "--set", "trainer.batch_size=64", "--set", "trainer.num_threads=1",
]  # fmt: skip
ALL_FEATURES = ("counts", "descriptors", "counts+descriptors", "pca", "untrained", "embedding", "counts+untrained", "counts+embedding")
MESSY = "CCO ethanol\n\nc1ccccc1O phenol\nC1CC ring\nCCO ethanol\nCCCCN amine\n"


@pytest.fixture
def smi(tmp_path, nci_smiles) -> Path:
    path = tmp_path / "molecules.smi"
    path.write_text("\n".join(nci_smiles) + "\nnot_a_molecule\n")
    return path


@pytest.fixture
def measured(tmp_path, nci_smiles) -> Path:
    from rdkit import Chem
    from rdkit.Chem.Descriptors import MolLogP

    path = tmp_path / "measured.csv"
    frame = pd.DataFrame({"id": range(200), "SMILES": nci_smiles[:200]})
    frame["logp"] = [MolLogP(Chem.MolFromSmiles(smiles)) for smiles in frame["SMILES"]]
    frame.loc[3, "SMILES"] = "C1CC"
    frame.to_csv(path, index=False)
    return path


def test_pretrain_makes_a_model_and_counts_what_it_refused(smi, tmp_path, capsys):
    assert run(["pretrain", str(smi), "-o", str(tmp_path / "run"), *SMALL]) == 0
    captured = capsys.readouterr()
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert "1 rows not used" in captured.err
    assert "8 steps of 64 samples: 4 in each of 2 epochs" in captured.err
    assert "8 steps teach an encoder little" in captured.err
    assert pd.read_csv(tmp_path / "run" / "quarantine.csv")["value"].tolist() == ["not_a_molecule"]
    assert "effective rank" in captured.out
    assert [line for line in captured.err.splitlines() if line.startswith("epoch 2 of 2")]


def test_pretrain_refuses_a_nonempty_output_directory(smi, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert run(["pretrain", str(smi), "-o", str(tmp_path / "run"), *SMALL]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert (tmp_path / "run" / "thesis.txt").read_text() == "mine"


def test_pretrain_refuses_an_unknown_setting_with_the_closest(smi, tmp_path, capsys):
    assert run(["pretrain", str(smi), "-o", str(tmp_path / "run"), "--set", "trainer.epoch=3"]) == 2
    assert "did you mean 'epochs'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_pretrain_names_the_columns_there_are(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("SMILES,y\nCCO,1\n")
    assert run(["pretrain", str(tmp_path / "t.csv"), "-o", str(tmp_path / "run"), *SMALL]) == 1
    error = capsys.readouterr().err
    assert "SMILES, y" in error
    assert "--smiles-column SMILES" in error
    assert len(error.strip().splitlines()) == 1


def test_pretrain_starts_from_another_model_and_keeps_its_settings(smi, tiny_run, tmp_path):
    assert run(["-q", "pretrain", str(smi), "--init", str(tiny_run), "--set", "trainer.epochs=1", "-o", str(tmp_path / "mine")]) == 0
    config = json.loads((tmp_path / "mine" / "model" / "config.json").read_text())
    assert config["run_config"]["encoder"]["embedding_dim"] == 16
    assert config["facts"]["initialised_from"] == str(tiny_run)


def test_pretrain_reads_standard_input(nci_smiles, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(nci_smiles[:100]).encode())))
    assert run(["-q", "pretrain", "-", "-o", str(tmp_path / "run"), *SMALL]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["rows"] == 100


def test_prepare_then_pretrain_gives_the_same_model_as_pretrain_alone(smi, tmp_path):
    assert run(["-q", "prepare", str(smi), "-o", str(tmp_path / "corpus"), *SMALL]) == 0
    assert run(["-q", "pretrain", str(tmp_path / "corpus"), "-o", str(tmp_path / "one"), *SMALL]) == 0
    assert run(["-q", "pretrain", str(smi), "-o", str(tmp_path / "two"), *SMALL]) == 0
    one, two = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_prepare_excludes_molecules_of_another_file(tmp_path, capsys):
    (tmp_path / "all.smi").write_text("CCO\nCCN\nCCCl\nCC(=O)[O-].[Na+]\n")
    (tmp_path / "test.csv").write_text("smiles\nOCC\nCC(=O)O\n")
    assert run(["prepare", str(tmp_path / "all.smi"), "-o", str(tmp_path / "c"), "--exclude", str(tmp_path / "test.csv"), *SMALL]) == 0
    assert "2 distinct usable samples" in capsys.readouterr().out
    refused = pd.read_csv(tmp_path / "c" / "quarantine.csv")
    assert refused["row"].tolist() == [0, 3]


@pytest.mark.parametrize("ending", ["parquet", "csv", "tsv"])
def test_featurize_keeps_every_row_in_order(ending, tiny_run, tmp_path, capsys):
    (tmp_path / "messy.smi.gz").write_bytes(gzip.compress(MESSY.encode()))
    output = tmp_path / f"features.{ending}"
    assert run(["featurize", str(tmp_path / "messy.smi.gz"), "--model", str(tiny_run), "-o", str(output)]) == 0
    frame = (
        pd.read_parquet(output)
        if ending == "parquet"
        else pd.read_csv(output, sep="\t" if ending == "tsv" else ",", dtype={"molbt_reason": str})
    )
    features = frame.filter(like="moleculefeaturizer").to_numpy()
    assert frame["name"].fillna("").tolist() == ["ethanol", "", "phenol", "ring", "ethanol", "amine"]
    assert features.shape == (6, 16)
    assert np.isnan(features).all(axis=1).tolist() == [False, True, False, True, False, False]
    np.testing.assert_array_equal(features[0], features[4])
    reasons = frame["molbt_reason"].fillna("").tolist()
    assert [bool(reason) for reason in reasons] == [False, True, False, True, False, False]
    assert "2 rows refused" in capsys.readouterr().out


def test_featurize_of_its_own_output_replaces_its_columns(smi, tiny_run, tmp_path, capsys):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    assert run(["featurize", str(smi), "--model", str(tiny_run), "-o", str(first)]) == 0
    assert run(["featurize", str(first), "--model", str(tiny_run), "-o", str(second)]) == 0
    assert "written anew: molbt_reason" in capsys.readouterr().err
    assert second.read_text() == first.read_text()


def test_featurize_refuses_an_output_it_cannot_write_before_the_work(smi, tiny_run, tmp_path, capsys):
    assert run(["featurize", str(smi), "--model", str(tiny_run), "-o", str(tmp_path / "f.xlsx")]) == 2
    assert ".parquet" in capsys.readouterr().err
    assert run(["featurize", str(smi), "--model", str(tiny_run), "-o", str(tmp_path / "none" / "f.csv")]) == 1
    assert "does not exist" in capsys.readouterr().err


def test_featurize_refuses_to_replace_its_input(tiny_run, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("smiles,y\nCCO,1\nCCN,2,3\n")  # the cells of the second row are nowhere else
    assert run(["featurize", str(tmp_path / "t.csv"), "--model", str(tiny_run), "-o", str(tmp_path / "." / "t.csv")]) == 2
    assert "is the input itself" in capsys.readouterr().err
    assert (tmp_path / "t.csv").read_text().endswith("CCN,2,3\n")


def test_an_unfinished_run_is_no_model_and_is_told_how_to_become_one(tmp_path, smi, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    assert run(["featurize", str(smi), "--model", str(tmp_path / "run"), "-o", str(tmp_path / "f.csv")]) == 1
    assert "--resume" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["0", "-2"])
def test_a_number_of_workers_that_is_none_is_a_usage_error(smi, tiny_run, tmp_path, capsys, jobs):
    assert run(["featurize", str(smi), "--model", str(tiny_run), "-o", str(tmp_path / "f.csv"), "--jobs", jobs]) == 2
    assert "-1 for all cores" in capsys.readouterr().err


def test_fit_refuses_a_used_directory_before_the_work(tmp_path, capsys):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "thesis.txt").write_text("mine")
    assert run(["fit", str(tmp_path / "never_read.csv"), "--target", "y", "-o", str(tmp_path / "p")]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_featurize_warns_when_every_row_was_refused(tiny_run, tmp_path, capsys):
    (tmp_path / "commas.smi").write_text("1,CCO\n2,CCN\n")
    assert run(["featurize", str(tmp_path / "commas.smi"), "--model", str(tiny_run), "-o", str(tmp_path / "f.csv")]) == 0
    assert "every row was refused" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "f.csv")) == 2


def test_featurize_refuses_a_missing_model(smi, tmp_path, capsys):
    assert run(["featurize", str(smi), "--model", str(tmp_path / "none"), "-o", str(tmp_path / "f.csv")]) == 1
    assert "molbt pretrain" in capsys.readouterr().err


def test_fit_shows_the_control_and_predict_keeps_rows(measured, tiny_run, tmp_path, capsys):
    code = run(
        [
            "fit",
            str(measured),
            "--target",
            "logp",
            "--smiles-column",
            "SMILES",
            "--model",
            str(tiny_run),
            "-o",
            str(tmp_path / "p"),
            "--folds",
            "3",
        ]
    )
    assert code == 0
    shown = capsys.readouterr().out
    assert "199 rows used, 1 refused" in shown
    assert re.search(r"RMSE in 3 random folds, counts: .*\(control\)", shown)
    assert "counts+embedding" in shown
    code = run(["predict", str(measured), "--smiles-column", "SMILES", "--predictor", str(tmp_path / "p"), "-o", str(tmp_path / "out.csv")])
    assert code == 0
    predicted = pd.read_csv(tmp_path / "out.csv")
    assert predicted["id"].tolist() == list(range(200))
    assert np.isnan(predicted["prediction"][3])
    assert isinstance(predicted["molbt_reason"][3], str)
    assert predicted["prediction"].drop(3).notna().all()
    folds = json.loads((tmp_path / "p" / "predictor.json").read_text())["facts"]["folds"]["logp"]["counts"]
    capsys.readouterr()
    assert run(["info", str(tmp_path / "p")]) == 0
    assert f"RMSE in 3 random folds, counts: {sum(folds) / 3:.4f}" in capsys.readouterr().out
    known = predicted.drop(3)
    assert np.corrcoef(known["prediction"], known["logp"])[0, 1] > 0.9  # its own training rows: it has learned something


def test_fit_without_a_model_uses_counts(measured, tmp_path, capsys):
    assert (
        run(
            [
                "fit",
                str(measured),
                "--target",
                "logp",
                "--smiles-column",
                "SMILES",
                "--head",
                "ridge",
                "--folds",
                "0",
                "-o",
                str(tmp_path / "p"),
            ]
        )
        == 0
    )
    assert "features counts" in capsys.readouterr().out
    assert not (tmp_path / "p" / "model").exists()


def test_evaluate_table_prints_every_control_and_writes_the_page(measured, tiny_run, tmp_path, capsys):
    code = run(
        ["evaluate", "table", str(measured), "--target", "logp", "--smiles-column", "SMILES", "--split", "random", "--repeats", "1",
         "--model", str(tiny_run), "--heads", "ridge", "-o", str(tmp_path / "report")]
    )  # fmt: skip
    assert code == 0
    shown = capsys.readouterr().out
    for features in ALL_FEATURES:
        assert re.search(rf"^{re.escape(features)} ", shown, re.MULTILINE), features
    results = pd.read_csv(tmp_path / "report" / "results.csv")
    assert set(results["features"]) == set(ALL_FEATURES)
    assert "<svg" in (tmp_path / "report" / "report.html").read_text()


def test_replicates_are_all_trained_on_or_all_tested(tmp_path, nci_smiles):
    # Ten rows of ethanol, written in two ways, among thirty.
    frame = pd.DataFrame({"smiles": ["CCO", "OCC"] * 5 + nci_smiles[:20], "y": range(30)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    evaluate = ["evaluate", "table", str(tmp_path / "t.csv"), "--target", "y", "--heads", "ridge", "--split", "random", "--repeats", "5"]
    assert run([*evaluate, "-o", str(tmp_path / "r")]) == 0
    benchmark = TableBenchmark(tmp_path / "t.csv", target="y", split="random", repeats=5)
    sides = [{"train": 0, "test": 0} for _ in range(5)]
    for task in benchmark.tasks():
        for part in ("train", "test"):
            sides[task.repeat][part] = int((task.parts[part] < 10).sum())
    assert all(sorted(counts.values()) == [0, 10] for counts in sides)
    # The command scored those very rows.
    results = pd.read_csv(tmp_path / "r" / "results.csv")
    sizes = results.groupby("repeat")["n_test"].first().tolist()
    assert sizes == [len(task.parts["test"]) for task in benchmark.tasks()]


def test_several_targets_of_a_file_are_one_data_set_and_so_have_no_interval(measured, tmp_path, capsys):
    frame = pd.read_csv(measured).assign(length=lambda table: table["SMILES"].str.len())
    frame.to_csv(tmp_path / "two.csv", index=False)
    code = run(
        ["evaluate", "table", str(tmp_path / "two.csv"), "--target", "logp,length", "--smiles-column", "SMILES", "--split", "random",
         "--heads", "ridge", "-o", str(tmp_path / "r")]
    )  # fmt: skip
    assert code == 0
    assert "one data set, so no interval" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "r" / "results.csv")["task"]) == {"logp", "length"}


def test_evaluate_refuses_a_layer_without_a_model(measured, tmp_path, capsys):
    assert run(["evaluate", "table", str(measured), "--target", "logp", "--layer", "hidden_1", "-o", str(tmp_path / "r")]) == 2
    assert "--model" in capsys.readouterr().err


def test_help_lists_the_heads_there_are(capsys):
    from molbt.cli.options import HEADS_HELP
    from molbt.predict.heads import HEADS

    assert set(re.findall(r"\w+", HEADS_HELP)) - {"or"} == set(HEADS)


def test_evaluate_refuses_an_option_the_benchmark_does_not_take(tmp_path, capsys, real_data):
    assert run(["evaluate", "moleculeace", "--target", "y", "--data-dir", str(real_data), "-o", str(tmp_path / "r")]) == 2
    assert "--target" in capsys.readouterr().err


def test_info_describes_runs_models_corpora_predictors_and_the_installation(smi, tiny_run, tmp_path, capsys):
    assert run(["-q", "prepare", str(smi), "-o", str(tmp_path / "corpus"), *SMALL]) == 0
    for path, word in ((tiny_run, "finished"), (tiny_run / "model", "embedding width: 16"), (tmp_path / "corpus", "301 rows")):
        capsys.readouterr()
        assert run(["info", str(path)]) == 0
        assert word in capsys.readouterr().out
    assert run(["info"]) == 0
    assert "barlow_twins" in capsys.readouterr().out
    assert run(["info", "--presets"]) == 0
    assert "redundancy_weight" in capsys.readouterr().out
    assert run(["info", str(tmp_path)]) == 1


def test_usage_errors_exit_with_2(capsys):
    assert run(["pretrain"]) == 2
    assert run(["nosuch"]) == 2
    assert run(["--version"]) == 0
    assert "molbt" in capsys.readouterr().out


def test_quiet_may_stand_behind_the_command(smi, tiny_run, tmp_path, capsys):
    assert run(["pretrain", str(smi), "--init", str(tiny_run), "-o", str(tmp_path / "run"), "--set", "trainer.epochs=1", "-q"]) == 0
    assert "epoch 1" not in capsys.readouterr().err


def test_a_file_system_error_names_the_path_and_what_to_do(smi, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MOLBT_CACHE", str(tmp_path / "file" / "cache"))
    assert run(["pretrain", str(smi), "-o", str(tmp_path / "run"), *SMALL]) == 1
    assert re.fullmatch(
        r"molbt: cannot write .*file/cache.*: Not a directory; free space or correct the permissions.*\n", capsys.readouterr().err
    )


def test_debug_shows_a_traceback(tmp_path, capsys):
    assert run(["info", str(tmp_path), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_terminated_run_saves_exits_130_and_resumes_to_the_same_model(smi, tmp_path, capsys):
    command = [sys.executable, "-m", "molbt", "pretrain", str(smi), *SMALL, "--set", "trainer.epochs=100"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    stopped = subprocess.Popen([*command, "-o", str(tmp_path / "run")], stderr=subprocess.PIPE, text=True, env=environment)
    metrics = tmp_path / "run" / "metrics.csv"
    deadline = time.monotonic() + 120
    while not metrics.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)
    _, error = stopped.communicate(timeout=180)
    assert stopped.returncode == 130
    assert "--resume" in error
    assert not (tmp_path / "run" / "model").exists()
    # Without --config and --preset, --resume takes the settings of the run itself; what is changed beside them is refused by name.
    resume = ["-q", "pretrain", str(smi), "-o", str(tmp_path / "run"), "--resume"]
    capsys.readouterr()
    assert run([*resume, "--set", "trainer.epochs=50"]) == 2
    assert "other settings: trainer.epochs: 100 -> 50. Resume" in capsys.readouterr().err
    assert run([*resume, "--smiles-column", "structure"]) == 1
    assert "column 'structure' is not in" in capsys.readouterr().err
    assert run(resume) == 0
    assert run(["-q", "pretrain", str(smi), "-o", str(tmp_path / "whole"), *SMALL, "--set", "trainer.epochs=100"]) == 0
    resumed, whole = ((tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("run", "whole"))
    assert resumed == whole
