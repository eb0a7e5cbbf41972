"""Which tokens are masked and how, against the shares of BERT; and what a mask depends on: seed, epoch and text, nothing else."""

import numpy as np
import pytest
import torch
from text_models import SPECIAL, made_texts
from transformers import AutoTokenizer

from molbt.draws import Draws
from molbt.text_adaptation.masking import TokenMasker, Windows

N_SPECIAL = len(SPECIAL)
MASK = SPECIAL.index("[MASK]")


@pytest.fixture(scope="module")
def tokenizer(body):
    return AutoTokenizer.from_pretrained(body)


@pytest.fixture(scope="module")
def windows(tokenizer) -> Windows:
    return Windows.of_texts(tokenizer, made_texts(3000), 32)


def draws_of(rows: np.ndarray, *, seed: int = 0, epoch: int = 0) -> Draws:
    return Draws.for_rows(torch.from_numpy(rows), seed=seed, epoch=epoch, view="text")


def test_windows_are_those_of_the_tokenizer(tokenizer):
    texts = [*made_texts(3), "one dose", " ".join(["human"] * 20)]
    windows = Windows.of_texts(tokenizer, texts, 12)
    assert windows.lengths.max() <= 12
    for number, text in enumerate(texts):
        parts = [windows.ids[windows.offsets[w] : windows.offsets[w + 1]].tolist() for w in np.flatnonzero(windows.text == number)]
        assert all((part[0], part[-1]) == (SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")) for part in parts)
        assert [token for part in parts for token in part[1:-1]] == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert torch.equal(windows.is_special, windows.ids < N_SPECIAL)


def test_one_window_of_each_text_is_drawn_evenly(tokenizer):
    windows = Windows.of_texts(tokenizer, ["one dose", *[" ".join(["human"] * 30)] * 600], 12)
    chosen = windows.one_of_each_text(draws_of(np.arange(601)))
    assert windows.text[chosen].tolist() == list(range(601))
    number = chosen[1:] - np.flatnonzero(np.diff(windows.text, prepend=-1))[1:]
    assert np.bincount(number).min() > 150  # of 200 expected; a standard deviation of 11.5
    assert len(np.bincount(number)) == 3


def test_tokens_are_masked_as_often_and_in_the_ways_of_bert(windows):
    rows = np.arange(len(windows.lengths))
    batch = TokenMasker(made_tokenizer()).mask(windows, rows, draws_of(rows))
    true = torch.zeros_like(batch.tokens)
    at = batch.attention.bool()
    true[at] = windows.ids
    assert torch.equal(batch.targets, true[batch.predicted])
    assert torch.equal(batch.tokens[~batch.predicted], true[~batch.predicted])
    assert bool((batch.targets >= N_SPECIAL).all())
    ordinary = int((~windows.is_special).sum())
    shown = batch.tokens[batch.predicted]
    n = len(shown)
    # Of texts of 11 words, 17 % would have none by chance, and have one all the same.
    assert n / ordinary == pytest.approx(0.15 + 0.85**11 / 11, abs=0.005)
    assert bool(batch.predicted.any(dim=1).all())
    deviation = (0.8 * 0.2 / n) ** 0.5
    assert float((shown == MASK).float().mean()) == pytest.approx(0.8, abs=4 * deviation)
    left = shown[shown != MASK]
    n_ordinary_tokens = len(made_tokenizer()) - N_SPECIAL
    # Half of the rest stay; of the other half, one in the vocabulary is the same by chance.
    same = float((left == batch.targets[shown != MASK]).float().mean())
    assert same == pytest.approx(0.5 + 0.5 / n_ordinary_tokens, abs=4 * 0.5 / len(left) ** 0.5)
    assert bool((left >= N_SPECIAL).all())
    assert len(left[left != batch.targets[shown != MASK]].unique()) == n_ordinary_tokens


class made_tokenizer:  # noqa: N801  # stands in for one: what the masker asks of it
    mask_token_id, pad_token_id, all_special_ids = MASK, 0, list(range(N_SPECIAL))

    def __len__(self) -> int:
        return 34


def test_mask_of_a_text_does_not_depend_on_its_batch(windows):
    masker = TokenMasker(made_tokenizer())
    rows = np.arange(40)
    whole = masker.mask(windows, rows, draws_of(rows))
    some = np.array([31, 2, 17])
    part = masker.mask(windows, some, draws_of(some))
    for place, row in enumerate(some):
        length = windows.lengths[row]
        assert torch.equal(part.tokens[place, :length], whole.tokens[row, :length])
        assert torch.equal(part.predicted[place, :length], whole.predicted[row, :length])
    assert not torch.equal(masker.mask(windows, rows, draws_of(rows, epoch=1)).predicted, whole.predicted)
    assert not torch.equal(masker.mask(windows, rows, draws_of(rows, seed=1)).predicted, whole.predicted)


def test_short_texts_have_a_masked_token_and_empty_ones_none(tokenizer):
    windows = Windows.of_texts(tokenizer, ["dose"] * 200, 12)
    rows = np.arange(200)
    batch = TokenMasker(tokenizer).mask(windows, rows, draws_of(rows))
    assert batch.predicted.sum(dim=1).tolist() == [1] * 200
    nothing = Windows.of_texts(tokenizer, [""], 12)
    assert not TokenMasker(tokenizer).mask(nothing, np.array([0]), draws_of(np.array([0]))).predicted.any()
