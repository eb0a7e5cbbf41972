"""Files that run code when they are read in the usual ways, in the forms that such files travel in."""

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
import zstandard


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.canary,)


def carriers(canary: Path) -> dict[str, bytes]:
    """Return the hostile files by name; each makes ``canary`` when its own loader reads it."""
    bomb = Touch(canary)
    plain = pickle.dumps(bomb)
    return {
        "pickle": plain,
        "pickle, protocol 0": pickle.dumps(bomb, protocol=0),
        "torch zip": _torch(bomb, zipped=True),
        "torch legacy": _torch(bomb, zipped=False),
        "joblib": _joblib(bomb),
        "npy of objects": _npy(bomb),
        "npz of objects": _npz(bomb),
        "gzip": gzip.compress(plain),
        "zstd": zstandard.ZstdCompressor().compress(plain),
        "parquet": _parquet(plain),
        "yaml apply": f"!!python/object/apply:builtins.open ['{canary}', w]\n".encode(),
        "yaml system": f"views: !!python/object/apply:os.system ['touch {canary}']\n".encode(),
        "jsonpickle": json.dumps({"py/reduce": [{"py/function": "os.system"}, {"py/tuple": [f"touch {canary}"]}]}).encode(),
        "safetensors metadata": _safetensors(plain),
        "LightGBM text": b"tree\nversion=v4\n" + plain + b"\nend of trees\n",
        "Python": f"__import__('pathlib').Path({str(canary)!r}).touch()\n".encode(),
    }


def loaders() -> dict[str, Callable[[bytes], Any]]:
    """Return the usual way of reading each of those that execute: proof that the canary works."""
    return {
        "pickle": pickle.loads,
        "pickle, protocol 0": pickle.loads,
        "torch zip": lambda content: torch.load(io.BytesIO(content), weights_only=False),
        "torch legacy": lambda content: torch.load(io.BytesIO(content), weights_only=False),
        "joblib": lambda content: joblib.load(io.BytesIO(content)),
        "npy of objects": lambda content: np.load(io.BytesIO(content), allow_pickle=True),
        "npz of objects": lambda content: np.load(io.BytesIO(content), allow_pickle=True)["bomb"],
        "gzip": lambda content: pickle.loads(gzip.decompress(content)),
        "zstd": lambda content: pickle.loads(zstandard.ZstdDecompressor().decompress(content)),
        "yaml apply": yaml.unsafe_load,
        "yaml system": yaml.unsafe_load,
        "Python": lambda content: exec(content),
    }


def _torch(bomb: Touch, *, zipped: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save({"model": bomb}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def _joblib(bomb: Touch) -> bytes:
    buffer = io.BytesIO()
    joblib.dump([bomb], buffer)
    return buffer.getvalue()


def _npy(bomb: Touch) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([bomb], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def _npz(bomb: Touch) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("bomb.npy", _npy(bomb))
    return buffer.getvalue()


def _parquet(plain: bytes) -> bytes:
    """The extension type that pyarrow before 14.0.1 unpickled when it read a schema; pandas' own metadata beside it."""
    extension = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": plain}
    field = pa.field("smiles", pa.string(), metadata=extension)
    table = pa.table({"smiles": ["CCO", "CCN"]}).cast(pa.schema([field], metadata={b"pandas": plain, b"bomb": plain}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _safetensors(plain: bytes) -> bytes:
    header = json.dumps({"__metadata__": {"pickle": plain.hex()}}).encode()
    return len(header).to_bytes(8, "little") + header + plain
