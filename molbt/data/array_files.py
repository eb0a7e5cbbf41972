"""``.npy`` files from elsewhere: numbers, and exactly as many as the file holds; and such files written row by row.

NumPy's own reader evaluates the header as Python and reserves what it claims before it looks; here the one form that NumPy writes is taken
apart by a pattern, and its claim is compared with the size of the file first.
"""

import math
import os
import re
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import numpy as np

from molbt.errors import DataError

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<|][biuf][1248])', 'fortran_order': (True|False), 'shape': \(((?:[0-9]{1,18}, )*(?:[0-9]{1,18},?)?)\), \} *\n"
)
_FULLEST_HEADER = 1 << 16


def read_array(path: str | Path, *, mapped: bool = False, remedy: str = "copy the whole directory again") -> np.ndarray:
    """Return the array of a ``.npy`` file.

    Parameters
    ----------
    path : path
    mapped : bool
        Leave the numbers in the file and read them where they are used; what is written to the array does not reach the file.
    remedy : str
        What an error tells to do.

    Raises
    ------
    DataError
        If there is no such file, it is cut, longer than it should be, or holds something else than booleans, whole numbers or floats.
    """
    path = Path(path)
    try:
        # Anything but a plain file (a pipe, a device) might never end.
        if not path.is_file():
            raise DataError(f"expected an array at {path}, found no file; {remedy}")
        with open(path, "rb") as file:
            dtype, shape, order, start = _parse(file.read(_FULLEST_HEADER), path.stat().st_size)
            if 0 in shape:
                return np.empty(shape, dtype)
            array: np.ndarray
            if mapped:
                array = np.memmap(path, dtype, mode="c", offset=start, shape=shape, order=order)
            else:
                file.seek(start)
                array = np.fromfile(file, dtype, count=math.prod(shape)).reshape(shape, order=order)
        return _checked(array)
    except (OSError, MemoryError, _FormatError) as error:
        raise DataError(f"cannot read {path}: {error}; {remedy}") from error


def array_of(content: bytes, name: str | Path, *, remedy: str = "copy the whole directory again") -> np.ndarray:
    """Return the array of the bytes of a ``.npy`` file; ``name`` is what messages call it. Errors are those of `read_array`."""
    try:
        dtype, shape, order, start = _parse(content[:_FULLEST_HEADER], len(content))
        return _checked(np.frombuffer(bytearray(content), dtype, offset=start).reshape(shape, order=order))
    except (MemoryError, _FormatError) as error:
        raise DataError(f"cannot read {name}: {error}; {remedy}") from error


class ArrayFile:
    """A ``.npy`` file that rows are added to; a context manager. Its bytes are those of ``numpy.save`` at the end.

    It is written in place: the directory, or its name, must be a temporary one.

    Parameters
    ----------
    path : Path
    dtype : NumPy dtype
    row_shape : tuple of int
        Shape of one row.
    """

    def __init__(self, path: Path, dtype: np.dtype | type, row_shape: tuple[int, ...] = ()) -> None:
        self.n_rows = 0
        self._dtype, self._row_shape = np.dtype(dtype), row_shape
        self._file = open(path, "wb")  # noqa: SIM115  # closed by __exit__
        self._write_header()

    def append(self, rows: np.ndarray) -> None:
        """Write rows of shape ``(n, *row_shape)``."""
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).tobytes())
        self.n_rows += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._file:
            if kind is None:
                self._file.seek(0)
                self._write_header()  # of the same length: NumPy leaves room for more rows
                self._file.flush()
                os.fsync(self._file.fileno())

    def _write_header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.n_rows, *self._row_shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


class _FormatError(ValueError):
    """Bytes that ``np.save`` would not have written for an array of numbers."""


def _parse(beginning: bytes, size: int) -> tuple[np.dtype, tuple[int, ...], Literal["C", "F"], int]:
    """Return type, shape, order and the place where the numbers begin."""
    start = 10 + int.from_bytes(beginning[8:10], "little")
    found = _HEADER.fullmatch(beginning[10:start])
    if not beginning.startswith(_MAGIC) or found is None:
        raise _FormatError("it is no .npy file of numbers (arrays of objects are never loaded)")
    try:
        dtype = np.dtype(found[1].decode())
    except TypeError as error:
        raise _FormatError(f"its type {found[1].decode()!r} is unknown") from error
    shape = tuple(int(length) for length in found[3].split(b",") if length.strip())
    # In whole numbers of Python, which do not overflow.
    if math.prod(shape) * dtype.itemsize != size - start:
        raise _FormatError(f"its header says {shape} of {dtype}, {math.prod(shape) * dtype.itemsize} bytes, but {size - start} follow")
    return dtype, shape, "F" if found[2] == b"True" else "C", start


def _checked(array: np.ndarray) -> np.ndarray:
    # NumPy counts on booleans being the bytes 0 and 1 when it reserves room for what they select.
    if array.dtype == np.bool_ and (array.view(np.uint8) > 1).any():
        raise _FormatError("it holds booleans that are neither true nor false")
    return array
