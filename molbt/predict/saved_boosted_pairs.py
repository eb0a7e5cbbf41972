"""The files of trees on pairs: LightGBM's text behind the checked loader, the training pairs as JSON and arrays, and their leaves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from molbt.config_text import describe_problems
from molbt.data.files import atomic_write, sha256_of, write_array
from molbt.data.json_files import parse_json
from molbt.errors import CheckpointError, DataError
from molbt.pair_featurizer import PairFeaturizer
from molbt.predict.boosted_pairs import BoostedPairs
from molbt.predict.boosting import LightGBM
from molbt.predict.pair_block import pair_features
from molbt.predict.saved_heads import N_CHECKED, Sha256, read_head, write_head
from molbt.predict.training_pairs import TrainingPairs
from molbt.predict.verified_files import VerifiedFiles

_LISTS, _ARRAYS = ("smiles", "assays", "texts"), ("molecule", "assay", "label")
_REMEDY = "copy the predictor again or make it anew: molbt calibrate"


class BoostedDescription(BaseModel):
    """What ``write_boosted`` returns; anything else is refused. The head has a description of its own (``molbt.predict.saved_heads``)."""

    model_config = ConfigDict(extra="forbid", strict=True)

    head: dict[str, Any]
    sha256: dict[Annotated[str, Field(pattern=r"^pairs\.[a-z.]+$")], Sha256]


def write_boosted(boosted: BoostedPairs, twin: PairFeaturizer, directory: Path) -> dict[str, Any]:
    """Write trees and training pairs into an existing directory and return the JSON values that ``read_boosted`` needs.

    Parameters
    ----------
    boosted : BoostedPairs
    twin : PairFeaturizer
        Whose embeddings it learned from.
    directory : Path
        Files named ``head.*`` and ``pairs.*`` are written into it.
    """
    pairs = boosted.pairs
    with atomic_write(directory / "pairs.json") as file:
        file.write(json.dumps({name: getattr(pairs, name) for name in _LISTS}).encode())
    for name in _ARRAYS:
        write_array(directory / f"pairs.{name}.npy", getattr(pairs, name))
    write_array(directory / "pairs.leaves.npy", boosted.leaves)
    few = pairs.chosen(np.flatnonzero(boosted.leaves[:, 0] >= 0)[:N_CHECKED])  # of those that trained
    features = pair_features(twin.embed_molecules(few.smiles)[0], twin.embed_texts(few.texts)[0], few.molecule, few.assay)
    return {
        "head": write_head(boosted.head, features, few.label, directory),
        "sha256": {path.name: sha256_of(path) for path in sorted(directory.glob("pairs.*"))},
    }


def read_boosted(description: Mapping[str, Any], twin: PairFeaturizer, directory: Path, *, n_jobs: int = 1) -> BoostedPairs:
    """Return what ``write_boosted`` wrote.

    Raises
    ------
    CheckpointError
        If the description is not one, a file is missing, changed or too large, the files do not fit each other or the twin, or the trees
        no longer predict what they did when they were saved.
    """
    try:
        known = BoostedDescription.model_validate(description)
    except ValidationError as error:
        raise CheckpointError(describe_problems(error, where=f"the description of the trees in {directory}")) from error
    head = read_head(known.head, directory, n_jobs=n_jobs)
    molecules, texts = (np.empty((0, twin.widths_[view]), dtype=np.float32) for view in (twin.molecule_view_, twin.text_view_))
    widths = pair_features(molecules, texts, *np.empty((2, 0), dtype=np.int64)).widths
    if not isinstance(head, LightGBM) or head.constant_ is not None or head.widths_ != widths:
        raise CheckpointError(f"the head in {directory} is not made of trees on the twin's embeddings ({widths}); {_REMEDY}")
    files = VerifiedFiles(directory, known.sha256)
    try:
        pairs, leaves = _read_pairs(files), files.array("pairs.leaves.npy")
    except (DataError, ValueError, TypeError) as error:
        raise CheckpointError(f"the training pairs in {directory} cannot be read: {error}; {_REMEDY}") from error
    if leaves.dtype.kind != "i" or leaves.shape != (len(pairs), head.booster_.num_trees()):
        raise CheckpointError(f"{directory / 'pairs.leaves.npy'} does not fit the pairs and trees beside it; {_REMEDY}")
    return BoostedPairs(head, pairs, leaves)


def _read_pairs(files: VerifiedFiles) -> TrainingPairs:
    where = files.directory / "pairs.json"
    lists = parse_json(files.read("pairs.json"), where, remedy=_REMEDY)
    arrays = {name: files.array(f"pairs.{name}.npy") for name in _ARRAYS}
    n = len(arrays["label"])
    fits = (
        isinstance(lists, dict)
        and set(lists) == set(_LISTS)
        and all(isinstance(entries, list) and all(isinstance(entry, str) for entry in entries) for entries in lists.values())
        and len(lists["assays"]) == len(lists["texts"])
        and all(array.shape == (n,) for array in arrays.values())
        and all(
            arrays[name].dtype.kind == "i" and n and arrays[name].min() >= 0 and arrays[name].max() < len(lists[of])
            for name, of in (("molecule", "smiles"), ("assay", "assays"))
        )
        and arrays["label"].dtype.kind == "f"
        and ((arrays["label"] == 0) | (arrays["label"] == 1)).all()
    )
    if not fits:
        raise CheckpointError(f"{where} and the arrays beside it do not fit each other; {_REMEDY}")
    return TrainingPairs(*(lists[name] for name in _LISTS), *(arrays[name] for name in _ARRAYS))
