"""Other wordings of a text: those the data has, and its own sentences in another order."""

import hashlib
import json
import random
import re
from collections.abc import Sequence
from typing import Literal

_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=\S)")
_PARAGRAPH = re.compile(r"\n\s*\n")

Shuffle = Literal["none", "within", "across"]


def wordings_of(value: str) -> list[str]:
    """Return the wordings in a cell: a JSON list of texts, the first of them the text itself, or one text. Blank ones are left out."""
    texts: Sequence[object] = [value]
    if value.lstrip().startswith("["):
        try:
            found = json.loads(value)
        except ValueError:  # a text that begins with a bracket, such as "[3H]spiperone binding"
            found = None
        if isinstance(found, list) and found and all(isinstance(text, str) for text in found):
            texts = found
    return list(dict.fromkeys(text.strip() for text in texts if isinstance(text, str) and text.strip()))


def shuffled(text: str, how: Shuffle, number: int) -> str:
    """Return a text with its sentences in another order, the same for the same text and number on any machine.

    ``within`` keeps each sentence in its paragraph, ``across`` moves sentences through the whole text (paragraphs keep their numbers of
    sentences).
    """
    paragraphs = [_SENTENCE.split(paragraph.strip()) for paragraph in _PARAGRAPH.split(text)]
    # Python's generator gives the same permutation for the same seed on every platform; hash() would not.
    generator = random.Random(int.from_bytes(hashlib.sha256(f"{number} {text}".encode()).digest()[:8], "big"))
    if how == "within":
        for sentences in paragraphs:
            generator.shuffle(sentences)
    elif how == "across":
        sentences = [sentence for paragraph in paragraphs for sentence in paragraph]
        generator.shuffle(sentences)
        remaining = iter(sentences)
        paragraphs = [[next(remaining) for _ in paragraph] for paragraph in paragraphs]
    return "\n\n".join(" ".join(paragraph) for paragraph in paragraphs)


def fill(value: str, n_wordings: int, how: Shuffle) -> list[str]:
    """Return exactly ``n_wordings`` wordings of a cell: its own, then shuffled ones, over again where there are no more.

    Empty for a cell without text.
    """
    own = wordings_of(value)[:n_wordings]
    if not own:
        return []
    more = [shuffled(own[k % len(own)], how, k) for k in range(n_wordings - len(own))] if how != "none" else []
    texts = own + more
    return [texts[k % len(texts)] for k in range(n_wordings)]
