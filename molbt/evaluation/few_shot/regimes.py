"""What a method that learns from the training tasks may see of the evaluated molecules.

``published``: everything, as all published results do. ``clean``: no training row whose molecule occurs in an evaluated task. A clean
result is lower for two reasons, unknown molecules and fewer rows; the control that removes as many rows at random has only the second.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from molbt.data.identity import identity_hashes
from molbt.data.molecules import ParsePolicy
from molbt.data.tables import write_table
from molbt.errors import ConfigError, suggestion
from molbt.evaluation.benchmarks.fsmol import FSMol
from molbt.evaluation.few_shot.training_labels import TrainingLabels

REGIMES = ("published", "clean")
LOOKUP = "lookup"
"""The head's name of the lookup in results."""

EXCLUSION_FILES = {"clean": "exclude_clean.csv", "random": "exclude_random.csv"}
"""Tables for ``molbt pretrain --exclude``."""


def training_sets(benchmark: FSMol, labels: TrainingLabels, regime: str, *, random_state: int = 0) -> dict[str, TrainingLabels]:
    """Return the labels that methods may learn from, by what a table calls them.

    Parameters
    ----------
    benchmark : FSMol
        Its assays are the evaluated ones.
    labels : TrainingLabels
        All of the training tasks.
    regime : {"published", "clean"}
        ``clean`` gives two sets: without the evaluated molecules, and without as many rows of molecules drawn at random.
    random_state : int
        Of the random deletion.

    Raises
    ------
    ConfigError
        If the regime is unknown.
    """
    if regime not in REGIMES:
        raise ConfigError(f"unknown regime {regime!r}{suggestion(regime, REGIMES)}")
    if regime == "published":
        return {"training labels": labels}
    clean = labels.without(_evaluated(benchmark))
    n_removed = len(labels.rows) - len(clean.rows)
    return {"clean training labels": clean, "training labels less as many": labels.without_random(n_removed, random_state)}


def write_exclusions(directory: Path, labels: TrainingLabels, sets: Mapping[str, TrainingLabels]) -> dict[str, Path]:
    """Write, for the two sets of the clean regime, the training molecules that each lacks; return the paths by the keys of
    ``EXCLUSION_FILES``.

    ``molbt pretrain`` leaves the molecules of such a table out (``--exclude``), under the same definition of a molecule.
    """
    paths = {}
    for (name, file), kept in zip(EXCLUSION_FILES.items(), sets.values(), strict=True):
        distinct = labels.rows.drop_duplicates("smiles")
        removed = distinct[~np.isin(distinct["molecule"], kept.rows["molecule"])]
        paths[name] = directory / file
        write_table(pd.DataFrame({"smiles": removed["smiles"]}), paths[name])
    return paths


def _evaluated(benchmark: FSMol) -> np.ndarray:
    smiles = dict.fromkeys(text for assay in benchmark.assays for text in benchmark.read(assay).frame["smiles"])
    hashes = np.unique(identity_hashes(list(smiles), ParsePolicy()))
    return hashes[hashes != 0]
