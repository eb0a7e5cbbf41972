"""Writing and reading fitted heads without pickles.

LightGBM is kept as its text. Any other head is kept as its name, parameters and training rows, and fitted again on reading: it is
deterministic, and stored predictions show whether this machine's libraries still give the same model.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
from scipy import sparse

from molbt.data.files import atomic_write, sha256_of
from molbt.errors import CheckpointError
from molbt.predict.boosting import LightGBM
from molbt.predict.features import Block, FeatureSet
from molbt.predict.head import Head
from molbt.predict.heads import build_head

N_CHECKED = 32
"""Number of training rows whose predictions are stored and compared on reading."""

_MAX_MODEL_BYTES = 1 << 30
_TOLERANCE = 1e-6


def write_head(head: Head, features: FeatureSet, y: np.ndarray, directory: Path) -> dict[str, Any]:
    """Write a fitted head and return its description (JSON values), which ``read_head`` needs.

    Parameters
    ----------
    head : Head
    features, y : FeatureSet of n rows, ndarray of shape (n,)
        What it was fitted on.
    directory : Path
        Exists; files named ``head.*`` are written into it.
    """
    checked = np.flatnonzero(features.valid & np.isfinite(y))[:N_CHECKED]
    description: dict[str, Any] = {
        "name": head.name,
        "parameters": head.parameters(),
        "task_type": head.task_type,
        "random_state": head.random_state,
        "widths": features.widths,
        "constant": head.constant_,
        "counts": {"n_train": head.n_train_, "n_refused": head.n_refused_, "n_unlabelled": head.n_unlabelled_},
        "checked_predictions": head.predict(features.rows(checked)).tolist(),
    }
    stored = features.rows(checked)
    if isinstance(head, LightGBM) and head.constant_ is None:
        with atomic_write(directory / "head.txt") as file:
            file.write(head.booster_.model_to_string().encode())
        _save(directory / "head.columns.npy", head.columns_)
    elif head.constant_ is None:
        stored = features
        _save(directory / "head.y.npy", np.asarray(y, dtype=np.float64))
    _save(directory / "head.checked.npy", checked if stored is features else np.arange(len(checked)))
    for name, block in stored.blocks.items():
        _write_block(block, directory / f"head.block.{name}")
    description["valid"] = np.flatnonzero(stored.valid).tolist()
    description["n_rows"] = stored.n_rows
    description["sha256"] = {path.name: sha256_of(path) for path in sorted(directory.glob("head.*"))}
    return description


def read_head(description: Mapping[str, Any], directory: Path, *, n_jobs: int = 1) -> Head:
    """Return the fitted head that ``write_head`` wrote.

    Raises
    ------
    CheckpointError
        If a file is missing, changed or too large, or the head no longer predicts what it predicted when it was saved.
    """
    for name, expected in description["sha256"].items():
        path = directory / Path(name).name
        if not path.is_file():
            raise CheckpointError(f"expected {path}, found no file; copy the whole predictor directory")
        if path.stat().st_size > _MAX_MODEL_BYTES:
            raise CheckpointError(f"{path} has {path.stat().st_size} bytes; at most {_MAX_MODEL_BYTES} are read")
        if sha256_of(path) != expected:
            raise CheckpointError(f"{path} is damaged: its SHA-256 should begin {expected[:12]}; copy it again or fit the predictor anew")
    head = build_head(
        description["name"], description["task_type"], random_state=description["random_state"], n_jobs=n_jobs, **description["parameters"]
    )
    valid = np.zeros(description["n_rows"], dtype=bool)
    valid[description["valid"]] = True
    blocks = {name: _read_block(directory / f"head.block.{name}") for name in description["widths"]}
    features = FeatureSet("stored", blocks, valid)
    if isinstance(head, LightGBM) or description["constant"] is not None:
        head.widths_, head.constant_ = dict(description["widths"]), description["constant"]
        for name, count in description["counts"].items():
            setattr(head, f"{name}_", count)
        if isinstance(head, LightGBM) and head.constant_ is None:
            head.columns_ = np.load(directory / "head.columns.npy", allow_pickle=False)
            head.booster_ = lightgbm.Booster(model_str=(directory / "head.txt").read_text(encoding="utf-8"))
    else:
        head.fit(features, np.load(directory / "head.y.npy", allow_pickle=False))
    checked = np.load(directory / "head.checked.npy", allow_pickle=False)
    found, expected = head.predict(features.rows(checked)), np.array(description["checked_predictions"], dtype=np.float64)
    if not np.allclose(found, expected, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True):
        worst = float(np.nanmax(np.abs(found - expected)))
        raise CheckpointError(
            f"the head in {directory} no longer predicts what it did when it was saved (largest difference {worst:.3g}); "
            "other versions of its libraries are installed: install those in predictor.json, or fit the predictor anew"
        )
    return head


def _write_block(block: Block, start: Path) -> None:
    if sparse.issparse(block):
        for part in ("data", "indices", "indptr"):
            _save(start.with_name(f"{start.name}.{part}.npy"), getattr(block, part))
        _save(start.with_name(f"{start.name}.shape.npy"), np.array(block.shape))
    else:
        _save(start.with_name(f"{start.name}.npy"), np.asarray(block))


def _read_block(start: Path) -> Block:
    def load(part: str) -> np.ndarray:
        return np.load(start.with_name(f"{start.name}{part}.npy"), allow_pickle=False)

    if start.with_name(f"{start.name}.npy").is_file():
        return load("")
    shape = tuple(int(size) for size in load(".shape"))
    return sparse.csr_array((load(".data"), load(".indices"), load(".indptr")), shape=shape)


def _save(path: Path, array: np.ndarray) -> None:
    with atomic_write(path) as file:
        np.save(file, array, allow_pickle=False)


def dumps(content: Mapping[str, Any]) -> bytes:
    """Return JSON with NaN refused: a description has none."""
    return json.dumps(content, indent=1, allow_nan=False).encode()
