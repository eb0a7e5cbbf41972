"""The network against transformers called by hand, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from text_models import SPECIAL, TARGETS, WORDS, made_texts, save_tiny
from transformers import AutoModelForMaskedLM, AutoTokenizer, BertForMaskedLM, LlamaConfig, LlamaForCausalLM

from molbt.draws import Draws
from molbt.errors import CheckpointError, ConfigError
from molbt.modalities._language_model import LanguageModel
from molbt.modalities._text_models import find_text_model
from molbt.text_adaptation.masking import MaskedBatch, TokenMasker, Windows
from molbt.text_adaptation.network import check_trainable, load_predictor, load_tokenizer, save_language_model
from molbt.text_adaptation.settings import AdaptationConfig


def batch_of(directory: Path) -> MaskedBatch:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    windows = Windows.of_texts(tokenizer, made_texts(12), 32)
    rows = torch.arange(12)
    return TokenMasker(tokenizer).mask(windows, rows.numpy(), Draws.for_rows(rows, seed=0, epoch=0, view="text"))


def test_scores_and_losses_are_those_of_the_whole_network(with_head):
    batch = batch_of(with_head)
    predictor = load_predictor(find_text_model(str(with_head))).eval()
    assert predictor.new_head == ()
    whole = AutoModelForMaskedLM.from_pretrained(with_head).eval()
    labels = torch.where(batch.predicted, 0, -100)
    labels[batch.predicted] = batch.targets
    with torch.no_grad():
        expected = whole(input_ids=batch.tokens, attention_mask=batch.attention, labels=labels)
        torch.testing.assert_close(predictor(batch), expected.logits[batch.predicted])
        torch.testing.assert_close(predictor.losses(batch).mean(), expected.loss)


def test_gradient_is_that_of_the_whole_network(with_head):
    batch = batch_of(with_head)
    predictor = load_predictor(find_text_model(str(with_head))).eval()
    whole = AutoModelForMaskedLM.from_pretrained(with_head).eval()
    labels = torch.where(batch.predicted, 0, -100)
    labels[batch.predicted] = batch.targets
    whole(input_ids=batch.tokens, attention_mask=batch.attention, labels=labels).loss.backward()
    predictor.losses(batch).mean().backward()
    expected = {name: parameter.grad for name, parameter in whole.named_parameters()}
    for name, parameter in predictor.network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)


def test_missing_head_is_drawn_from_the_seed_and_tied_to_the_embeddings(body):
    heads = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        predictor = load_predictor(find_text_model(str(body)))
        assert predictor.new_head
        assert all("cls." in name for name in predictor.new_head)
        network = predictor.network
        assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
        heads.append([parameter for parameter in predictor.head() if parameter.ndim == 2])
    assert [len(head) for head in heads] == [1, 1, 1]  # the tied matrix is the body's
    assert torch.equal(heads[0][0], heads[1][0])
    assert not torch.equal(heads[0][0], heads[2][0])


@pytest.mark.parametrize("kind", ["body", "with_head"])
def test_saved_model_is_read_as_the_original_is(kind, request, tmp_path):
    files = find_text_model(str(request.getfixturevalue(kind)))
    torch.manual_seed(0)
    predictor = load_predictor(files)
    save_language_model(predictor, files, tmp_path / "saved")
    texts = made_texts(5)
    embed = [LanguageModel.find(str(place)).embed(texts, max_tokens=32) for place in (files.directory, tmp_path / "saved")]
    assert (embed[0] == embed[1]).all()
    again = load_predictor(find_text_model(str(tmp_path / "saved")))
    assert again.new_head == ()  # the head is kept for further adaptation
    assert all(torch.equal(a, b) for a, b in zip(predictor.parameters(), again.parameters(), strict=True))
    assert (tmp_path / "saved" / "tokenizer.json").read_bytes() == (files.directory / "tokenizer.json").read_bytes()
    assert {path.suffix for path in (tmp_path / "saved").iterdir()} == {".json", ".safetensors"}


def test_merged_adapters_compute_what_they_computed_beside_the_weights(with_head):
    pytest.importorskip("peft", reason="the extra lora is not installed")
    batch = batch_of(with_head)
    predictor = load_predictor(find_text_model(str(with_head))).eval()
    names = [name for name, _ in predictor.named_parameters()]
    with torch.no_grad():
        before = predictor(batch)
        predictor.freeze_body()
        predictor.add_adapters(4)
        torch.testing.assert_close(predictor(batch), before)  # an adapter begins as nothing
        trained = {name: parameter for name, parameter in predictor.named_parameters() if parameter.requires_grad}
        assert {"lora_A", "lora_B"} <= {part for name in trained for part in name.split(".")}
        assert not any("lora" not in name and ".bert." in name for name in trained)
        # Six linear layers of the body (query, key, value, output, up, down), a matrix on each side.
        assert sum("lora" in name for name in trained) == 12
        for name, parameter in trained.items():
            if "lora" in name:
                parameter.normal_(std=0.1)
        beside = predictor(batch)
        assert not torch.allclose(beside, before, atol=1e-2)
        predictor.merge_adapters()
        torch.testing.assert_close(predictor(batch), beside, rtol=1e-4, atol=1e-4)
    assert [name for name, _ in predictor.named_parameters()] == names


def test_a_body_that_lacks_weights_is_refused(with_head, tmp_path):
    damaged = Path(shutil.copytree(with_head, tmp_path / "damaged"))
    tensors = load_file(damaged / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if "attention.self.query" not in name}, damaged / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"lack bert\.encoder.*query.* of 2"):
        load_predictor(find_text_model(str(damaged)))


def test_decoders_and_tokenizers_without_a_mask_are_refused(with_head, tmp_path):
    no_mask = save_tiny(tmp_path / "no_mask", BertForMaskedLM, tokens=[*SPECIAL[:4], *WORDS, *TARGETS])
    with pytest.raises(ConfigError, match="has no mask token"):
        load_tokenizer(find_text_model(str(no_mask)))
    decoder = Path(shutil.copytree(with_head, tmp_path / "decoder"))
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    LlamaForCausalLM(LlamaConfig(vocab_size=40, **sizes)).save_pretrained(decoder)
    with pytest.raises(ConfigError, match="of type 'llama'; adapt another one"):
        check_trainable(find_text_model(str(decoder)), AdaptationConfig())


def test_code_of_the_models_own_is_refused(with_head, tmp_path):
    evil = Path(shutil.copytree(with_head, tmp_path / "evil"))
    config = json.loads((evil / "config.json").read_text())
    (evil / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForMaskedLM": "evil.Model"}}))
    with pytest.raises(CheckpointError, match="asks for code of the model's own"):
        find_text_model(str(evil))


def test_masker_never_shows_a_special_token_as_a_random_one(with_head):
    masker = TokenMasker(AutoTokenizer.from_pretrained(with_head))
    assert masker._ordinary.tolist() == list(range(len(SPECIAL), len(SPECIAL) + len(masker._ordinary)))
