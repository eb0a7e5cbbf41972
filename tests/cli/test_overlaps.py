"""Options about overlaps: what they exclude, print and refuse."""

import numpy as np
import pandas as pd
import pytest

from molbt.cli.main import run
from molbt.data.seen_molecules import SeenMolecules

SMALL = [
    "--set", "views.a.width=256", "--set", "encoder.embedding_dim=16", "--set", "encoder.hidden=[32]", "--set", "projector.widths=[32, 32]",
    "--set", "trainer.epochs=1", "--set", "trainer.batch_size=64", "--set", "trainer.num_threads=1",
]  # fmt: skip


@pytest.fixture
def files(tmp_path, nci_smiles):
    """Molecules to pretrain on, and a measured table of which the first are among them."""
    (tmp_path / "all.smi").write_text("\n".join(nci_smiles[:200]) + "\n")
    frame = pd.DataFrame({"structure": nci_smiles[150:250], "y": np.arange(100.0)})
    frame.to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path


def evaluate(files, *options):
    return run([
        "evaluate", "table", str(files / "mine.csv"), "--target", "y", "--smiles-column", "structure",
        "--split", "random", "--heads", "ridge",
        "--model", str(files / "run"), "-o", str(files / "out"), *options,
    ])  # fmt: skip


def test_overlaps_are_excluded_printed_and_refused_when_asked(files, capsys):
    assert run(["pretrain", str(files / "all.smi"), "-o", str(files / "run"), *SMALL]) == 0
    capsys.readouterr()
    assert evaluate(files, "--require-clean") == 1
    assert "saw test molecules of 1 of 1 tasks: y (" in capsys.readouterr().err
    assert not (files / "out" / "results.csv").exists()
    assert evaluate(files, "--write-card") == 0
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if line.startswith("* Pretraining saw "))
    table = pd.read_csv(files / "out" / "leakage.csv")
    assert f"saw {100 * table['test_seen'][0] / table['test_molecules'][0]:.1f} % of test molecules" in line
    page = (files / "out" / "report.html").read_text()
    assert line.removeprefix("* ") in page
    assert "<h2>Map of the evaluated molecules</h2>" in page
    assert line in (files / "run" / "model" / "README.md").read_text()


def test_exclude_overlap_makes_an_evaluation_clean(files, capsys):
    exclude = f"table:{files / 'mine.csv'}:structure"
    assert run(["pretrain", str(files / "all.smi"), "-o", str(files / "run"), "--exclude-overlap", exclude, *SMALL]) == 0
    assert len(SeenMolecules.load(files / "run" / "model").molecules) < 155
    assert evaluate(files, "--require-clean") == 0
    assert "* Pretraining saw 0.0 % of test molecules" in capsys.readouterr().out
    assert "mine.csv were excluded" in (files / "run" / "model" / "README.md").read_text()


def test_exclude_takes_the_name_of_a_column(files, capsys):
    excluded = f"{files / 'mine.csv'}:structure"
    assert run(["prepare", str(files / "all.smi"), "-o", str(files / "c"), "--exclude", excluded, *SMALL]) == 0
    assert "excluded" in capsys.readouterr().out
    assert run(["prepare", str(files / "all.smi"), "-o", str(files / "d"), "--exclude", str(files / "mine.csv"), *SMALL]) == 1
    assert "(columns: structure, y)" in capsys.readouterr().err


def test_unknown_benchmarks_to_exclude_are_refused_before_any_work(files, capsys):
    assert run(["pretrain", str(files / "all.smi"), "-o", str(files / "run"), "--exclude-overlap", "molecule_ace", *SMALL]) == 2
    assert "moleculeace" in capsys.readouterr().err
    assert not (files / "run").exists()


def test_a_card_needs_a_model(files, capsys):
    arguments = ["evaluate", "table", str(files / "mine.csv"), "--target", "y", "-o", str(files / "out"), "--write-card"]
    assert run(arguments) == 2
    assert "pass --model" in capsys.readouterr().err


def test_a_card_is_not_written_into_the_package(files, capsys):
    arguments = ["evaluate", "table", str(files / "mine.csv"), "--target", "y", "--smiles-column", "structure", "-o", str(files / "out")]
    assert run([*arguments, "--model", "default", "--write-card"]) == 2
    assert "molbt export --model default -o" in capsys.readouterr().err
    assert not (files / "out").exists()
