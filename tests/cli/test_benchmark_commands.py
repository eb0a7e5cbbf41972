"""``evaluate`` on public data sets, run in this process."""

from pathlib import Path

import pandas as pd

from molbt.cli.main import run


def test_evaluate_moleculenet_prints_each_family_fraction_and_what_was_cut(real_data: Path, tmp_path: Path, capsys) -> None:
    arguments = ["evaluate", "moleculenet", "--data-dir", str(real_data), "-o", str(tmp_path / "r"), "--heads", "tanimoto_svm", "-q"]
    arguments += ["--datasets", "bbbp,esol,freesolv", "--max-rows", "100", "--fractions", "0.2,1", "--split", "scaffold_random"]
    assert run([*arguments, "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("moleculenet: ROC AUC, higher is better") == 2
    assert printed.count("moleculenet: R²") == 2  # RMSE of two units has no mean
    assert printed.count("0.2 of the training labels") == 3
    assert printed.count("RMSE by task, lower is better; no mean") == 2
    assert "bbbp: 100 of 2050 rows, drawn at random" in printed
    results = pd.read_csv(tmp_path / "r" / "results.csv")
    assert results.groupby("data_set")["n_train"].agg(set).map(sorted).to_dict()["esol"] == [16, 80]
    assert (tmp_path / "r" / "report.html").is_file()


def test_evaluate_refuses_fractions_that_are_no_numbers(real_data: Path, tmp_path: Path, capsys) -> None:
    arguments = ["evaluate", "moleculenet", "--data-dir", str(real_data), "-o", str(tmp_path / "r"), "--heads", "tanimoto_svm"]
    assert run([*arguments, "--fractions", "all"]) == 2
    assert "--fractions must be numbers above 0 and up to 1" in capsys.readouterr().err
    assert run([*arguments, "--fractions", "2"]) == 2
    assert "fractions above 0 and up to 1, got [2.0]" in capsys.readouterr().err


def test_evaluate_table_splits_by_time(tmp_path: Path, capsys) -> None:
    smiles = ["C" * n + end for n in range(1, 13) for end in ("O", "N", "c1ccccc1", "C1CC1")]
    frame = pd.DataFrame({"smiles": smiles, "y": [float(len(text)) for text in smiles], "year": range(1_980, 2_028)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    arguments = ["evaluate", "table", str(tmp_path / "t.csv"), "--target", "y", "--heads", "tanimoto_svm", "-o", str(tmp_path / "r")]
    assert run([*arguments, "--split", "time"]) == 2
    assert "--time-column" in capsys.readouterr().err
    assert run([*arguments, "--split", "time", "--time-column", "year"]) == 0
    assert set(pd.read_csv(tmp_path / "r" / "results.csv")["split"]) == {"time"}
