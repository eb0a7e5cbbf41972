"""The featurizer: scikit-learn's contract, one row out per row in, and embeddings that do not depend on how they are computed."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from joblib import Parallel, delayed
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks, get_tags

from molbt import MoleculeFeaturizer, from_pretrained
from molbt.data.molecules import ParsePolicy
from molbt.errors import CheckpointError, ConfigError, InvalidMoleculeError, ShapeError

WIDTH = 16


@pytest.fixture
def featurizer(tiny_run):
    return MoleculeFeaturizer(tiny_run).fit()


def relative_error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# The embedding itself


def test_features_are_the_encoder_applied_to_the_prepared_molecules(featurizer, tiny_run, nci_smiles):
    twin = from_pretrained(tiny_run)
    prepared = twin.modalities["a"].prepare(nci_smiles[:20], ParsePolicy())
    with torch.no_grad():
        expected = twin.encode("a", twin.modalities["a"].collate(prepared.columns, torch.arange(20)))
    features = featurizer.transform(nci_smiles[:20])
    assert features.dtype == np.float32
    assert features.shape == (20, WIDTH)
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-6, atol=1e-7)


def test_order_and_duplicates_are_kept(featurizer):
    features = featurizer.transform(["CCO", "CCN", "CCO", "c1ccccc1"])
    again = featurizer.transform(["c1ccccc1", "CCN", "CCO"])
    np.testing.assert_array_equal(features[0], features[2])
    assert relative_error(features[[3, 1, 0]], again) <= 1e-6
    assert not np.allclose(features[0], features[1])


@pytest.mark.parametrize("output", ["embedding", "hidden_1"])
def test_a_single_row_is_as_in_a_batch(tiny_run, nci_smiles, output):
    featurizer = MoleculeFeaturizer(tiny_run, output=output).fit()
    together = featurizer.transform(nci_smiles[:40])
    alone = np.concatenate([featurizer.transform([smiles]) for smiles in nci_smiles[:40]])
    assert relative_error(alone, together) <= 1e-6


@pytest.mark.parametrize("batch_size", [1, 7, 300])
def test_the_batch_size_does_not_matter(tiny_run, nci_smiles, featurizer, batch_size):
    features = MoleculeFeaturizer(tiny_run, batch_size=batch_size).fit_transform(nci_smiles)
    assert relative_error(features, featurizer.transform(nci_smiles)) <= 1e-6


def test_blocks_and_processes_do_not_matter(tiny_run, nci_smiles, featurizer, monkeypatch):
    whole = featurizer.transform(nci_smiles)
    monkeypatch.setattr("molbt.featurizer._BLOCK", 128)
    assert relative_error(featurizer.transform(nci_smiles), whole) <= 1e-6
    assert relative_error(MoleculeFeaturizer(tiny_run, n_jobs=2).fit_transform(nci_smiles), whole) <= 1e-6


def test_all_encoders_side_by_side_are_the_single_ones(tiny_two_view_run):
    both = MoleculeFeaturizer(tiny_two_view_run).fit()
    parts = [MoleculeFeaturizer(tiny_two_view_run, view=view).fit_transform(["CCO", "CCN"]) for view in ("fingerprint", "descriptors")]
    assert both.views_ == ["fingerprint", "descriptors"]
    np.testing.assert_array_equal(both.transform(["CCO", "CCN"]), np.concatenate(parts, axis=1))


def test_a_shared_encoder_is_used_once(featurizer):
    assert featurizer.views_ == ["a"]
    assert featurizer.n_features_out_ == WIDTH


def test_another_output_has_its_own_width(tiny_run):
    assert MoleculeFeaturizer(tiny_run, output="hidden_1").fit_transform(["CCO"]).shape == (1, 32)


# Rows


def test_invalid_rows_are_counted_and_the_first_five_named(featurizer):
    values = ["CCO", *["C1CC"] * 3, None, "", "CC C", "CCN"]
    with pytest.raises(InvalidMoleculeError) as caught:
        featurizer.transform(values)
    message = str(caught.value)
    assert message.startswith("6 of 8 SMILES cannot be used: row 1: 'C1CC' (")
    assert "row 4: None (blank)" in message
    assert "row 5: '' (blank); …" in message
    assert "row 6" not in message
    assert "on_invalid='nan'" in message


def test_invalid_rows_can_be_nan_with_their_reasons(tiny_run, featurizer):
    values = ["CCO", "C1CC", None, "CCN", float("nan"), 7, pd.NA]
    lenient = MoleculeFeaturizer(tiny_run, on_invalid="nan").fit()
    features = lenient.transform(values)
    assert np.isnan(features).all(axis=1).tolist() == [False, True, True, False, True, True, True]
    assert [bool(reason) for reason in lenient.reasons_] == [False, True, True, False, True, True, True]
    assert relative_error(features[[0, 3]], featurizer.transform(["CCO", "CCN"])) <= 1e-6


def test_a_row_that_one_view_refuses_is_nan_in_all(tiny_two_view_run):
    featurizer = MoleculeFeaturizer(tiny_two_view_run, on_invalid="nan").fit()
    features = featurizer.transform(["CCO", "C1CC"])
    assert np.isfinite(features[0]).all()
    assert np.isnan(features[1]).all()


VALUES = ["CCO", "c1ccccc1", "CCN"]


@pytest.mark.parametrize(
    "X",
    [
        tuple(VALUES),
        np.array(VALUES),
        np.array(VALUES, dtype=object),
        np.array(VALUES).reshape(-1, 1),
        [[value] for value in VALUES],
        pd.Series(VALUES, index=[7, 7, 8]),
        pd.Series(VALUES, dtype="string"),
        pd.DataFrame({"smiles": VALUES}),
    ],
    ids=["tuple", "array", "object array", "column", "list of lists", "series", "string series", "frame"],
)
def test_smiles_may_come_in_any_container(featurizer, X):
    np.testing.assert_array_equal(featurizer.transform(X), featurizer.transform(VALUES))


@pytest.mark.parametrize(
    ("X", "said"),
    [
        ("CCO", "received the single string 'CCO'; put it in a list"),
        (pd.DataFrame({"smiles": ["C"], "y": [1]}), r"received a DataFrame with 2 \(smiles, y\); pass the column: frame\['smiles'\]"),
        ([["C", "CC"]], r"received shape \(1, 2\)"),
        (None, r"received shape \(\)"),
    ],
)
def test_another_shape_is_refused(featurizer, X, said):
    with pytest.raises(ShapeError, match=said):
        featurizer.transform(X)


def test_no_rows_give_no_rows(featurizer):
    assert featurizer.transform([]).shape == (0, WIDTH)


# Parameters


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"view": "aa"}, r"unknown view 'aa'; did you mean 'a'\? Valid: a, b"),
        ({"output": "embeding"}, r"has no output 'embeding'; did you mean 'embedding'\? Valid: embedding, hidden_1"),
        ({"on_invalid": "drop"}, "on_invalid must be 'raise' or 'nan', received 'drop'"),
        ({"batch_size": 0}, "batch_size must be a whole number of 1 or more, received 0"),
        ({"device": "gpu"}, "expected a device such as auto, cpu, cuda"),
    ],
)
def test_a_wrong_parameter_is_refused_in_fit(tiny_run, parameters, said):
    with pytest.raises(ConfigError, match=said):
        MoleculeFeaturizer(tiny_run, **parameters).fit()


def test_a_missing_model_says_how_to_make_one(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist; make one with: molbt pretrain"):
        MoleculeFeaturizer(tmp_path / "none").fit()


def test_fitting_again_uses_the_new_model(tiny_run, tiny_two_view_run):
    featurizer = MoleculeFeaturizer(tiny_run).fit()
    assert featurizer.set_params(model=tiny_two_view_run).fit().n_features_out_ == 2 * WIDTH
    assert featurizer.transform(["CCO"]).shape == (1, 2 * WIDTH)


# scikit-learn


def test_features_need_a_fit(tiny_run):
    with pytest.raises(NotFittedError):
        MoleculeFeaturizer(tiny_run).transform(["CCO"])
    with pytest.raises(NotFittedError):
        MoleculeFeaturizer(tiny_run).get_feature_names_out()


def test_a_clone_has_the_parameters_and_not_the_fit(featurizer, tiny_run):
    copy = clone(featurizer.set_params(batch_size=8))
    assert copy.get_params() == {
        "model": tiny_run, "view": None, "output": "embedding", "on_invalid": "raise", "n_jobs": 1, "batch_size": 8, "device": "auto",
    }  # fmt: skip
    assert not hasattr(copy, "n_features_out_")


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_mixin_order,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_tags_renamed,
    ],
    ids=lambda check: check.__name__,
)
def test_the_checks_of_scikit_learn_that_need_no_numbers_pass(tiny_run, check):
    check("MoleculeFeaturizer", MoleculeFeaturizer(tiny_run))


def test_tags_say_that_the_input_is_text(tiny_run):
    tags = get_tags(MoleculeFeaturizer(tiny_run))
    assert tags.input_tags.string
    assert tags.input_tags.one_d_array
    assert not tags.input_tags.two_d_array
    assert not tags.target_tags.required


def test_features_have_names_and_pandas_output_keeps_the_index(tiny_run):
    featurizer = MoleculeFeaturizer(tiny_run).set_output(transform="pandas")
    frame = featurizer.fit_transform(pd.Series(VALUES, index=["x", "y", "z"]))
    assert frame.columns.tolist() == [f"moleculefeaturizer{place}" for place in range(WIDTH)]
    assert frame.columns.tolist() == featurizer.get_feature_names_out().tolist()
    assert frame.index.tolist() == ["x", "y", "z"]
    assert frame.dtypes.unique().tolist() == [np.dtype(np.float32)]
    assert featurizer.transform(VALUES).index.tolist() == [0, 1, 2]


def test_polars_output_has_the_same_numbers(tiny_run, featurizer):
    pytest.importorskip("polars")
    with config_context(transform_output="polars"):
        frame = MoleculeFeaturizer(tiny_run).fit_transform(VALUES)
    np.testing.assert_array_equal(frame.to_numpy(), featurizer.transform(VALUES))


def test_a_pipeline_learns_on_features(tiny_run, nci_smiles, featurizer):
    target = np.array([smiles.count("C") for smiles in nci_smiles], dtype=float)
    pipeline = make_pipeline(MoleculeFeaturizer(tiny_run), Ridge()).fit(nci_smiles, target)
    by_hand = Ridge().fit(featurizer.transform(nci_smiles), target).predict(featurizer.transform(nci_smiles))
    np.testing.assert_allclose(pipeline.predict(nci_smiles), by_hand)
    assert cross_val_score(pipeline, nci_smiles, target, cv=3).shape == (3,)


def test_a_pickle_carries_the_path_and_no_weights(featurizer, tiny_run):
    expected = featurizer.transform(VALUES)
    content = pickle.dumps(featurizer)
    assert len(content) < 4_000 < (tiny_run / "model" / "model.safetensors").stat().st_size
    np.testing.assert_array_equal(pickle.loads(content).transform(VALUES), expected)  # noqa: S301


def test_worker_processes_give_the_same_features(featurizer):
    expected = featurizer.transform(VALUES)
    for features in Parallel(n_jobs=2)(delayed(featurizer.transform)(VALUES) for _ in range(2)):
        assert relative_error(features, expected) <= 1e-6


def test_a_pickle_refuses_another_model_in_its_place(tiny_run, tiny_two_view_run, tmp_path):
    shutil.copytree(tiny_run / "model", tmp_path / "model")
    content = pickle.dumps(MoleculeFeaturizer(tmp_path / "model").fit())
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(tiny_two_view_run / "model", tmp_path / "model")
    with pytest.raises(CheckpointError, match="is not the one this featurizer was fitted with"):
        pickle.loads(content).transform(VALUES)  # noqa: S301
