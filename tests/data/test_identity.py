"""Which SMILES are the same molecule for an exclusion."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem.MolStandardize import rdMolStandardize
from rdkit.Chem.Scaffolds.MurckoScaffold import MurckoScaffoldSmiles

from molbt.data.identity import identity_hashes, inchi_connectivity, molecule_and_scaffold_hashes
from molbt.data.molecules import ParsePolicy


def hashes(*values):
    return identity_hashes(values, ParsePolicy())


@pytest.mark.parametrize(
    "forms",
    [
        ["CCO", "OCC", "C(C)O"],
        ["c1ccccc1CC", "CCC1=CC=CC=C1"],
        ["CC(=O)O", "CC(=O)[O-]", "CC(=O)[O-].[Na+]", "O.CC(=O)O"],
        ["NCC(=O)O", "[NH3+]CC(=O)[O-]", "Cl.NCC(=O)O"],
        ["C[N+](C)(C)C", "C[N+](C)(C)C.[Cl-]"],
        ["C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O", "C[C@H]([NH3+])C(=O)[O-]"],
        ["F/C=C/F", "F/C=C\\F", "FC=CF"],
        ["C", "[13CH4]", "[2H]C", "[2H]C([2H])([2H])[2H]"],
        ["CO", "[CH3:1][OH:2]"],
        ["O", "[2H]O[2H]", "[H]O[H]"],
    ],
)
def test_forms_of_one_molecule_have_one_key(forms):
    assert len(set(hashes(*forms).tolist())) == 1


@pytest.mark.parametrize(
    "molecules",
    [
        ["O=c1cccc[nH]1", "Oc1ccccn1"],  # tautomers: 2-pyridone and 2-hydroxypyridine
        ["CC(C)=O", "CC(O)=C"],
        ["CCO", "COC", "CCN"],
        ["c1ccccc1", "C1CCCCC1"],
        ["C[N+](C)(C)C", "CN(C)C"],  # a charge that no proton removes
    ],
)
def test_different_molecules_have_different_keys(molecules):
    assert len(set(hashes(*molecules).tolist())) == len(molecules)


def test_what_cannot_be_read_has_the_key_zero():
    assert hashes("CCO", "C1CC", "", "CCO").astype(bool).tolist() == [True, False, False, True]
    assert hashes().shape == (0,)


def test_neutral_molecules_are_the_same_exactly_when_rdkit_says_so(nci_smiles):
    # Of single neutral fragments without isotopes and map numbers, the key is the canonical SMILES without stereo.
    plain = [smiles for smiles in nci_smiles if not set(".+-:") & set(smiles) and "H]" not in smiles]
    canonical = [Chem.CanonSmiles(smiles, useChiral=0) for smiles in plain]
    _, ours = np.unique(hashes(*plain), return_inverse=True)
    _, theirs = np.unique(canonical, return_inverse=True)
    assert len(plain) > 200
    assert len(set(zip(ours.tolist(), theirs.tolist(), strict=True))) == len(set(ours.tolist())) == len(set(theirs.tolist()))


def test_keys_do_not_depend_on_what_else_is_hashed():
    assert hashes("CCO", "CCN")[1] == hashes("CCN")[0]


def test_bridging_hydrogens_do_not_stop_hashing():
    # A borane whose charges are removed has a hydrogen with a valence that RDKit refuses when it drops explicit hydrogens.
    salt = "F[B-](F)(F)F.[H][H-][B-]1([H-][H])[n+]2ccccc2-c2cccc[n+]21"
    hashes = identity_hashes([salt, "CCO", salt.split(".")[1]], ParsePolicy())
    assert hashes[1] == identity_hashes(["OCC"], ParsePolicy())[0]
    assert hashes[0] == hashes[2] != 0


def test_scaffolds_are_the_same_exactly_when_rdkit_says_so(nci_smiles):
    plain = [smiles for smiles in nci_smiles if not set(".+-:") & set(smiles) and "H]" not in smiles]
    both = molecule_and_scaffold_hashes(plain, ParsePolicy())
    theirs = [MurckoScaffoldSmiles(mol=Chem.MolFromSmiles(smiles)) for smiles in plain]
    assert np.array_equal(both[:, 0], hashes(*plain))
    assert [key == 0 for key in both[:, 1].tolist()] == [not scaffold for scaffold in theirs]
    assert len(set(zip(both[:, 1].tolist(), theirs, strict=True))) == len(set(both[:, 1].tolist())) == len(set(theirs))


def test_a_salt_has_the_scaffold_of_its_molecule():
    forms = ["Cc1ccccc1C[NH3+].[Cl-]", "NCc1ccccc1", "c1ccccc1"]
    assert len(set(molecule_and_scaffold_hashes(forms, ParsePolicy())[:, 1].tolist())) == 1


def test_odd_values_have_neither_molecule_nor_scaffold():
    assert molecule_and_scaffold_hashes(["C1CC", "", "CCO"], ParsePolicy())[:, 1].tolist() == [0, 0, 0]
    assert molecule_and_scaffold_hashes([], ParsePolicy()).shape == (0, 2)


def test_inchi_connectivity_is_that_of_the_reduced_molecule():
    # Published InChIKeys of aspirin and of L-alanine; the second blocks hold the stereochemistry.
    forms = ["CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", "C[C@H]([NH3+])C(=O)[O-]", "C1CC"]
    assert inchi_connectivity(forms, ParsePolicy()) == ["BSYNRYMUTXBXSQ", "QNAYBMKLOCPYGJ", ""]


ODD = [
    "C1=CC=C[C+]1", "[2H]c1ccccc1", "[13C]C", "[H]N=C(N)c1ccccc1", "C[C@H](O)F.C[C@@H](O)F", "F/C=C/C.F/C=C\\C", "c1cc[nH]c1",
    "C[n+]1cc[nH]c1", "O=c1[n-]cc[nH]1.[K+]", "[O-][n+]1ccccc1", "C[N+](=O)[O-]", "CN(=O)=O", "[CH3:7]c1ccccc1",
    "c1ccc2[nH+]cccc2c1.[Cl-]", "[Fe]", "C[Mg]Br", "C-c1ccccc1-c1ccccc1", "O=C([O-])c1ccccc1-c1ccccc1", "C1CC2CC1C2",
    "[B-]1([H])[H][B-]([H])([H])[H]1", "[H][H]", "C1=CC=C[CH-]1",
]  # fmt: skip


def key_of(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") if text else 0


def whole_molecule_keys(smiles: str) -> tuple[int, int]:
    """Both keys the long way: RDKit's whole reading, and labels removed wherever the text has a hydrogen or a colon."""
    mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        return 0, 0
    if "." in smiles:
        mol = rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(mol)
    mol = rdMolStandardize.Uncharger().uncharge(mol)
    if "H]" in smiles or ":" in smiles:
        for atom in mol.GetAtoms():
            atom.SetIsotope(0)
            atom.SetAtomMapNum(0)
        try:
            mol = Chem.RemoveHs(mol)
        except Chem.MolSanitizeException:
            mol = Chem.RemoveHs(mol, sanitize=False)
    try:
        scaffold = MurckoScaffoldSmiles(mol=mol, includeChirality=False)
    except (ValueError, RuntimeError):
        scaffold = ""
    return key_of(Chem.MolToSmiles(mol, isomericSmiles=False)), key_of(scaffold)


def test_keys_of_odd_molecules_are_those_of_the_whole_molecule():
    with rdBase.BlockLogs():
        assert molecule_and_scaffold_hashes(ODD, ParsePolicy()).tolist() == [list(whole_molecule_keys(smiles)) for smiles in ODD]


@pytest.mark.parametrize("n", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_keys_of_real_molecules_are_those_of_the_whole_molecule(real_data, n):
    # Encoders in use carry lists of these keys: a faster way to them must not change one.
    table = pd.read_parquet(real_data / "smiles" / "chembl_pubchem_mix.parquet", columns=["smiles"])
    smiles = table["smiles"].sample(n, random_state=0).tolist()
    with rdBase.BlockLogs():
        expected = np.array([whole_molecule_keys(text) for text in smiles], dtype=np.uint64)
    received = molecule_and_scaffold_hashes(smiles, ParsePolicy())
    assert [smiles[i] for i in np.flatnonzero((received != expected).any(axis=1))] == []


def test_a_complex_whose_ring_cannot_be_cut_out_has_a_key_and_costs_no_other():
    complexed = "CCCC1=CC=[N+](C=C1)[Mn+3]([SH+]C#N)([SH+]C#N)([N+]2=CC=C(CCC)C=2)([N+]3=CC=C(CCC)C=C3)[N+]4=CC=C(CCC)C=C4.SC#N"
    with pytest.raises(Chem.MolSanitizeException), rdBase.BlockLogs():
        rdMolStandardize.LargestFragmentChooser(preferOrganic=True).choose(Chem.MolFromSmiles(complexed))
    found = molecule_and_scaffold_hashes(["CCO", complexed, "CCN"], ParsePolicy())
    assert (found[:, 0] != 0).all()
    assert found[[0, 2], 0].tolist() == hashes("CCO", "CCN").tolist()
