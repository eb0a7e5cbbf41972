import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.Scaffolds import MurckoScaffold

from molbt.data.molecule_groups import leader_clusters
from molbt.data.sources import embedded_activities
from molbt.data.splits import DETERMINISTIC, SPLITS, split_parts
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


def split(name, smiles, **options):
    """Any split by name; the times of rows are their numbers modulo 37."""
    times = {"times": np.arange(len(smiles)) % 37.0} if name == "time" else {}
    return SPLITS[name](smiles, **{"random_state": 0, **times, **options})


def molecule_of(smiles: str) -> str:
    mol = Chem.MolFromSmiles(smiles)
    return f"refused {smiles}" if mol is None or not smiles else Chem.MolToSmiles(mol)


def scaffold_of(smiles: str) -> str:
    mol = Chem.MolFromSmiles(smiles)
    return f"refused {smiles}" if mol is None or not smiles else MurckoScaffold.MurckoScaffoldSmiles(mol=mol)


@given(smiles_lists, fraction_triples, st.sampled_from(sorted(SPLITS)), st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_splits_are_disjoint_complete_and_reproducible(smiles, fractions, name, random_state):
    try:
        parts = split(name, smiles, fractions=fractions, random_state=random_state)
    except DataError:
        assume(False)
    assert [part.dtype for part in parts] == [np.int64] * 3
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(smiles)))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert all(len(part) > 0 for part, fraction in zip(parts, fractions, strict=True) if fraction > 0)
    again = split(name, pd.Series(smiles, index=range(5, 5 + len(smiles)), dtype="str"), fractions=fractions, random_state=random_state)
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part, same)
    places = {}
    for place, part in enumerate(parts):
        for row in part:
            kept_together = scaffold_of if name.startswith("scaffold") else molecule_of
            assert places.setdefault(kept_together(smiles[row]), place) == place


@given(st.permutations(range(100)), st.sampled_from(["scaffold", "scaffold_random", "cluster"]))
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


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_the_random_state_decides_unless_a_split_is_deterministic(name):
    tests = {tuple(split(name, MOLECULES, random_state=state)[2].tolist()) for state in range(3)}
    assert (len(tests) == 1) == (name in DETERMINISTIC)


@pytest.mark.parametrize("name", ["random", "scaffold_random", "cluster"])
def test_another_random_state_gives_another_split(name):
    assert len({tuple(SPLITS[name](MOLECULES, random_state=state)[2].tolist()) for state in range(20)}) > 5


def test_scaffold_random_split_keeps_large_groups_in_training():
    chains, rings = ["C" * n for n in range(1, 40)], [f"C1{'C' * n}C1" for n in range(1, 101)]
    for state in range(6):
        train, *_ = SPLITS["scaffold_random"](rings + chains, random_state=state)
        assert set(range(100, 139)) <= set(train.tolist())  # the acyclic molecules are one group


def test_random_split_rounds_at_the_cumulative_fractions():
    chains = ["C" * n for n in range(1, 114)]
    molecules = [chain + end for chain in chains for end in ("", "O", "N", "S", "F", "Cl", "Br", "I", "P")]
    assert len(molecules) == 1_017
    assert [len(part) for part in SPLITS["random"](molecules, random_state=0)] == [814, 101, 102]  # 813.6 and 915.3


@pytest.mark.parametrize("name", sorted(SPLITS))
def test_forms_of_a_molecule_stay_together(name, nci_smiles):
    """Another way to write it, and a salt whose counter-ion has a ring and so another scaffold."""
    mols = [Chem.MolFromSmiles(text) for text in nci_smiles if "." not in text]
    mols = [mol for mol in mols if mol.GetNumHeavyAtoms() > 19]  # larger than the counter-ion
    forms = [[Chem.MolToSmiles(mol, canonical=False, rootedAtAtom=5) for mol in mols], [Chem.MolToSmiles(mol) for mol in mols]]
    forms.append([f"{text}.Cc1ccc(cc1)S(=O)(=O)O" for text in forms[0]])
    n = len(mols)
    assert n > 30
    for state in range(2):
        for part in split(name, [text for form in forms for text in form], random_state=state):
            assert all(np.isin(part % n + n * form, part).all() for form in range(3))


def test_scaffold_deepchem_split_is_deepchems_loop_ties_included():
    """``ScaffoldSplitter.split`` of DeepChem, written out; groups of one size are common here."""
    smiles = [core + "C" * (1 + copy) for place, core in enumerate(CORES) for copy in range(1 + place // 2)]
    smiles.insert(3, "nonsense")
    rows = [row for row, text in enumerate(smiles) if text != "nonsense"]
    groups: dict[str, list[int]] = {}
    for row in rows:
        groups.setdefault(MurckoScaffold.MurckoScaffoldSmiles(smiles[row]), []).append(row)
    train, valid, test = [], [], []
    for members in [members for _, members in sorted(groups.items(), key=lambda item: (len(item[1]), item[1][0]), reverse=True)]:
        if len(train) + len(members) > 0.6 * len(rows):
            if len(train) + len(valid) + len(members) > 0.8 * len(rows):
                test += members
            else:
                valid += members
        else:
            train += members
    parts = SPLITS["scaffold_deepchem"](smiles, fractions=(0.6, 0.2, 0.2), random_state=0)
    for part, expected in zip(parts, ([*train, 3], valid, test), strict=True):
        np.testing.assert_array_equal(part, sorted(expected))


def test_scaffold_deepchem_split_of_bbbp_has_the_published_shares_of_classes(real_data):
    """DeepChem's split of BBBP puts 204 molecules into test, about half of them of class 1 where all have three quarters."""
    frame = pd.read_csv(real_data / "moleculenet" / "bbbp.csv.gz")
    _, _, test = SPLITS["scaffold_deepchem"](frame["smiles"].tolist(), random_state=0)
    assert len(test) == 204
    assert frame["p_np"].mean() == pytest.approx(0.765, abs=0.001)
    assert frame["p_np"][test].mean() == pytest.approx(0.525, abs=0.005)


def test_clusters_are_spheres_around_their_leaders():
    smiles = [core + "C" * n for core in CORES for n in range(1, 13)]
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    clusters = leader_clusters(mols, similarity=0.4)
    fingerprints = [rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048).GetFingerprint(mol) for mol in mols]
    # The definition, one molecule after the other.
    leaders: list[int] = []
    for row, fingerprint in enumerate(fingerprints):
        if all(DataStructs.TanimotoSimilarity(fingerprint, fingerprints[leader]) < 0.4 for leader in leaders):
            leaders.append(row)
    assert 5 < len(leaders) < 60
    for row, cluster in enumerate(clusters):
        similarities = [DataStructs.TanimotoSimilarity(fingerprints[row], fingerprints[leader]) for leader in leaders]
        assert cluster == np.argmax(similarities)
        assert similarities[cluster] >= 0.4


def test_cluster_split_leaves_fewer_close_neighbours_than_a_random_one():
    smiles = embedded_activities()["smiles"].tolist()[:400]
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    fingerprints = [generator.GetFingerprint(Chem.MolFromSmiles(text)) for text in smiles]

    def close(name, state):
        train, _, test = SPLITS[name](smiles, random_state=state)
        known = [fingerprints[row] for row in train]
        return np.mean([max(DataStructs.BulkTanimotoSimilarity(fingerprints[row], known)) > 0.7 for row in test])

    assert np.mean([close("cluster", state) for state in range(3)]) < 0.6 * np.mean([close("random", state) for state in range(3)])


def test_time_split_trains_on_the_earliest():
    smiles = ["C" * n for n in range(1, 101)]
    times = np.random.default_rng(0).permutation(100) + 1_900.0
    parts = SPLITS["time"](smiles, random_state=0, times=times)
    assert [sorted(times[part]) for part in parts] == [list(range(1_900, 1_980)), list(range(1_980, 1_990)), list(range(1_990, 2_000))]


def test_time_split_keeps_a_year_together_and_ends_at_the_nearest():
    smiles = ["C" * n for n in range(1, 101)]
    times = np.repeat([2001.0, 2002.0, 2003.0, 2004.0], [50, 26, 16, 8])
    train, valid, test = SPLITS["time"](smiles, random_state=0, times=times)
    assert [set(times[part]) for part in (train, valid, test)] == [{2001.0, 2002.0}, {2003.0}, {2004.0}]


def test_time_split_counts_a_molecule_from_its_first_row():
    smiles = ["C" * n for n in range(1, 11)] + ["OC", "CO"]
    times = np.array([*range(10), 0.5, 11.0])
    train, _, test = SPLITS["time"](smiles, fractions=(0.5, 0.0, 0.5), random_state=0, times=times)
    assert {10, 11} <= set(train.tolist())
    assert test.tolist() == [4, 5, 6, 7, 8, 9]


def test_time_split_refuses_rows_without_a_time():
    with pytest.raises(DataError, match=r"2 of 4 without one \(rows 1, 3\); fill in or remove"):
        SPLITS["time"](["C", "CC", "CCC", "CCCC"], random_state=0, times=np.array([1.0, np.nan, 3.0, np.inf]))
    with pytest.raises(DataError, match=r"each of 1 rows, got an array of shape \(2,\)"):
        SPLITS["time"](["C"], random_state=0, times=np.array([1.0, 2.0]))


def test_split_parts_name_the_parts_and_leave_out_those_of_fraction_zero():
    parts = split_parts("scaffold", MOLECULES, random_state=0)
    for rows, same in zip(parts.values(), SPLITS["scaffold"](MOLECULES, random_state=0), strict=True):
        np.testing.assert_array_equal(rows, same)
    assert list(parts) == ["train", "valid", "test"]
    assert list(split_parts("random", MOLECULES, fractions=(0.8, 0.0, 0.2), random_state=0)) == ["train", "test"]
    with pytest.raises(ConfigError, match="did you mean 'scaffold'"):
        split_parts("scafold", MOLECULES, random_state=0)
    with pytest.raises(ConfigError, match="--time-column"):
        split_parts("time", MOLECULES, random_state=0)
    with pytest.raises(ConfigError, match="the split 'random' takes no times"):
        split_parts("random", MOLECULES, random_state=0, times=np.arange(100.0))


@pytest.mark.parametrize("name", ["scaffold", "scaffold_random", "cluster", "random"])
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
            split(name, smiles)


@pytest.mark.parametrize("name", ["scaffold", "scaffold_random"])
def test_one_scaffold_cannot_be_split(name):
    with pytest.raises(DataError, match=r"50 rows in 1 groups leaves the training part empty"):
        SPLITS[name](["c1ccccc1C"] * 50, random_state=0)


@pytest.mark.parametrize("fractions", [(0.8, 0.1, 0.2), (1.1, -0.1, 0.0), (0.5, 0.5)])
@pytest.mark.parametrize("name", sorted(SPLITS))
def test_fractions_that_do_not_add_up_are_refused(name, fractions):
    with pytest.raises(ConfigError, match="add up to 1, got"):
        split(name, MOLECULES, fractions=fractions)
