"""Trees and training pairs on disk: the same bits again, and nothing that was changed is taken."""

import hashlib
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from made_pairs import HELD_OUT, TEXTS
from small_run import nci_smiles

from molbt.data.json_files import MAX_BYTES
from molbt.errors import CheckpointError
from molbt.predict.saved_boosted_pairs import read_boosted
from molbt.predict.saved_zero_shot import load_zero_shot, save_zero_shot

TEXT = TEXTS[HELD_OUT[0]]
FILES = (
    "head.txt", "head.columns.npy", "head.block.pairs.npy",
    "pairs.json", "pairs.molecule.npy", "pairs.assay.npy", "pairs.label.npy", "pairs.leaves.npy",
)  # fmt: skip


@pytest.fixture(scope="module")
def saved(boosted, tmp_path_factory):
    return save_zero_shot(boosted, tmp_path_factory.mktemp("saved") / "p")


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "p")


def rewritten(directory, change):
    """Change ``zero_shot.json``, with a checksum that fits again."""
    content = json.loads((directory / "zero_shot.json").read_text())
    del content["sha256"]
    change(content)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (directory / "zero_shot.json").write_text(json.dumps({**content, "sha256": digest}))


def replaced(directory, name, array):
    """Put another array into the place of a file, with a checksum that fits."""
    path = directory / "boosted" / name
    np.save(path, array, allow_pickle=False)
    rewritten(directory, lambda content: content["boosted"]["sha256"].update({name: hashlib.sha256(path.read_bytes()).hexdigest()}))


def test_a_loaded_predictor_gives_the_same_bits(boosted, saved):
    loaded = load_zero_shot(saved)
    smiles, texts = [*nci_smiles(300), "C1CC"], [TEXT, TEXTS[HELD_OUT[1]], " "]
    assert np.array_equal(boosted.score(smiles, texts), loaded.score(smiles, texts), equal_nan=True)
    pd.testing.assert_frame_equal(boosted.predict_table(smiles[-5:], TEXT), loaded.predict_table(smiles[-5:], TEXT), check_exact=True)
    for one, other in zip(boosted.explain(smiles[-4:], TEXT), loaded.explain(smiles[-4:], TEXT), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.blocks == other.blocks
            pd.testing.assert_frame_equal(one.pairs, other.pairs)
            pd.testing.assert_frame_equal(one.assays, other.assays)


def test_what_was_loaded_is_saved_as_it_was(saved, tmp_path):
    save_zero_shot(load_zero_shot(saved), tmp_path / "again")
    files = sorted(path.relative_to(saved) for path in saved.rglob("*") if path.is_file())
    assert {f"boosted/{name}" for name in FILES} < {str(path) for path in files}
    assert sorted(path.relative_to(tmp_path / "again") for path in (tmp_path / "again").rglob("*") if path.is_file()) == files
    different = [str(path) for path in files if (saved / path).read_bytes() != (tmp_path / "again" / path).read_bytes()]
    # LightGBM's text as it was read back lists no importances or parameters.
    assert set(different) <= {"boosted/head.txt", "zero_shot.json"}
    again = load_zero_shot(tmp_path / "again")
    assert np.array_equal(again.score(["CCO"], [TEXT]), load_zero_shot(saved).score(["CCO"], [TEXT]))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damaged_files_are_noticed(copied, name, damage):
    path = copied / "boosted" / name
    content = bytearray(path.read_bytes())
    if damage == "gone":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(bytes(content[: len(content) // 2]))
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match=name):
        load_zero_shot(copied)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pairs.molecule.npy", lambda array: array + 1_000_000),
        ("pairs.molecule.npy", lambda array: array - 1_000_000),
        ("pairs.assay.npy", lambda array: array.astype(np.float32)),
        ("pairs.assay.npy", lambda array: array + len(array)),
        ("pairs.label.npy", lambda array: array + 1),
        ("pairs.label.npy", lambda array: array[:-1]),
        ("pairs.label.npy", lambda array: array[:0]),
        ("pairs.leaves.npy", lambda array: array[:-1]),
        ("pairs.leaves.npy", lambda array: array[:, :-1]),
        ("pairs.leaves.npy", lambda array: array.astype(np.float32)),
    ],
)
def test_arrays_that_do_not_fit_are_refused_whatever_their_checksum(copied, name, change):
    replaced(copied, name, change(np.load(copied / "boosted" / name)))
    with pytest.raises(CheckpointError, match="fit"):
        load_zero_shot(copied)


@pytest.mark.parametrize("lists", ['{"smiles": 3}', "[]", '{"smiles": ["C"], "assays": ["a"], "texts": []}', "{", "null"])
def test_lists_that_do_not_fit_are_refused_whatever_their_checksum(copied, lists):
    path = copied / "boosted" / "pairs.json"
    path.write_text(lists)
    rewritten(copied, lambda content: content["boosted"]["sha256"].update({path.name: hashlib.sha256(lists.encode()).hexdigest()}))
    with pytest.raises(CheckpointError, match=r"pairs\.json"):
        load_zero_shot(copied)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(boosted={}),
        lambda content: content["boosted"].update(more=1),
        lambda content: content["boosted"]["sha256"].update({"../../secret": "0" * 64}),
        lambda content: content["boosted"]["head"].update(name="linear"),
        lambda content: content["boosted"]["head"].update(constant=1.0),
        lambda content: content["boosted"]["head"].update(constant=1.0, checked_predictions=[1.0]),
        lambda content: content["boosted"]["head"].update(widths={"pairs": 3}),
        lambda content: content["boosted"]["head"]["checked_predictions"].__setitem__(0, 0.123),
        lambda content: content.update(format_version=1),
        lambda content: content.update(format_version=2),
        lambda content: content.update(format_version=4),
        lambda content: content.update(texts=["a", "b"]),
        lambda content: content.update(texts={}),
        lambda content: content.update(texts={"../texts.json": "0" * 64}),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_whatever_their_checksum(copied, change):
    rewritten(copied, change)
    with pytest.raises(CheckpointError):
        load_zero_shot(copied)


def test_trees_of_another_twin_are_refused(saved):
    description = json.loads((saved / "zero_shot.json").read_text())["boosted"]
    other = SimpleNamespace(molecule_view_="molecule", text_view_="assay", widths_={"molecule": 8, "assay": 8})
    with pytest.raises(CheckpointError, match=r"not made of trees on the twin's embeddings \({'pairs': 33}\)"):
        read_boosted(description, other, saved / "boosted")


@pytest.mark.parametrize("version", [1, 2])
def test_predictors_of_earlier_formats_are_read(twin_predictor, boosted, tmp_path, version):
    before = twin_predictor if version == 1 else boosted
    save_zero_shot(before, tmp_path / "p")

    def as_then(content):
        if version == 1:
            assert content.pop("boosted") is None
        content.update(format_version=version, texts=json.loads((tmp_path / "p" / "texts.json").read_text()))

    rewritten(tmp_path / "p", as_then)
    (tmp_path / "p" / "texts.json").unlink()
    loaded = load_zero_shot(tmp_path / "p")
    assert loaded.texts == before.texts
    assert np.array_equal(loaded.score(["CCO"], [TEXT]), before.score(["CCO"], [TEXT]))


def test_as_many_texts_as_are_saved_are_read_back(twin_predictor, tmp_path):
    texts = tuple(f"{number} {'x' * 1000}" for number in range(10_000))  # 10 MB, more than a description may have
    save_zero_shot(replace(twin_predictor, texts=texts), tmp_path / "p")
    assert (tmp_path / "p" / "texts.json").stat().st_size > MAX_BYTES
    assert load_zero_shot(tmp_path / "p").texts == texts


@pytest.mark.parametrize("content", ["[1]", '{"a": "b"}', "null", "["])
def test_texts_that_are_none_are_refused_whatever_their_checksum(copied, content):
    (copied / "texts.json").write_text(content)
    rewritten(copied, lambda description: description["texts"].update({"texts.json": hashlib.sha256(content.encode()).hexdigest()}))
    with pytest.raises(CheckpointError, match=r"texts\.json"):
        load_zero_shot(copied)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes().replace(b"M", b"N", 1))])
def test_damaged_texts_are_noticed(copied, damage):
    damage(copied / "texts.json")
    with pytest.raises(CheckpointError, match=r"texts\.json"):
        load_zero_shot(copied)


def test_a_predictor_is_written_whole_or_not_at_all(boosted, tmp_path, monkeypatch):
    monkeypatch.setattr("molbt.predict.saved_boosted_pairs.write_head", lambda *given: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        save_zero_shot(boosted, tmp_path / "p")
    assert list(tmp_path.iterdir()) == []
