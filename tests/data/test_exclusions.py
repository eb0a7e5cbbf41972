"""Which molecules an exclusion names, and from which column."""

import gzip

import pytest

from molbt.data.exclusions import Exclusion, as_exclusions, hash_values, occurring
from molbt.data.files import sha256_of
from molbt.data.identity import identity_hashes
from molbt.data.molecules import ParsePolicy
from molbt.errors import DataError

POLICY = ParsePolicy()


@pytest.mark.parametrize("header", ["smiles", "SMILES", "Canonical_Smiles"])
def test_the_column_of_smiles_is_found_by_its_usual_names(tmp_path, header):
    path = tmp_path / "t.csv"
    path.write_text(f"id,{header}\n1,CCO\n2,CCN\n3,CCO\n")
    assert Exclusion.of_table(path) == Exclusion("t.csv", ("CCO", "CCN"), sha256_of(path))


def test_another_column_is_named_after_a_colon(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("smiles,product\nCCO,CCOC\nCCN,CCNC\n")
    exclusion = Exclusion.of_table(f"{path}:product")
    assert exclusion.smiles == ("CCOC", "CCNC")
    assert exclusion.sha256 != Exclusion.of_table(path).sha256


def test_compressed_tables_and_smi_files_can_be_excluded(tmp_path):
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"smiles,y\nCCO,1\n"))
    (tmp_path / "t.smi").write_text("CCN amine\n")
    assert [exclusion.smiles for exclusion in as_exclusions([tmp_path / "t.csv.gz", tmp_path / "t.smi"])] == [("CCO",), ("CCN",)]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("none.csv", "found no file; check the path given with --exclude"),
        ("t.csv:none", r"column 'none' is not in the excluded table .*t\.csv \(columns: structure, y\)"),
        ("t.csv", r"column 'smiles' is not in the excluded table .*--exclude t\.csv:COLUMN"),
    ],
)
def test_what_cannot_be_excluded_is_said(tmp_path, entry, message):
    (tmp_path / "t.csv").write_text("structure,y\nCCO,1\n")
    with pytest.raises(DataError, match=message):
        Exclusion.of_table(str(tmp_path / entry))


def test_a_list_of_molecules_is_known_by_its_content_and_not_its_order():
    one, other = (Exclusion.of_molecules("ace", values) for values in (["CCO", "CCN", "CCO"], ["CCN", "CCO"]))
    assert one.sha256 == other.sha256 != Exclusion.of_molecules("ace", ["CCO"]).sha256


def test_occurring_finds_other_forms_of_a_molecule_and_no_unreadable_ones():
    own = identity_hashes(["CC(=O)O", "CCN", "C1CC", "c1ccccc1"], POLICY)
    excluded = [Exclusion.of_molecules("a", ["CC(=O)[O-].[Na+]", "C1CC"]), Exclusion.of_molecules("b", ["C1=CC=CC=C1"])]
    assert occurring(own, excluded, POLICY).tolist() == [True, False, False, True]
    assert not occurring(own, [], POLICY).any()


def test_hashes_do_not_depend_on_processes(nci_smiles):
    one, two = (hash_values(nci_smiles, POLICY, n_jobs=n_jobs) for n_jobs in (1, 2))
    assert one.tobytes() == two.tobytes()
    assert hash_values([], POLICY).shape == (0, 2)
