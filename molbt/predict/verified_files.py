"""Arrays of a saved head: written as ``.npy``, and read only when their checksums are right."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy import sparse

from molbt.data.array_files import array_of
from molbt.data.files import write_array
from molbt.errors import CheckpointError
from molbt.predict.features import Block
from molbt.predict.stored_block import StoredBlock

MAX_FILE_BYTES = 1 << 30
"""A larger file is not read."""

_CSR_PARTS = ("data", "indices", "indptr", "shape")


class VerifiedFiles:
    """The files of a directory that a description names; their bytes are checked before anything looks into them."""

    def __init__(self, directory: Path, sha256: Mapping[str, str]) -> None:
        self.directory = directory
        self._sha256 = sha256

    def __contains__(self, name: str) -> bool:
        return name in self._sha256

    def read(self, name: str) -> bytes:
        """Return the content of a file; CheckpointError if it is missing, too large or changed."""
        path = self.directory / name
        if name not in self._sha256 or not path.is_file():
            raise CheckpointError(f"expected {path}, found no file or no checksum of it; copy the whole predictor directory")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; at most {MAX_FILE_BYTES} are read")
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != self._sha256[name]:
            raise CheckpointError(
                f"{path} is damaged: its SHA-256 should begin {self._sha256[name][:12]}; copy it again or fit the predictor anew"
            )
        return content

    def array(self, name: str) -> np.ndarray:
        """Return the array of a ``.npy`` file; DataError if it is no array of numbers."""
        return array_of(self.read(name), self.directory / name, remedy="fit the predictor anew")


def write_block(block: Block, directory: Path, name: str) -> None:
    """Write a block of features as ``<name>.npy``, or as the four arrays of a CSR matrix."""
    if isinstance(block, np.ndarray | StoredBlock):
        write_array(directory / f"{name}.npy", np.asarray(block))
        return
    for part in _CSR_PARTS:
        write_array(directory / f"{name}.{part}.npy", np.asarray(getattr(block, part)))


def read_block(files: VerifiedFiles, name: str, width: int) -> Block:
    """Return the block that ``write_block`` wrote.

    Raises
    ------
    CheckpointError
        If a file is missing or changed, or the block has another number of columns.
    ValueError
        If the arrays do not fit together.
    """
    block: Block
    if f"{name}.npy" in files:
        block = files.array(f"{name}.npy")
    else:
        data, indices, indptr, shape = (files.array(f"{name}.{part}.npy") for part in _CSR_PARTS)
        block = sparse.csr_array((data, indices, indptr), shape=tuple(int(size) for size in shape))
        block.check_format(full_check=True)  # an index out of range would be read as memory
    if block.ndim != 2 or block.shape[1] != width:
        raise CheckpointError(f"{files.directory / name} has shape {block.shape}, the description says {width} columns; copy it again")
    return block
