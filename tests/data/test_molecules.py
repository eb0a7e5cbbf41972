import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from molbt.data.molecules import ParsePolicy, canonical_smiles, murcko_scaffold, parse_mol_block, parse_molecule, parse_molecules
from molbt.errors import ConfigError

POLICY = ParsePolicy()

REFUSED = [
    ("", "blank"),
    (" \t\r\n", "blank"),
    ("\u3000", "blank"),
    (None, "not text"),
    (float("nan"), "not text"),
    (b"CC", "not text"),
    ("C" * 5_001, "longer than 5000 characters"),
    ("CCé", "non-printable or non-ASCII character at position 3"),
    (" CCé", "non-printable or non-ASCII character at position 4"),
    ("C\0C", "non-printable or non-ASCII character at position 2"),
    ("C\x7fC", "non-printable or non-ASCII character at position 2"),
    ("C\udc80", "non-printable or non-ASCII character at position 2"),
    ("CC extra", "whitespace inside"),
    ("CC\textra", "whitespace inside"),
    ("CC\u00a0extra", "whitespace inside"),
    ("CC |atomProp:0.a.b|", "whitespace inside"),
    ("C" * 1_001, "more than 1000 heavy atoms"),
    ("[13CH3]" + "Cl" * 1_000, "longer than"),
    ("[C+999999999]", "number out of range in [C+999999999]"),
    ("CC[C+16]", "number out of range in [C+16]"),
    ("[O-20]", "number out of range in [O-20]"),
    ("[C+300]", "number out of range in [C+300]"),
    ("[1000C]", "number out of range in [1000C]"),
    ("[CH4:1234]", "number out of range in [CH4:1234]"),
    ("[CH256]", "number out of range in [CH256]"),
    ("[#300]", "number out of range in [#300]"),
    ("[#119]", "number out of range in [#119]"),
    ("C1CC", "unclosed ring"),
    ("C)C", "extra close parentheses around position 2"),
    ("CXC", "syntax error around position 2"),
    ("CC>>C", "syntax error around position 3"),
    ("CC(", "syntax error around position 3"),
    (".", "syntax error around position 1"),
    ("CFC", "Explicit valence for atom # 1 F, 2, is greater than permitted"),
    ("c1cccc1", "Can't kekulize mol.  Unkekulized atoms: 0 1 2 3 4"),
]


@pytest.mark.parametrize(("value", "reason"), REFUSED)
def test_a_refused_value_has_a_reason(value, reason):
    if reason.startswith("longer than") and reason != "longer than 5000 characters":
        policy, reason = ParsePolicy(max_length=1_000), "longer than 1000 characters"
    else:
        policy = POLICY
    assert parse_molecule(value, policy) == (None, reason)
    assert list(parse_molecules([value], policy)) == [(None, reason)]


@pytest.mark.parametrize(
    "smiles",
    [
        "CCO",
        " CCO\r\n",
        "[13CH4]",
        "[C+15]",
        "[O-15]",
        "[CH3:999]C",
        "[999C]",
        "[#118]",
        "[Hg+2]",
        "[H][H]",
        "*C",
        "[2H]O[2H]",
        "C-1CCCC1",
        "C/C=C\\C",
        "[Na+].[Cl-]",
    ],
)
def test_a_usable_value_is_read_as_rdkit_reads_it(smiles):
    mol, reason = parse_molecule(smiles, POLICY)
    assert reason == ""
    assert canonical_smiles(mol) == Chem.CanonSmiles(smiles.strip())


@pytest.mark.parametrize(
    ("smiles", "heavy"),
    [
        ("C" * 10, 10),
        ("ClBrI", 3),
        ("[13CH3][OH2+]", 2),
        ("[H]O[2H]", 1),
        ("[H+].[Cl-]", 1),
        ("c1ccccc1-[n+]%10ccccc%10", 12),
        ("[Hg][Ho]", 2),
        ("*B[*]", 3),
    ],
)
def test_heavy_atoms_are_counted_before_the_parse(smiles, heavy):
    for limit, expected in ((heavy, ""), (heavy - 1, f"more than {heavy - 1} heavy atoms")):
        if limit:
            reason = parse_molecule(smiles, ParsePolicy(max_heavy_atoms=limit))[1]
            assert ("heavy atoms" in reason) == bool(expected), reason


@given(st.text(st.characters(codec="ascii"), max_size=40) | st.text(max_size=10) | st.text("CNOcn()[]=#123%@+-.HlBr/\\ ", max_size=25))
@settings(max_examples=500)
def test_any_text_gives_a_molecule_or_a_reason(text):
    mol, reason = parse_molecule(text, POLICY)
    assert (mol is None) == bool(reason)
    assert "\n" not in reason
    assert len(reason) < 200


def test_a_long_message_of_rdkit_is_cut():
    reason = parse_molecule("c1" + "c" * 800 + "1", POLICY)[1]  # RDKit lists all 801 atoms
    assert reason.startswith("Can't kekulize mol.  Unkekulized atoms: 0 1 2 3")
    assert len(reason) == 160


def test_values_keep_their_order_over_many_blocks():
    values = [None if i % 5 == 0 else "C" * (i % 7 + 1) for i in range(1_000)]
    parsed = list(parse_molecules(iter(values), POLICY))
    assert [mol and Chem.MolToSmiles(mol) for mol, _ in parsed] == values


@pytest.mark.parametrize(
    ("standardise", "expected"),
    [("none", "CC(=O)[O-].O.[Na+]"), ("largest_fragment", "CC(=O)[O-]"), ("neutral", "CC(=O)O")],
)
def test_standardise_changes_the_molecule(standardise, expected):
    mol, _ = parse_molecule("[Na+].CC(=O)[O-].O", ParsePolicy(standardise=standardise))
    assert canonical_smiles(mol) == Chem.CanonSmiles(expected)


def test_largest_fragment_prefers_the_organic_one():
    mol, _ = parse_molecule("CO.[O-]Cl(=O)(=O)=O", ParsePolicy(standardise="largest_fragment"))
    assert canonical_smiles(mol) == "CO"


def test_neutral_keeps_a_charge_that_no_proton_removes():
    mol, _ = parse_molecule("C[N+](C)(C)C.[Cl-]", ParsePolicy(standardise="neutral"))
    assert canonical_smiles(mol) == "C[N+](C)(C)C"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"standardise": "neutrl"},
            "unknown value 'neutrl' of standardise; did you mean 'neutral'. Valid: largest_fragment, neutral, none",
        ),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
        ({"max_heavy_atoms": -1}, "max_heavy_atoms must be at least 1, got -1"),
        ({"max_seconds": 0}, "max_seconds must be a number above 0, got 0"),
        ({"max_seconds": float("nan")}, "max_seconds must be a number above 0, got nan"),
    ],
)
def test_a_policy_that_cannot_be_followed_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        ParsePolicy(**settings)


def test_rdkit_messages_are_silenced_only_while_reading():
    code = (
        "from rdkit import Chem\nfrom molbt.data.molecules import ParsePolicy, parse_molecule, parse_molecules, parse_mol_block\n"
        "parse_molecule('CFC', ParsePolicy()); parse_molecule('C1CC', ParsePolicy()); parse_mol_block('x')\n"
        "list(parse_molecules(['CFC', 'C('], ParsePolicy(standardise='neutral')))\n"
        "for mol, reason in parse_molecules(['CFC', 'C('], ParsePolicy()): break\n"
        "Chem.MolFromSmiles('CClC')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [line.partition("] ")[2] for line in result.stderr.splitlines()] == [
        "Explicit valence for atom # 1 Cl, 2, is greater than permitted"
    ]


def test_mol_blocks_are_read_with_a_reason():
    mol, reason = parse_mol_block(Chem.MolToMolBlock(Chem.MolFromSmiles("c1ccccc1O")))
    assert (canonical_smiles(mol), reason) == ("Oc1ccccc1", "")
    assert parse_mol_block("garbage") == (None, "not readable")
    assert parse_mol_block(Chem.MolToMolBlock(Chem.Mol()))[1] == "no atoms"
    fluorine = Chem.MolToMolBlock(Chem.MolFromSmiles("CFC", sanitize=False), kekulize=False)
    assert parse_mol_block(fluorine)[1] == "Explicit valence for atom # 1 F, 2, is greater than permitted"


@pytest.mark.parametrize(
    ("smiles", "scaffold"),
    [
        ("CCO", ""),
        ("Cc1ccccc1", "c1ccccc1"),
        ("O=C(Nc1ccccc1)[C@H]1CCCN1C", "O=C(Nc1ccccc1)C1CCCN1"),  # a carbonyl on the linker stays, substituents and stereo go
    ],
)
def test_murcko_scaffold_keeps_rings_and_linkers(smiles, scaffold):
    mol, _ = parse_molecule(smiles, POLICY)
    assert murcko_scaffold(mol) == scaffold
    assert murcko_scaffold(mol) == MurckoScaffold.MurckoScaffoldSmiles(smiles)
