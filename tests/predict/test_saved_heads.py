"""Heads on disk, and LightGBM's text read with suspicion."""

import time

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from molbt.errors import CheckpointError
from molbt.predict import saved_heads, verified_files
from molbt.predict.booster_text import read_booster
from molbt.predict.boosting import LightGBM
from molbt.predict.features import FeatureSet
from molbt.predict.heads import HEADS, build_head
from molbt.predict.saved_heads import N_CHECKED, read_head, write_head

RNG = np.random.default_rng(0)
N_ROWS, N_FEATURES = 50, 6
DENSE = RNG.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
COUNTS = sparse.csr_array(RNG.poisson(0.5, size=(N_ROWS, 30)).astype(np.float32))
VALUES = DENSE[:, 0] + 0.1 * RNG.normal(size=N_ROWS)
VALID = np.arange(N_ROWS) != 7
LABELS = np.where(np.arange(N_ROWS) == 9, np.nan, VALUES)


def feature_set(name):
    return FeatureSet(name, {"dense": DENSE} if name == "svm" else {"counts": COUNTS, "dense": DENSE}, VALID)


def fitted(name, task_type="regression"):
    parameters = {"lightgbm": {"n_trees": 20}, "forest": {"n_trees": 20}, "auto": {"members": ["tanimoto_svm", "gp"]}}.get(name, {})
    labels = LABELS if task_type == "regression" else np.where(np.isnan(LABELS), np.nan, LABELS > 0)
    return build_head(name, task_type, random_state=3, **parameters).fit(feature_set(name), labels), labels


@pytest.mark.parametrize(("name", "task_type"), [(name, task_type) for name, head in HEADS.items() for task_type in head.task_types])
def test_a_head_predicts_the_same_after_a_stay_on_disk(name, task_type, tmp_path):
    head, labels = fitted(name, task_type)
    description = write_head(head, feature_set(name), labels, tmp_path)
    again = read_head(description, tmp_path)
    np.testing.assert_allclose(again.predict(feature_set(name)), head.predict(feature_set(name)), rtol=1e-9, atol=1e-12)
    assert again.get_params() == head.get_params()
    assert (again.n_train_, again.n_refused_, again.n_unlabelled_) == (48, 1, 1)
    assert sorted(description["sha256"]) == sorted(path.name for path in tmp_path.iterdir())


def test_only_training_rows_are_kept_and_lightgbm_keeps_few(tmp_path):
    for name, n_kept in (("ridge", 48), ("lightgbm", N_CHECKED)):
        (tmp_path / name).mkdir()
        head, labels = fitted(name)
        write_head(head, feature_set(name), labels, tmp_path / name)
        kept = np.load(tmp_path / name / "head.block.dense.npy")
        used = DENSE[VALID & np.isfinite(labels)]
        np.testing.assert_array_equal(kept, used[:n_kept])


@pytest.mark.parametrize("name", ["lightgbm", "ridge"])
def test_a_head_that_predicts_something_else_is_refused(name, tmp_path):
    head, labels = fitted(name)
    description = write_head(head, feature_set(name), labels, tmp_path)
    description["checked_predictions"][-1] += 1e-3
    with pytest.raises(CheckpointError, match=r"no longer predicts what it did when it was saved \(largest difference 0.001\)"):
        read_head(description, tmp_path)


def test_a_file_larger_than_the_limit_is_not_read(tmp_path, monkeypatch):
    head, labels = fitted("ridge")
    description = write_head(head, feature_set("ridge"), labels, tmp_path)
    monkeypatch.setattr(verified_files, "MAX_FILE_BYTES", 100)
    with pytest.raises(CheckpointError, match="at most 100 are read"):
        read_head(description, tmp_path)


def test_arrays_with_objects_are_not_loaded(tmp_path):
    head, labels = fitted("ridge")
    description = write_head(head, feature_set("ridge"), labels, tmp_path)
    np.save(tmp_path / "head.y.npy", np.array([print], dtype=object), allow_pickle=True)
    description["sha256"]["head.y.npy"] = saved_heads.sha256_of(tmp_path / "head.y.npy")
    with pytest.raises(CheckpointError, match="arrays of objects are never loaded"):
        read_head(description, tmp_path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("head.block.counts.indices.npy", np.full(COUNTS[VALID & np.isfinite(LABELS)].nnz, 10**6, dtype=np.int32)),
        ("head.block.counts.indptr.npy", np.zeros(3, dtype=np.int32)),
        ("head.block.counts.shape.npy", np.array([48, 10**9])),
        ("head.block.dense.npy", DENSE[:3]),
        ("head.block.dense.npy", DENSE[0]),
        ("head.y.npy", np.zeros(3)),
        ("head.y.npy", np.array(["a"] * 48)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(name, array, tmp_path):
    head, labels = fitted("ridge")
    description = write_head(head, feature_set("ridge"), labels, tmp_path)
    np.save(tmp_path / name, array)
    description["sha256"][name] = saved_heads.sha256_of(tmp_path / name)
    with pytest.raises(CheckpointError):
        read_head(description, tmp_path)


@pytest.mark.parametrize("columns", [[-1, 0], [0, 10**9], [[0]], [0.5]])
def test_columns_beyond_the_features_are_refused(columns, tmp_path):
    head, labels = fitted("lightgbm")
    description = write_head(head, feature_set("lightgbm"), labels, tmp_path)
    np.save(tmp_path / "head.columns.npy", np.array(columns))
    description["sha256"]["head.columns.npy"] = saved_heads.sha256_of(tmp_path / "head.columns.npy")
    with pytest.raises(CheckpointError, match="columns that the features do not have"):
        read_head(description, tmp_path)


# LightGBM's text


@pytest.fixture(scope="module")
def booster():
    matrix = DENSE.astype(np.float64).copy()
    matrix[::5, 1] = np.nan
    settings = {"num_leaves": 5, "min_data_in_leaf": 1, "verbose": -1, "num_threads": 1}
    return lightgbm.train(settings, lightgbm.Dataset(matrix, VALUES), 6)


def test_a_booster_read_back_predicts_the_same_bits(booster):
    matrix = np.vstack([DENSE.astype(np.float64), np.full((1, N_FEATURES), np.nan)])
    again = read_booster(booster.model_to_string(), n_features=N_FEATURES)
    np.testing.assert_array_equal(again.predict(matrix), booster.predict(matrix))
    assert again.num_trees() == booster.num_trees()


@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_boosters_of_the_head_are_understood_whole(task_type):
    head, _ = fitted("lightgbm", task_type)
    assert isinstance(head, LightGBM)
    matrix = sparse.csr_matrix(feature_set("lightgbm").matrix()[:, head.columns_])
    again = read_booster(head.booster_.model_to_string(), n_features=len(head.columns_))
    np.testing.assert_array_equal(again.predict(matrix), head.booster_.predict(matrix))


def test_a_booster_without_a_split_is_understood():
    settings = {"min_data_in_leaf": 1000, "verbose": -1, "num_threads": 1}
    stump = lightgbm.train(settings, lightgbm.Dataset(DENSE, VALUES), 3)
    np.testing.assert_array_equal(read_booster(stump.model_to_string(), n_features=N_FEATURES).predict(DENSE), stump.predict(DENSE))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("left_child=", "left_child=0 ", "whole numbers should be"),
        ("num_class=1", "num_class=2", "expected num_class=1"),
        ("max_feature_idx=5", "max_feature_idx=500000000", "expected max_feature_idx=5"),
        ("objective=regression", "objective=custom", "unknown objective"),
        ("num_leaves=5", "num_leaves=500000000", "has 500000000 leaves"),
        ("num_leaves=5", "num_leaves=x", "holds 'x' where 1 whole numbers should be"),
        ("num_cat=0", "num_cat=1", "categorical splits"),
        ("is_linear=0", "is_linear=1", "linear leaves"),
        ("shrinkage=1\n", "shrinkage=nan\n", "where 1 finite numbers should be"),
        ("Tree=1\n", "Tree=7\n", "expected tree 1"),
        ("split_gain=", "split_grain=", "other lines than"),
        ("end of trees", "end of tree", "no beginning or no end"),
    ],
)
def test_a_text_that_lightgbm_would_not_write_is_refused(booster, old, new, said):
    text = booster.model_to_string()
    assert old in text
    with pytest.raises(CheckpointError, match=said):
        read_booster(text.replace(old, new, 1), n_features=N_FEATURES)


def test_a_node_that_is_its_own_child_is_refused(booster):
    lines = booster.model_to_string().split("\n")
    place = next(place for place, line in enumerate(lines) if line.startswith("left_child="))
    children = lines[place].removeprefix("left_child=").split(" ")
    for replacement in ("0", "1", "-1", "99", "-99"):
        changed = [replacement, *children[1:]]
        if changed != children:
            text = "\n".join([*lines[:place], "left_child=" + " ".join(changed), *lines[place + 1 :]])
            with pytest.raises(CheckpointError, match=r"do not form a tree|form a circle"):
                read_booster(text, n_features=N_FEATURES)


def test_features_and_infinities_out_of_range_are_refused(booster):
    lines = booster.model_to_string().split("\n")
    for name, value in (
        ("split_feature", "6"),
        ("split_feature", "-1"),
        ("threshold", "inf"),
        ("leaf_value", "nan"),
        ("decision_type", "1"),
    ):
        place = next(place for place, line in enumerate(lines) if line.startswith(f"{name}="))
        first, _, rest = lines[place].partition(" ")
        text = "\n".join([*lines[:place], f"{first.split('=')[0]}={value} {rest}", *lines[place + 1 :]])
        with pytest.raises(CheckpointError):
            read_booster(text, n_features=N_FEATURES)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data())
def test_mutants_are_refused_or_predict_without_a_hang(booster, data):
    text = booster.model_to_string().partition("\nfeature_importances:")[0]
    kind = data.draw(st.sampled_from(["cut", "replace", "delete", "swap lines"]))
    place = data.draw(st.integers(0, len(text) - 1))
    if kind == "cut":
        mutant = text[:place]
    elif kind == "replace":
        mutant = text[:place] + data.draw(st.sampled_from("0123456789-. \n=xe")) + text[place + 1 :]
    elif kind == "delete":
        mutant = text[:place] + text[place + data.draw(st.integers(1, 20)) :]
    else:
        lines = text.split("\n")
        a, b = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        lines[a], lines[b] = lines[b], lines[a]
        mutant = "\n".join(lines)
    started = time.monotonic()
    try:
        predictions = read_booster(mutant, n_features=N_FEATURES).predict(DENSE)
    except CheckpointError:
        return
    assert predictions.shape == (N_ROWS,)
    assert np.isfinite(predictions).all()
    assert time.monotonic() - started < 60
