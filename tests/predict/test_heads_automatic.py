"""The head that blends heads, in memory and on disk."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import root_mean_squared_error

from molbt.errors import CheckpointError, ConfigError
from molbt.predict import automatic
from molbt.predict.automatic import Automatic, _weights
from molbt.predict.cross_validation import inner_folds
from molbt.predict.features import FeatureSet
from molbt.predict.heads import build_head
from molbt.predict.saved_heads import read_head, write_head

N = 80
RNG = np.random.default_rng(2)
COUNTS = RNG.poisson(1.0, size=(N, 15)).astype(np.float32)
DENSE = RNG.normal(size=(N, 5)).astype(np.float32)
Y = COUNTS[:, 0] + COUNTS[:, 1] * COUNTS[:, 2] + DENSE[:, 0] + 0.1 * RNG.normal(size=N)
FEATURES = FeatureSet("both", {"counts": sparse.csr_array(COUNTS), "dense": DENSE}, np.ones(N, bool))
ONLY_DENSE = FeatureSet("dense", {"dense": DENSE}, FEATURES.valid)


@pytest.fixture(autouse=True)
def _few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(automatic._SETTINGS, "lightgbm", {"n_trees": 30})


def fitted(task_type: str = "regression", features: FeatureSet = FEATURES, **parameters) -> Automatic:
    y = Y if task_type == "regression" else (np.median(Y) < Y).astype(float)
    head = build_head("auto", task_type, **parameters).fit(features, y)
    assert isinstance(head, Automatic)
    return head


def test_weights_by_hand() -> None:
    np.testing.assert_allclose(_weights(np.array([1.0, 2.0, 1.0]), 2.0), [4 / 9, 1 / 9, 4 / 9])
    np.testing.assert_allclose(_weights(np.array([1.0, 7.0]), 0.0), [0.5, 0.5])
    np.testing.assert_allclose(_weights(np.array([0.0, 1e-3]), 8.0), [1.0, 0.0])
    np.testing.assert_allclose(_weights(np.array([0.0, 0.0]), 8.0), [0.5, 0.5])


@pytest.mark.parametrize(
    ("task_type", "features", "expected"),
    [
        ("regression", FEATURES, ["tanimoto_svm", "gp", "knn", "lightgbm"]),
        ("classification", FEATURES, ["tanimoto_svm", "gp", "tanimoto_logistic", "knn", "lightgbm"]),
        ("regression", ONLY_DENSE, ["svm", "gp", "knn", "lightgbm"]),
    ],
)
def test_members_are_those_that_fit_the_task_and_the_features(task_type: str, features: FeatureSet, expected: list[str]) -> None:
    head = fitted(task_type, features)
    assert list(head.members_) == list(head.weights_) == expected
    assert sum(head.weights_.values()) == pytest.approx(1.0)
    assert set(head.losses_) == {*expected, "auto"}


def test_prediction_is_the_weighted_mean_of_heads_fitted_alone() -> None:
    head = fitted(members=["tanimoto_svm", "knn", "gp"])
    expected = sum(share * build_head(name).fit(FEATURES, Y).predict(FEATURES) for name, share in head.weights_.items())
    np.testing.assert_allclose(head.predict(FEATURES), expected, rtol=1e-9)


def test_losses_are_those_of_held_out_rows_and_set_the_weights() -> None:
    head = fitted(members=["tanimoto_svm", "knn"], sharpness=3.0)
    folds = inner_folds(Y, "regression", 5, 0)
    held_out = {name: build_head(name).fit_with_held_out(FEATURES, Y, folds) for name in ("tanimoto_svm", "knn")}
    svm, knn = (root_mean_squared_error(Y, predicted) for predicted in held_out.values())
    share = knn**3 / (svm**3 + knn**3)
    assert head.weights_ == pytest.approx({"tanimoto_svm": share, "knn": 1 - share})
    blend = root_mean_squared_error(Y, share * held_out["tanimoto_svm"] + (1 - share) * held_out["knn"])
    assert head.losses_ == pytest.approx({"tanimoto_svm": svm, "knn": knn, "auto": blend})


@pytest.mark.parametrize("task_type", ["regression", "classification"])
@pytest.mark.parametrize("n_rows", [2, 4, 16])
def test_few_rows_do_not_give_a_constant(task_type: str, n_rows: int) -> None:
    y = Y[:n_rows] if task_type == "regression" else np.arange(n_rows) % 2.0
    rows = FEATURES.rows(np.arange(n_rows))
    head = build_head("auto", task_type).fit(rows, y)
    assert np.ptp(head.predict(rows)) > 0.01


@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_a_single_member_is_that_head_alone(task_type: str) -> None:
    y = Y if task_type == "regression" else (np.median(Y) < Y).astype(float)
    alone = build_head("tanimoto_svm", task_type).fit(FEATURES, y)
    np.testing.assert_array_equal(fitted(task_type, members=["tanimoto_svm"]).predict(FEATURES), alone.predict(FEATURES))


def test_kernels_of_too_many_rows_are_passed_over_where_there_is_another_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "_MOST_KERNEL_ROWS", N - 1)
    head = fitted()
    assert head.weights_ == {"lightgbm": 1.0}
    assert head.losses_ == {}
    assert list(fitted(members=["gp"]).members_) == ["gp"]


def test_same_bits_for_any_number_of_jobs_and_for_a_clone() -> None:
    head = fitted()
    np.testing.assert_array_equal(head.predict(FEATURES), fitted().set_params(n_jobs=2).fit(FEATURES, Y).predict(FEATURES))
    np.testing.assert_array_equal(head.predict(FEATURES), clone(head).fit(FEATURES, Y).predict(FEATURES))


def test_members_that_are_unknown_or_do_not_fit_are_refused_with_advice() -> None:
    with pytest.raises(ConfigError, match=r"unknown member 'lightgb' of the head 'auto'; did you mean 'lightgbm'"):
        fitted(members=["lightgb"])
    with pytest.raises(ConfigError, match="name others in `members`"):
        fitted(members=["svm"])


@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_blend_predicts_the_same_after_a_stay_on_disk(task_type: str, tmp_path) -> None:
    head = fitted(task_type, random_state=3, folds=4)
    y = Y if task_type == "regression" else (np.median(Y) < Y).astype(float)
    description = write_head(head, FEATURES, y, tmp_path)
    assert {"head.lightgbm.txt", "head.lightgbm.columns.npy", "head.y.npy"} <= set(description["sha256"])
    again = read_head(description, tmp_path)
    assert isinstance(again, Automatic)
    np.testing.assert_allclose(again.predict(FEATURES), head.predict(FEATURES), rtol=1e-9)
    assert (again.get_params(), again.weights_, again.losses_) == (head.get_params(), head.weights_, head.losses_)
    assert len(again.members_["tanimoto_svm"].losses_) == 1  # fitted with what it had chosen, without choosing again


def test_members_without_weight_can_be_read_again(tmp_path) -> None:
    head = fitted(members=["tanimoto_svm", "knn"], sharpness=1e6)
    assert sorted(head.weights_.values()) == [0.0, 1.0]
    again = read_head(write_head(head, FEATURES, Y, tmp_path), tmp_path)
    np.testing.assert_allclose(again.predict(FEATURES), head.predict(FEATURES), rtol=1e-9)


def test_damaged_or_unknown_members_on_disk_are_refused(tmp_path) -> None:
    head = fitted()
    description = write_head(head, FEATURES, Y, tmp_path)
    for name, message in (("pickle", "unknown member 'pickle'"), ("../x", "unknown member")):
        members = description["members"] | {name: {"weight": 0.5, "chosen": {}}}
        with pytest.raises(CheckpointError, match=message):
            read_head(description | {"members": members}, tmp_path)
    members = description["members"] | {"knn": {"weight": 0.5, "chosen": {"neighbours": ["a"]}}}
    with pytest.raises(CheckpointError, match="parameter 'neighbours'"):
        read_head(description | {"members": members}, tmp_path)
    text = tmp_path / "head.lightgbm.txt"
    text.write_text(text.read_text().replace("left_child=", "left_child=0 ", 1))
    with pytest.raises(CheckpointError, match="is damaged"):
        read_head(description, tmp_path)
