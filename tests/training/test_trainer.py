"""The training loop: what it refuses, what its settings change, and the odd sizes."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import (
    DESCRIPTORS,
    FINGERPRINTS,
    assert_same_tensors,
    last_checkpoint,
    model_hash,
    model_tensors,
    nci_smiles,
    registered,
    small_config,
    small_corpus,
    stop_after,
)

from molbt.data.corpus import prepare
from molbt.errors import CheckpointError, ConfigError, Interrupted
from molbt.model.checkpoint import from_pretrained
from molbt.model.twin_model import TwinModel
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import ObjectiveOutput, StepContext, Twin, Views
from molbt.training.run_dir import RunDirectory
from molbt.training.trainer import pretrain


@pytest.mark.parametrize(
    ("trainer", "steps", "seen"),
    [
        ({"batch_size": 100}, [2, 4], 400),  # 80 samples are left to another epoch each time
        ({"batch_size": 280}, [1, 2], 560),
        ({"batch_size": 281}, [1, 2], 560),  # more than there are samples
        ({"batch_size": 100, "max_steps": 3}, [2, 3], 300),  # ends amid the second epoch
        ({"batch_size": 100, "max_steps": 2}, [2], 200),
        ({"batch_size": 100, "max_steps": 99}, [2, 4], 400),
    ],
)
def test_run_takes_whole_batches_until_its_epochs_or_steps_are_done(corpus, tmp_path, trainer, steps, seen):
    assert len(corpus.samples(small_config())) == 280
    calls = []
    config = small_config(trainer={"epochs": 2, **trainer})
    result = pretrain(corpus, tmp_path / "run", config=config, progress=lambda *call: calls.append(call))
    assert result.metrics["step"].tolist() == steps
    assert result.metrics["samples_seen"].iloc[-1] == seen
    assert [call[1:] for call in calls] == [(step, steps[-1]) for step in range(1, steps[-1] + 1)]
    assert int(last_checkpoint(tmp_path / "run")["step"]) == steps[-1]


def test_two_samples_are_enough_and_a_small_batch_is_said(tmp_path, caplog):
    corpus = small_corpus(tmp_path / "corpus", n=2)
    result = pretrain(corpus, tmp_path / "run", config=small_config())
    assert result.metrics["samples_seen"].tolist() == [2, 4, 6]
    assert math.isfinite(result.metrics["loss"].iloc[-1])
    assert "there are 2 samples, so a batch has 2 of them, not 64" in caplog.text


def test_loss_of_an_epoch_is_the_mean_over_its_steps(corpus, tmp_path):
    seen = []

    class Recorded(BarlowTwins):
        def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
            output = super().step(twin, views, context)
            seen.append(output.loss.item())
            return output

    with registered("objectives", barlow_twins=Recorded):
        losses = pretrain(corpus, tmp_path / "run", config=small_config()).metrics["loss"]
    assert losses.tolist() == pytest.approx([sum(seen[start : start + 4]) / 4 for start in (0, 4, 8)], rel=1e-6)


def test_probe_joins_the_metrics(corpus, tmp_path):
    def probe(twin: TwinModel, step: int) -> Mapping[str, float]:
        return {"half_step": step / 2, "views": float(len(twin.modalities))}

    metrics = pretrain(corpus, tmp_path / "run", config=small_config(), probe=probe).metrics
    assert metrics["probe.half_step"].tolist() == [2, 4, 6]
    assert metrics["probe.views"].tolist() == [2, 2, 2]


def test_training_lowers_the_loss(corpus, tmp_path):
    losses = pretrain(corpus, tmp_path / "run", config=small_config(trainer={"epochs": 8})).metrics["loss"]
    assert losses.iloc[-1] < 0.7 * losses.iloc[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", 0.02),
        ("final_learning_rate", 0.005),
        ("warmup", 0.5),
        ("weight_decay", 0.3),
        ("clip_norm", 1e-3),
        ("clip_norm", None),
        ("precision", "bf16"),
        ("seed", 7),
        ("batch_size", 56),
        ("epochs", 2),
        ("max_steps", 5),
    ],
)
def test_each_setting_of_the_trainer_changes_the_result(corpus, tmp_path, setting, value):
    # AdamW does not feel a gradient's scale but for its ε: the clipping that binds is far below the usual norms.
    pretrain(corpus, tmp_path / "usual", config=small_config())
    pretrain(corpus, tmp_path / "changed", config=small_config(trainer={setting: value}))
    assert model_hash(tmp_path / "changed") != model_hash(tmp_path / "usual")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_are_float32_in_either_precision(corpus, tmp_path, precision):
    losses = pretrain(corpus, tmp_path / "run", config=small_config(trainer={"precision": precision})).metrics["loss"]
    assert losses.iloc[-1] < losses.iloc[0]
    kinds = {tensor.dtype for name, tensor in last_checkpoint(tmp_path / "run").items() if name.startswith(("twin", "optimiser"))}
    assert kinds <= {torch.float32, torch.int64}
    assert (RunDirectory(tmp_path / "run").read_json("run.json")["hardware"]["precision"]) == precision


def test_threads_are_those_of_the_configuration(corpus, tmp_path):
    usual, seen = torch.get_num_threads(), []
    config = small_config(trainer={"num_threads": usual + 1, "epochs": 1})
    pretrain(corpus, tmp_path / "run", config=config, progress=lambda *_: seen.append(torch.get_num_threads()))
    assert set(seen) == {usual + 1}
    assert torch.get_num_threads() == usual
    assert RunDirectory(tmp_path / "run").read_json("run.json")["hardware"]["num_threads"] == usual + 1


# Starting from another model

VIEWS = {"a": FINGERPRINTS["a"], "descriptors": DESCRIPTORS}
NO_STEP = {"max_steps": 1, "learning_rate": 1e-30, "weight_decay": 0.0}


def two_encoders(trainer: Mapping[str, Any] | None = None, **changes: Any):
    settings = {"views": VIEWS, "pairs": [["a", "descriptors"]], "encoder": {"dropout": 0.0}, **changes}
    return small_config(trainer=trainer or {}, **settings)


@pytest.fixture(scope="module")
def first(corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("first") / "run"
    pretrain(corpus, path, config=two_encoders())
    return path


def other_corpus(tmp_path: Path):
    """Molecules that the first model did not see, and which would be scaled otherwise."""
    return prepare(nci_smiles(420)[280:], two_encoders(), directory=tmp_path / "other")


def weights(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All but batch statistics, which move also at a learning rate of nothing."""
    return {name: tensor for name, tensor in tensors.items() if "running_" not in name and "num_batches" not in name}


def test_run_starts_from_the_weights_and_the_scaling_of_the_model_it_is_given(first, tmp_path):
    other = other_corpus(tmp_path)
    pretrain(other, tmp_path / "run", config=two_encoders(NO_STEP), init=first)
    assert_same_tensors(weights(model_tensors(tmp_path / "run")), weights(model_tensors(first)))
    pretrain(other, tmp_path / "anew", config=two_encoders(NO_STEP))
    anew = model_tensors(tmp_path / "anew")
    assert not torch.equal(anew["encoders.descriptors.fitted.centre"], model_tensors(first)["encoders.descriptors.fitted.centre"])
    assert from_pretrained(tmp_path / "run").config.trainer.max_steps == 1


def test_run_takes_over_the_configuration_of_the_model_it_is_given(first, tmp_path):
    pretrain(other_corpus(tmp_path), tmp_path / "run", init=first)
    assert from_pretrained(tmp_path / "run").config == two_encoders()
    facts = RunDirectory(tmp_path / "run").read_json("model/config.json")["facts"]
    assert facts["initialised_from"] == str(first)


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"encoder": {"hidden": [33]}}, r"encoder\.hidden: \[32\] -> \[33\]"),
        ({"projector": {"widths": [8]}}, r"projector\.widths: \[32, 24\] -> \[8\]"),
        ({"molecules": {"standardise": "neutral"}}, r"molecules\.standardise: none -> neutral"),
        ({"views": {**VIEWS, "a": {**VIEWS["a"], "width": 512}}}, r"views\.a\.width: 256 -> 512"),
        ({"views": {**VIEWS, "a": {**VIEWS["a"], "encoder": {"hidden": [40]}}}}, r"views\.a\.encoder\.hidden: None -> \[40\]"),
        ({"views": FINGERPRINTS, "pairs": [["a", "b"]]}, r"views\.b: None -> .*fingerprint.*views\.descriptors: .* -> None"),
    ],
)
def test_run_refuses_to_start_from_a_model_with_other_networks(first, tmp_path, changes, difference):
    config = two_encoders(**{"encoder": {"dropout": 0.0}, **changes} if "encoder" not in changes else changes)
    corpus = prepare(nci_smiles(100), config, directory=tmp_path / "corpus")
    with pytest.raises(ConfigError, match=difference):
        pretrain(corpus, tmp_path / "run", config=config, init=first)
    pretrain(corpus, tmp_path / "run", config=config)  # the directory was not taken by the run that could not start


def test_adapted_run_may_augment_and_train_otherwise(first, tmp_path):
    views = {"a": {**VIEWS["a"], "drop": 0.4}, "descriptors": {**VIEWS["descriptors"], "mask": 0.5}}
    config = two_encoders(views=views, trainer={"epochs": 1, "learning_rate": 0.001}, objectives=[{"name": "barlow_twins"}])
    pretrain(other_corpus(tmp_path), tmp_path / "run", config=config, init=first)
    assert from_pretrained(tmp_path / "run").config == config


def test_adapted_run_resumes_bit_identically_and_remembers_its_model(first, tmp_path):
    other, config = other_corpus(tmp_path), two_encoders()
    pretrain(other, tmp_path / "whole", config=config, init=first)
    for stop in (0, 3):  # before and after the first checkpoint
        run = tmp_path / f"stopped-{stop}"
        if stop:
            with pytest.raises(Interrupted):
                pretrain(other, run, config=config, init=first, progress=stop_after(stop))
        else:
            with pytest.raises(ZeroDivisionError):
                pretrain(other, run, config=config, init=first, progress=lambda *_: 1 / 0)
        pretrain(other, run, resume=True)
        assert model_hash(run) == model_hash(tmp_path / "whole")


def test_adapted_run_does_not_resume_from_another_model(first, tmp_path):
    other = other_corpus(tmp_path)
    with pytest.raises(Interrupted):
        pretrain(other, tmp_path / "run", config=two_encoders(), init=first, progress=stop_after(2))
    pretrain(other, tmp_path / "second", config=two_encoders({"seed": 3, "epochs": 1}))
    with pytest.raises(ConfigError, match="init_sha256: "):
        pretrain(other, tmp_path / "run", config=two_encoders(), init=tmp_path / "second", resume=True)
    # The same model in another place is the same model.
    (tmp_path / "moved").symlink_to(first)
    pretrain(other, tmp_path / "run", config=two_encoders(), init=tmp_path / "moved", resume=True)


def test_model_to_start_from_must_be_one(corpus, tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        pretrain(corpus, tmp_path / "run", config=small_config(), init=tmp_path / "nowhere")
