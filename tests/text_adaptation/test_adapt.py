"""A whole adaptation: what is learned against controls, the same bits after a stop or a kill, and what each setting changes."""

import hashlib
import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from small_run import in_child, stop_after
from text_models import CELLS, TARGETS, made_texts, save_tiny, tiny_config
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertModel

from molbt import adapt_text
from molbt.data.molecules import ParsePolicy
from molbt.data.seen_texts import text_key
from molbt.errors import ConfigError, DataError, Interrupted, TrainingError
from molbt.modalities._language_model import LanguageModel
from molbt.modalities.text import Text
from molbt.text_adaptation.texts import divide
from molbt.text_adaptation.training import AdaptationState
from molbt.training.hardware import Hardware

TEXTS = made_texts(120)  # 96 of them are trained on: two epochs of six steps


def adapt(place: Path, model: Path, texts: list[str] = TEXTS, **options):
    settings = {name: options.pop(name) for name in list(options) if name not in ("resume", "progress", "config")}
    return adapt_text(texts, place, model=str(model), **{"config": tiny_config(**settings), **options})


def content(place: Path) -> dict[str, str]:
    """Every file of the model by its hash."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((place / "model").iterdir())}


def comparable_metrics(place: Path) -> pd.DataFrame:
    return pd.read_csv(place / "metrics.csv").drop(columns=["seconds"])


def assert_same_adaptation(place: Path, whole: Path) -> None:
    assert content(place) == content(whole)
    assert comparable_metrics(place).equals(comparable_metrics(whole))
    assert sorted(path.name for path in place.iterdir()) == sorted(path.name for path in whole.iterdir())


@pytest.fixture(scope="module")
def whole(with_head, tmp_path_factory) -> Path:
    """An adaptation that nothing disturbed."""
    return adapt(tmp_path_factory.mktemp("whole") / "run", with_head).directory


@pytest.fixture(scope="module")
def quick(tmp_path_factory) -> Path:
    """A body that learns fast: without dropout."""
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.1}
    return save_tiny(tmp_path_factory.mktemp("quick") / "body", BertModel, **settings)


@pytest.fixture(scope="module")
def learned(quick, tmp_path_factory):
    """Long enough to learn that cells follow from targets."""
    return adapt(tmp_path_factory.mktemp("learned") / "run", quick, made_texts(300), epochs=20, learning_rate=1e-2, checkpoint_every=10_000)


def test_context_is_learned_better_than_by_the_controls(learned):
    found = learned.report["perplexity"]
    assert found["after"] < 0.6 * found["head_only"]
    assert found["head_only"] < found["before"]
    # Words that do not depend on one another cannot be told apart from their frequency: only context beats it.
    assert found["after"] < 0.5 * found["unigrams"]
    for name, compared in learned.report["after_over"].items():
        assert compared["ratio"] == pytest.approx(found["after"] / found[name])
        assert compared["ci_low"] < compared["ratio"] < compared["ci_high"] < 1
    assert learned.report["head"] == "initialised from seed 0"


def test_words_follow_from_context_as_transformers_reads_the_model(learned):
    # Another look at the files alone: which cells follow a target.
    tokenizer, network = AutoTokenizer.from_pretrained(learned.model), AutoModelForMaskedLM.from_pretrained(learned.model).eval()
    texts = [f"binding to the rat {target} . in [MASK] cells low" for target in TARGETS]
    tokens = tokenizer(texts, return_tensors="pt")
    with torch.no_grad():
        logits = network(**{name: tokens[name] for name in ("input_ids", "attention_mask")}).logits
    named = tokenizer.convert_ids_to_tokens(logits[tokens["input_ids"] == tokenizer.mask_token_id].argmax(dim=1))
    assert sum(name == cells for name, cells in zip(named, CELLS, strict=True)) >= 5  # one, by guessing


def test_modality_text_reads_the_run_and_the_model(learned, quick):
    texts = made_texts(4)
    embedded = [
        Text(model=str(place), max_tokens=32).prepare(texts, ParsePolicy()).columns["embeddings"].values.numpy()
        for place in (learned.directory, learned.model, quick)
    ]
    assert np.array_equal(embedded[0], embedded[1])
    assert embedded[0].shape == embedded[2].shape
    assert not np.allclose(embedded[0], embedded[2], atol=0.1)


def test_run_tells_what_was_done(whole, with_head):
    report = json.loads((whole / "model" / "adaptation.json").read_text())
    assert report["head"] == "that of the model"
    assert set(report["perplexity"]) == {"before", "unigrams", "after"}  # with a head there is no need of that control
    assert report["training_texts"] + report["held_out_texts"] == 120
    assert report["model_sha256"] == LanguageModel.find(str(with_head)).sha256
    assert comparable_metrics(whole)["step"].tolist() == [6, 12]
    divided = divide([[text] for text in TEXTS], held_out=0.2, seed=0)
    seen = np.load(whole / "model" / "seen_texts.npy", allow_pickle=False)
    assert seen.tolist() == sorted(map(text_key, divided.training))
    assert not (whole / "checkpoints").exists()


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("body", signal.SIGKILL),
        ("with_head", signal.SIGTERM),
        pytest.param("body", signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param("with_head", signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_stopped_run_resumes_with_the_same_bits(kind, number, request, tmp_path):
    model = request.getfixturevalue(kind)
    undisturbed = adapt(tmp_path / "whole", model, shuffle="across").directory
    for step in (5, 11):
        status = in_child(lambda: adapt(tmp_path / str(step), model, shuffle="across", progress=at_step(step, number)))  # noqa: B023
        assert status == (-signal.SIGKILL if number == signal.SIGKILL else 1)
        adapt(tmp_path / str(step), model, shuffle="across", resume=True)
        assert_same_adaptation(tmp_path / str(step), undisturbed)


def at_step(step: int, number: int):
    """Stop in training, not in measuring; where the head is trained alone first, in the second training."""
    signalled = stop_after(step, number)
    return lambda label, done, total: signalled(label, done, total) if label.startswith("adapting") else None


@pytest.mark.parametrize("forgotten", ["optimiser.", "network.", "totals.", "step"])
def test_same_bits_come_only_from_the_whole_state(forgotten, with_head, whole, tmp_path, monkeypatch):
    with pytest.raises(Interrupted):
        adapt(tmp_path / "run", with_head, progress=at_step(5, signal.SIGTERM))
    take = AdaptationState.load

    def load_part(state: AdaptationState, tensors: dict) -> None:
        new = {name: tensor.clone() for name, tensor in state.to_tensors().items() if name.startswith(forgotten)}
        take(state, {name: tensor for name, tensor in tensors.items() if not name.startswith(forgotten)} | new)

    monkeypatch.setattr(AdaptationState, "load", load_part)
    adapt(tmp_path / "run", with_head, resume=True)
    with pytest.raises(AssertionError):
        assert_same_adaptation(tmp_path / "run", whole)


def test_same_bits_come_only_from_seeding_each_step(with_head, tmp_path, monkeypatch):
    # The control: dropout drawn from a generator that runs on gives other weights after a stop.
    seed = Hardware.seed
    monkeypatch.setattr(Hardware, "seed", lambda self, *words: None if "step" in words else seed(self, *words))
    adapt(tmp_path / "whole", with_head)
    with pytest.raises(Interrupted):
        adapt(tmp_path / "run", with_head, progress=at_step(5, signal.SIGTERM))
    adapt(tmp_path / "run", with_head, resume=True)
    assert content(tmp_path / "run") != content(tmp_path / "whole")


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 1}, {"max_steps": 5}, {"batch_size": 8}, {"max_tokens": 8}, {"shuffle": "across"}, {"learning_rate": 1e-3},
        {"warmup": 0.5}, {"weight_decay": 1.0}, {"clip_norm": 0.01}, {"held_out": 0.4}, {"seed": 1}, {"lora_rank": 2},
        {"precision": "bf16"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_each_setting_changes_the_result(change, with_head, whole, tmp_path):
    if "lora_rank" in change:
        pytest.importorskip("peft", reason="the extra lora is not installed")
    other = adapt(tmp_path / "run", with_head, **change).directory
    assert content(other)["model.safetensors"] != content(whole)["model.safetensors"]


def test_head_rate_is_that_of_a_new_head_only(body, with_head, whole, tmp_path):
    assert content(adapt(tmp_path / "a", with_head, head_rate=3.0).directory)["model.safetensors"] == content(whole)["model.safetensors"]
    found = [adapt(tmp_path / str(rate), body, head_rate=rate, head_control=False) for rate in (1.0, 3.0)]
    assert content(found[0].directory)["model.safetensors"] != content(found[1].directory)["model.safetensors"]
    assert "head_only" not in found[0].report["perplexity"]


def test_head_control_can_be_asked_for(with_head, whole, tmp_path):
    controlled = adapt(tmp_path / "run", with_head, head_control=True)
    assert "head_only" in controlled.report["perplexity"]
    assert content(controlled.directory)["model.safetensors"] == content(whole)["model.safetensors"]  # it changes nothing else


def test_control_trains_the_head_and_leaves_the_body(body, tmp_path, monkeypatch):
    states = []
    monkeypatch.setattr(AdaptationState, "load", lambda *_: None)
    save = AdaptationState.to_tensors
    monkeypatch.setattr(AdaptationState, "to_tensors", lambda state: states.append(sorted(state.trained)) or save(state))
    adapt(tmp_path / "run", body)
    assert all("cls" in name for name in states[0])
    assert any("encoder" in name for name in states[-1])


def test_adapters_train_little_and_are_merged(with_head, whole, tmp_path):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    with pytest.raises(Interrupted):
        adapt(tmp_path / "run", with_head, lora_rank=2, progress=at_step(5, signal.SIGTERM))
    checkpoint = load_file(max((tmp_path / "run" / "checkpoints").glob("*.safetensors")))
    assert not any("word_embeddings" in name for name in checkpoint)
    adapt(tmp_path / "run", with_head, lora_rank=2, resume=True)
    adapt(tmp_path / "again", with_head, lora_rank=2)
    assert_same_adaptation(tmp_path / "run", tmp_path / "again")
    before, after = load_file(with_head / "model.safetensors"), load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.rsplit(".", 1)[1] for name in changed if name.startswith("bert.")} == {"weight"}
    assert all(torch.linalg.matrix_rank(after[name] - before[name], rtol=1e-3) <= 2 for name in changed if name.startswith("bert."))


def test_a_finished_run_is_returned_as_it_is_and_others_are_refused(with_head, body, whole):
    before = content(whole)
    assert adapt(whole, with_head, resume=True).report["perplexity"].keys() == {"before", "unigrams", "after"}
    assert content(whole) == before
    with pytest.raises(ConfigError, match="expected a new or empty output directory"):
        adapt(whole, with_head)
    with pytest.raises(ConfigError, match="epochs: 2 -> 3"):
        adapt(whole, with_head, epochs=3, resume=True)
    with pytest.raises(ConfigError, match="model_sha256"):
        adapt(whole, body, resume=True)
    with pytest.raises(ConfigError, match="texts_sha256"):
        adapt(whole, with_head, TEXTS[1:], resume=True)


def test_a_run_of_molecules_is_not_continued(tiny_run, with_head, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_bytes((tiny_run / "run.json").read_bytes())
    with pytest.raises(ConfigError, match=r"expected an adaptation of texts in .*, found 'molbt\.run'"):
        adapt(tmp_path / "run", with_head, resume=True)


def test_what_cannot_be_trained_is_said_before_the_work(with_head, tmp_path):
    with pytest.raises(DataError, match="expected at least two texts on each side"):
        adapt(tmp_path / "a", with_head, TEXTS[:2])
    with pytest.raises(ConfigError, match="max_tokens must be at most 40 for this language model, received 64"):
        adapt(tmp_path / "b", with_head, max_tokens=64)
    with pytest.raises(TrainingError, match=r"not finite at step [12] of .*; the last checkpoint is kept"):
        adapt(tmp_path / "c", with_head, learning_rate=1e38, clip_norm=1e38, warmup=0.0, epochs=5)
