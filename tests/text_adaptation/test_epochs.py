"""Every text once per epoch, in batches of like length that only seed and epoch decide."""

import numpy as np
import pytest
import torch
from text_models import made_texts
from transformers import AutoTokenizer

from molbt.text_adaptation.epochs import EpochBatches, batches_of_like_length
from molbt.text_adaptation.masking import MaskedBatch

TEXTS = made_texts(150)


@pytest.fixture(scope="module")
def tokenizer(body):
    return AutoTokenizer.from_pretrained(body)


def batches_of(tokenizer, **changes) -> EpochBatches:
    return EpochBatches(tokenizer, TEXTS, **{"batch_size": 16, "max_tokens": 32, "shuffle": "none", "seed": 0, **changes})


def test_each_row_is_in_one_batch_with_rows_of_like_length():
    lengths = np.random.default_rng(0).integers(5, 100, 2500)
    batches = batches_of_like_length(lengths, 16, seed=0)
    assert sorted(np.concatenate(batches)) == list(range(2500))
    assert sorted(map(len, batches)) == [4] + [16] * 156
    padding = sum(len(batch) * lengths[batch].max() for batch in batches) / lengths.sum() - 1
    at_random = sum(lengths[start : start + 16].max() * 16 for start in range(0, 2496, 16)) / lengths[:2496].sum() - 1
    assert padding < 0.06 < 0.6 < at_random
    # Sorted within fifty batches only, and the batches in random order: their lengths show no trend.
    means = [lengths[batch].mean() for batch in batches]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3
    again, other = batches_of_like_length(lengths, 16, seed=0), batches_of_like_length(lengths, 16, seed=1)
    assert all(np.array_equal(one, two) for one, two in zip(batches, again, strict=True))
    assert not np.array_equal(batches[0], other[0])


def rows_of(batch: MaskedBatch) -> list[tuple[int, ...]]:
    """The texts of a batch, as token ids without a mask."""
    tokens = batch.tokens.clone()
    tokens[batch.predicted] = batch.targets
    return [tuple(row[: int(n)].tolist()) for row, n in zip(tokens, batch.attention.sum(dim=1), strict=True)]


def test_epoch_shows_every_text_once(tokenizer):
    batches = batches_of(tokenizer)
    assert len(batches) == 10
    for epoch in (0, 1):
        found = [row for position in range(10) for row in rows_of(batches.batch(epoch, position))]
        assert sorted(found) == sorted(tuple(ids) for ids in tokenizer(TEXTS)["input_ids"])


def test_batch_does_not_depend_on_what_was_asked_before(tokenizer):
    batches = batches_of(tokenizer, shuffle="across")
    batches.batch(0, 3)
    batches.batch(2, 0)
    for epoch, position in ((1, 4), (0, 3)):
        one, fresh = batches.batch(epoch, position), batches_of(tokenizer, shuffle="across").batch(epoch, position)
        assert torch.equal(one.tokens, fresh.tokens)
        assert torch.equal(one.predicted, fresh.predicted)


def test_epochs_and_seeds_give_other_masks_and_orders(tokenizer):
    batches = batches_of(tokenizer)
    usual = batches.batch(0, 0)
    for other in (batches.batch(1, 0), batches_of(tokenizer, seed=1).batch(0, 0)):
        assert set(rows_of(other)) != set(rows_of(usual))
        assert usual.tokens.shape != other.tokens.shape or not torch.equal(usual.tokens, other.tokens)


@pytest.mark.parametrize("shuffle", ["none", "within", "across"])
def test_shuffling_changes_the_order_of_sentences_with_the_epoch(shuffle):
    # Two paragraphs of two sentences, one word each: the words of an epoch show the order.
    text = "human. rat.\n\nliver. brain."
    words = ["human.", "rat.", "liver.", "brain."]
    batches = EpochBatches(Spelled(), [text] * 3, batch_size=3, max_tokens=8, shuffle=shuffle, seed=0)
    orders = set()
    for epoch in range(40):
        batch = batches.batch(epoch, 0)
        tokens = batch.tokens.clone()
        tokens[batch.predicted] = batch.targets
        orders |= {tuple(Spelled.words[token] for token in row.tolist()) for row in tokens}
    assert all(sorted(order) == sorted(words) for order in orders)
    expected = {"none": 1, "within": 4, "across": 24}[shuffle]
    assert len(orders) == expected
    if shuffle == "within":
        assert all(set(order[:2]) == {"human.", "rat."} for order in orders)


class Spelled:
    """A tokenizer that knows four words."""

    words = ("[PAD]", "[MASK]", "human.", "rat.", "liver.", "brain.")
    mask_token_id, pad_token_id, all_special_ids = 1, 0, (0, 1)

    def __len__(self) -> int:
        return 6

    def __call__(self, texts: list[str], **options: object) -> dict[str, list]:
        ids = [[self.words.index(word) for word in text.split()] for text in texts]
        return {
            "input_ids": ids,
            "special_tokens_mask": [[0] * len(row) for row in ids],
            "overflow_to_sample_mapping": list(range(len(ids))),
        }
