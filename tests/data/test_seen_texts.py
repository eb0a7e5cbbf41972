"""The record of texts seen in pretraining: what a run keeps, and what damage to it is called."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from made_pairs import TEXTS, TRAINING, made_twin
from small_run import nci_smiles, small_config

from molbt import pretrain
from molbt.data.seen_texts import FILE, load_seen_texts, text_key, text_keys
from molbt.errors import DataError
from molbt.model.export import export_model


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_twin(tmp_path_factory.mktemp("twin") / "run")


def test_keys_tell_texts_apart_whatever_their_case_and_white_space() -> None:
    digest = hashlib.sha256(b"inhibition of a kinase").hexdigest()
    assert text_key(" Inhibition of\n a  KINASE") == int(digest[:16], 16)
    assert text_keys(["b", "a", "B ", "a b", "ab"]).tolist() == sorted({text_key(text) for text in ("a", "b", "a b", "ab")})


def test_a_run_keeps_the_texts_it_was_trained_on_and_its_copies_too(twin: Path, tmp_path: Path) -> None:
    expected = sorted(text_key(TEXTS[name]) for name in TRAINING)
    assert load_seen_texts(twin / "model").tolist() == expected  # type: ignore[union-attr]
    copy = export_model(twin, tmp_path / "copy")
    assert load_seen_texts(copy).tolist() == expected  # type: ignore[union-attr]


def test_a_run_of_molecules_alone_keeps_none(tmp_path: Path) -> None:
    pretrain(nci_smiles(40), tmp_path / "run", config=small_config(trainer={"epochs": 1}))
    assert load_seen_texts(tmp_path / "run" / "model") is None


def test_what_is_no_row_of_hashes_is_refused(tmp_path: Path) -> None:
    for array in (np.zeros(3), np.zeros((2, 2), dtype=np.uint64)):
        np.save(tmp_path / FILE, array)
        with pytest.raises(DataError, match=r"expected a row of 64-bit hashes in .*seen_texts.npy, found .* copy the whole model"):
            load_seen_texts(tmp_path)
