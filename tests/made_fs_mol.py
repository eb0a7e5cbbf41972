"""A small folder in the layout of FS-Mol: three test assays, one for validation and two for training."""

import gzip
import json
from pathlib import Path

import pandas as pd

HEADS = ("C", "N", "O", "Cl", "Br", "c1ccccc1", "C1CCNCC1", "OC(=O)")
TAILS = ("C", "N", "O", "F", "C(=O)O", "C#N", "c1ccncc1", "S(C)(=O)=O")
MOLECULES = [f"{head}{'C' * n}{tail}" for n in (1, 2, 3) for head in HEADS for tail in TAILS]
PHOSPHATE = "CO[PH](=O)(=O)OC"


def is_active(smiles: str) -> bool:
    """What the made assays measure: nitrogen."""
    return "N" in smiles or "n" in smiles


def line(smiles: str, label: str, **fields: object) -> dict[str, object]:
    return {"SMILES": smiles, "Property": label, "Assay_ID": "made", "RegressionProperty": "69.0", "Relation": "=", **fields}


def write_task(path: Path, lines: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(entry) + "\n" for entry in lines)


def labelled(molecules: list[str]) -> list[dict[str, object]]:
    return [line(smiles, "1.0" if is_active(smiles) else "0.0") for smiles in molecules]


def write_fs_mol(data_dir: Path) -> Path:
    """Write ``fs-mol/`` into a folder, and return the folder.

    Of the test assays, T1 has 40 molecules that no training task has, T2 has 40 that all are in one, and T3 has a phosphate, and too few
    rows for a support set of 32.
    """
    directory = data_dir / "fs-mol"
    write_task(directory / "test" / "T1.jsonl.gz", labelled(MOLECULES[:40]))
    write_task(directory / "test" / "T2.jsonl.gz", labelled(MOLECULES[60:100]))
    write_task(directory / "test" / "T3.jsonl.gz", [*labelled(MOLECULES[100:123]), line(PHOSPHATE, "1.0")])
    write_task(directory / "valid" / "V1.jsonl.gz", labelled(MOLECULES[130:170]))
    write_task(directory / "train" / "A1.jsonl.gz", labelled(MOLECULES[60:105]))
    # The second training assay contradicts the first on ten molecules.
    write_task(
        directory / "train" / "A2.jsonl.gz", [line(s, "0.0" if is_active(s) else "1.0") for s in MOLECULES[60:70] + MOLECULES[170:192]]
    )
    lists = {"train": ["A1", "A2", "A9"], "valid": ["V1"], "test": ["T1", "T2", "T3", "T9"]}
    (directory / "fsmol-0.1.json").write_text(json.dumps(lists))
    (directory / "targets").mkdir()
    classes = pd.DataFrame({"chembl_id": ["T1", "T2"], "EC_super_class": [2, 3], "EC_super_class_name": ["transferase", "hydrolase"]})
    classes.to_csv(directory / "targets" / "test_proteins.csv", index=False)
    (directory / "baselines").mkdir()
    baseline = pd.DataFrame(
        {
            "TASK_ID": ["T1", "T2", "T9"],
            "fraction_positive_train": [0.5, 0.4, 0.5],
            "fraction_positive_test": [0.45, 0.42, 0.5],
            "16_train": ["0.7+/-0.03", "0.6+/-0.1", "0.9+/-0.1"],
            "32_train": ["0.8+/-0.03", "", "0.9+/-0.1"],
        }
    )
    baseline.to_csv(directory / "baselines" / "random_forest_summary.csv", index=False)
    pd.DataFrame({"aid": [11, 12], "chembl_id": ["T2", "T9"]}).to_csv(directory / "aid_lookup.csv", index=False)
    zero_shot = pd.DataFrame(
        {"aid": [11, 11, 12], "replicate": [0, 1, 0], "roc": [0.6, 0.7, 0.9], "pr": [0.5, 0.7, 1.0], "dpr": [0.1, 0.3, 0.5]}
    )
    zero_shot.to_csv(directory / "baselines" / "TwinBooster_zero_shot.csv", index=False)
    return data_dir
