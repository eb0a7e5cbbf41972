"""Numbers of texts without the texts, against a dictionary."""

import hashlib
import random

import numpy as np
import pytest

from molbt.data import value_numbers
from molbt.data.value_numbers import ValueNumbers


def portions(n: int, size: int):
    """Distinct texts in portions, each with texts of earlier ones among them, in random order."""
    draw = random.Random(0)
    for first in range(0, n, size):
        portion = {f"text {place}" for place in range(first, first + size)} | {f"text {draw.randrange(first + size)}" for _ in range(size)}
        yield draw.sample(sorted(portion), len(portion))


def test_numbers_are_those_of_a_dictionary():
    numbers, known = ValueNumbers(), {}
    for portion in portions(40_000, 900):  # beyond the first room: it grows four times
        new = [text for text in portion if text not in known]
        expected = [known.setdefault(text, len(known)) for text in portion]
        found, reported = numbers.number(portion)
        assert found.tolist() == expected
        assert reported == new
    assert len(numbers) == len(known)


def test_texts_that_want_one_place_are_told_apart(monkeypatch):
    monkeypatch.setattr(value_numbers, "_hashes_of", lambda texts: np.array([[7, len(text)] for text in texts], dtype=np.uint64))
    numbers = ValueNumbers()
    assert numbers.number(["a", "aa", "aaa"])[0].tolist() == [0, 1, 2]
    found, new = numbers.number(["aaaa", "aa", "a"])
    assert found.tolist() == [3, 1, 0]
    assert new == ["aaaa"]


def test_the_last_place_leads_to_the_first(monkeypatch):
    monkeypatch.setattr(value_numbers, "_hashes_of", lambda texts: np.array([[2**64 - 1, len(text)] for text in texts], dtype=np.uint64))
    numbers = ValueNumbers()
    assert [numbers.number(["a" * length])[0][0] for length in (1, 2, 3, 2, 1)] == [0, 1, 2, 1, 0]


@pytest.mark.parametrize("texts", [[], [""], ["", "é", "\udc80", "CCO"]])
def test_any_text_has_a_number(texts):
    numbers = ValueNumbers()
    assert numbers.number(texts)[0].tolist() == list(range(len(texts)))
    assert numbers.number(texts)[1] == []


def test_all_bits_of_a_128_bit_hash_count():
    digest = hashlib.blake2b(b"CCO", digest_size=16).digest()
    np.testing.assert_array_equal(value_numbers._hashes_of(["CCO"]), [np.frombuffer(digest, dtype="<u8")])
