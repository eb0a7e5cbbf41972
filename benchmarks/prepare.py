"""How fast molecules are prepared on one core: molecules per CPU-second, and their ratios.

    python benchmarks/prepare.py [--molecules 3000] [--rounds 5] [--peer /path/to/other/venv/bin/python]

The rounds take turns, so that a busy machine slows all lines alike; the fastest round of each counts. ``--peer`` names an interpreter
in whose environment scikit-fingerprints is installed (it caps RDKit, so it lives apart); its RDKit version is printed.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rdkit
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import rdFingerprintGenerator

from molbt.data.molecules import ParsePolicy, parse_molecules
from molbt.modalities.descriptors import Descriptors
from molbt.modalities.fingerprint import Fingerprint

PARSE = "parse (RDKit)"
POLICY = ParsePolicy()
# Runs in the peer's environment: SMILES on stdin, one JSON line of CPU seconds and versions on stdout.
PEER = """
import json, sys, time
from importlib.metadata import version
import rdkit
from skfp.fingerprints import ECFPFingerprint
from skfp.preprocessing import MolFromSmilesTransformer
smiles, rounds = sys.stdin.read().split(), int(sys.argv[1])
seconds = []
for _ in range(rounds):
    start = time.process_time()
    ECFPFingerprint(fp_size=2048, n_jobs=1).transform(MolFromSmilesTransformer(n_jobs=1).transform(smiles))
    seconds.append(time.process_time() - start)
print(json.dumps({"seconds": min(seconds), "version": version("scikit-fingerprints"), "rdkit": rdkit.__version__}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecules", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer", type=Path, help="interpreter of an environment with scikit-fingerprints")
    arguments = parser.parse_args()
    smiles = readable_smiles(arguments.molecules)
    print(f"{len(smiles)} molecules, RDKit {rdkit.__version__}, one process, fastest of {arguments.rounds} rounds")
    rates = measure(lines_to_measure(), smiles, rounds=arguments.rounds)
    if arguments.peer:
        found = run_peer(arguments.peer, smiles, rounds=arguments.rounds)
        rates[f"scikit-fingerprints {found['version']} ecfp4, 2048 bits (RDKit {found['rdkit']})"] = len(smiles) / found["seconds"]
    for name, rate in rates.items():
        print(f"{name:<66} {rate:>9,.0f}/s {1e6 / rate:>9.1f} µs   {rate / rates[PARSE]:.2f} of parsing alone")


def readable_smiles(n: int) -> list[str]:
    """Return real molecules of RDKit's data directory (NCI) that RDKit reads."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    smiles = [line.split()[0] for line in lines if line.split()]
    return [text for text, (mol, _) in zip(smiles, parse_molecules(smiles, POLICY), strict=True) if mol is not None][:n]


@dataclass(frozen=True)
class Line:
    """What is measured, and on which share of the molecules (slow work takes a tenth)."""

    work: Callable[[Sequence[str]], object]
    divisor: int = 1


def lines_to_measure() -> dict[str, Line]:
    """Return the lines by the name they are printed under."""
    plain = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)

    def prepare(modality: Fingerprint | Descriptors, divisor: int = 1) -> Line:
        return Line(lambda smiles: modality.prepare(smiles, POLICY), divisor)

    return {
        # Molecules are freed one by one within the measured time, as they are in every other line.
        PARSE: Line(lambda smiles: [Chem.MolFromSmiles(text) is None for text in smiles]),
        "parse (molbt.data.molecules)": Line(lambda smiles: [mol is None for mol, _ in parse_molecules(smiles, POLICY)]),
        "molbt ecfp4, 2048 counts": prepare(Fingerprint(kinds=("ecfp4",), width=2048)),
        "molbt ecfp4, 2048 bits": prepare(Fingerprint(kinds=("ecfp4",), width=2048, counts=False)),
        "molbt ecfp4 + atom_pair, 8192 counts (default)": prepare(Fingerprint()),
        "molbt descriptors (default)": prepare(Descriptors(), divisor=10),
        "loop of np.array(bit vector), ecfp4, 2048 bits": Line(
            lambda smiles: [np.array(plain.GetFingerprint(Chem.MolFromSmiles(text))) for text in smiles], divisor=10
        ),
    }


def measure(lines: dict[str, Line], smiles: Sequence[str], *, rounds: int) -> dict[str, float]:
    """Return molecules per CPU-second of each line."""
    best = dict.fromkeys(lines, 0.0)
    with rdBase.BlockLogs():
        for _ in range(rounds):
            for name, line in lines.items():
                part = smiles[: len(smiles) // line.divisor]
                start = time.process_time()
                line.work(part)
                best[name] = max(best[name], len(part) / (time.process_time() - start))
    return best


def run_peer(python: Path, smiles: Sequence[str], *, rounds: int) -> dict[str, float | str]:
    """Return the peer's CPU seconds for all molecules, and its versions."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(python), "-c", PEER, str(rounds)]
    done = subprocess.run(command, input="\n".join(smiles), text=True, check=True, capture_output=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
