"""Perplexities by hand, their ratio against a bootstrap, and that every measurement is of the same tokens."""

import math

import numpy as np
import pytest
import torch
from text_models import made_texts
from transformers import AutoTokenizer

from molbt.text_adaptation.perplexity import HeldOutTokens, perplexity, perplexity_ratio, unigram_losses

TEXTS = made_texts(60)


@pytest.fixture(scope="module")
def held_out(body) -> HeldOutTokens:
    return HeldOutTokens(AutoTokenizer.from_pretrained(body), TEXTS, [number // 2 for number in range(60)], max_tokens=32, seed=0)


def test_perplexity_of_guessing_evenly_is_the_number_of_guesses(held_out):
    losses = held_out.losses(lambda batch: torch.full((len(batch.targets),), math.log(34.0)))
    assert perplexity(losses, held_out.tokens_of_group) == pytest.approx(34.0)
    assert perplexity(np.array([1e6]), np.array([10.0])) == math.inf


def test_losses_go_to_the_group_of_their_text(held_out):
    # A loss that tells the text: the true length of the row that the token is of.
    def lengths(batch):
        return batch.attention.sum(dim=1)[batch.predicted.nonzero()[:, 0]].float()

    means = held_out.losses(lengths) / held_out.tokens_of_group
    words = np.array([len(text.split()) + 2 for text in TEXTS]).reshape(30, 2)
    assert ((words.min(axis=1) <= means) & (means <= words.max(axis=1))).all()
    assert (held_out.n_texts, held_out.n_groups) == (60, 30)


def test_measurements_see_the_same_tokens(body, held_out):
    def seen(tokens: HeldOutTokens) -> list:
        found = []
        tokens.losses(lambda batch: found.append(batch.tokens) or torch.zeros(len(batch.targets)))
        return found

    tokenizer = AutoTokenizer.from_pretrained(body)
    for seed, same in ((0, True), (1, False)):
        other = HeldOutTokens(tokenizer, TEXTS, [number // 2 for number in range(60)], max_tokens=32, seed=seed)
        assert all(torch.equal(a, b) for a, b in zip(seen(held_out), seen(other), strict=True)) == same


def test_rounds_mask_other_tokens(held_out):
    masks = []
    held_out.losses(lambda batch: masks.append(batch.predicted) or torch.zeros(len(batch.targets)))
    assert len(masks) == 8  # two batches, four times
    assert not torch.equal(masks[0], masks[2])
    # About 15 % of the words, four times.
    words = sum(len(text.split()) for text in TEXTS)
    assert held_out.n_tokens == pytest.approx(0.15 * 4 * words, rel=0.2)


def test_large_sets_are_sampled(body):
    texts = [f"dose one {number}" for number in range(2100)]
    held_out = HeldOutTokens(AutoTokenizer.from_pretrained(body), texts, range(2100), max_tokens=32, seed=0)
    assert (held_out.n_texts, held_out.n_groups) == (2000, 2000)


def test_ratio_and_interval_are_those_of_a_bootstrap_over_groups():
    draw = np.random.default_rng(0)
    tokens = draw.integers(2, 30, 120).astype(float)
    reference = tokens * draw.normal(3.0, 0.5, 120)
    losses = reference - tokens * draw.normal(0.4, 0.6, 120)
    found = perplexity_ratio(losses, reference, tokens)
    assert found["ratio"] == pytest.approx(perplexity(losses, tokens) / perplexity(reference, tokens))
    drawn = draw.integers(0, 120, (4000, 120))
    bootstrap = np.exp((losses - reference)[drawn].sum(axis=1) / tokens[drawn].sum(axis=1))
    assert [found["ci_low"], found["ci_high"]] == pytest.approx(np.quantile(bootstrap, [0.025, 0.975]), rel=0.02)
    assert math.isnan(perplexity_ratio(losses[:1], reference[:1], tokens[:1])["ci_low"])


def test_unigrams_are_the_shares_of_tokens_with_one_added():
    np.testing.assert_allclose(unigram_losses(torch.tensor([7, 0, 1])).numpy(), -np.log([8 / 11, 1 / 11, 2 / 11]))
