"""Which texts a pretraining had, as hashes beside the weights: 8 bytes each."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from molbt.config import RunConfig
from molbt.data.array_files import read_array
from molbt.data.files import write_array
from molbt.errors import DataError

if TYPE_CHECKING:
    from molbt.data.samples import Samples
    from molbt.data.stored_corpus import Corpus

FILE = "seen_texts.npy"
"""In a model's directory: ``text_keys`` of what it was trained on."""


def text_key(text: str) -> int:
    """Return 64 bits that tell texts apart, whatever their case and white space."""
    return int.from_bytes(hashlib.sha256(" ".join(text.casefold().split()).encode()).digest()[:8], "big")


def text_keys(texts: Iterable[str]) -> np.ndarray:
    """Return the keys of texts, sorted, each once: uint64."""
    return np.unique(np.array([text_key(text) for text in texts], dtype=np.uint64))


def texts_in_samples(corpus: "Corpus", config: RunConfig, samples: "Samples") -> np.ndarray | None:
    """Return the keys of a run's samples, over all views of texts; None without such a view. Other wordings are not among them."""
    views = {name: view for name, view in config.views.items() if not view.build_modality().is_molecular}
    keys = [text_keys(corpus.texts(view.column).take(samples.entries[name].numpy()).values()) for name, view in views.items()]
    return np.unique(np.concatenate(keys)) if keys else None


def save_seen_texts(keys: np.ndarray, directory: Path) -> None:
    """Write keys into the directory of a model."""
    directory.mkdir(parents=True, exist_ok=True)
    write_array(directory / FILE, keys)


def load_seen_texts(directory: Path) -> np.ndarray | None:
    """Return the keys of what a model was trained on, or None where its directory does not tell.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    path = directory / FILE
    if not path.exists():
        return None
    keys = read_array(path, remedy="it is the record of what the model has seen: copy the whole model directory again")
    if keys.dtype != np.uint64 or keys.ndim != 1:
        raise DataError(
            f"expected a row of 64-bit hashes in {path}, found {keys.dtype} of shape {keys.shape}; copy the whole model directory again"
        )
    return keys
