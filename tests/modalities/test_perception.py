"""What a fingerprint declares it reads of a molecule, against fingerprints of whole molecules."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem, rdBase

from molbt.data.molecules import ParsePolicy, Perception, parse_molecule, parse_molecules
from molbt.modalities._rdkit_fingerprints import FingerprintKind

PLAIN = ["ecfp0", "ecfp4", "ecfp6", "fcfp4", "rdkit_path", "maccs", "avalon"]
TYPED = ["atom_pair", "topological_torsion"]
CHIRAL = ["ecfp4_chiral", "fcfp4_chiral", "atom_pair_chiral", "topological_torsion_chiral"]
COMPUTED_APART = {"atom_pair", "topological_torsion", "avalon"}  # bits that are not those of the counted features
PARTIAL = [Perception.AROMATICITY, Perception.HYBRIDISATION]

ODD = [
    # charges and valences that the clean-up rewrites, or refuses
    "CN(=O)=O", "C[N+](=O)[O-]", "CP(C)(C)(C)C", "F[P-](F)(F)(F)(F)F", "CS(C)(=O)=O", "FS(F)(F)(F)(F)F", "OCl(=O)(=O)=O",
    "[O-][Cl+3]([O-])([O-])[O-]", "CN=N#N", "C[N-][N+]#N", "[nH+]1ccccc1", "c1ccc[n+]([O-])c1", "O=n1ccccc1", "C[N](C)(C)C", "CO(C)C",
    "C[SiH5]", "c1cc[se]c1", "[te]1cccc1", "B1C=CC=CB1", "b1ccccc1", "p1ccccc1", "C1=CC=C[C+]1", "C1=CC=C[CH-]1",
    # radicals, isotopes, hydrogens as atoms, map numbers, dummies
    "C[CH2]", "[CH3]", "[O]", "C[N]C", "[13CH4]", "[2H]C([2H])[2H]", "[H]C", "[H][H]", "[H+]", "[#1]C", "[H]/C=C/C", "[H]N=C(N)c1ccccc1",
    "C[C@]([H])(N)O", "[CH3:1][OH:2]", "*C", "[*]c1ccccc1", "[H]*", "[B-]1([H])[H][B-]([H])([H])[H]1",
    # stereochemistry, real and only written
    "N[C@@H](C)C(=O)O", "C[C@H](C)C", "F/C=C/F", "F/C=C\\F", "C/C=C(/C)C", "C/C=C/C=C\\C", "O[C@H]1CC[C@@H](O)CC1", "C[S@](=O)CC",
    "F[P@](Cl)Br", "C1C[C@@H]2CC[C@H]1C2", "CC1=C(c2c(C)cccc2C)C=CC=C1", "Cl[Pt@SP1](Cl)(N)N",
    # metals, dative bonds, salts
    "[Na+].[Cl-]", "C[Mg]Br", "[Fe]", "N->[Pt](Cl)Cl", "[NH3][Pt](Cl)(Cl)[NH3]", "C1=CC=CC1[Fe]C1C=CC=C1", "O=C([O-])C.[Na+]",
    # conjugation, aromaticity in other words, rings
    "C=CC=C", "CC(=O)N", "NC(=O)c1ccccc1", "C1=CC=CC=C1", "c1ccccc1", "c1ccc2ccccc2c1", "C1=CC2=CC=CC2=C1", "c1cccc1", "c1ccccc1c",
    "O=c1cc[nH]cc1", "C1CC2CC1C2", "C12C3C4C1C5C2C3C45", "c1cc2ccc3cccc4ccc(c1)c2c34", "C=1CC=1", "C$C", "C:C", "CFC", "c1ccn1", "[Cl+]",
]  # fmt: skip


@pytest.fixture(scope="module")
def silent():
    with rdBase.BlockLogs():
        yield


def real_smiles(real_data: Path, n: int) -> list[str]:
    """A fixed random choice from the public mixtures."""
    chosen = []
    for name, share in (("chembl_pubchem_mix", 0.8), ("zinc_dude_1m", 0.2)):
        smiles = pd.read_parquet(real_data / "smiles" / f"{name}.parquet", columns=["smiles"])["smiles"]
        chosen += smiles.sample(int(n * share), random_state=0).tolist()
    return chosen


def differing(
    names: list[str], smiles: list[str], perception: Perception | None, *, both: bool = True
) -> dict[tuple[str, bool], list[str]]:
    """The molecules whose fingerprint is not that of RDKit's own reader, by kind and counts; None takes what the kind declares.

    ``both``: bits too where they are read off the counts.
    """
    kinds = [FingerprintKind.from_name(name) for name in names]
    functions = {
        (n, c): k.items_of(167 if n == "maccs" else 1024, c)
        for n, k in zip(names, kinds, strict=True)
        for c in ((True, False) if both or n in COMPUTED_APART else (True,))
    }
    found: dict[tuple[str, bool], list[str]] = {key: [] for key in functions}
    whole = [Chem.MolFromSmiles(text) for text in smiles]
    readable = [i for i, mol in enumerate(whole) if mol is not None]
    parts = {
        level: [mol for mol, _ in parse_molecules(smiles, ParsePolicy(), perception=level)]
        for level in ({kind.perception for kind in kinds} if perception is None else {perception})
    }
    for level, mols in parts.items():
        assert [i for i, mol in enumerate(mols) if mol is not None] == readable, level
    for (name, counts), items_of in functions.items():
        mols = parts[FingerprintKind.from_name(name).perception if perception is None else perception]
        expected = items_of([whole[i] for i in readable])
        received = items_of([mols[i] for i in readable])
        if all(np.array_equal(a, b) for a, b in zip(expected, received, strict=True)):
            continue
        for i in readable:
            if not all(np.array_equal(a, b) for a, b in zip(items_of([whole[i]]), items_of([mols[i]]), strict=True)):
                found[name, counts].append(smiles[i])
    return found


def test_each_kind_declares_the_least_it_needs():
    assert {FingerprintKind.from_name(name).perception for name in PLAIN} == {Perception.AROMATICITY}
    assert {FingerprintKind.from_name(name).perception for name in TYPED} == {Perception.HYBRIDISATION}
    assert {FingerprintKind.from_name(name).perception for name in CHIRAL} == {Perception.ALL}


@pytest.mark.parametrize("names", [PLAIN, TYPED, CHIRAL], ids=["plain", "typed", "chiral"])
def test_fingerprints_of_odd_molecules_are_those_of_the_whole_molecule(silent, names):
    assert not any(differing(names, ODD, None).values())


@pytest.mark.parametrize("level", PARTIAL)
def test_odd_molecules_are_refused_alike_and_for_the_same_reason(silent, level):
    values = [*ODD, "C1CC", "CXC", "C(C", "", None, "[C+300]", "C" * 6000, "c1ccc1c", "CN(C)(C)(C)C", "c1ccccc1(C)C"]
    reasons = [reason for _, reason in parse_molecules(values, ParsePolicy(), perception=level)]
    assert reasons == [parse_molecule(value, ParsePolicy())[1] for value in values]
    assert sum(map(bool, reasons)) >= 12
    assert [not reason for reason in reasons[: len(ODD)]] == [Chem.MolFromSmiles(text) is not None for text in ODD]


@pytest.mark.parametrize(
    ("names", "n"),
    [
        (["ecfp4", "fcfp4", *TYPED], 2_000),
        (["rdkit_path", "maccs", "avalon"], 300),
        pytest.param(["ecfp4", "fcfp4", *TYPED], 100_000, marks=pytest.mark.slow),
        pytest.param(["ecfp0", "ecfp6", "rdkit_path", "maccs", "avalon"], 100_000, marks=pytest.mark.slow),
    ],
)
def test_fingerprints_of_real_molecules_are_those_of_the_whole_molecule(silent, real_data, names, n):
    smiles = real_smiles(real_data, n)
    for start in range(0, n, 1_000):
        # The long ones leave out bits that are read off the counts.
        assert not any(differing(names, smiles[start : start + 1_000], None, both=n < 10_000).values())


@pytest.mark.parametrize(
    ("names", "level"), [(TYPED, Perception.AROMATICITY), (CHIRAL, Perception.AROMATICITY), (CHIRAL, Perception.HYBRIDISATION)]
)
def test_a_level_lower_than_declared_is_noticed(silent, names, level):
    assert all(differing(names, ODD, level).values())


def test_a_policy_that_standardises_gets_whole_molecules():
    for standardise in ("largest_fragment", "neutral"):
        ((mol, _),) = parse_molecules(["N[C@@H](C)C(=O)O.Cl"], ParsePolicy(standardise=standardise), perception=Perception.AROMATICITY)
        assert Chem.FindMolChiralCenters(mol) == [(1, "S")]
        assert mol.GetAtomWithIdx(0).GetHybridization() == Chem.HybridizationType.SP3
