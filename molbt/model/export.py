"""A copy of a model on its own, for handing it on."""

from pathlib import Path

from molbt.data.files import atomic_write, new_directory
from molbt.data.seen_molecules import SeenMolecules
from molbt.data.seen_texts import load_seen_texts, save_seen_texts
from molbt.model.card import with_versions
from molbt.model.checkpoint import find_model, from_pretrained, read_config, save_pretrained

_CARD = "README.md"


def export_model(model: str | Path, directory: str | Path, *, half_precision: bool = False) -> Path:
    """Write a model, its card and the record of the molecules it saw into a new directory, and return the directory.

    Parameters
    ----------
    model : path
        A run, a model directory, or the name of an encoder that comes with molbt.
    directory : path
        New or empty.
    half_precision : bool
        Store weight matrices as float16. Embeddings then differ from the original's in about the fourth digit, and always by the same.

    Raises
    ------
    ConfigError
        If the directory is not empty.
    CheckpointError
        If there is no whole model.
    """
    source = find_model(model)
    twin, seen, texts = from_pretrained(source), SeenMolecules.load(source), load_seen_texts(source)
    with new_directory(directory) as temporary:
        save_pretrained(twin, temporary, facts=read_config(source)["facts"], half_precision=half_precision)
        if (source / _CARD).is_file():  # what was added to it, results or by hand, goes along
            with atomic_write(temporary / _CARD) as file:
                file.write(with_versions((source / _CARD).read_text(encoding="utf-8"), read_config(temporary)).encode())
        if seen is not None:
            seen.save(temporary)
        if texts is not None:
            save_seen_texts(texts, temporary)
    return Path(directory)
