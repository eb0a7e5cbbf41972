"""What training tasks tell about molecules, on a made folder whose overlaps are known."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_fs_mol import MOLECULES, is_active, write_fs_mol
from rdkit import Chem

from molbt.data.identity import identity_hashes
from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError
from molbt.evaluation.benchmarks.fsmol import FSMol
from molbt.evaluation.few_shot.protocol import evaluate_few_shot
from molbt.evaluation.few_shot.regimes import training_sets, write_exclusions
from molbt.evaluation.few_shot.strata import STRATA, results_by_group, seen_shares
from molbt.evaluation.few_shot.training_labels import TrainingLabels


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> FSMol:
    return FSMol(write_fs_mol(tmp_path_factory.mktemp("made")), support=[0, 16], draws=2)


@pytest.fixture(scope="module")
def labels(benchmark: FSMol) -> TrainingLabels:
    return TrainingLabels.read(benchmark.data)


def canonical(smiles: str) -> str:
    return Chem.CanonSmiles(smiles)


def test_the_lookup_is_the_mean_training_label_of_a_molecule(benchmark: FSMol, labels: TrainingLabels) -> None:
    table: dict[str, list[float]] = {}
    for smiles in MOLECULES[60:105]:
        table.setdefault(canonical(smiles), []).append(float(is_active(smiles)))
    for smiles in MOLECULES[60:70] + MOLECULES[170:192]:
        table.setdefault(canonical(smiles), []).append(float(not is_active(smiles)))
    assert any(len(values) > 1 for values in table.values())
    asked = [*MOLECULES, "not a SMILES"]
    expected = [float(np.mean(table.get(canonical(smiles), [0.5]))) for smiles in MOLECULES] + [0.5]
    np.testing.assert_allclose(labels.lookup()("any assay", asked), expected)


def test_molecules_are_seen_whatever_their_form(labels: TrainingLabels) -> None:
    known, unknown = "CCCc1ccncc1", "CCCc1cccnc1"
    assert known in MOLECULES[60:105]
    forms = [known, f"{known}.Cl", "CCCc1cc[nH+]cc1.[Cl-]", "c1cc(CCC)ccn1", unknown, "not a SMILES"]
    assert labels.seen(forms).tolist() == [True, True, True, True, False, False]


def test_a_hash_hit_counts_only_when_inchi_agrees(labels: TrainingLabels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "molbt.evaluation.few_shot.training_labels.inchi_connectivity", lambda values, policy: [str(hash(v)) for v in values]
    )
    salted = f"{MOLECULES[60]}.[Na+].[Cl-]"
    assert labels.seen([MOLECULES[60], salted]).tolist() == [True, False]


def test_hashes_are_read_from_the_cache(benchmark: FSMol, labels: TrainingLabels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("molbt.evaluation.few_shot.training_labels.in_shards", None)  # to hash again would fail
    pd.testing.assert_frame_equal(TrainingLabels.read(benchmark.data).rows, labels.rows)


def test_strata_are_shares_of_distinct_molecules(benchmark: FSMol, labels: TrainingLabels) -> None:
    table = seen_shares(benchmark, labels).set_index("task")
    trained = set(map(canonical, labels.rows["smiles"]))
    for assay in ("T1", "T2", "T3"):
        distinct = set(benchmark.read(assay).frame["smiles"])
        expected = np.mean([canonical(smiles) in trained for smiles in distinct])
        assert table.loc[assay, "share"] == pytest.approx(expected)
        assert table.loc[assay, "molecules"] == len(distinct)
    # A2 shares no molecule with T1; T2 is inside A1; of T3's 24, A1 has those up to number 105.
    assert table["stratum"].tolist() == [STRATA[0], STRATA[2], STRATA[1]]


def test_the_clean_regime_knows_no_evaluated_molecule_and_its_control_as_few_rows(benchmark: FSMol, labels: TrainingLabels) -> None:
    clean, random = training_sets(benchmark, labels, "clean").values()
    evaluated = {canonical(smiles) for assay in benchmark.assays for smiles in benchmark.read(assay).frame["smiles"]}
    assert {canonical(smiles) for smiles in clean.rows["smiles"]} == {canonical(s) for s in labels.rows["smiles"]} - evaluated
    removed = len(labels.rows) - len(clean.rows)
    assert 0 <= removed - (len(labels.rows) - len(random.rows)) + 1 <= 2  # whole molecules are removed, of at most two rows here
    assert set(random.rows["molecule"]).isdisjoint(set(labels.rows["molecule"]) - set(random.rows["molecule"]))
    assert set(random.rows["smiles"]) & evaluated  # it is drawn from all molecules
    again = training_sets(benchmark, labels, "clean", random_state=1)["training labels less as many"]
    assert set(again.rows["molecule"]) != set(random.rows["molecule"])
    assert clean.identity != random.identity != labels.identity
    with pytest.raises(ConfigError, match="did you mean 'clean'"):
        training_sets(benchmark, labels, "cleaned")


def test_exclusions_hold_what_a_set_lacks(benchmark: FSMol, labels: TrainingLabels, tmp_path: Path) -> None:
    sets = training_sets(benchmark, labels, "clean")
    paths = write_exclusions(tmp_path, labels, sets)
    for path, kept in zip(paths.values(), sets.values(), strict=True):
        excluded = identity_hashes(pd.read_csv(path)["smiles"].tolist(), ParsePolicy())
        left = labels.rows[~labels.rows["molecule"].isin(excluded)]
        pd.testing.assert_frame_equal(left, kept.rows)


def test_the_clean_lookup_tells_nothing_and_the_published_one_does(benchmark: FSMol, labels: TrainingLabels) -> None:
    clean = training_sets(benchmark, labels, "clean")["clean training labels"]
    methods = {("labels", "published"): labels.lookup(), ("labels", "clean"): clean.lookup()}
    results = evaluate_few_shot(benchmark, [], [], zero_shot=methods)
    means = results[results["metric"] == "delta_auprc"].groupby(["head", "task"])["value"].mean()
    assert (means["clean"] == 0).all()
    assert means["published", "T1"] == 0
    assert means["published", "T2"] > 0.2


def test_results_by_group_are_means_and_paired_differences_within_it() -> None:
    rng = np.random.default_rng(0)
    tasks = [f"A{n}" for n in range(12)]
    values = {head: rng.normal(size=(12, 2)) for head in ("a", "b")}
    results = pd.DataFrame(
        {"benchmark": "fsmol_16", "data_set": task, "task": task, "split": "s", "repeat": seed, "fraction": 1.0, "features": "f"}
        | {"head": head, "metric": "delta_auprc", "value": values[head][n, seed], "n_train": 16, "n_test": 9}
        for head in ("a", "b")
        for n, task in enumerate(tasks)
        for seed in range(2)
    )
    group_of = {task: "first" if n < 7 else "second" for n, task in enumerate(tasks)}
    table = results_by_group(results, group_of, ("f", "a"), "delta_auprc", {"fsmol_16": 16}).set_index(["group", "head"])
    for group, rows in (("first", slice(0, 7)), ("second", slice(7, 12))):
        own, control = values["b"][rows].mean(axis=1), values["a"][rows].mean(axis=1)
        row = table.loc[(group, "b")]
        assert row["mean"] == pytest.approx(own.mean())
        assert row["standard_error"] == pytest.approx(own.std(ddof=1) / np.sqrt(len(own)))
        assert row["difference"] == pytest.approx((own - control).mean())
        assert row["n_tasks"] == len(own)
        assert row["support"] == 16
        assert table.loc[(group, "a"), "claim"] == "the control"


@pytest.mark.slow
def test_strata_of_the_real_tasks_are_those_known_before(real_data: Path) -> None:
    benchmark = FSMol(real_data)
    table = seen_shares(benchmark, TrainingLabels.read(benchmark.data))
    # Counted before with other code: 19, 17 and 97 of 133 assays; 75 % of the molecules of a mean assay, all of those of the median one.
    assert table["stratum"].value_counts().to_dict() == dict(zip(STRATA, (19, 17, 97), strict=True))
    assert table["share"].mean() == pytest.approx(0.75, abs=0.01)
    assert table["share"].median() == 1
