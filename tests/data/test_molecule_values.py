"""Values of molecules, against RDKit's own, and that what kills a process costs its own molecule."""

import gzip

import numpy as np
import pandas as pd
import poison
import pytest
from poison import CRASH, molecules
from rdkit import Chem
from rdkit.Chem.Crippen import MolLogP
from rdkit.Chem.Descriptors import MolWt
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from molbt.data import isolation, molecule_values
from molbt.data.mol_blocks import smiles_of_blocks
from molbt.data.molecule_groups import cluster_keys, scaffold_keys
from molbt.data.molecule_values import crippen_logp, molar_masses, scaffolds
from molbt.data.tables import iter_table, read_table
from molbt.errors import DataError

VALUES = [*molecules(60), "C1CC", "", None, float("nan")]


def test_values_are_those_of_rdkit():
    mols = [Chem.MolFromSmiles(text) for text in VALUES[:60]]
    np.testing.assert_array_equal(molar_masses(VALUES), [*map(MolWt, mols), *[np.nan] * 4])
    np.testing.assert_array_equal(crippen_logp(VALUES), [*map(MolLogP, mols), *[np.nan] * 4])
    assert scaffolds(VALUES) == [*(MurckoScaffoldSmiles(mol=mol) for mol in mols), *[None] * 4]


@pytest.fixture
def deadly(monkeypatch):
    """Isolate however few values there are, and die of a marked one."""
    monkeypatch.setattr(isolation, "ISOLATED_FROM", -1)


def test_a_molecule_that_is_not_survived_has_no_value(deadly, monkeypatch):
    monkeypatch.setattr(molecule_values, "_molar_mass", poison.mass_or_death)
    values = ["CCO", CRASH, "CCN"]
    expected = [MolWt(Chem.MolFromSmiles("CCO")), np.nan, MolWt(Chem.MolFromSmiles("CCN"))]
    np.testing.assert_array_equal(molar_masses(values), expected)


def test_splits_survive_a_molecule_that_kills(deadly, monkeypatch):
    monkeypatch.setattr("molbt.data.molecule_groups.identity_hashes", poison.identities)
    values = [*molecules(20), CRASH, "c1ccccc1C"]
    kinds = [[kind for kind, _ in keys(values)] for keys in (scaffold_keys, cluster_keys)]
    assert kinds == [["scaffold"] * 20 + ["refused", "scaffold"], ["cluster"] * 20 + ["refused", "cluster"]]


def sdf(texts):
    return "".join(f"{Chem.MolToMolBlock(Chem.MolFromSmiles(text))}> <y>\n{place}\n\n$$$$\n" for place, text in enumerate(texts))


def test_a_mol_block_that_kills_costs_its_own_row(deadly, monkeypatch, tmp_path):
    monkeypatch.setattr("molbt.data.mol_blocks.read_blocks", poison.blocks)
    texts = ["CCO", "CCN", CRASH, "CCC"]
    (tmp_path / "t.sdf").write_text(sdf(texts))
    table = read_table(tmp_path / "t.sdf")
    assert table.frame["smiles"].tolist() == ["CCO", "CCN", "", "CCC"]
    assert table.frame["y"].tolist() == ["0", "1", "", "3"]
    assert table.problems == {2: "RDKit crashed on it (signal 11)"}


def test_a_long_file_is_isolated_from_its_first_record_to_its_last(monkeypatch, tmp_path):
    monkeypatch.setattr("molbt.data.records._RECORDS_AT_ONCE", 3)
    monkeypatch.setattr("molbt.data.mol_blocks.read_blocks", poison.blocks)
    texts = [CRASH, "CCO", "CCN", "CCC", CRASH, "CO", CRASH]
    (tmp_path / "t.sdf").write_text(sdf(texts))
    chunks = list(iter_table(tmp_path / "t.sdf", chunk_rows=2))
    frame = pd.concat([chunk.frame for chunk in chunks])
    assert frame["smiles"].tolist() == ["", "CCO", "CCN", "CCC", "", "CO", ""]
    assert sorted(row for chunk in chunks for row in chunk.problems) == [0, 4, 6]


def test_records_before_a_cut_come_before_the_error(tmp_path):
    whole = gzip.compress(sdf(molecules(200)).encode(), compresslevel=0)
    (tmp_path / "t.sdf.gz").write_bytes(whole[: len(whole) // 2])
    rows, read = iter_table(tmp_path / "t.sdf.gz", chunk_rows=1), []
    with pytest.raises(DataError, match=r"t\.sdf\.gz"):
        read.extend(chunk.frame["smiles"].item() for chunk in rows)
    assert read == [Chem.CanonSmiles(text) for text in molecules(len(read))]
    assert len(read) > 50


def test_blocks_are_read_or_refused_with_a_reason():
    [ethanol, bad] = smiles_of_blocks([Chem.MolToMolBlock(Chem.MolFromSmiles("OCC")), "no block"])
    assert ethanol == ("CCO", "")
    assert bad[0] == "" != bad[1]
