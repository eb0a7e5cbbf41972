"""Predictors: from SMILES to predictions, through a directory and back, for every head."""

import json
import math
import pickle
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold

from molbt import MoleculeFeaturizer, Predictor
from molbt.data.json_files import read_json
from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError
from molbt.predict import cross_validation, heads, saved_predictor
from molbt.predict.features import feature_builders
from molbt.predict.heads import HEADS, build_head
from molbt.predict.replicates import molecule_folds

# Fewer trees: the defaults cost seconds.
SMALL = {"lightgbm": {"n_trees": 20}, "forest": {"n_trees": 20}}


@pytest.fixture(scope="session")
def molecules(nci_smiles):
    """Sixty SMILES, of which one cannot be read, and labels that the structure decides, of which one is missing."""
    smiles = [*nci_smiles[:58], "C1CC", nci_smiles[58]]
    labels = np.array([value.count("N") + 0.1 * len(value) for value in smiles])
    labels[3] = np.nan
    return smiles, labels


def labels_for(task_type, labels):
    return labels if task_type == "regression" else np.where(np.isnan(labels), np.nan, labels > np.nanmedian(labels))


CASES = [
    (head, task_type, features)
    for head, kind in HEADS.items()
    for task_type in kind.task_types
    for features in (["embedding", "descriptors+embedding"] if head == "svm" else ["counts", "counts+embedding"])
]


@pytest.mark.parametrize(("head", "task_type", "features"), CASES)
def test_a_saved_predictor_predicts_the_same(head, task_type, features, tmp_path, molecules, nci_smiles, tiny_run):
    smiles, labels = molecules
    run = shutil.copytree(tiny_run, tmp_path / "run")
    model = run if "embedding" in features else None
    predictor = Predictor(head=head, head_parameters=SMALL.get(head), features=features, model=model, calibration=None)
    predictor.fit(smiles, labels_for(task_type, labels))
    assert predictor.task_type_ == task_type
    expected = predictor.predict([*nci_smiles[100:130], "x"])
    predictor.save(tmp_path / "predictor")
    shutil.rmtree(run)  # what was saved needs nothing else
    shutil.move(tmp_path / "predictor", tmp_path / "elsewhere")
    loaded = Predictor.load(tmp_path / "elsewhere")
    np.testing.assert_allclose(loaded.predict([*nci_smiles[100:130], "x"]), expected, rtol=1e-9, atol=1e-12)
    assert np.isfinite(expected[:-1]).all()
    assert np.isnan(expected[-1])
    assert expected[:-1].std() > 0
    assert loaded.get_params() == {**predictor.get_params(), "model": loaded.model, "task_type": task_type}
    assert (loaded.head_.n_train_, loaded.head_.n_refused_, loaded.head_.n_unlabelled_) == (58, 1, 1)


def test_a_directory_holds_no_pickle_and_can_be_read_without_molbt(tmp_path, molecules, tiny_run):
    smiles, labels = molecules
    directory = Predictor(head="ridge", model=tiny_run).fit(smiles, labels).save(tmp_path / "predictor", facts={"target": "y"})
    for path in directory.rglob("*"):
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)
        elif path.is_file():
            assert path.suffix in (".json", ".txt", ".md", ".safetensors")
    content = json.loads((directory / "predictor.json").read_text())
    (target,) = content["targets"]
    assert (target["name"], target["unit"], target["head"]["name"]) == ("target", None, "ridge")
    assert target["head"]["counts"] == {"n_train": 58, "n_refused": 1, "n_unlabelled": 1}
    assert content["facts"] == {"target": "y"}
    assert np.load(directory / "heads" / "0" / "head.y.npy").shape == (58,)


def test_every_file_of_a_predictor_is_checked(tmp_path, molecules, tiny_run):
    smiles, labels = molecules
    for head in ("lightgbm", "ridge"):
        directory = Predictor(head=head, head_parameters=SMALL.get(head), model=tiny_run).fit(smiles, labels).save(tmp_path / head)
        files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
        assert {"calibration.json", "applicability.rows.npy", "model.safetensors"} <= {path.name for path in files}
        for path in files:
            content = path.read_bytes()
            for place in (0, len(content) // 2, len(content) - 1):
                path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
                with pytest.raises(CheckpointError):
                    Predictor.load(directory)
            path.write_bytes(content[: len(content) // 2])
            with pytest.raises(CheckpointError):
                Predictor.load(directory)
            path.unlink()
            with pytest.raises(CheckpointError, match=r"found no (file|predictor\.json)"):
                Predictor.load(directory)
            path.write_bytes(content)
        Predictor.load(directory)


@pytest.mark.parametrize("value", [0.0, 1.0, 5.5])
def test_constant_labels_are_predicted_and_saved(value, tmp_path):
    predictor = Predictor(features="counts").fit(["CCO", "CCN", "CCC", "x"], [value] * 4)
    loaded = Predictor.load(predictor.save(tmp_path / "p"))
    for either in (predictor, loaded):
        np.testing.assert_array_equal(either.predict(["CCCC", "C1CC"]), [value, np.nan])
    assert loaded.task_type_ == ("regression" if value == 5.5 else "classification")


def test_rows_are_kept_in_order_with_nan_where_refused():
    smiles = ["C" * n for n in range(1, 30)]
    predictor = Predictor(features="counts", head="ridge").fit(smiles, np.arange(1.0, 30.0))
    predicted = predictor.predict(["CCCC", None, "C1CC", "CCCC", float("nan"), "C" * 20])
    assert np.isnan(predicted).tolist() == [False, True, True, False, True, False]
    assert predicted[0] == predicted[3] < predicted[5]


@pytest.mark.parametrize(
    ("labels", "task_type"),
    [
        ([0, 1, 1, 0], "classification"),
        ([0, 1, np.nan, 1], "classification"),
        ([True, False, True, True], "classification"),
        ([0, 1, 2, 1], "regression"),
        ([0.5, 1, 0, 1], "regression"),
    ],
)
def test_labels_of_zero_and_one_are_classes(labels, task_type):
    predictor = Predictor(features="counts").fit(["CCO", "CCN", "CCC", "CCCl"], labels)
    assert predictor.task_type_ == task_type


def test_the_task_type_can_be_named():
    labels = [0, 1, 0, 1, 0, 1]
    smiles = ["CCO", "CCN", "CO", "CN", "CCCO", "CCCN"]
    assert Predictor(features="counts", task_type="regression", head="ridge").fit(smiles, labels).task_type_ == "regression"
    with pytest.raises(ConfigError, match="unknown task type 'classify'; did you mean 'classification'"):
        Predictor(features="counts", task_type="classify").fit(smiles, labels)
    with pytest.raises(ConfigError, match="ridge"):
        Predictor(features="counts", head="ridge").fit(smiles, labels)


@pytest.mark.parametrize(
    ("parameters", "labels", "error", "said"),
    [
        ({"head": "lightgmb"}, [1, 2], ConfigError, "did you mean 'lightgbm'"),
        ({"features": "count"}, [1, 2], ConfigError, "did you mean 'counts'"),
        ({"features": "counts+pca"}, [1, 2], ConfigError, "the features pca are controls of an evaluation"),
        ({"features": "counts+embedding"}, [1, 2], ConfigError, r"need an encoder.*pass model='runs/a' \(--model runs/a\)"),
        ({}, [1, 2, 3], ShapeError, r"one label for each of 2 molecules, .* received shape \(3,\)"),
        ({}, [[], []], ShapeError, r"shape \(2, 0\)"),
        ({}, [[[1]], [[2]]], ShapeError, r"shape \(2, 1, 1\)"),
        ({}, ["high", "low"], DataError, "labels must be numbers"),
        ({}, [1, None], DataError, "'target'.*at least two labelled rows"),
        ({"head_parameters": {"n_tree": 3}}, [1, 2], ConfigError, "unknown parameter 'n_tree'.*did you mean 'n_trees'"),
        ({"head_parameters": {"n_trees": "many"}}, [1, 2], ConfigError, "'n_trees' of the head 'lightgbm' must be .* default 500.*'many'"),
        ({"head_parameters": {"n_trees": 2.5}}, [1, 2], ConfigError, "received 2.5"),
        ({"head_parameters": {"n_trees": True}}, [1, 2], ConfigError, "received True"),
        ({"head": "ridge", "head_parameters": {"penalties": []}}, [1, 2], ConfigError, r"received \[\]"),
        ({"head": "ridge", "head_parameters": {"penalties": 3.0}}, [1, 2], ConfigError, "received 3.0"),
        ({"calibration": "crossed"}, [1, 2], ConfigError, "the calibration 'cross', None, or a share .* received 'crossed'"),
        ({"calibration": 0.6}, [1, 2], ConfigError, "received 0.6"),
        ({"calibration": True}, [1, 2], ConfigError, "received True"),
        ({"head_parameters": {"random_state": 3}}, [1, 2], ConfigError, "received random_state; set it for the predictor"),
    ],
)  # fmt: skip
def test_what_cannot_be_learned_is_refused(parameters, labels, error, said):
    with pytest.raises(error, match=said):
        Predictor(**{"features": "counts", **parameters}).fit(["CCO", "CCN"], labels)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"head": "kn"}, "did you mean 'knn'"),
        ({"head": "ridge", "task_type": "classification"}, "does regression only"),
        ({"head_parameters": {"n_tree": 3}}, "did you mean 'n_trees'"),
        ({"features": "count"}, "did you mean 'counts'"),
        ({"features": "embedding"}, "need an encoder"),
        ({"calibration": 0.6}, "received 0.6"),
        ({"finetune": True}, "needs an encoder to start from"),
        ({"finetune": {"epoch": 3}}, "epochs"),
        ({"finetune": True, "model": "default", "features": "count"}, "did you mean 'counts'"),
        ({"features": "embedding", "model": "default", "layer": "hidden_9"}, "did you mean 'hidden_1'"),
    ],
)
def test_settings_are_checked_without_molecules(parameters, said):
    with pytest.raises(ConfigError, match=said):
        Predictor(**{"features": "counts", **parameters}).check_settings()


@pytest.mark.parametrize("head", sorted(HEADS))
def test_settings_that_are_right_pass(head):
    Predictor(head=head, features="counts", task_type="auto").check_settings()


def test_labels_may_be_a_nullable_series():
    smiles = ["CCO", "CCN", "CCC", "CCCl"]
    predictor = Predictor(features="counts", head="ridge").fit(smiles, pd.Series([1, 2, None, 4], dtype="Int64"))
    assert (predictor.head_.n_train_, predictor.head_.n_unlabelled_) == (3, 1)


def test_a_predictor_must_be_fitted(tmp_path):
    with pytest.raises(NotFittedError):
        Predictor().predict(["CCO"])
    with pytest.raises(NotFittedError):
        Predictor().save(tmp_path / "p")


def test_a_clone_has_the_parameters_and_not_the_fit(tiny_run):
    predictor = Predictor(head="ridge", model=tiny_run, random_state=3).fit(["CCO", "CCN", "CCC"], [1, 2, 3.5])
    copy = clone(predictor)
    assert copy.get_params() == predictor.get_params()
    assert not hasattr(copy, "head_")


def test_a_pickled_predictor_predicts_the_same(tiny_run, molecules):
    smiles, labels = molecules
    predictor = Predictor(head="ridge", model=tiny_run).fit(smiles, labels)
    copy = pickle.loads(pickle.dumps(predictor))  # noqa: S301
    np.testing.assert_allclose(copy.predict(smiles), predictor.predict(smiles), rtol=1e-9)


def test_fitting_again_uses_the_new_parameters(tiny_run, tiny_two_view_run, molecules):
    smiles, labels = molecules
    predictor = Predictor(head="ridge", features="embedding", model=tiny_run).fit(smiles, labels)
    assert predictor.head_.widths_ == {"embedding": 16}
    predictor.set_params(features="counts+embedding", model=tiny_two_view_run)
    np.testing.assert_array_equal(predictor.predict(["CCO"]).shape, (1,))  # as fitted until it is fitted again
    assert predictor.fit(smiles, labels).head_.widths_["embedding"] == 32
    assert set(predictor.head_.widths_) == {"ecfp4", "atom_pair", "embedding"}


def test_predictions_are_those_of_the_head_on_the_named_features(molecules, tiny_run):
    smiles, labels = molecules
    embed = MoleculeFeaturizer(tiny_run, on_invalid="nan").fit().transform
    built = feature_builders(["counts+embedding"], learned={"embedding": embed})["counts+embedding"](smiles)
    expected = heads.build_head("ridge", random_state=4).fit(built, labels).predict(built)
    found = Predictor(head="ridge", model=tiny_run, random_state=4).fit(smiles, labels).predict(smiles)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


# Several targets


def two_targets(molecules):
    """A measured value and a class, each missing where the other is not, in two rows."""
    smiles, values = molecules
    classes = np.array([float("O" in value) for value in smiles])
    classes[5] = np.nan
    return smiles, pd.DataFrame({"value": values, "class": classes})


def test_each_target_is_what_a_predictor_of_its_own_would_be(molecules, tmp_path):
    smiles, labels = two_targets(molecules)
    both = Predictor(features="counts", head="knn").fit(smiles, labels, units={"value": "pIC50", "class": None})
    found = both.predict(smiles)
    assert found.shape == (60, 2)
    for place, name in enumerate(labels):
        alone = Predictor(features="counts", head="knn").fit(smiles, labels[name])
        np.testing.assert_array_equal(found[:, place], alone.predict(smiles))
        assert (both.heads_[name].n_train_, both.heads_[name].n_unlabelled_, both.heads_[name].n_refused_) == (58, 1, 1)
    assert {name: head.task_type for name, head in both.heads_.items()} == {"value": "regression", "class": "classification"}
    assert np.flatnonzero(both.refused_).tolist() == [58]
    loaded = Predictor.load(both.save(tmp_path / "p", facts={"table": "t.csv"}))
    np.testing.assert_allclose(loaded.predict(smiles), found, rtol=1e-9)
    assert (loaded.targets_, loaded.units_, loaded.facts_) == (["value", "class"], {"value": "pIC50"}, {"table": "t.csv"})
    assert loaded.task_type == {"value": "regression", "class": "classification"}
    with pytest.raises(ConfigError, match=r"this one has value, class; use heads_\['value'\]"):
        _ = both.head_


@pytest.mark.parametrize(
    ("y", "targets", "shape"),
    [
        ([1, 2, 3.5], ["target"], (2,)),
        (pd.Series([1, 2, 3.5], name="logP"), ["logP"], (2,)),
        ([[1], [2], [3.5]], ["target"], (2, 1)),
        (np.array([[1, 5], [2, 6.5], [3.5, 7]]), ["target_0", "target_1"], (2, 2)),
        (pd.DataFrame({"a": [1, 2, None], "b": [5.5, None, 6]}, dtype="Float64"), ["a", "b"], (2, 2)),
    ],
)
def test_predictions_have_the_shape_of_the_labels(y, targets, shape, tmp_path):
    predictor = Predictor(features="counts", head="ridge").fit(["CCO", "CCN", "CCC"], y)
    assert predictor.targets_ == targets
    for either in (predictor, Predictor.load(predictor.save(tmp_path / "p"))):
        assert either.predict(["CCCC", "CO"]).shape == shape


def test_a_target_that_cannot_be_learned_is_named():
    labels = pd.DataFrame({"a": [1, 2, 3.5], "b": [1.5, np.nan, np.nan]})
    with pytest.raises(DataError, match="target 'b': the head 'ridge' needs at least two"):
        Predictor(features="counts", head="ridge").fit(["CCO", "CCN", "CCC"], labels)
    with pytest.raises(ConfigError, match="targets of different names, received a, a"):
        Predictor(features="counts").fit(["CCO", "CCN"], pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]))
    with pytest.raises(ConfigError, match="units are given for c, the targets are a, b"):
        Predictor(features="counts").fit(["CCO", "CCN", "CCC"], labels, units={"c": "nM"})


def test_task_types_may_differ_by_target():
    labels = pd.DataFrame({"a": [0, 1, 0, 1], "b": [0, 1, 0, 1]})
    predictor = Predictor(features="counts", head="knn", task_type={"a": "regression"}).fit(["CCO", "CCN", "CCC", "CCCl"], labels)
    assert [head.task_type for head in predictor.heads_.values()] == ["regression", "classification"]


def test_head_parameters_reach_the_head(molecules):
    smiles, labels = molecules
    predictor = Predictor(features="counts", head="lightgbm", head_parameters={"n_trees": 3}).fit(smiles, labels)
    assert predictor.head_.booster_.num_trees() == 3
    assert clone(predictor).head_parameters == {"n_trees": 3}


def test_an_earlier_layer_is_used_and_saved(tiny_run, molecules, tmp_path):
    smiles, labels = molecules
    predictor = Predictor(features="embedding", head="ridge", model=tiny_run, layer="hidden_1").fit(smiles, labels)
    assert predictor.head_.widths_ == {"embedding": 32}
    hidden = MoleculeFeaturizer(tiny_run, output="hidden_1", on_invalid="nan").fit().transform
    built = feature_builders(["embedding"], learned={"embedding": hidden})["embedding"](smiles)
    expected = build_head("ridge").fit(built, labels).predict(built)
    np.testing.assert_allclose(predictor.predict(smiles), expected, rtol=1e-9)
    predictor.set_params(layer="embedding")  # for the next fit, not for what is saved now
    loaded = Predictor.load(predictor.save(tmp_path / "p"))
    assert loaded.layer == "hidden_1"
    np.testing.assert_allclose(loaded.predict(smiles), expected, rtol=1e-9)
    with pytest.raises(ConfigError, match="no output 'hidden_9'"):
        Predictor(features="embedding", model=tiny_run, layer="hidden_9").fit(smiles, labels)


def test_a_device_that_is_not_there_is_an_error(tiny_run, molecules):
    smiles, labels = molecules
    with pytest.raises(ConfigError, match="device"):
        Predictor(features="embedding", model=tiny_run, device="nosuch").fit(smiles, labels)


# Saving


def test_saving_takes_a_new_directory_whole_or_not_at_all(tmp_path, molecules, monkeypatch):
    smiles, labels = molecules
    predictor = Predictor(features="counts", head="ridge").fit(smiles, labels)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "notes").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty; choose another"):
        predictor.save(tmp_path / "used")

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("molbt.predict.saved_predictor.write_description", full)
        with pytest.raises(OSError, match="No space left"):
            predictor.save(tmp_path / "deep" / "p")
    assert list((tmp_path / "deep").iterdir()) == []
    (tmp_path / "deep" / "p").mkdir()
    assert predictor.save(tmp_path / "deep" / "p") == tmp_path / "deep" / "p"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["p"]


def test_facts_that_are_not_finite_become_null(tmp_path):
    predictor = Predictor(features="counts").fit(["CCO", "CCN"], [1, 2.5])
    predictor.save(tmp_path / "p", facts={"folds": {"counts": [1.0, math.nan, math.inf]}})
    assert json.loads((tmp_path / "p" / "predictor.json").read_text())["facts"] == {"folds": {"counts": [1.0, None, None]}}
    Predictor.load(tmp_path / "p")


def test_a_loaded_predictor_is_not_saved_again(tmp_path):
    Predictor(features="counts").fit(["CCO", "CCN"], [1, 2.5]).save(tmp_path / "p")
    with pytest.raises(CheckpointError, match="copy its directory instead"):
        Predictor.load(tmp_path / "p").save(tmp_path / "q")


def test_an_encoder_that_changed_after_the_fit_is_not_saved(tmp_path, tiny_run, tiny_two_view_run):
    shutil.copytree(tiny_run / "model", tmp_path / "model")
    predictor = Predictor(model=tmp_path / "model", head="ridge").fit(["CCO", "CCN", "CCC"], [1, 2, 3.5])
    shutil.rmtree(tmp_path / "model")
    shutil.copytree(tiny_two_view_run / "model", tmp_path / "model")
    with pytest.raises(CheckpointError, match="changed after the predictor was fitted; fit it again"):
        predictor.save(tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_another_whole_encoder_in_place_of_the_saved_one_is_refused(tmp_path, tiny_run, tiny_two_view_run):
    Predictor(model=tiny_run, head="ridge").fit(["CCO", "CCN", "CCC"], [1, 2, 3.5]).save(tmp_path / "p")
    shutil.rmtree(tmp_path / "p" / "model")
    shutil.copytree(tiny_two_view_run / "model", tmp_path / "p" / "model")
    with pytest.raises(CheckpointError, match="is damaged"):
        Predictor.load(tmp_path / "p")


# What stands in predictor.json may come from anyone


@pytest.fixture
def rewrite(tmp_path):
    """Change ``predictor.json`` of a small predictor, give it a right checksum again, and return the directory."""
    directory = Predictor(features="counts", head="ridge").fit(["CCO", "CCN", "CCC"], [1, 2, 3.5]).save(tmp_path / "p")
    path = directory / "predictor.json"
    original = json.loads(path.read_text())

    def change(place: list[str | int], value: object) -> Path:
        content = json.loads(json.dumps(original))
        content.pop("sha256")
        section = content
        for key in place[:-1]:
            section = section[key]
        section[place[-1]] = value
        path.unlink()
        path.write_text(json.dumps({**content, "sha256": saved_predictor._digest(content)}))
        return directory

    return change


def test_the_rewriting_fixture_keeps_a_whole_predictor(rewrite):
    assert Predictor.load(rewrite(["facts"], {"note": 1})).head == "ridge"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (["format"], "molbt.twin_model"),
        (["format_version"], 1),
        (["format_version"], "2"),
        (["features"], "counts+embedding"),
        (["features"], "descriptors"),
        (["features"], "nothing"),
        (["features"], 3),
        (["targets"], []),
        (["targets"], {}),
        (["targets", 0], {}),
        (["targets", 0, "name"], 3),
        (["targets", 0, "unit"], 3),
        (["targets", 0, "head"], []),
        (["targets", 0, "head"], {}),
        (["targets", 0, "surplus"], 1),
        (["targets", 0, "calibration"], {}),
        (["targets", 0, "calibration"], {"how": "cross", "n_rows": 9, "observed": [], "sha256": "0" * 64}),
        (["calibration"], "crossed"),
        (["applicability"], {}),
        (["applicability", "sha256"], {}),
        (["applicability", "sha256", "../predictor.json"], "0" * 64),
        (["applicability", "widths", "ecfp4"], 3),
        (["layer"], 3),
        (["is_matrix"], 1),
        (["head_parameters"], [1]),
        (["surplus"], 1),
        (["model_sha256"], {"../../etc/passwd": "0" * 64}),
        (["model_sha256"], {"config.json": "0" * 64}),
        (["targets", 0, "head", "surplus"], 1),
        (["targets", 0, "head", "name"], "os"),
        (["targets", 0, "head", "name"], "lightgbm"),
        (["targets", 0, "head", "name"], None),
        (["targets", 0, "head", "task_type"], "classification"),
        (["targets", 0, "head", "task_type"], "auto"),
        (["targets", 0, "head", "random_state"], -1),
        (["targets", 0, "head", "random_state"], "0"),
        (["targets", 0, "head", "random_state"], True),
        (["targets", 0, "head", "random_state"], 1 << 70),
        (["targets", 0, "head", "parameters"], {"__class__": "os.system"}),
        (["targets", 0, "head", "parameters"], {"penalties": "all"}),
        (["targets", 0, "head", "parameters"], {"penalties": []}),
        (["targets", 0, "head", "parameters"], {"penalties": [[1]]}),
        (["targets", 0, "head", "parameters"], {"folds": 1.5}),
        (["targets", 0, "head", "parameters"], {"folds": True}),
        (["targets", 0, "head", "widths"], {}),
        (["targets", 0, "head", "widths"], {"../x": 3}),
        (["targets", 0, "head", "widths"], {"ecfp4": 65536, "atom_pair": 3}),
        (["targets", 0, "head", "widths"], {"ecfp4": 0, "atom_pair": 65536}),
        (["targets", 0, "head", "constant"], "1"),
        (["targets", 0, "head", "constant"], 1.5),
        (["targets", 0, "head", "counts"], {"n_train": -1, "n_refused": 0, "n_unlabelled": 0}),
        (["targets", 0, "head", "checked_predictions"], []),
        (["targets", 0, "head", "checked_predictions"], [1.0, 2.0, 3.0]),
        (["targets", 0, "head", "checked_predictions"], [1.0] * 33),
        (["targets", 0, "head", "checked_predictions"], ["1"]),
        (["targets", 0, "head", "sha256"], {}),
        (["targets", 0, "head", "sha256", "../predictor.json"], "0" * 64),
        (["targets", 0, "head", "sha256", "/etc/passwd"], "0" * 64),
        (["targets", 0, "head", "sha256", "head.y.npy"], "0" * 63),
        (["targets", 0, "head", "sha256", "head.y.npy"], "A" * 64),
    ],
)
def test_a_hostile_description_is_refused(place, value, rewrite):
    with pytest.raises((CheckpointError, ConfigError)):
        Predictor.load(rewrite(place, value))


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"format": "molbt.predictor", "format_version": 2}'])
def test_a_file_that_is_no_description_is_refused(content, rewrite):
    directory = rewrite(["facts"], {})
    (directory / "predictor.json").write_bytes(content)
    with pytest.raises(CheckpointError):
        Predictor.load(directory)


def test_a_description_beyond_all_measure_is_not_read(rewrite, monkeypatch):
    directory = rewrite(["facts"], {})
    monkeypatch.setattr("molbt.predict.saved_predictor.read_json", partial(read_json, max_bytes=100))
    with pytest.raises(CheckpointError, match="has at most 100"):
        Predictor.load(directory)


# Cross-validation


def test_cross_validation_scores_the_same_folds_as_scikit_learn(molecules):
    smiles, labels = molecules
    classes = labels_for("classification", labels)
    predictor = Predictor(features="counts", head="logistic", head_parameters={"costs": [0.1]}, random_state=5)
    scores = predictor.cross_validate(smiles, classes, features=["counts", "descriptors"], n_splits=3)
    known = np.flatnonzero(np.isfinite(classes))
    built = feature_builders(["descriptors"])["descriptors"](smiles)
    expected = []
    for train, test in StratifiedKFold(3, shuffle=True, random_state=5).split(known, classes[known]):
        head = build_head("logistic", "classification", random_state=5, costs=[0.1]).fit(built.rows(known[train]), classes[known[train]])
        predicted = head.predict(built.rows(known[test]))
        kept = np.isfinite(predicted)
        assert (~kept).sum() <= 1
        expected.append(roc_auc_score(classes[known[test]][kept], predicted[kept]))
    assert {target: list(of_target) for target, of_target in scores.items()} == {"target": ["counts", "descriptors"]}
    np.testing.assert_allclose(scores["target"]["descriptors"], expected)
    assert isinstance(LogisticRegression(), type(head._model))


def test_folds_follow_the_rarer_class_and_the_number_of_rows():
    labels = np.array([0, 0, 0, 0, 1, 1])
    folds = cross_validation.random_folds(labels, "classification", 5, 0)
    assert [labels[test].tolist().count(1) for _, test in folds] == [1, 1]
    values = np.arange(3.0)
    folds = cross_validation.random_folds(values, "regression", 5, 1)
    assert [test.tolist() for _, test in folds] == [t.tolist() for _, t in KFold(3, shuffle=True, random_state=1).split(values)]


def test_no_molecule_stands_on_both_sides_of_a_fold():
    # Ethanol as itself, its mirror text and its salt; alanine, both hands; the rest once.
    smiles = ["CCO", "CCN", "OCC", "C[C@H](N)C(=O)O", "CCC", "C[C@@H](N)C(=O)O", "CCCl", "[Na+].CC[O-]", "CCBr", "?", "??"]
    same = [0, 1, 0, 2, 3, 2, 4, 0, 5, 6, 7]
    for task_type, labels in (("regression", np.arange(11.0)), ("classification", np.array([0, 1] * 5 + [0.0]))):
        folds = molecule_folds(labels, smiles, task_type, 3, 0)
        assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(11))
        for train, test in folds:
            assert not {same[row] for row in train} & {same[row] for row in test}
            assert sorted([*train, *test]) == list(range(11))


@pytest.mark.parametrize(("labels", "n_splits"), [([1.5, 2], 5), ([0, 0, 0, 1], 5), ([0, 0, 0], 5), ([np.nan] * 3, 5)])
def test_a_target_with_too_few_labels_for_folds_is_left_out_and_the_others_are_not(labels, n_splits, caplog):
    smiles = ["CCO", "CCN", "CCC", "CCCC"][: len(labels)]
    y = pd.DataFrame({"few": labels, "enough": np.linspace(0.5, 2, len(labels))})
    scores = Predictor(features="counts", head="knn").cross_validate(smiles, y, features=["counts"], n_splits=n_splits)
    assert list(scores) == (["enough"] if len(labels) > 2 else [])
    assert re.search(r"few: not compared in folds: cross-validation needs t.* or more .*leave it out \(--folds 0\)", caplog.text)


def test_a_fold_that_leaves_too_few_readable_molecules_has_no_score():
    scores = Predictor(features="counts", head="knn").cross_validate(["CCO", "CCN", "C1CC"], [1, 2, 3.5], features=["counts"])
    # Two of three folds hold out a molecule that can be read, and leave one other.
    assert np.isnan(scores["target"]["counts"]).tolist() == [True, True, True]


@pytest.mark.parametrize("n_splits", [1, 0, -1])
def test_fewer_than_two_folds_are_an_error(n_splits):
    with pytest.raises(ConfigError, match=f"two or more folds, received {n_splits}"):
        Predictor(features="counts").cross_validate(["CCO", "CCN", "CCC"], [1, 2, 3.5], features=["counts"], n_splits=n_splits)


def test_a_fold_without_a_usable_row_has_no_score():
    assert math.isnan(cross_validation.fold_score(np.array([1.0]), np.array([np.nan]), "regression"))
    assert math.isnan(cross_validation.fold_score(np.array([1.0, 0.0]), np.array([0.5, np.nan]), "classification"))
    assert cross_validation.fold_score(np.array([1.0, 5.0]), np.array([4.0, np.nan]), "regression") == 3.0


def test_search_takes_over_what_it_finds_and_refuses_several_targets(molecules):
    pytest.importorskip("optuna")
    smiles, labels = molecules
    predictor = Predictor(head="tanimoto_svm", features="counts", calibration=None, head_parameters={"folds": 3})
    found = predictor.search(smiles, labels, n_trials=3)
    assert len(found.scores) == 3
    assert found.score == min(found.default_score, *found.scores)
    assert predictor.head_parameters == {"folds": 3, **found.parameters}
    assert predictor.fit(smiles, labels).head_.parameters().items() >= found.parameters.items()
    with pytest.raises(ConfigError, match="one target"):
        predictor.search(smiles, np.column_stack([labels, labels]), n_trials=1)
