"""Molecules measured in several rows: heads choose their settings on folds that keep such rows together."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone

from molbt import Predictor
from molbt.data.sources import embedded_activities
from molbt.errors import ShapeError
from molbt.evaluation.benchmarks.base import Benchmark, Task
from molbt.evaluation.protocol import evaluate
from molbt.predict import finetune_outcome
from molbt.predict.cross_validation import inner_folds, random_folds
from molbt.predict.features import FeatureSet, feature_builders
from molbt.predict.heads import build_head
from molbt.predict.replicates import molecule_numbers
from molbt.predict.search import search_head

N = 40
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=N)
"""Labels that the features know nothing about: whoever predicts a held-out row well has seen its twin."""
TWICE = np.tile(np.arange(N), 2)
COUNTS = RNG.poisson(1.0, size=(N, 30)).astype(np.float32)[TWICE]
BY_ROW = FeatureSet("counts", {"ecfp4": sparse.csr_array(COUNTS)}, np.ones(2 * N, bool))
BY_MOLECULE = replace(BY_ROW, molecules=TWICE)
Y = NOISE[TWICE]
CLASSES = (np.median(NOISE) < NOISE).astype(float)[TWICE]

SERIES = embedded_activities().iloc[::25].head(N)
SMILES = [*SERIES["smiles"], *(f"{text}.Cl" for text in SERIES["smiles"])]  # each molecule a second time, as a salt


@pytest.mark.parametrize("folds_of", [inner_folds, random_folds])
@pytest.mark.parametrize(("task_type", "y"), [("regression", Y), ("classification", CLASSES)])
def test_folds_keep_the_rows_of_a_molecule_together(folds_of, task_type, y):
    folds = folds_of(y, task_type, 5, 0, TWICE)
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(2 * N))
    for train, held in folds:
        assert sorted([*train, *held]) == list(range(2 * N))
        assert not set(TWICE[train]) & set(TWICE[held])
    assert any(set(TWICE[train]) & set(TWICE[held]) for train, held in folds_of(y, task_type, 5, 0))


@pytest.mark.parametrize("folds_of", [inner_folds, random_folds])
def test_molecules_that_stand_once_leave_the_folds_as_they_are(folds_of):
    numbered, plain = folds_of(NOISE, "regression", 5, 3, RNG.permutation(N)), folds_of(NOISE, "regression", 5, 3)
    for (train, held), (plain_train, plain_held) in zip(numbered, plain, strict=True):
        np.testing.assert_array_equal(train, plain_train)
        np.testing.assert_array_equal(held, plain_held)


def test_repeats_of_three_molecules_are_too_few_for_a_choice():
    assert inner_folds(np.arange(9.0), "regression", 5, 0, np.arange(9) % 3) == []
    assert len(inner_folds(np.arange(9.0), "regression", 5, 0)) == 5


def test_a_feature_set_keeps_its_molecules_in_subsets_and_counts_them():
    np.testing.assert_array_equal(BY_MOLECULE.rows(np.array([41, 2, 1])).molecules, [1, 2, 1])
    with pytest.raises(ShapeError, match="a molecule for each of 80 rows"):
        replace(BY_ROW, molecules=TWICE[:5])


def test_neighbours_are_not_chosen_by_the_twin_of_a_row():
    leaking, honest = (build_head("knn", neighbours=[20, 1], power=1.0).fit(features, Y) for features in (BY_ROW, BY_MOLECULE))
    assert leaking.setting_ == 1
    assert honest.setting_ == 20


def test_a_penalty_is_not_chosen_by_the_twin_of_a_row():
    leaking, honest = (build_head("ridge").fit(features, Y) for features in (BY_ROW, BY_MOLECULE))
    assert leaking._model.alpha < honest._model.alpha


@pytest.mark.parametrize(("head", "y"), [("tanimoto_svm", Y), ("tanimoto_logistic", CLASSES), ("gp", Y)])
def test_a_kernel_that_knows_nothing_is_not_thought_good(head, y):
    is_class = head == "tanimoto_logistic"
    fitted = [build_head(head, "classification" if is_class else "regression") for _ in range(2)]
    leaking, honest = (min(one.fit(features, y).losses_.values()) for one, features in zip(fitted, (BY_ROW, BY_MOLECULE), strict=True))
    chance = -0.75 if is_class else 0.7  # −ROC AUC, or squared error in variances
    assert leaking < chance < honest


def test_early_stopping_does_not_learn_the_twins_by_heart():
    leaking, honest = (build_head("lightgbm", n_trees=200, patience=20).fit(features, Y) for features in (BY_ROW, BY_MOLECULE))
    assert honest.n_trees_ < 50 < leaking.n_trees_


def test_a_blend_weighs_its_members_on_whole_molecules():
    leaking, honest = (build_head("auto", members=["knn", "tanimoto_svm"]).fit(features, Y) for features in (BY_ROW, BY_MOLECULE))
    assert leaking.losses_["auto"] < 0.5 * Y.std() < 0.8 * Y.std() < honest.losses_["auto"]


def test_a_search_scores_on_whole_molecules():
    pytest.importorskip("optuna")
    leaking, honest = (search_head("knn", features, Y, n_trials=3) for features in (BY_ROW, BY_MOLECULE))
    assert leaking.score < 0.8 * Y.std() < honest.score


def test_molecules_are_told_apart_by_connectivity():
    numbers = molecule_numbers(["CCO", "OCC", "not a molecule", "CCO.Cl", "C[C@H](N)O", "C[C@@H](N)O", "nor this", None])
    np.testing.assert_array_equal(numbers, [0, 0, 1, 0, 2, 2, 3, 4])


def test_a_predictor_tells_its_head_which_rows_are_one_molecule():
    predictor = Predictor(head="knn", head_parameters={"neighbours": [20, 1]}, features="counts", calibration=None, applicability=False)
    predictor.fit(SMILES, Y)
    assert predictor.head_.setting_ == 20
    by_row = clone(predictor.head_).fit(predictor.features_of(SMILES), Y)
    assert by_row.setting_ == 1


def test_a_saved_head_is_fitted_on_the_same_folds_again(tmp_path):
    predictor = Predictor(head="tanimoto_svm", features="counts", calibration=None, applicability=False, task_type="classification")
    predictor.fit(SMILES, CLASSES).save(tmp_path / "p")
    new = SERIES["smiles"].tolist()[:5]
    np.testing.assert_allclose(Predictor.load(tmp_path / "p").predict(new), predictor.predict(new), rtol=1e-12)
    by_row = clone(predictor.head_).fit(predictor.features_of(SMILES), CLASSES)
    assert np.abs(by_row.predict(predictor.features_of(new)) - predictor.predict(new)).max() > 1e-3


def test_an_evaluation_tells_heads_which_rows_are_one_molecule():
    frame = pd.DataFrame({"smiles": [*SMILES, *embedded_activities()["smiles"][5:900:45]]})
    y = np.append(Y, RNG.normal(size=20))
    parts = {"train": np.arange(2 * N), "test": np.arange(2 * N, len(frame))}

    class Repeated(Benchmark):
        name = "repeated"

        def tasks(self):
            yield Task("noise", frame, y, parts)

    builder = feature_builders(["counts"])["counts"]
    found = evaluate(Repeated(), [("counts", builder)], ["knn"]).set_index("metric")["value"]["rmse"]
    built, expected = builder(frame["smiles"].tolist()), {}
    for name, molecules in (("row", None), ("molecule", molecule_numbers(frame["smiles"].tolist()))):
        features = replace(built, molecules=molecules)
        head = build_head("knn").fit(features.rows(parts["train"]), y[parts["train"]])
        expected[name] = float(np.sqrt(np.mean((head.predict(features.rows(parts["test"])) - y[parts["test"]]) ** 2)))
    assert found == pytest.approx(expected["molecule"], rel=1e-12)
    assert found != pytest.approx(expected["row"], rel=1e-3)


def test_coverage_of_fine_tuning_is_counted_by_whole_molecules(monkeypatch):
    seen = []
    monkeypatch.setattr(finetune_outcome, "calibrated", lambda held_out, labels, task_type, how: seen.append(held_out.fold))
    held = np.arange(2 * N)
    head = SimpleNamespace(constant_=None, task_type="regression")
    finetuned = SimpleNamespace(
        labels=Y[:, None], held_out=Y[:, None], folds=[(np.zeros(0, int), held)], heads={"y": head}, molecules=TWICE
    )
    finetune_outcome.calibrations_of(finetuned)
    np.testing.assert_array_equal(seen[0][:N], seen[0][N:])
    assert set(seen[0]) == set(range(5))
