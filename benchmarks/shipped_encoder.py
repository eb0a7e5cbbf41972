"""Train the encoder that ships with molbt, as it was trained: FS-Mol training assays without a molecule of any benchmark.

    python benchmarks/shipped_encoder.py -o runs/shipped [--jobs 2] [--rows 2000 --set trainer.epochs=1]

The molecules are the 4,935 training assays of FS-Mol that are in the public data folder (``MOLBT_DATA``). Excluded is every molecule of
MoleculeACE, MoleculeNet, the validation and test assays of FS-Mol, and the drug-target sets: same connectivity after salts, charges and
stereochemistry. The compact copy for ``molbt/weights`` comes from ``molbt export``. ``--rows`` tries the whole way on a part of the labels
and of each benchmark.
"""

import argparse
import gzip
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from molbt import RunConfig, pretrain
from molbt.data.corpus import prepare
from molbt.data.exclusions import Exclusion
from molbt.data.sources import data_dir

LICENCE = "CC BY-SA 3.0 (FS-Mol, Stanley et al. 2021; the molecules and activities are ChEMBL's, CC BY-SA 3.0)"
LABELS = {"activity": {"task": "Assay_ID", "value": "Property"}}


def evaluated_molecules(data: Path) -> Iterator[Exclusion]:
    """Yield the molecules of each benchmark."""
    for name, pattern in {"MoleculeACE": "moleculeace/CHEMBL*.csv.gz", "MoleculeNet": "moleculenet/*.csv.gz"}.items():
        yield Exclusion.of_molecules(
            name, [s for path in sorted(data.glob(pattern)) for s in pd.read_csv(path, usecols=["smiles"])["smiles"]]
        )
    for part in ("valid", "test"):
        yield Exclusion.of_molecules(
            f"FS-Mol {part}", [s for path in sorted((data / "fs-mol" / part).glob("*.gz")) for s in fsmol_smiles(path)]
        )
    pairs = [s for path in sorted((data / "dti").glob("*.parquet")) for s in pd.read_parquet(path, columns=["smiles"])["smiles"].unique()]
    yield Exclusion.of_molecules("drug-target sets", pairs)


def fsmol_smiles(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["SMILES"] for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, help="where the prepared molecules are kept; the cache by default")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="change a setting, for ablations: trainer.epochs=3")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--rows", type=int, help="how many labels to train on and how many molecules of each benchmark to exclude; all")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    data = data_dir(None)
    config = RunConfig.from_preset("shipped", changes=arguments.changes).with_smiles_column("SMILES")
    excluded = [
        Exclusion.of_molecules(exclusion.name, exclusion.smiles[: arguments.rows]) if arguments.rows else exclusion
        for exclusion in evaluated_molecules(data)
    ]
    table = data / "fs-mol" / "fsmol_train.parquet"
    source = pd.read_parquet(table).head(arguments.rows) if arguments.rows else table
    corpus = prepare(source, config, directory=arguments.corpus, exclude=excluded, n_jobs=arguments.jobs)
    pretrain(corpus, arguments.output, config=config, resume=True, licence=LICENCE)


if __name__ == "__main__":
    main()
