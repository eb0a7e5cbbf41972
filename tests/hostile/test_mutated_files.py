"""Any byte of any file changed, with checksums that fit: the file is of use, or the error is ours. No crash, no hang, nothing else."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from directories import LONGEST, USES, files_of, no_longer_than, sealed

from molbt.data.archives import extract
from molbt.errors import DataError, MolbtError

INTERESTING = [b"0", b"-1", b"1e999", b"99999999999999999999", b"null", b"[]", b"{}", b'"x"', b"NaN", b"\x00", b"\xff", b"true"]
ROUNDS = 40
SLOW_ROUNDS = 1_000


def mutant(content: bytes, draw: random.Random) -> bytes:
    """Return the content with a byte or a number changed, a piece cut, doubled or moved."""
    place = draw.randrange(len(content) + 1)
    # Half of the changes hit the beginning, where headers are.
    place = min(place, draw.randrange(300)) if draw.random() < 0.5 else place
    length = draw.choice([1, 1, 2, 8, 40])
    before, piece, after = content[:place], content[place : place + length], content[place + length :]
    return draw.choice(
        [
            lambda: before + bytes(byte ^ (1 << draw.randrange(8)) for byte in piece) + after,
            lambda: before + draw.randbytes(len(piece)) + after,
            lambda: before + draw.choice(INTERESTING) + after,
            lambda: before + draw.choice(INTERESTING) + piece + after,
            lambda: before,
            lambda: before + after,
            lambda: before + piece + piece + after,
            lambda: after + before,
            lambda: _with_other_number(content, draw),
        ]
    )()


def _with_other_number(content: bytes, draw: random.Random) -> bytes:
    """Change a whole number that stands in a text."""
    starts = [place for place in range(len(content)) if content[place : place + 1].isdigit()][:5_000]
    if not starts:
        return content + b"0"
    start = end = draw.choice(starts)
    while end < len(content) and content[end : end + 1].isdigit():
        end += 1
    return content[:start] + draw.choice([b"0", b"-1", b"1", b"3", b"2147483648", b"9" * 19, b"9" * 400, b"0.5"]) + content[end:]


def mutants(directories: Path, kind: str, place: Path, rounds: int) -> Iterator[tuple[str, Path]]:
    """Yield descriptions and directories in which one file is changed."""
    files = files_of(directories / kind)
    draw = random.Random(f"{kind} {rounds}")
    for number in range(rounds):
        file = files[number % len(files)]
        content = mutant((directories / kind / file).read_bytes(), draw)
        here = place / str(number)
        for part in {kind, "corpus"}:
            shutil.copytree(directories / part, here / part)
        (here / kind / file).write_bytes(content)
        sealed(here / kind)
        yield f"{kind}/{file}, mutant {number}", here / kind
        shutil.rmtree(here)


def try_all(directories: Path, kind: str, place: Path, rounds: int, progress: Path) -> int:
    """Use each mutant; what is being tried stands in a file, in case the process dies. Returns how many were refused."""
    n_refused = 0
    for description, directory in mutants(directories, kind, place, rounds):
        progress.write_text(description)
        try:
            with no_longer_than(LONGEST):
                USES[kind](directory)
        except MolbtError:
            n_refused += 1
        except Exception as error:
            raise RuntimeError(f"{description}: {error!r}") from error
    return n_refused


@pytest.mark.parametrize("kind", USES)
def test_a_changed_file_is_of_use_or_refused(directories: Path, tmp_path: Path, kind: str) -> None:
    assert try_all(directories, kind, tmp_path, ROUNDS, tmp_path / "progress") > ROUNDS / 10


@pytest.mark.slow
@pytest.mark.parametrize("kind", USES)
def test_no_changed_file_brings_down_a_process(directories: Path, tmp_path: Path, kind: str) -> None:
    command = [sys.executable, __file__, str(directories), kind, str(tmp_path), str(SLOW_ROUNDS)]
    environment = os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3_600)
    assert done.returncode == 0, f"{(tmp_path / 'progress').read_text()}: {done.stderr[-2_000:]}"
    assert int(done.stdout.splitlines()[-1]) > SLOW_ROUNDS / 10


def test_what_is_not_ours_is_noticed(directories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def use(directory: Path) -> None:
        raise KeyError("rows")

    monkeypatch.setitem(USES, "model", use)
    with pytest.raises(RuntimeError, match="KeyError"):
        try_all(directories, "model", tmp_path, 1, tmp_path / "progress")


def archives() -> dict[str, bytes]:
    """Return one archive of each kind."""
    tar, zipped = io.BytesIO(), io.BytesIO()
    with (
        tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as file,
        zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as other,
    ):
        for name, content in {"a.csv": b"smiles\nC\n", "deep/b.bin": bytes(range(256)) * 9, "\u00e9" * 120: b"x"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
            other.writestr(name, content)
    plain = tar.getvalue()
    return {
        "tar": plain,
        "tar.gz": gzip.compress(plain),
        "tar.bz2": bz2.compress(plain),
        "tar.xz": lzma.compress(plain),
        "zip": zipped.getvalue(),
    }


def unpack_mutants(place: Path, rounds: int) -> None:
    for kind, content in archives().items():
        draw = random.Random(f"{kind} {rounds}")
        for number in range(rounds):
            (place / "archive").write_bytes(mutant(content, draw))
            with no_longer_than(LONGEST), contextlib.suppress(DataError):
                extract(place / "archive", place / "out")
                shutil.rmtree(place / "out")
            assert [path.name for path in place.iterdir()] == ["archive"], f"{kind}, mutant {number}"


def test_a_changed_archive_is_unpacked_inside_or_refused(tmp_path: Path) -> None:
    unpack_mutants(tmp_path, 40)


@pytest.mark.slow
def test_no_changed_archive_leaves_anything_behind(tmp_path: Path) -> None:
    unpack_mutants(tmp_path, 3_000)


if __name__ == "__main__":
    made, of_kind, scratch, number = sys.argv[1:]
    sys.stdout.write(f"{try_all(Path(made), of_kind, Path(scratch), int(number), Path(scratch) / 'progress')}\n")
