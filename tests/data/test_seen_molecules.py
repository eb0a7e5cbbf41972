"""What a run remembers of the molecules it was trained on."""

import numpy as np
import pytest
from small_run import nci_smiles, small_config, small_corpus

from molbt.data.identity import identity_hashes
from molbt.data.molecules import ParsePolicy
from molbt.data.seen_molecules import SeenMolecules, seen_in_samples
from molbt.errors import DataError
from molbt.training.trainer import pretrain

ONE_EPOCH = {"trainer": {"epochs": 1}}


def keys(values):
    return np.unique(identity_hashes(values, ParsePolicy()))


def test_a_run_keeps_the_molecules_it_was_trained_on_beside_its_model(tmp_path):
    values = nci_smiles(120)
    (tmp_path / "out.csv").write_text("smiles\n" + "\n".join(values[:20]) + "\n")
    run = pretrain([*values, "C1CC"], tmp_path / "run", config=small_config(**ONE_EPOCH), exclude=[tmp_path / "out.csv"])
    seen = SeenMolecules.load(run.model)
    assert np.array_equal(seen.molecules, np.setdiff1d(keys(values), keys(values[:20])))
    assert 0 not in seen.scaffolds
    assert 0 < len(seen.scaffolds) < len(seen.molecules)


def test_a_continued_run_has_seen_what_its_beginning_saw(tmp_path):
    first, second = nci_smiles(180)[:90], nci_smiles(180)[90:]
    config = small_config(**ONE_EPOCH)
    before = pretrain(first, tmp_path / "a", config=config)
    after = pretrain(second, tmp_path / "b", config=config, init=before.directory)
    assert np.array_equal(SeenMolecules.load(after.model).molecules, keys([*first, *second]))


def test_half_a_record_is_none(tmp_path, caplog):
    config = small_config(**ONE_EPOCH)
    before = pretrain(nci_smiles(80), tmp_path / "a", config=config)
    for path in before.model.glob("seen_*.npy"):
        path.unlink()
    after = pretrain(nci_smiles(80), tmp_path / "b", config=config, init=before.directory)
    assert SeenMolecules.load(after.model) is None
    assert "does not tell which molecules it has" in caplog.text


def test_a_corpus_without_hashes_leaves_no_record(tmp_path):
    corpus = small_corpus(tmp_path / "corpus", n=80)
    config = small_config()
    assert seen_in_samples(corpus, config, corpus.samples(config)) is not None
    corpus.identities_path("smiles").unlink()
    assert seen_in_samples(corpus, config, corpus.samples(config)) is None
    assert not corpus.is_prepared_for(config)  # preparing again adds them


def test_record_comes_back_and_is_sorted_without_repeats(tmp_path):
    hashes = [np.array([[7, 2], [3, 0], [0, 0]], dtype=np.uint64), np.array([[7, 2], [5, 9]], dtype=np.uint64)]
    seen = SeenMolecules.of_hashes(hashes)
    assert (seen.molecules.tolist(), seen.scaffolds.tolist()) == ([3, 5, 7], [2, 9])
    seen.save(tmp_path)
    loaded = SeenMolecules.load(tmp_path)
    assert (loaded.molecules.tolist(), loaded.scaffolds.tolist()) == ([3, 5, 7], [2, 9])
    assert SeenMolecules.load(tmp_path / "elsewhere") is None
    # 8 bytes a key behind numpy's header of 128.
    assert (tmp_path / "seen_molecules.npy").stat().st_size == 128 + 3 * 8


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", "array", "objects", None])
def test_a_damaged_record_is_named(tmp_path, content):
    SeenMolecules.of_hashes([]).save(tmp_path)
    path = tmp_path / "seen_scaffolds.npy"
    if content is None:
        path.unlink()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        array = np.zeros(3) if content == "array" else np.array([{}], dtype=object)
        np.save(path, array, allow_pickle=True)
    with pytest.raises(DataError, match=r"seen_scaffolds\.npy"):
        SeenMolecules.load(tmp_path)
