"""The same molecules give the same features, whatever the number of workers, the batch size, and the kills on the way."""

import hashlib
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from small_run import DESCRIPTORS, FINGERPRINTS, in_child, nci_smiles, small_config, small_corpus, stop_after

from molbt.data.corpus import Corpus, prepare
from molbt.errors import Interrupted
from molbt.featurizer import MoleculeFeaturizer
from molbt.training.trainer import pretrain


def hashes(corpus: Corpus) -> dict[str, str]:
    """The SHA-256 of each array of a corpus: fingerprints, descriptors, numbers of rows and hashes of molecules."""
    files = {path.relative_to(corpus.directory).as_posix(): path for path in corpus.directory.rglob("*.npy")}
    assert any("/field." in name for name in files)
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_corpus_is_the_same_bytes_for_any_number_of_workers(corpus, tmp_path):
    config = small_config(views={**FINGERPRINTS, "descriptors": DESCRIPTORS})
    for n_jobs in (2, 3):
        assert hashes(prepare(nci_smiles(280), config, directory=tmp_path / str(n_jobs), n_jobs=n_jobs)) == hashes(corpus)


def prepared_after_kills(directory: Path, seed: int) -> tuple[Corpus, int]:
    draw, kills = random.Random(seed), 0
    for attempt in range(5):  # later and later: the first ones find a quick machine at work too, the last ones a slow one
        kills += in_child(lambda: small_corpus(directory), kill_after=draw.uniform(0.01, 0.02) * 2**attempt) == -signal.SIGKILL
    return small_corpus(directory), kills


def test_corpus_is_the_same_bytes_after_kills(corpus, tmp_path):
    prepared, kills = prepared_after_kills(tmp_path / "corpus", 0)
    assert kills
    assert hashes(prepared) == hashes(corpus)


@pytest.mark.slow
def test_corpus_is_the_same_bytes_after_many_kills(corpus, tmp_path):
    total = 0
    for seed in range(20):
        prepared, kills = prepared_after_kills(tmp_path / str(seed), seed)
        assert hashes(prepared) == hashes(corpus)
        total += kills
    assert total >= 20


def test_embeddings_are_the_same_for_any_batch_workers_and_resume(corpus, whole, tmp_path):
    smiles = nci_smiles(400)
    expected = MoleculeFeaturizer(whole, on_invalid="nan").fit_transform(smiles)
    assert not np.isnan(expected).all()
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=small_config(), progress=stop_after(5))
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    for model in (whole, tmp_path / "run"):
        for batch_size, n_jobs in ((1024, 1), (64, 2), (1, 1)):
            found = MoleculeFeaturizer(model, on_invalid="nan", batch_size=batch_size, n_jobs=n_jobs).fit_transform(smiles)
            usable = ~np.isnan(expected).any(axis=1)
            assert np.array_equal(np.isnan(found).any(axis=1), ~usable)
            distance = np.linalg.norm(found[usable] - expected[usable], axis=1) / np.linalg.norm(expected[usable], axis=1)
            assert distance.max() <= 1e-6
    resumed = MoleculeFeaturizer(tmp_path / "run", on_invalid="nan").fit_transform(smiles)
    assert resumed.tobytes() == expected.tobytes()
