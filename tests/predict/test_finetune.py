"""Fine-tuning: encoder and linear outputs trained together, from SMILES to a directory and back."""

import gc
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from rdkit import Chem
from rdkit.Chem import Crippen
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from molbt import MoleculeFeaturizer, Predictor
from molbt.cli.main import app
from molbt.data.samples import Samples
from molbt.errors import CheckpointError, ConfigError, DataError, ShapeError
from molbt.model.checkpoint import from_pretrained
from molbt.predict.features import FeatureSet
from molbt.predict.finetune import fine_tune
from molbt.predict.finetune_settings import FineTuning
from molbt.predict.finetune_targets import Targets
from molbt.predict.finetuned_network import FineTunedNetwork
from molbt.predict.linear_output import LinearOutput
from molbt.training.batches import GlobalBatch, SampleStore

SHORT = {"epochs": 3}


def crippen_logp(smiles):
    return np.array([Crippen.MolLogP(Chem.MolFromSmiles(value)) for value in smiles])


@pytest.fixture(scope="module")
def logp(nci_smiles):
    """Sixty real molecules and their Crippen logP from RDKit."""
    return nci_smiles[:60], crippen_logp(nci_smiles[:60])


def tuned(model, smiles, labels, task_types=("regression",), *, layer="embedding", random_state=0, progress=None, **settings):
    featurizer = MoleculeFeaturizer(model, output=layer, on_invalid="nan").fit()
    labels = np.asarray(labels, dtype=np.float64).reshape(len(smiles), len(task_types))
    types = {f"t{number}": task_type for number, task_type in enumerate(task_types)}
    return fine_tune(
        featurizer, smiles, labels, types, settings=FineTuning(**{**SHORT, **settings}), random_state=random_state, progress=progress
    )


def dense(values):
    return FeatureSet("embedding", {"embedding": values}, ~np.isnan(values).all(axis=1))


def test_fine_tuning_predicts_and_fits_better_than_a_linear_head_on_the_frozen_encoder(nci_smiles, tiny_run):
    smiles = nci_smiles[:120]
    y = crippen_logp(smiles)
    predictor = Predictor(model=tiny_run, finetune={"epochs": 8, "dropout": 0.0}).fit(smiles, y)
    finetuned = predictor.finetuned_
    assert list(finetuned.losses) == [0, 2, 4, 8]
    assert finetuned.losses[finetuned.epochs] == min(finetuned.losses.values()) < 0.8 * finetuned.losses[0]
    frozen = StandardScaler().fit_transform(MoleculeFeaturizer(tiny_run).fit_transform(smiles))
    residuals = predictor.predict(smiles) - y, Ridge(1.0).fit(frozen, y).predict(frozen) - y
    assert np.mean(residuals[0] ** 2) < 0.5 * np.mean(residuals[1] ** 2)


def test_the_same_call_gives_the_same_bits_whatever_happened_before(logp, tiny_two_view_run):
    smiles, y = logp[0][:30], logp[1][:30]
    torch.manual_seed(1)
    first = tuned(tiny_two_view_run, smiles, y, augment=True)
    torch.manual_seed(2)
    expected = torch.random.get_rng_state()
    again = tuned(tiny_two_view_run, smiles, y, augment=True)
    assert torch.equal(torch.random.get_rng_state(), expected)
    other = tuned(tiny_two_view_run, smiles, y, augment=True, random_state=1)
    assert first.losses == again.losses != other.losses
    np.testing.assert_array_equal(first.heads["t0"].weight_, again.heads["t0"].weight_)
    for name, tensor in first.twin.state_dict().items():
        assert torch.equal(tensor, again.twin.state_dict()[name]), name


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 2},
        {"learning_rate": 1e-2},
        {"encoder_factor": 1.0},
        {"weight_decay": 1.0},
        {"dropout": 0.0},
        {"augment": True},
        {"warmup": 0.5},
        {"clip_norm": 0.01},
    ],
)
def test_every_setting_reaches_the_training(settings, logp, tiny_run):
    smiles, y = logp[0][:24], logp[1][:24]
    assert tuned(tiny_run, smiles, y, epochs=2).losses != tuned(tiny_run, smiles, y, epochs=2, **settings).losses


@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_training_starts_where_the_penalised_loss_of_the_frozen_encoder_is_least(task_type, logp, tiny_two_view_run):
    smiles, y = logp
    y = y if task_type == "regression" else (y > np.quantile(y, 0.8)).astype(float)
    featurizer = MoleculeFeaturizer(tiny_two_view_run).fit()
    frozen = featurizer.transform(smiles)
    twin = from_pretrained(tiny_two_view_run)
    head = LinearOutput(task_type=task_type).fit(dense(frozen), y)
    network = FineTunedNetwork(twin, featurizer.views_, "embedding", [head], frozen, dropout=0.0)
    columns = {view: twin.modalities[view].prepare(smiles, featurizer.policy_).columns for view in featurizer.views_}
    rows = torch.arange(len(smiles))
    store = SampleStore(twin.modalities, columns, Samples(dict.fromkeys(columns, rows), rows.numpy(), {}, {}), seed=0, device=rows.device)
    outputs = network.train()(GlobalBatch(store, rows, epoch=0))
    network.penalised(Targets.of(y[:, None], [head], rows.device).loss(outputs, rows)).backward()
    slope = network.weight.grad.abs().max()
    assert slope < 1e-4
    assert network.bias.grad.abs().max() < 1e-4
    # The weights are those of scikit-learn on the same problem, and the network says what they say.
    standardised = StandardScaler().fit_transform(frozen.astype(np.float64))
    n = len(y)
    if task_type == "regression":
        expected = Ridge(head.penalty_ * n).fit(standardised, y).predict(standardised)
    else:
        model = LogisticRegression(C=1 / (2 * head.penalty_ * n), class_weight="balanced", max_iter=10_000, tol=1e-8).fit(standardised, y)
        balanced = model.decision_function(standardised)
        expected = 1 / (1 + np.exp(-(balanced + np.log(y.mean() / (1 - y.mean())))))
    np.testing.assert_allclose(head.predict(dense(frozen)), expected, atol=2e-3)
    np.testing.assert_allclose(network.predict(GlobalBatch(store, rows, epoch=0))[:, 0], expected, atol=2e-3)


def test_without_a_rate_the_encoder_stays_and_the_head_is_the_frozen_one(logp, tiny_two_view_run):
    smiles, y = logp
    result = tuned(tiny_two_view_run, smiles, y, encoder_factor=0.0, dropout=0.0)
    for name, tensor in from_pretrained(tiny_two_view_run).state_dict().items():
        assert torch.equal(tensor, result.twin.state_dict()[name]), name
    frozen = MoleculeFeaturizer(tiny_two_view_run).fit_transform(smiles)
    standardised = StandardScaler().fit_transform(frozen.astype(np.float64))
    expected = Ridge(result.heads["t0"].penalty_ * len(y)).fit(standardised, y).predict(standardised)
    assert np.corrcoef(result.heads["t0"].predict(dense(frozen)), expected)[0, 1] > 0.995


def test_probabilities_of_a_rare_class_are_not_those_of_balanced_classes(logp, tiny_two_view_run):
    smiles, y = logp
    rare = (y >= np.sort(y)[-8]).astype(float)
    frozen = MoleculeFeaturizer(tiny_two_view_run).fit_transform(smiles)
    head = LinearOutput(task_type="classification").fit(dense(frozen), rare)
    assert abs(head.predict(dense(frozen)).mean() - rare.mean()) < 0.06


def test_a_saved_predictor_needs_nothing_else_and_its_model_featurizes(tmp_path, logp, tiny_two_view_run):
    smiles, y = logp
    run = shutil.copytree(tiny_two_view_run, tmp_path / "run")
    labels = pd.DataFrame({"value": y, "high": (y > 2).astype(float)})
    labels.loc[:20, "high"] = np.nan
    labels.loc[50:, "value"] = np.nan
    predictor = Predictor(model=run, finetune=SHORT).fit([*smiles, "C1CC"], pd.concat([labels, labels[:1]], ignore_index=True))
    shutil.rmtree(run)
    expected = predictor.predict([*smiles, "C1CC", None])
    assert expected.shape == (62, 2)
    assert np.isnan(expected[60:]).all()
    assert np.isfinite(expected[:60]).all()
    assert ((expected[:60, 1] > 0) & (expected[:60, 1] < 1)).all()
    counts = {name: (head.n_train_, head.n_refused_, head.n_unlabelled_) for name, head in predictor.heads_.items()}
    assert counts == {"value": (50, 1, 10), "high": (39, 1, 21)}
    directory = predictor.save(tmp_path / "p")
    embedding = predictor.featurizer_.transform(smiles)
    temporary = Path(predictor.featurizer_.model)
    copied = pickle.loads(pickle.dumps(predictor))  # noqa: S301
    np.testing.assert_array_equal(copied.predict(smiles), expected[:60])
    del predictor, copied
    gc.collect()
    assert not temporary.exists()
    loaded = Predictor.load(directory)
    np.testing.assert_allclose(loaded.predict([*smiles, "C1CC", None]), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(MoleculeFeaturizer(directory / "model").fit_transform(smiles), embedding)
    assert loaded.finetune == FineTuning(**SHORT).model_dump()
    assert not list(directory.rglob("*.pkl"))
    for name in ("heads/0/head.weight.npy", "model/model.safetensors"):
        content = (directory / name).read_bytes()
        (directory / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(CheckpointError, match="damaged"):
            Predictor.load(directory)
        (directory / name).write_bytes(content)


def test_another_layer_is_read_when_it_is_named(logp, tiny_two_view_run):
    smiles, y = logp
    predictor = Predictor(model=tiny_two_view_run, layer="hidden_1", finetune={"epochs": 2}).fit(smiles, y)
    expected = MoleculeFeaturizer(tiny_two_view_run, output="hidden_1").fit_transform(smiles[:2]).shape[1]
    assert predictor.heads_["target"].weight_.shape == (expected,)
    assert np.isfinite(predictor.predict(smiles)).all()


@pytest.mark.parametrize("n", [2, 3, 4, 16])
@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_few_rows_do_not_make_a_constant_model(n, task_type, logp, tiny_run, nci_smiles):
    smiles, y = logp[0][:n], logp[1][:n]
    labels = y if task_type == "regression" else (np.argsort(np.argsort(y)) >= n - 1).astype(float)  # a single row of class 1
    predictor = Predictor(model=tiny_run, finetune=SHORT).fit(smiles, labels)
    predicted = predictor.predict(nci_smiles[100:130])
    assert np.isfinite(predicted).all()
    assert predicted.std() > 0


def test_one_label_only_is_predicted_and_saved(tmp_path, tiny_run):
    predictor = Predictor(model=tiny_run, finetune=SHORT).fit(["CCO", "CCN", "CCC", "CCCC", "CCCCC"], [5.5] * 5)
    for either in (predictor, Predictor.load(predictor.save(tmp_path / "p"))):
        np.testing.assert_array_equal(either.predict(["CCCCO", "x"]), [5.5, np.nan])


def test_rows_of_a_molecule_are_held_out_together_and_none_is_predicted_by_a_network_that_saw_it(logp, tiny_run):
    smiles, y = [*logp[0][:30], *logp[0][:30]], np.tile(logp[1][:30], 2)
    result = tuned(tiny_run, smiles, y, epochs=2)
    held = np.concatenate([held for _, held in result.folds])
    np.testing.assert_array_equal(np.sort(held), np.arange(60))
    for train, held in result.folds:
        assert not {smiles[row] for row in train} & {smiles[row] for row in held}
    assert np.isfinite(result.held_out).all()


def test_calibration_comes_from_the_rows_that_validation_held_out(logp, tiny_run, nci_smiles):
    smiles, y = logp
    predictor = Predictor(model=tiny_run, finetune=SHORT).fit(smiles, y)
    low, high = predictor.predict_interval(nci_smiles[100:110], 0.8).T
    held_out = predictor.finetuned_.held_out[:, 0]
    # Split conformal prediction: the ⌈(n + 1)·0.8⌉-th smallest absolute error on either side.
    expected = np.sort(np.abs(held_out - y))[int(np.ceil(61 * 0.8)) - 1]
    np.testing.assert_allclose((high - low) / 2, expected)
    assert Predictor(model=tiny_run, finetune=SHORT, calibration=None).fit(smiles, y).calibrations_ == {}


def test_fine_tuning_is_compared_with_frozen_features_on_the_same_rows(logp, tiny_run):
    smiles, y = logp
    predictor = Predictor(model=tiny_run, head="ridge", features="embedding", finetune=SHORT).fit(smiles, y)
    (scores,) = predictor.compare_finetuned(smiles).values()
    assert set(scores) == {"fine-tuned", "ridge on embedding", "tanimoto_svm on counts"}
    held_out = predictor.finetuned_.held_out[:, 0]
    assert scores["fine-tuned"].score == pytest.approx(np.sqrt(np.mean((held_out - y) ** 2)))
    assert scores["fine-tuned"].parts == pytest.approx(
        [np.sqrt(np.mean((held_out[held] - y[held]) ** 2)) for _, held in predictor.finetuned_.folds]
    )
    assert scores["fine-tuned"].test_share == 0.2
    frozen, others = MoleculeFeaturizer(tiny_run).fit_transform(smiles), np.full(len(y), np.nan)
    for train, held in predictor.finetuned_.folds:
        others[held] = LinearOutput().fit(dense(frozen[train]), y[train]).predict(dense(frozen[held]))
    assert scores["ridge on embedding"].score == pytest.approx(np.sqrt(np.mean((others - y) ** 2)), rel=0.1)  # another grid of penalties
    with pytest.raises(ShapeError, match="60 molecules"):
        predictor.compare_finetuned(smiles[:5])
    with pytest.raises(ConfigError, match="finetune=True"):
        Predictor(features="counts", head="ridge").fit(smiles, y).compare_finetuned(smiles)


def test_progress_rises_to_its_total(logp, tiny_run):
    told = []
    tuned(tiny_run, logp[0], logp[1], epochs=2, progress=lambda label, done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (17, 17)  # five folds with courses of one and two epochs, and at most two on all rows


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"finetune": {"epoch": 3}}, ConfigError, "epochs"),
        ({"finetune": {"dropout": 1.0}}, ConfigError, "dropout"),
        ({"calibration": 0.2}, ConfigError, "--calibrate"),
        ({"model": None}, ConfigError, "--model"),
        ({"layer": "hidden_9"}, ConfigError, "hidden_1"),
        ({"task_type": "classification"}, DataError, "target 'target'.*labels 0 and 1"),
    ],
)
def test_what_cannot_be_fine_tuned_is_refused_with_a_remedy(changes, error, message, logp, tiny_run):
    with pytest.raises(error, match=message):
        Predictor(**{"model": tiny_run, "finetune": SHORT, **changes}).fit(*logp)


def test_nothing_usable_is_refused(tiny_run):
    with pytest.raises(DataError, match=r"at least two labelled rows.*2 refused.*molecules that can be read"):
        Predictor(model=tiny_run, finetune=SHORT).fit(["x", "y", "CC"], [1.0, 2.0, np.nan])


def test_the_command_says_what_fine_tuning_brought(tmp_path, logp, tiny_run):
    smiles, y = logp
    pd.DataFrame({"smiles": smiles, "logp": y}).to_csv(tmp_path / "t.csv", index=False)
    arguments = ["fit", str(tmp_path / "t.csv"), "--target", "logp", "--model", str(tiny_run), "--set-finetune", "epochs=3"]
    result = CliRunner().invoke(app, [*arguments, "--head", "ridge", "-o", str(tmp_path / "p")])
    assert result.exit_code == 0, result.output
    for name in ("fine-tuned: ", "ridge on counts+embedding: ", "tanimoto_svm on counts: "):
        assert f"validation, {name}" in result.output
    for name in ("ridge on counts+embedding", "tanimoto_svm on counts"):
        assert re.search(rf"RMSE of fine-tuned − {re.escape(name)}: \S+ \(95 % interval \S+ to \S+\): ", result.output)
    loaded = Predictor.load(tmp_path / "p")
    assert loaded.finetune["epochs"] == 3
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "p")]).output
    assert "logp: RMSE in fine-tuning's validation, ridge on counts+embedding: " in shown
    assert set(loaded.facts_["finetuning"]["scores"]["logp"]) == {"fine-tuned", "ridge on counts+embedding", "tanimoto_svm on counts"}
