"""Heads on kernels beyond so many rows: which rows they learn from, and that nothing else changes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from molbt import Predictor
from molbt.data.sources import embedded_activities
from molbt.errors import ConfigError
from molbt.evaluation.bounded_training import bounded_training
from molbt.predict import tanimoto
from molbt.predict.bounded_rows import bounded_rows, class_weights
from molbt.predict.features import FeatureSet
from molbt.predict.heads import HEADS, build_head
from molbt.predict.kernel_head import KernelHead

N, BOUND = 120, 40
RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(1.0, size=(N, 20)).astype(np.float32)
DENSE = RNG.normal(size=(N, 3)).astype(np.float32)
FEATURES = FeatureSet("both", {"counts": sparse.csr_array(COUNTS), "dense": DENSE}, np.ones(N, bool))
Y = COUNTS[:, 0] + DENSE[:, 0] + 0.1 * RNG.normal(size=N)
RARE = (np.quantile(Y, 0.9) < Y).astype(float)
NEW = FEATURES.rows(RNG.permutation(N)[:30])
ON_KERNELS = [name for name, head in HEADS.items() if issubclass(head, KernelHead) and name != "svm"]


def test_few_rows_are_all_kept():
    np.testing.assert_array_equal(bounded_rows(Y, "regression", N, 0), np.arange(N))


def test_so_many_rows_are_drawn_by_the_seed():
    kept, again, other = (bounded_rows(Y, "regression", BOUND, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(kept, again)
    assert len(kept) == len(set(kept)) == BOUND
    assert (np.diff(kept) > 0).all()
    assert set(kept) != set(other)
    assert kept.max() > N - N // 3  # not the first so many


@pytest.mark.parametrize("labels", [RARE, 1 - RARE])
def test_a_rare_class_is_kept_whole(labels):
    kept = bounded_rows(labels, "classification", BOUND, 0)
    assert len(kept) == BOUND
    rare = np.flatnonzero(labels == (labels.mean() < 0.5))
    assert set(rare) <= set(kept)
    assert len(rare) == N // 10


def test_of_two_large_classes_each_has_half():
    labels = (np.arange(N) % 2).astype(float)
    assert labels[bounded_rows(labels, "classification", BOUND, 0)].sum() == BOUND / 2


def test_weights_give_the_kept_rows_the_shares_of_all():
    kept = bounded_rows(RARE, "classification", BOUND, 0)
    weights = class_weights(RARE, kept)
    assert weights[RARE[kept] == 1].sum() == pytest.approx(RARE.sum())
    assert weights[RARE[kept] == 0].sum() == pytest.approx(N - RARE.sum())


@pytest.mark.parametrize("name", [name for name in ON_KERNELS if "regression" in HEADS[name].task_types])
def test_a_bounded_head_is_the_head_of_the_rows_it_kept(name):
    head = build_head(name, max_rows=BOUND, random_state=3).fit(FEATURES, Y)
    kept = bounded_rows(Y, "regression", BOUND, 3)
    expected = build_head(name, random_state=3).fit(FEATURES.rows(kept), Y[kept])
    assert (head.n_train_, head.n_refused_, head.n_unlabelled_) == (BOUND, 0, 0)
    np.testing.assert_array_equal(head.predict(NEW), expected.predict(NEW))
    assert (build_head(name, random_state=3).fit(FEATURES, Y).predict(NEW) != head.predict(NEW)).any()


@pytest.mark.parametrize("name", ON_KERNELS)
def test_probabilities_are_those_of_all_rows_although_a_class_is_kept_whole(name):
    labels = (np.arange(2_000) % 20 == 0).astype(float)
    counts = RNG.poisson(1.0 + labels[:, None] * RNG.random(10), size=(2_000, 10)).astype(np.float32)
    features = FeatureSet("counts", {"counts": sparse.csr_array(counts)}, np.ones(2_000, bool))
    head = build_head(name, "classification", max_rows=300).fit(features.rows(np.arange(1_000)), labels[:1_000])
    assert head.n_train_ == 300
    assert head.predict(features.rows(np.arange(1_000, 2_000))).mean() == pytest.approx(0.05, abs=0.03)  # of those kept it is 0.17


@pytest.mark.parametrize("name", ON_KERNELS)
def test_a_bounded_head_predicts_every_row_of_every_fold(name):
    task_type, y = ("classification", RARE) if name == "tanimoto_logistic" else ("regression", Y)
    folds = [(np.flatnonzero(np.arange(N) % 3 != part), np.flatnonzero(np.arange(N) % 3 == part)) for part in range(3)]
    head = build_head(name, task_type, max_rows=BOUND)
    held_out = head.fit_with_held_out(FEATURES, y, folds)
    train, rest = folds[1]
    expected = build_head(name, task_type, max_rows=BOUND).fit(FEATURES.rows(train), y[train]).predict(FEATURES.rows(rest))
    np.testing.assert_array_equal(held_out[rest], expected)
    assert np.isfinite(held_out).all()
    assert head.n_train_ == BOUND


@pytest.mark.parametrize("name", ["tanimoto_svm", "svm", "gp", "knn"])
def test_kernels_made_in_parts_are_the_same(name, monkeypatch):
    features = replace(FEATURES, blocks={"dense": DENSE}) if name == "svm" else FEATURES
    whole = build_head(name).fit(features, Y).predict(features)
    monkeypatch.setattr(tanimoto, "_CELLS", 5 * N)
    np.testing.assert_allclose(build_head(name).fit(features, Y).predict(features), whole, rtol=1e-9)
    assert len(list(tanimoto.row_parts(N, N))) == N // 5


def test_parts_are_consecutive_and_all_there(monkeypatch):
    monkeypatch.setattr(tanimoto, "_CELLS", 21)
    assert [(part.start, part.stop) for part in tanimoto.row_parts(7, 10)] == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert list(tanimoto.row_parts(0, 10)) == [slice(0, 0)]
    assert list(tanimoto.row_parts(2, 100)) == [slice(0, 1), slice(1, 2)]


def test_no_row_is_too_few():
    with pytest.raises(ConfigError, match="max_rows 1"):
        build_head("knn", max_rows=1).fit(FEATURES, Y)


def test_a_bounded_head_is_saved_and_read(tmp_path):
    smiles = embedded_activities()["smiles"].tolist()[:200:2]
    values = embedded_activities()["activity"].to_numpy()[:200:2]
    classes = (np.quantile(values, 0.8) < values).astype(float)
    predictor = Predictor(head="tanimoto_svm", head_parameters={"max_rows": 50}, features="counts", calibration=None)
    predictor.fit(smiles, classes).save(tmp_path / "p")
    read = Predictor.load(tmp_path / "p")
    assert read.head_.n_train_ == 50
    np.testing.assert_allclose(read.predict(smiles), predictor.predict(smiles), rtol=1e-9)


def test_the_table_says_who_learned_from_fewer_rows():
    results = pd.DataFrame(
        [("large", "tanimoto_svm", 10_000), ("large", "lightgbm", 30_000), ("small", "tanimoto_svm", 500), ("large", "other", 10_000)],
        columns=["data_set", "head", "n_train"],
    )
    (note,) = bounded_training(results)
    assert note.startswith("tanimoto_svm learned from 10,000 training rows of large, its max_rows")
    assert bounded_training(results[results["data_set"] == "small"]) == []
