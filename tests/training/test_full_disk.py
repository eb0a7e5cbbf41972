"""A full disk is told in one sentence, leaves whole files only, and ends nothing that cannot go on once there is space."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from faults import Places, disk_full_from
from small_run import assert_same_run, nci_smiles, small_config, small_corpus

from molbt.cli.main import run as run_command
from molbt.data.corpus import Corpus, is_corpus
from molbt.errors import DataError, TrainingError
from molbt.predict.predictor import Predictor
from molbt.training.run_dir import RunDirectory
from molbt.training.trainer import pretrain

TOLD = "cannot write .*: No space left on device; free space or correct the permissions, then continue with --resume"


@pytest.fixture(scope="module")
def places(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """The places that need space, in the writing of the second checkpoint, between the logs of two epochs."""
    with pytest.MonkeyPatch.context() as patch:
        passed = Places(patch)
        pretrain(corpus, tmp_path_factory.mktemp("counted") / "run", config=small_config())
    made = [number for number, name in enumerate(passed.names) if name == "before to_tensors"]
    steps = [number for number, name in enumerate(passed.names) if name == "before step" and number > made[1]]
    needing = ("before open", "amid write", "before fsync", "before mkdir")
    return [number + 1 for number in range(made[1], steps[0]) if passed.names[number] in needing]


def fill_and_free(corpus: Corpus, whole: Path, run: Path, place: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Places(patch, disk_full_from(place))
        with pytest.raises(TrainingError, match=TOLD):
            pretrain(corpus, run, config=small_config())
    assert not list(run.rglob("*.tmp.*"))
    assert int(RunDirectory(run).load_checkpoint()["step"]) in (4, 8)
    pretrain(corpus, run, config=small_config(), resume=True)
    assert_same_run(run, whole)


def test_disk_full_at_any_write_of_a_checkpoint_costs_no_bit(corpus, whole, tmp_path, places):
    # The tensors and their checksum: each is opened, written and synced, and so is its directory; the folder is there already.
    assert len(places) == 2 * 4 + 1
    for place in places:
        fill_and_free(corpus, whole, tmp_path / str(place), place)


def test_disk_full_while_the_run_begins_or_ends_is_told_too(corpus, whole, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        passed = Places(patch)
        pretrain(corpus, tmp_path / "counted", config=small_config())
    opened = [number for number, name in enumerate(passed.names, 1) if name == "before open"]
    for place in (opened[0], opened[3], opened[-1], opened[-3]):
        run = tmp_path / str(place)
        with pytest.MonkeyPatch.context() as patch:
            Places(patch, disk_full_from(place))
            with pytest.raises(TrainingError, match=TOLD):
                pretrain(corpus, run, config=small_config())
        pretrain(corpus, run, config=small_config(), resume=True)
        assert_same_run(run, whole)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount a file system of some kilobytes; skipped where that is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(kilobytes: int) -> Path:
        option = "remount," if place.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", f"{option}size={kilobytes}k", "tmpfs", str(place)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small file system cannot be mounted here: that needs the rights of root")
        return place

    yield mount
    if place.is_mount():
        subprocess.run(["umount", str(place)], check=True)


def test_run_on_a_small_disk_stops_and_goes_on_when_it_has_grown(corpus, whole, small_disk):
    checkpoint = max(path.stat().st_size for path in (whole / "checkpoints").iterdir())
    disk = small_disk(20 + checkpoint * 5 // 2 // 1024)
    with pytest.raises(TrainingError, match=TOLD):
        pretrain(corpus, disk / "run", config=small_config())
    assert int(RunDirectory(disk / "run").load_checkpoint()["step"]) in (4, 8)
    with pytest.raises(TrainingError, match=TOLD):  # no more space than before
        pretrain(corpus, disk / "run", config=small_config(), resume=True)
    small_disk(50_000)
    pretrain(corpus, disk / "run", config=small_config(), resume=True)
    assert_same_run(disk / "run", whole)


def corpus_or_error(directory: Path) -> Corpus | DataError:
    try:
        return small_corpus(directory)
    except DataError as error:
        return error


def test_corpus_on_a_small_disk_is_told_and_prepared_when_it_has_grown(corpus, small_disk):
    size = sum(path.stat().st_size for path in corpus.directory.rglob("*") if path.is_file()) // 1024
    told = 0
    for kilobytes in range(4, 3 * size, 24):
        prepared = corpus_or_error(small_disk(kilobytes) / "corpus")
        if isinstance(prepared, Corpus):
            break
        told += 1
        assert re.search("cannot write /.*: .*(No space left on device|as on a full disk); free space or", str(prepared))
    assert told > 3
    assert prepared.manifest["identity"] == corpus.manifest["identity"]
    for path in (path.relative_to(corpus.directory) for path in (corpus.directory / "prepared").rglob("*.npy")):
        assert (prepared.directory / path).read_bytes() == (corpus.directory / path).read_bytes()


def test_features_for_a_full_disk_leave_no_half_file(whole, small_disk, tmp_path, capfd):
    table = tmp_path / "table.csv"
    pd.DataFrame({"smiles": nci_smiles(280)}).to_csv(table, index=False)
    disk = small_disk(16)
    for name in ("features.csv", "features.parquet"):
        assert run_command(["featurize", str(table), "--model", str(whole), "-o", str(disk / name), "-q"]) == 1
        told = capfd.readouterr().err
        assert "No space left on device" in told, told
        assert name in told
        assert not (disk / name).exists()
    assert not [path for path in disk.rglob("*") if ".tmp" in path.name]
    small_disk(50_000)
    assert run_command(["featurize", str(table), "--model", str(whole), "-o", str(disk / "features.csv"), "-q"]) == 0
    assert len(pd.read_csv(disk / "features.csv")) == 280


def test_predictor_for_a_full_disk_leaves_no_half_directory(whole, small_disk, tmp_path, capfd):
    table = tmp_path / "table.csv"
    pd.DataFrame({"smiles": nci_smiles(60), "y": [float(len(smiles)) for smiles in nci_smiles(60)]}).to_csv(table, index=False)
    disk = small_disk(16)
    command = ["fit", str(table), "--target", "y", "--head", "ridge", "--model", str(whole), "-o", str(disk / "p"), "-q"]
    assert run_command(command) == 1
    told = capfd.readouterr().err
    assert f"cannot use {disk / 'p'}" in told, told
    assert not list(disk.iterdir())
    small_disk(50_000)
    assert run_command(command) == 0
    assert len(Predictor.load(disk / "p").predict(nci_smiles(3))) == 3


def test_corpus_is_no_corpus_before_its_manifest_is_there(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        Places(patch, disk_full_from(1))
        with pytest.raises(DataError, match=r"cannot write .*No space left"):
            small_corpus(tmp_path / "corpus", n=20)
    assert not is_corpus(tmp_path / "corpus")
