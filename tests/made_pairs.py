"""Made assays with descriptions: an assay counts the molecules that hold either of two signs, and says so in words."""

from itertools import combinations
from pathlib import Path

import pandas as pd
from small_run import nci_smiles, small_config

from molbt import pretrain

SIGNS = {"nitrogen": "N", "oxygen": "O", "sulfur": "S", "chlorine": "Cl", "ring": "1", "carbonyl": "=O", "aromatic": "c", "branch": "("}
ASSAYS = [f"{one}_{other}" for one, other in combinations(SIGNS, 2)]
HELD_OUT = ASSAYS[::4]
TRAINING = [name for name in ASSAYS if name not in HELD_OUT]
TEXTS = {name: "Molecules that hold {} or {} are active".format(*name.split("_")) for name in ASSAYS}


def made_rows(assays: list[str], n: int = 200, first: int = 0) -> pd.DataFrame:
    """``smiles``, ``task`` and ``label`` of some molecules in some assays, and the ``text``."""
    rows = [
        {"smiles": smiles, "task": name, "label": float(any(SIGNS[sign] in smiles for sign in name.split("_"))), "text": TEXTS[name]}
        for name in assays
        for smiles in nci_smiles(first + n)[first:]
    ]
    return pd.DataFrame(rows)


def with_unreadable(rows: pd.DataFrame, every: int = 50) -> pd.DataFrame:
    """The rows with a SMILES that cannot be read in the place of every so many."""
    return rows.assign(smiles=rows["smiles"].where(rows.index % every != 0, "C1CC"))


def made_twin(directory: Path) -> Path:
    """Pretrain a small twin of molecules and texts on the training assays, and return its run."""
    config = small_config(
        views={
            "molecule": {"modality": "fingerprint", "width": 512},
            "assay": {"modality": "lsa", "column": "text", "components": 16, "ngram_max": 1},
        },
        pairs=[["molecule", "assay"]],
        objectives=[{"name": "matching", "labels": "activity"}],
        labels={"activity": {"value": "label"}},
        trainer={"epochs": 5, "batch_size": 256},
    )
    pretrain(made_rows(TRAINING), directory, config=config)
    return directory
