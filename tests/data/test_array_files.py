"""Arrays from elsewhere: what NumPy writes comes back, and nothing else is taken for an array."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest

from molbt.data.array_files import array_of, read_array
from molbt.errors import DataError

ARRAYS = {
    "one row": np.arange(5),
    "matrix": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "no rows": np.zeros((0, 7), np.uint16),
    "a number": np.array(3.5),
    "by columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "booleans": np.array([True, False]),
    "three axes": np.arange(24, dtype=np.int8).reshape(2, 3, 4),
}


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def described(kind: str, shape: str) -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"


HOSTILE = {
    "more than memory": npy(described("|u1", "(1099511627776,)")),
    "more than 64 bits": npy(described("<f8", "(4611686018427387904, 4)")),
    "product that overflows to what is there": npy(described("<f8", "(9223372036854775808, 2)")),
    "negative": npy(described("<f8", "(-1,)"), bytes(16)),
    "cut": npy(described("<f8", "(3,)"), bytes(16)),
    "longer than it says": npy(described("<f8", "(1,)"), bytes(16)),
    "brackets": npy("(" * 4_000),
    "minus signs": npy("-" * 4_000 + "1"),
    "objects": npy(described("|O", "(1,)"), bytes(8)),
    "record of objects": npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }", bytes(8)),
    "bytes of any length": npy(described("|V2147483647", "(1,)")),
    "texts of no length": npy(described("<U0", "(1000000000000,)")),
    "texts": npy(described("<U1", "(1,)"), bytes(4)),
    "unknown type": npy(described("<b4", "(1,)"), bytes(4)),
    "true as a length": npy(described("|b1", "(True,)"), b"\1"),
    "a call": npy("{'descr': print(), 'fortran_order': False, 'shape': (1,), }"),
    "booleans that are neither": npy(described("|b1", "(2,)"), b"\x01\x07"),
    "an archive": b"PK\x03\x04" + bytes(100),
    "a pickle": b"\x80\x04N.",
    "no bytes": b"",
    "magic alone": b"\x93NUMPY",
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_comes_back(name: str, tmp_path: Path) -> None:
    array, path, buffer = ARRAYS[name], tmp_path / "a.npy", io.BytesIO()
    np.save(path, array)
    np.save(buffer, array)
    for again in (read_array(path), read_array(path, mapped=True), array_of(buffer.getvalue(), "a")):
        assert (again.dtype, again.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(again, array)
    again[...] = 1  # copies may be written to; the file stays
    np.testing.assert_array_equal(np.load(path), array)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_no_array_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(HOSTILE[name])
    for read in (lambda: read_array(path), lambda: read_array(path, mapped=True), lambda: array_of(HOSTILE[name], path)):
        with pytest.raises(DataError, match=r"cannot read .*a\.npy: .*copy the whole directory again"):
            read()


def test_a_missing_file_and_a_directory_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.npy", tmp_path):
        with pytest.raises(DataError, match="found no file; make it anew"):
            read_array(path, remedy="make it anew")
