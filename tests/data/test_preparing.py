"""Several works on one parse give what each gives alone, and each molecule is parsed once."""

import numpy as np
import pytest
from poison import molecules

from molbt.data import molecules as reading
from molbt.data.identity import molecule_and_scaffold_hashes
from molbt.data.isolation import isolating
from molbt.data.molecules import ParsedSmiles, ParsePolicy, Perception, Refusal, parse_molecule, parse_molecules, parse_once
from molbt.data.preparing import prepare_blocks, prepare_numbered_blocks
from molbt.modalities.descriptors import Descriptors
from molbt.modalities.fingerprint import Fingerprint

ODD = [
    "N[C@@H](C)C(=O)O", "F/C=C/F", "CC(=O)[O-].[Na+]", "C[C@H](O)F.C[C@@H](O)F", "[2H]C([2H])Cl", "[CH3:7]c1ccccc1", "[H][H]", "C1CC",
    "CXC", "", " CCO ", "[Fe]", "C1=CC=C[C+]1", "c1ccc2[nH+]cccc2c1.[Cl-]", "F[P@](Cl)Br", "C" * 6_000, "c1ccc1c",
]  # fmt: skip
COMBINATIONS = {
    "fingerprint and hashes": (Fingerprint(),),
    "fingerprint, descriptors and hashes": (Fingerprint(kinds=("ecfp4", "maccs"), width=512), Descriptors()),
    "descriptors before chiral fingerprint": (
        Descriptors(names=("MolWt", "SPS", "qed", "NumAtomStereoCenters")),
        Fingerprint(kinds=("ecfp4_chiral", "atom_pair_chiral"), width=512),
    ),
}


def joint(modalities, values, policy, block_size=70):
    blocks = [values[first : first + block_size] for first in range(0, max(len(values), 1), block_size)]
    options = {"n_values": len(values), "executor": None, "n_jobs": 1, "refused": {}}
    return [block for _, block in prepare_numbered_blocks(modalities, blocks, policy, with_hashes=True, **options)]


@pytest.mark.parametrize("name", COMBINATIONS)
@pytest.mark.parametrize("standardise", ["none", "neutral"])
@pytest.mark.parametrize("n", [83, pytest.param(4_500, marks=pytest.mark.slow)])
def test_works_that_share_a_parse_give_what_each_gives_alone(name, standardise, n):
    modalities, policy = COMBINATIONS[name], ParsePolicy(standardise=standardise)
    values = [*molecules(n), *ODD]
    made = joint(modalities, values, policy)
    np.testing.assert_array_equal(np.concatenate([block.hashes for block in made]), molecule_and_scaffold_hashes(values, policy))
    for place, modality in enumerate(modalities):
        alone, first = modality.prepare(values, policy), 0
        assert [reason for block in made for reason in block.entries[place].reasons] == alone.reasons
        expected = modality.dense(alone.columns, np.arange(len(values)))
        for block in made:
            found = block.entries[place]
            received = modality.dense(found.columns, np.arange(len(found.reasons)))
            wanted = expected[first : first + len(found.reasons)]
            first += len(found.reasons)
            if isinstance(modality, Fingerprint):
                assert (received != wanted).nnz == 0
            else:
                np.testing.assert_array_equal(received, wanted)
        assert first == len(values)


def test_no_values_make_empty_columns():
    [block] = joint((Fingerprint(), Descriptors()), [], ParsePolicy())
    assert [len(column) for entries in block.entries for column in entries.columns.values()] == [0, 0]
    assert block.hashes.shape == (0, 2)


@pytest.fixture
def parsed(monkeypatch):
    """The texts that were parsed."""
    texts: list[str] = []
    read = reading._read

    def spy(reader, text, standardise):
        texts.append(text)
        return read(reader, text, standardise)

    monkeypatch.setattr(reading, "_read", spy)
    return texts


def test_each_molecule_is_parsed_once(parsed):
    values = molecules(150)
    joint((Fingerprint(), Descriptors(names=("MolWt",))), values, ParsePolicy())
    assert parsed == values
    parsed.clear()
    list(prepare_blocks([Fingerprint(), Descriptors(names=("MolWt",))], values, ParsePolicy()))
    assert parsed == values


def test_a_parse_serves_only_what_reads_in_the_same_way_or_less(parsed):
    [text] = parse_once(["N[C@@H](C)C(=O)O.Cl"], ParsePolicy(), Perception.HYBRIDISATION)
    assert isinstance(text, ParsedSmiles)
    for policy, perception, n_parsed in [
        (ParsePolicy(), Perception.AROMATICITY, 0),
        (ParsePolicy(), Perception.HYBRIDISATION, 0),
        (ParsePolicy(), Perception.ALL, 1),
        (ParsePolicy(standardise="neutral"), Perception.AROMATICITY, 1),
        (ParsePolicy(max_heavy_atoms=3), Perception.AROMATICITY, 0),
    ]:
        parsed.clear()
        [(mol, reason)] = parse_molecules([text], policy, perception=perception)
        assert len(parsed) == n_parsed
        assert (reason == "more than 3 heavy atoms", mol is None) == (policy.max_heavy_atoms == 3,) * 2
    parsed.clear()
    assert parse_molecule(text, ParsePolicy())[0].GetNumAtoms() == 7
    assert len(parsed) == 1


def test_a_refusal_stays_one():
    refused, unreadable = parse_once([Refusal("because"), "C1CC"], ParsePolicy(), Perception.ALL)
    assert parse_molecule(refused, ParsePolicy()) == (None, "because")
    assert parse_molecule(unreadable, ParsePolicy())[1] == parse_molecule("C1CC", ParsePolicy())[1] != ""


def test_shared_work_is_isolated_too():
    with isolating():
        [isolated] = joint((Fingerprint(width=64),), molecules(70), ParsePolicy())
    [here] = joint((Fingerprint(width=64),), molecules(70), ParsePolicy())
    np.testing.assert_array_equal(isolated.hashes, here.hashes)
