"""A file that runs code when it is unpickled, in the place of every file that molbt reads: nothing is executed, and the error is ours."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest
from carriers import carriers, loaders
from directories import LONGEST, USES, files_of, no_longer_than, sealed

from molbt import RunConfig
from molbt.cli.main import run
from molbt.config_text import apply_changes
from molbt.data.archives import extract
from molbt.data.tables import iter_table, read_table
from molbt.errors import ConfigError, DataError, MolbtError

NAMES = sorted(carriers(Path("canary")))

# Nothing needs these: a card is for people; the others are made anew where they cannot be used.
OPTIONAL = {"README.md", "model/README.md", "quarantine.views.json"}
OPTIONAL_IN = {"run": ("model/", "sample.csv", "quarantine.csv", "config.yaml")}  # the configuration of a run is shown, not read


@pytest.mark.parametrize("name", sorted(loaders()))
def test_each_carrier_works_on_those_who_trust_it(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    with contextlib.suppress(AttributeError, TypeError, ValueError):  # what it makes is of no use to the loader, but it is made
        loaders()[name](carriers(canary)[name])
    assert canary.exists()


def planted(directories: Path, kind: str, file: Path, content: bytes, place: Path) -> Path:
    """Copy a directory and put content in the place of one of its files, with checksums that fit."""
    for part in {kind, "corpus"}:
        shutil.copytree(directories / part, place / part)
    (place / kind / file).write_bytes(content)
    sealed(place / kind)
    return place / kind


def refused(kind: str, directory: Path) -> str:
    """Use a directory and return the error's text, or "" when it was of use."""
    try:
        with no_longer_than(LONGEST):
            USES[kind](directory)
    except MolbtError as error:
        return str(error)
    return ""


def check(directories: Path, tmp_path: Path, kind: str, chosen: int | None) -> int:
    """Plant carriers in every file of a directory: all, or one of them by turns. Returns how many were tried."""
    canary = tmp_path / "canary"
    hostile = carriers(canary)
    tried = 0
    for turn, file in enumerate(files_of(directories / kind)):
        for name in NAMES if chosen is None else (NAMES[(turn * 5 + chosen) % len(NAMES)],):
            tried += 1
            directory = planted(directories, kind, file, hostile[name], tmp_path / f"{turn}-{NAMES.index(name)}")
            message = refused(kind, directory)
            assert not canary.exists(), f"{name} in {kind}/{file} was executed"
            assert message or str(file) in OPTIONAL or str(file).startswith(OPTIONAL_IN.get(kind, ("/",))), (
                f"{name} in {kind}/{file} was taken for what it is not"
            )
            shutil.rmtree(directory.parent)
    return tried


@pytest.mark.parametrize("kind", USES)
def test_nothing_planted_in_a_directory_is_executed(directories: Path, tmp_path: Path, kind: str) -> None:
    assert refused(kind, planted(directories, kind, Path("new file"), b"", tmp_path / "whole")) == ""
    assert check(directories, tmp_path, kind, chosen=0) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", USES)
def test_no_carrier_in_any_file_is_executed(directories: Path, tmp_path: Path, kind: str) -> None:
    assert check(directories, tmp_path, kind, chosen=None) >= 2 * len(NAMES)


@pytest.mark.parametrize("ending", ["csv", "tsv", "smi", "sdf", "parquet", "csv.gz", "csv.zst", "smi.gz"])
def test_no_table_is_executed(tmp_path: Path, ending: str) -> None:
    canary = tmp_path / "canary"
    for name, content in carriers(canary).items():
        path = tmp_path / f"table.{ending}"
        path.write_bytes(content)
        for read in (read_table, lambda source: list(iter_table(source))):
            with no_longer_than(LONGEST), contextlib.suppress(DataError):
                read(path)
        assert not canary.exists(), name


def test_no_configuration_is_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name, content in carriers(canary).items():
        (tmp_path / "run.yaml").write_bytes(content)
        with pytest.raises(ConfigError):
            RunConfig.from_yaml(tmp_path / "run.yaml")
        with pytest.raises(ConfigError):
            apply_changes({"a": 1}, [f"a.b={content.decode('latin-1')}"])
        assert not canary.exists(), name


def test_no_archive_is_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for name, content in carriers(canary).items():
        (tmp_path / "archive").write_bytes(content)
        try:
            extract(tmp_path / "archive", tmp_path / "out")
        except MolbtError:
            assert not (tmp_path / "out").exists()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert not canary.exists(), name


COMMANDS = {
    "model/config.json": ["featurize", "{table}", "--model", "{place}/model", "-o", "{place}/out.csv"],
    "model/model.safetensors": ["featurize", "{table}", "--model", "{place}/model", "-o", "{place}/out.csv"],
    "model/seen_molecules.npy": ["evaluate", "table", "{table}", "--target", "y", "--model", "{place}/model", "-o", "{place}/out"],
    "lightgbm/predictor.json": ["predict", "{table}", "--predictor", "{place}/lightgbm", "-o", "{place}/out.csv"],
    "lightgbm/heads/0/head.txt": ["predict", "{table}", "--predictor", "{place}/lightgbm", "-o", "{place}/out.csv"],
    "ridge/heads/0/head.y.npy": ["predict", "{table}", "--predictor", "{place}/ridge", "-o", "{place}/out.csv"],
    "corpus/manifest.json": ["pretrain", "{place}/corpus", "-o", "{place}/new"],
    "run/run.json": ["pretrain", "{place}/corpus", "-o", "{place}/run", "--resume"],
    "run/model/model.safetensors": ["info", "{place}/run/run.json"],
    "table.csv": ["featurize", "{place}/table.csv", "--model", "{place}/model", "-o", "{place}/out.csv"],
    "run.yaml": ["pretrain", "{table}", "--config", "{place}/run.yaml", "-o", "{place}/new"],
}


@pytest.mark.parametrize("file", COMMANDS)
def test_a_command_says_so_in_one_line(directories: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], file: str) -> None:
    place, canary = tmp_path / "copy", tmp_path / "canary"
    shutil.copytree(directories, place)
    (tmp_path / "table.csv").write_text("smiles,y\n" + "".join(f"{'C' * size}O,{size}\n" for size in range(1, 30)))
    hostile = carriers(canary)
    for name in (NAMES[len(file) % len(NAMES)], "pickle"):
        (place / file).write_bytes(hostile[name])
        for kind in ("model", "lightgbm", "ridge", "run"):
            sealed(place / kind)
        code = run([word.format(place=place, table=tmp_path / "table.csv") for word in COMMANDS[file]])
        told = capfd.readouterr().err
        assert code in (1, 2)
        assert "Traceback" not in told
        assert [line for line in told.splitlines() if line.startswith("molbt: ")]
        assert not canary.exists()


def test_a_pipe_in_the_place_of_a_file_does_not_hang(directories: Path, tmp_path: Path) -> None:
    for kind, file in (("model", "model.safetensors"), ("model", "config.json"), ("ridge", "predictor.json"), ("corpus", "manifest.json")):
        directory = planted(directories, kind, Path("new file"), b"", tmp_path / f"{kind}-{file}")
        (directory / file).unlink()
        os.mkfifo(directory / file)
        with no_longer_than(LONGEST), pytest.raises(MolbtError):
            USES[kind](directory)
