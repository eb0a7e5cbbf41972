import logging
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem, RDConfig, rdBase

from molbt.data import sources
from molbt.data.sources import data_dir, embedded_activities, embedded_molecules
from molbt.errors import DataError


def test_embedded_molecules_are_the_distinct_ones_of_rdkits_files(caplog):
    with caplog.at_level(logging.INFO, logger="molbt.data.sources"):
        frame = embedded_molecules()
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    originals = [line.split("\t")[0] for line in lines]
    originals += [
        line.split('"')[1] for line in (Path(RDConfig.RDDataDir) / "Pains" / "test_data" / "wehi_mols.csv").read_text().splitlines()
    ]
    assert len(originals) == 14_999
    with rdBase.BlockLogs():
        mols = [Chem.MolFromSmiles(smiles) for smiles in originals]
    first = {Chem.MolToSmiles(mol): smiles for mol, smiles in reversed(list(zip(mols, originals, strict=True))) if mol is not None}
    assert sum(mol is None for mol in mols) == 8
    assert "14999 rows, 8 not readable" in caplog.text
    assert len(frame) == len(first) == 14_882
    assert set(frame["smiles"]) == set(first.values())
    place = {smiles: row for row, smiles in reversed(list(enumerate(originals)))}
    assert list(frame) == ["smiles", "source"]
    assert frame["smiles"].tolist() == sorted(frame["smiles"], key=place.__getitem__)
    assert frame["source"].value_counts().to_dict() == {"wehi": 9_990, "nci": 4_892}


def test_embedded_activities_join_smiles_and_values():
    frame = embedded_activities()
    assert list(frame) == ["smiles", "name", "activity"]
    assert len(frame) == 1_017
    assert frame["activity"].dtype == np.float64
    assert (frame["activity"].min(), frame["activity"].max()) == (4.27, 9.22)
    # Read off the two files by hand: the first line of the .smi, and its line in _act.csv.
    assert tuple(frame.iloc[0]) == ("O=S(=O)(Nc1cccs1)c2ccc(Oc3ccccc3c4ccccc4)c(c2)C#N", "1520012", 5.48)
    assert frame.set_index("name").loc["1520304", "activity"] == 5.52


def test_a_build_of_rdkit_without_data_is_a_clear_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.RDConfig, "RDDataDir", str(tmp_path))
    monkeypatch.setattr(sources.RDConfig, "RDContribDir", str(tmp_path))
    with pytest.raises(DataError, match=r"lacks .*first_5K\.smi"):
        embedded_molecules()
    with pytest.raises(DataError, match=r"lacks .*CHEMBL2321810\.smi"):
        embedded_activities()


def test_data_dir_takes_the_argument_then_the_variable_then_the_folder_beside(tmp_path, monkeypatch):
    project = tmp_path / "elsewhere" / "project"
    for folder in (project, tmp_path / "argument", tmp_path / "variable", tmp_path / "elsewhere" / "shared" / "data"):
        folder.mkdir(parents=True)
    monkeypatch.chdir(project)
    monkeypatch.setenv("MOLBT_DATA", str(tmp_path / "variable"))
    assert data_dir(tmp_path / "argument") == tmp_path / "argument"
    assert data_dir() == tmp_path / "variable"
    monkeypatch.delenv("MOLBT_DATA")
    assert data_dir() == tmp_path / "elsewhere" / "shared" / "data"


def test_data_dir_says_what_to_do_when_there_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOLBT_DATA", raising=False)
    monkeypatch.setattr(sources, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    with pytest.raises(DataError, match="pass --data-dir FOLDER, set MOLBT_DATA, or run: molbt data get NAME"):
        data_dir()
    with pytest.raises(DataError, match="named by --data-dir"):
        data_dir(tmp_path / "none")
    monkeypatch.setenv("MOLBT_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match="named by the environment variable MOLBT_DATA"):
        data_dir()
