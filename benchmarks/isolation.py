"""What it costs to read molecules in a process that may die: CPU time against reading them in this process.

    python benchmarks/isolation.py [--molecules 20000] [--rounds 3] [--table chembl_pubchem_mix.parquet]

CPU seconds of this process and of its workers together, one worker; the two ways take turns, and the fastest round of each counts.
Starting the workers is printed apart: it is paid once in a process, not per table.
"""

import argparse
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd
from rdkit import RDConfig

from molbt.data import isolation
from molbt.data.identity import molecule_and_scaffold_hashes
from molbt.data.isolation import map_blocks
from molbt.data.molecules import ParsePolicy
from molbt.data.preparing import prepare_blocks
from molbt.data.worker_processes import stop_idle_workers
from molbt.modalities.descriptors import Descriptors
from molbt.modalities.fingerprint import Fingerprint

POLICY = ParsePolicy()
MODALITIES = [Fingerprint(), Descriptors()]
Work = Callable[[Sequence[str]], Iterator[object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--table", type=Path, help="a parquet file with a column smiles; by default molecules in RDKit's wheel")
    arguments = parser.parse_args()
    smiles = read_smiles(arguments.table)[: arguments.molecules]
    print(f"{len(smiles):,} molecules, one worker, CPU seconds, fastest of {arguments.rounds} rounds")
    isolation.ISOLATED_FROM = -1
    for name, modality in (("RDKit and torch", MODALITIES[0]), ("RDKit alone", None)):
        stop_idle_workers()
        before = cpu_seconds()
        deque(prepare_blocks([modality], ["C"], POLICY) if modality else map_blocks(molecule_and_scaffold_hashes, ["C"], POLICY), 0)
        print(f"starting workers that have imported {name:<17} {cpu_seconds() - before:>7.2f}")
    fingerprint, descriptors = ((lambda texts, one=one: prepare_blocks([one], texts, POLICY)) for one in MODALITIES)
    report("ecfp4 + atom pairs, 8192 counts (default)", fingerprint, smiles, arguments.rounds)
    report(
        "hashes of molecule and scaffold", lambda texts: map_blocks(molecule_and_scaffold_hashes, texts, POLICY), smiles, arguments.rounds
    )
    report("descriptors (default), every tenth molecule", descriptors, smiles[::10], arguments.rounds)


def read_smiles(table: Path | None) -> list[str]:
    """Return the distinct SMILES of a table, or those of the NCI file in RDKit's data directory."""
    if table is not None:
        return pd.read_parquet(table, columns=["smiles"])["smiles"].drop_duplicates().tolist()
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines))


def report(name: str, work: Work, smiles: Sequence[str], rounds: int) -> None:
    """Print the CPU seconds in this process and isolated from it, and what the latter costs."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for isolated, clock in ((False, time.process_time), (True, cpu_seconds)):
            isolation.ISOLATED_FROM = -1 if isolated else 1 << 62
            deque(work(smiles[:100]), 0)  # the workers start, and caches are warm
            before = clock()
            deque(work(smiles), 0)
            seconds[isolated].append(clock() - before)
    here, isolated = min(seconds[False]), min(seconds[True])
    print(f"{name:<45} {here:>7.2f} in this process {isolated:>7.2f} isolated {100 * (isolated / here - 1):>+6.1f} %")


def cpu_seconds() -> float:
    """Return the CPU seconds of this process and of those that descend from it and are alive."""
    return time.process_time() + sum(map(cpu_seconds_of, descendants(os.getpid())))


def cpu_seconds_of(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(process: int) -> Iterator[int]:
    for child in Path(f"/proc/{process}/task/{process}/children").read_text().split():
        yield int(child)
        yield from descendants(int(child))


if __name__ == "__main__":
    main()
