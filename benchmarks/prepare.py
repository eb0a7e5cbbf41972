"""How fast molecules are prepared on one core, against RDKit's parse alone, against scikit-fingerprints and against a plain loop.

    python benchmarks/prepare.py [--molecules 3000] [--rounds 5] [--smiles FILE] [--peer /path/to/other/venv/bin/python]

The lines take turns block by block, so that a busy machine slows all alike. Figures are CPU time, medians over the rounds; each ratio
is taken within a round. ``--peer`` names an interpreter in whose environment scikit-fingerprints is installed (it caps RDKit, so it lives
apart); without it the one in this environment is tried. ``--smiles`` reads the ``smiles`` column of a parquet file, else RDKit's NCI file.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import rdkit
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import rdFingerprintGenerator

from molbt.data.identity import molecule_and_scaffold_hashes
from molbt.data.molecules import ParsePolicy, Perception, parse_molecules
from molbt.data.preparing import prepare_numbered_blocks
from molbt.modalities.descriptors import Descriptors
from molbt.modalities.fingerprint import Fingerprint

PARSE, ECFP4 = "parse (RDKit)", "molbt ecfp4, 2048 counts"
POLICY = ParsePolicy()
BLOCK = 500
# Runs in the peer's environment: first a line with its versions, then for each line of SMILES the CPU seconds they took.
PEER = """
import json, sys, time
from importlib.metadata import version
import rdkit
from skfp.fingerprints import ECFPFingerprint
from skfp.preprocessing import MolFromSmilesTransformer
parse, compute = MolFromSmilesTransformer(n_jobs=1), ECFPFingerprint(fp_size=2048, n_jobs=1)
print(json.dumps(f"scikit-fingerprints {version('scikit-fingerprints')} ecfp4, 2048 bits (RDKit {rdkit.__version__})"), flush=True)
for line in sys.stdin:
    smiles = json.loads(line)
    start = time.process_time()
    compute.transform(parse.transform(smiles))
    print(time.process_time() - start, flush=True)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smiles", type=Path, help="parquet file with a column smiles")
    parser.add_argument("--peer", type=Path, default=Path(sys.executable), help="interpreter of an environment with scikit-fingerprints")
    arguments = parser.parse_args()
    smiles = readable_smiles(arguments.smiles, arguments.molecules)
    lines = lines_to_measure()
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(running_peer(arguments.peer))
        if peer is None:
            print(f"scikit-fingerprints: absent from {arguments.peer}; give --peer the interpreter of an environment that has it")
        else:
            lines[peer.name] = Line(peer.seconds, divisor=1, is_timed_itself=True)
        rounds = [measure(lines, smiles) for _ in range(arguments.rounds)]
    name = arguments.smiles.name if arguments.smiles else "RDKit's NCI file"
    print(f"{len(smiles)} molecules of {name}, RDKit {rdkit.__version__}, one process, CPU time, medians of {arguments.rounds} rounds")
    for line in lines:
        median = statistics.median(one[line] for one in rounds)
        share = statistics.median(one[PARSE] / one[line] for one in rounds)
        print(f"{line:<66} {1 / median:>9,.0f}/s {1e6 * median:>9.1f} µs   {share:.2f} of parsing alone")
    if peer is not None:
        print(f"{ECFP4} beside scikit-fingerprints: {statistics.median(one[peer.name] / one[ECFP4] for one in rounds):.2f} x as fast")


def readable_smiles(path: Path | None, n: int) -> list[str]:
    """Return real molecules that RDKit reads: a fixed random choice of a parquet file, or the first of RDKit's NCI file."""
    if path is None:
        lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
        smiles = [line.split()[0] for line in lines if line.split()]
    else:
        smiles = random.Random(0).sample(pd.read_parquet(path, columns=["smiles"])["smiles"].tolist(), n + n // 10)
    return [text for text, (mol, _) in zip(smiles, parse_molecules(smiles, POLICY), strict=True) if mol is not None][:n]


@dataclass(frozen=True)
class Line:
    """What is measured, and on which share of the molecules (slow work takes a tenth)."""

    work: Callable[[Sequence[str]], object]
    divisor: int = 1
    is_timed_itself: bool = False


def lines_to_measure() -> dict[str, Line]:
    """Return the lines by the name they are printed under."""
    plain = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)

    def prepare(modality: Fingerprint | Descriptors, divisor: int = 1) -> Line:
        return Line(lambda smiles: modality.prepare(smiles, POLICY), divisor)

    def together(*modalities: Fingerprint | Descriptors, divisor: int = 1) -> Line:
        options = {"with_hashes": True, "n_values": 0, "executor": None, "n_jobs": 1, "refused": {}}  # so few stay in this process
        return Line(lambda smiles: list(prepare_numbered_blocks(modalities, [list(smiles)], POLICY, **options)), divisor)

    def apart(*modalities: Fingerprint | Descriptors, divisor: int = 1) -> Line:
        works = [modality.prepare for modality in modalities] + [molecule_and_scaffold_hashes]
        return Line(lambda smiles: [work(smiles, POLICY) for work in works], divisor)

    def parse(perception: Perception) -> Line:
        return Line(lambda smiles: [mol is None for mol, _ in parse_molecules(smiles, POLICY, perception=perception)])

    return {
        # Molecules are freed one by one within the measured time, as they are in every other line.
        PARSE: Line(lambda smiles: [Chem.MolFromSmiles(text) is None for text in smiles]),
        "parse (molbt.data.molecules), everything": parse(Perception.ALL),
        "parse (molbt.data.molecules), for atom pairs": parse(Perception.HYBRIDISATION),
        "parse (molbt.data.molecules), for ecfp": parse(Perception.AROMATICITY),
        ECFP4: prepare(Fingerprint(kinds=("ecfp4",), width=2048)),
        "molbt ecfp4, 2048 bits": prepare(Fingerprint(kinds=("ecfp4",), width=2048, counts=False)),
        "molbt ecfp4 + atom_pair, 8192 counts (default)": prepare(Fingerprint()),
        "molbt hashes of molecule and scaffold": Line(lambda smiles: molecule_and_scaffold_hashes(smiles, POLICY)),
        "molbt descriptors (default)": prepare(Descriptors(), divisor=10),
        "molbt default fingerprint and hashes, apart": apart(Fingerprint()),
        "molbt default fingerprint and hashes, one parse (prepare)": together(Fingerprint()),
        "molbt fingerprint, descriptors and hashes, apart": apart(Fingerprint(), Descriptors(), divisor=10),
        "molbt fingerprint, descriptors and hashes, one parse (prepare)": together(Fingerprint(), Descriptors(), divisor=10),
        "loop of np.array(bit vector), ecfp4, 2048 bits": Line(
            lambda smiles: [np.array(plain.GetFingerprint(Chem.MolFromSmiles(text))) for text in smiles], divisor=10
        ),
    }


def measure(lines: dict[str, Line], smiles: Sequence[str]) -> dict[str, float]:
    """Return CPU seconds per molecule of each line, over all molecules."""
    seconds, counted = dict.fromkeys(lines, 0.0), dict.fromkeys(lines, 0)
    with rdBase.BlockLogs():
        for first in range(0, len(smiles), BLOCK):
            for name, line in lines.items():
                part = smiles[first : first + BLOCK : line.divisor]
                start = time.process_time()
                result = line.work(part)
                seconds[name] += float(str(result)) if line.is_timed_itself else time.process_time() - start
                counted[name] += len(part)
    return {name: seconds[name] / counted[name] for name in lines}


@dataclass(frozen=True)
class Peer:
    """A process in another environment that does the same work."""

    name: str
    process: "subprocess.Popen[str]"

    def seconds(self, smiles: Sequence[str]) -> float:
        """Return the CPU seconds it takes for these molecules."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the peer has no pipes")
        stdin.write(json.dumps(list(smiles)) + "\n")
        stdin.flush()
        return float(stdout.readline())


@contextlib.contextmanager
def running_peer(python: Path) -> Iterator[Peer | None]:
    """Start the peer; None where scikit-fingerprints cannot be imported."""
    process = subprocess.Popen(
        [str(python), "-c", PEER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with process:
        first = process.stdout.readline() if process.stdout else ""
        yield Peer(json.loads(first), process) if first else None
        if process.stdin:
            process.stdin.close()


if __name__ == "__main__":
    main()
