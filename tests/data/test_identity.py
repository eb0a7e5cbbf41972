"""Which SMILES are the same molecule for an exclusion."""

import numpy as np
import pytest
from rdkit import Chem
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
