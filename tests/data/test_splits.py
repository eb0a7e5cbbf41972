import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from molbt.data.splits import SPLITS
from molbt.errors import ConfigError, DataError

CORES = ["c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCNC1", "c1ccc2ccccc2c1", "C1CC1", "c1ccsc1", "C1CCOC1", "c1cncnc1", "C1CNCCN1"]
# 100 molecules: scaffold i occurs 19 − 2·i times.
MOLECULES = [core + "C" * (1 + copy % 8) for place, core in enumerate(CORES) for copy in range(19 - 2 * place)]
# What users' columns hold: rings, chains, repeats and rows that cannot be read.
smiles_lists = st.lists(
    st.builds(lambda core, tail: core + "C" * tail, st.sampled_from([*CORES, "O", "C("]), st.integers(0, 3))
    | st.sampled_from(["", "nonsense", "CFC"]),
    max_size=60,
)
fraction_triples = st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.25, 0.25), (0.8, 0.0, 0.2), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)])


def group_of(smiles: str) -> str:
    mol = Chem.MolFromSmiles(smiles)
    return f"refused {smiles}" if mol is None or not smiles else MurckoScaffold.MurckoScaffoldSmiles(mol=mol)


@given(smiles_lists, fraction_triples, st.sampled_from(sorted(SPLITS)), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_splits_are_disjoint_complete_and_reproducible(smiles, fractions, name, random_state):
    try:
        parts = SPLITS[name](smiles, fractions=fractions, random_state=random_state)
    except DataError:
        assume(False)
    assert [part.dtype for part in parts] == [np.int64] * 3
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(smiles)))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert all(len(part) > 0 for part, fraction in zip(parts, fractions, strict=True) if fraction > 0)
    again = SPLITS[name](pd.Series(smiles, index=range(5, 5 + len(smiles)), dtype="str"), fractions=fractions, random_state=random_state)
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part, same)
    if name != "random":
        places = {}
        for place, part in enumerate(parts):
            for row in part:
                assert places.setdefault(group_of(smiles[row]), place) == place


@given(st.permutations(range(100)), st.sampled_from(["scaffold", "scaffold_random"]))
@settings(max_examples=20, deadline=None)
def test_the_order_of_rows_does_not_move_a_molecule(order, name):
    def contents(smiles):
        return [Counter(smiles[row] for row in part) for part in SPLITS[name](smiles, random_state=3)]

    smiles = [*MOLECULES[:-2], "nonsense", "CFC"]
    assert contents([smiles[row] for row in order]) == contents(smiles)


def test_scaffold_split_fills_training_with_the_largest_groups():
    # Groups of 19, 17, 15, 13, 11, 9, 7, 5, 3 and 1 rows; training ends at 80, validation at 90. The first five make 75. 9 does not fit
    # and opens validation (84), 7 fits neither (91) and opens test, 5 fills training, 3 fits neither (92), 1 fills validation.
    parts = SPLITS["scaffold"](MOLECULES, random_state=0)
    sizes = [19 - 2 * place for place in range(10)]
    starts = np.cumsum([0, *sizes])
    groups = [list(range(starts[place], starts[place + 1])) for place in range(10)]
    expected = [[*groups[:5], groups[7]], [groups[5], groups[9]], [groups[6], groups[8]]]
    for part, rows in zip(parts, expected, strict=True):
        np.testing.assert_array_equal(part, np.concatenate(rows))


def test_scaffold_split_agrees_with_deepchem_where_no_two_groups_tie():
    """The loop of ``ScaffoldSplitter.split`` in DeepChem, written out."""
    groups: dict[str, list[int]] = {}
    for row, smiles in enumerate(MOLECULES):
        groups.setdefault(MurckoScaffold.MurckoScaffoldSmiles(smiles), []).append(row)
    train, valid, test = [], [], []
    for rows in [rows for _, rows in sorted(groups.items(), key=lambda item: (len(item[1]), item[1][0]), reverse=True)]:
        if len(train) + len(rows) > 0.7 * 100:
            if len(train) + len(valid) + len(rows) > 0.85 * 100:
                test += rows
            else:
                valid += rows
        else:
            train += rows
    for part, rows in zip(SPLITS["scaffold"](MOLECULES, fractions=(0.7, 0.15, 0.15), random_state=0), (train, valid, test), strict=True):
        np.testing.assert_array_equal(part, sorted(rows))


def test_scaffold_split_ignores_the_random_state():
    for part, same in zip(SPLITS["scaffold"](MOLECULES, random_state=0), SPLITS["scaffold"](MOLECULES, random_state=1), strict=True):
        np.testing.assert_array_equal(part, same)


@pytest.mark.parametrize("name", ["random", "scaffold_random"])
def test_another_random_state_gives_another_split(name):
    assert len({tuple(SPLITS[name](MOLECULES, random_state=state)[2].tolist()) for state in range(20)}) > 5


def test_scaffold_random_split_keeps_large_groups_in_training():
    chains, rings = ["C" * n for n in range(1, 40)], [f"C1{'C' * n}C1" for n in range(1, 101)]
    for state in range(20):
        train, *_ = SPLITS["scaffold_random"](rings + chains, random_state=state)
        assert set(range(100, 139)) <= set(train.tolist())  # the acyclic molecules are one group


def test_random_split_rounds_at_the_cumulative_fractions():
    assert [len(part) for part in SPLITS["random"](["C"] * 1_017, random_state=0)] == [814, 101, 102]  # 813.6 and 915.3


@pytest.mark.parametrize("name", ["scaffold", "scaffold_random"])
def test_a_split_does_not_depend_on_the_hash_seed(name):
    code = (
        "import sys\nfrom molbt.data.splits import SPLITS\nsmiles = sys.argv[2].split()\n"
        "print([part.tolist() for part in SPLITS[sys.argv[1]](smiles, random_state=5)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, name, " ".join(MOLECULES)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("0", "1", "42")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_too_few_rows_are_a_data_error(name):
    for smiles in ([], ["C"], ["C", "CC"]):
        with pytest.raises(DataError, match=f"the {name} split of {len(smiles)} rows"):
            SPLITS[name](smiles, random_state=0)


@pytest.mark.parametrize("name", ["scaffold", "scaffold_random"])
def test_one_scaffold_cannot_be_split(name):
    with pytest.raises(DataError, match=r"50 rows in 1 groups leaves the training part empty"):
        SPLITS[name](["c1ccccc1C"] * 50, random_state=0)


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.1, -0.1, 0.0), (0.5, 0.5)])
@pytest.mark.parametrize("name", sorted(SPLITS))
def test_fractions_that_do_not_add_up_are_refused(name, fractions):
    with pytest.raises(ConfigError, match="add up to 1, got"):
        SPLITS[name](MOLECULES, fractions=fractions, random_state=0)
