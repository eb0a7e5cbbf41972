import gzip
import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_fs_mol import MOLECULES, PHOSPHATE, line, write_fs_mol, write_task
from rdkit import Chem, rdBase

from molbt.data.fs_mol import FSMolData, read_packed, read_task, repair_smiles, with_policy
from molbt.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FSMolData:
    return FSMolData(write_fs_mol(tmp_path_factory.mktemp("made")) / "fs-mol")


def readable(smiles: str) -> bool:
    with rdBase.BlockLogs():
        return Chem.MolFromSmiles(smiles) is not None


def test_rows_keep_their_places_and_say_why_they_are_of_no_use(tmp_path: Path) -> None:
    lines = [line("CCO", "1.0"), line("", "1.0"), line("CCN", ""), line("CCC", "0.5"), {"SMILES": "CC"}, line("CCF", "0.0")]
    write_task(tmp_path / "A.jsonl.gz", lines)
    task = read_task(tmp_path / "A.jsonl.gz")
    assert task.name == "A"
    assert task.frame["smiles"].tolist() == ["CCO", "", "CCN", "CCC", "CC", "CCF"]
    np.testing.assert_array_equal(task.y, [1, np.nan, np.nan, np.nan, np.nan, 0])
    assert task.frame["reason"].tolist() == ["", "no SMILES", *["label neither 0 nor 1"] * 3, ""]
    assert task.counts == {"rows": 6, "repaired": 0, "no SMILES": 1, "label neither 0 nor 1": 3}


def test_all_official_fields_and_only_two_of_them_give_the_same_task(tmp_path: Path) -> None:
    computed = {"fingerprints": [0, 1], "descriptors": [0.5], "graph": {"adjacency_lists": []}, "LogRegressionProperty": "7.1"}
    write_task(tmp_path / "full" / "A.jsonl.gz", [line("CCO", "1.0", **computed), line("CCN", "0.0", RegressionProperty="-1.0")])
    write_task(tmp_path / "bare" / "A.jsonl.gz", [{"SMILES": "CCO", "Property": "1.0"}, {"SMILES": "CCN", "Property": "0.0"}])
    full, bare = (read_task(tmp_path / kind / "A.jsonl.gz").frame for kind in ("full", "bare"))
    pd.testing.assert_frame_equal(full.drop(columns="value"), bare.drop(columns="value"))
    np.testing.assert_array_equal(full["value"], [69.0, np.nan])  # −1 means that it was not given
    assert bare["value"].isna().all()


@pytest.mark.parametrize(
    ("smiles", "meant"),
    [
        ("CO[PH](=O)(=O)OC", "COP(=O)(O)OC"),
        ("O=[PH](=O)OCC", "O=P(O)OCC"),
        ("O=[PH](=O)OC[PH](=O)(=O)O", "O=P(O)OCP(=O)(O)O"),
        ("CP(C)C", "CP(C)C"),
    ],
)
def test_phosphorus_groups_are_repaired(smiles: str, meant: str) -> None:
    assert repair_smiles(smiles) == meant
    assert readable(meant)
    assert readable(smiles) == (smiles == meant)


def test_repairs_are_counted(data: FSMolData) -> None:
    task = data.read("test", "T3")
    assert task.counts == {"rows": 24, "repaired": 1}
    assert task.frame["smiles"].iloc[-1] == repair_smiles(PHOSPHATE)


def test_repeated_molecules_follow_the_stated_policy(tmp_path: Path) -> None:
    lines = [line(s, label) for s, label in [("C", "1.0"), ("CC", "1.0"), ("C", "1.0"), ("CC", "0.0"), ("CCC", "0.0"), ("C", "1.0")]]
    write_task(tmp_path / "A.jsonl.gz", lines)
    task = read_task(tmp_path / "A.jsonl.gz")
    np.testing.assert_array_equal(with_policy(task, "published").y, [1, 1, 1, 0, 0, 1])
    distinct = with_policy(task, "distinct")
    np.testing.assert_array_equal(distinct.y, [1, np.nan, np.nan, np.nan, 0, np.nan])
    assert distinct.counts == {"rows": 6, "repaired": 0, "conflicting labels of one molecule": 2, "repeat of an earlier row": 2}
    np.testing.assert_array_equal(task.y, [1, 1, 1, 0, 0, 1])  # the task itself stays as it was


def test_task_lists_are_the_official_ones_that_are_there(data: FSMolData) -> None:
    assert data.names("test") == ("T1", "T2", "T3")
    assert data.missing("test") == ("T9",)
    assert [task.name for task in data.tasks("valid")] == ["V1"]
    write_task(data.directory / "test" / "T0.jsonl.gz", [line("C", "1.0")])  # no official task
    assert "T0" not in data.names("test")


def test_rows_of_a_part_come_from_the_packed_file_or_the_single_ones(data: FSMolData, tmp_path: Path) -> None:
    single = data.rows("train")
    assert single["task"].tolist() == ["A1"] * 45 + ["A2"] * 32
    packed = tmp_path / "fsmol_train.parquet"
    raw = pd.DataFrame({"SMILES": single["smiles"], "Property": single["label"].astype(int), "Assay_ID": single["task"]})
    raw.to_parquet(packed)
    pd.testing.assert_frame_equal(read_packed(packed).drop(columns="value"), single.drop(columns="value"), check_dtype=False)
    assert FSMolData(tmp_path).rows("train")["smiles"].tolist() == MOLECULES[60:105] + MOLECULES[60:70] + MOLECULES[170:192]


def test_damage_and_unknown_names_are_told(data: FSMolData, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="molbt data get fs-mol"):
        FSMolData(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="did you mean 'T"):
        data.read("test", "T")
    with pytest.raises(ConfigError, match="unknown part 'tests'"):
        data.names("tests")
    with pytest.raises(ConfigError, match="unknown policy"):
        FSMolData(data.directory, duplicates="median")
    path = tmp_path / "A.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"SMILES": "C", "Property": "1.0"}\nnot JSON\n'))
    with pytest.raises(DataError, match="line 2"):
        read_task(path)
    path.write_bytes(gzip.compress(b'{"SMILES": "C", "Property": "1.0"}\n' * 50)[:-12])
    with pytest.raises(DataError, match="cut short"):
        read_task(path)


def test_real_tasks_have_the_rows_of_their_files(real_data: Path) -> None:
    data = FSMolData(real_data / "fs-mol")
    assert {part: (len(data.names(part)), len(data.missing(part))) for part in ("valid", "test")} == {"valid": (39, 1), "test": (133, 24)}
    counts: Counter = Counter()
    for task in data.tasks("test"):
        counts.update(task.counts)
    # The description of the collection: 45,085 rows, none of them without a label.
    assert counts["rows"] == 45_085
    assert set(counts) == {"rows", "repaired"}
    name = data.names("test")[0]
    with gzip.open(data.directory / "test" / f"{name}.jsonl.gz", "rt") as file:
        raw = [json.loads(text) for text in file]
    assert data.read("test", name).y.tolist() == [float(entry["Property"]) for entry in raw]


def test_real_full_and_bare_files_give_the_same_task(real_data: Path) -> None:
    name = "CHEMBL1613898.jsonl.gz"
    full, bare = (read_task(real_data / folder / "test" / name).frame for folder in ("fs-mol-full", "fs-mol"))
    pd.testing.assert_frame_equal(full, bare)


@pytest.mark.slow
def test_repaired_training_molecules_can_be_read(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    rows = FSMolData(real_data / "fs-mol").rows("train")
    assert len(rows) == 412_402
    repaired = rows["smiles"][rows["repaired"]].unique()
    # The description of the collection: 1,247 molecules are not read, 1,243 of them are after the repair.
    assert sum(map(readable, repaired)) == 1_243
