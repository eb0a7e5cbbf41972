"""Small files that grow: refused, or read in little memory."""

import gzip
import resource
from importlib import resources

import pytest
import zstandard

from molbt import RunConfig
from molbt.data.streams import read_lines
from molbt.errors import ConfigError

MEGABYTE = 1 << 20
GROWN = 400 * MEGABYTE


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_a_line_that_never_ends_is_read_in_little_memory(tmp_path, compression):
    path = tmp_path / f"bomb.smi.{compression}"
    if compression == "gz":
        with gzip.open(path, "wb", compresslevel=6) as file:
            for _ in range(GROWN // MEGABYTE):
                file.write(b"C" * MEGABYTE)
    else:
        writer = zstandard.ZstdCompressor(level=3).compressobj()
        with open(path, "wb") as file:
            for _ in range(GROWN // MEGABYTE):
                file.write(writer.compress(b"C" * MEGABYTE))
            file.write(writer.flush())
    assert path.stat().st_size < 2 * MEGABYTE
    before = peak()
    assert list(read_lines(str(path), compression)) == [(0, None)]  # one row, longer than a row may be
    assert peak() - before < GROWN // 2


PRESET = (resources.files("molbt") / "presets" / "default.yaml").read_text()
YAML = {
    "aliases": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    "an alias": "views: {a: &a {modality: fingerprint}, b: *a}",
    "a merge": "views: {a: &a {modality: fingerprint}, b: {<<: *a}}",
    "brackets": "[" * 100_000,
    "sections": "{a: " * 30_000,
    "sixties": "views: 1" + ":1" * 100_000,
    "digits": "views: " + "9" * 200_000,
    "hexadecimal digits": "views: 0x" + "f" * 200_000,
    "too long": PRESET + "#" * (1 << 18),
    "no date": "views: 2020-99-99",
    "a zero byte": "views: \0",
    "no key": "{[1, 2]: 3}",
    "a view that is no section": "views: {a: 3, b: {like: a}}",
}


@pytest.mark.parametrize("name", YAML)
def test_a_configuration_that_grows_is_refused(tmp_path, name):
    (tmp_path / "run.yaml").write_text(YAML[name])
    with pytest.raises(ConfigError):
        RunConfig.from_yaml(tmp_path / "run.yaml")
