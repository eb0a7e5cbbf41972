"""The table to pretrain on, against the files that it is made of."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from made_fs_mol import MOLECULES, PHOSPHATE, is_active, write_fs_mol

from molbt.cli.main import run
from molbt.data.fs_mol import FSMolData, repair_smiles
from molbt.data.fs_mol_pairs import labelled_pairs
from molbt.errors import DataError


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    directory = write_fs_mol(tmp_path / "made")
    texts = [{"task": "A1", "text": "nitrogen"}, {"task": "T3", "text": "nitrogen, later"}, {"task": "A2", "text": " "}]
    with gzip.open(directory / "fs-mol" / "task_text.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in texts)
    return directory


def test_rows_carry_the_text_of_their_assay(data_dir: Path) -> None:
    table = labelled_pairs(FSMolData(data_dir / "fs-mol"), "train")
    assert list(table.columns) == ["smiles", "task", "label", "text"]
    first, second = table[table["task"] == "A1"], table[table["task"] == "A2"]
    assert first["smiles"].tolist() == MOLECULES[60:105]
    assert first["label"].tolist() == [float(is_active(smiles)) for smiles in MOLECULES[60:105]]
    assert set(first["text"]) == {"nitrogen"}
    assert second["text"].isna().all()
    test = labelled_pairs(FSMolData(data_dir / "fs-mol"), "test")
    assert test.iloc[-1].tolist() == [repair_smiles(PHOSPHATE), "T3", 1.0, "nitrogen, later"]


def test_the_command_writes_the_table(data_dir: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "pairs.csv"
    assert run(["data", "pairs", "-o", str(output), "--data-dir", str(data_dir)]) == 0
    assert "77 labelled rows of 2 tasks, 1 texts" in capsys.readouterr().out
    pd.testing.assert_frame_equal(
        pd.read_csv(output)[["smiles", "task"]], labelled_pairs(FSMolData(data_dir / "fs-mol"), "train")[["smiles", "task"]]
    )
    assert run(["data", "pairs", "-o", str(tmp_path / "pairs.txt"), "--data-dir", str(data_dir)]) == 2


def test_actives_alone_are_pairs_that_belong_together(data_dir: Path, tmp_path: Path, capsys) -> None:
    command = ["data", "pairs", "--actives", "-o", str(tmp_path / "pairs.csv"), "--data-dir", str(data_dir)]
    assert run(command) == 0
    whole = labelled_pairs(FSMolData(data_dir / "fs-mol"), "train")
    assert pd.read_csv(tmp_path / "pairs.csv")["smiles"].tolist() == whole.loc[whole["label"] == 1, "smiles"].tolist()
    assert run([*command, "--partners", "2"]) != 0
    assert "leave one of them out" in capsys.readouterr().err


def test_missing_descriptions_are_an_error(data_dir: Path) -> None:
    (data_dir / "fs-mol" / "task_text.jsonl.gz").unlink()
    with pytest.raises(DataError, match="task_text"):
        labelled_pairs(FSMolData(data_dir / "fs-mol"), "train")
