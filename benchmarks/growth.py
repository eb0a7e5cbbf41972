"""How time and memory of `prepare` grow with the number of molecules: time in proportion, memory flat.

    python benchmarks/growth.py [--smiles FILE] [--sizes 10000 30000 100000] [--full] [--set views.a.kinds=[ecfp0]]

Each size is the first rows of one table, prepared by a fresh process with the default preset. Time is CPU time of the process and what
it starts; memory is VmHWM of the process itself (``ru_maxrss`` is inherited). ``--full`` goes on to a million molecules, which takes a
quarter of an hour or more. Without ``--smiles`` (parquet, column ``smiles``) the molecules that come with molbt are repeated, each time
with methane of another isotope beside them, so that all texts are distinct.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from molbt.data.sources import embedded_molecules

SIZES, FULL = (10_000, 30_000, 100_000), (10_000, 100_000, 1_000_000)
# Runs in a process of its own: path of a table, directory of the corpus, changes of the configuration.
CHILD = """
import json, sys
from molbt import RunConfig
from molbt.data.corpus import prepare
if __name__ == "__main__":
    corpus = prepare(sys.argv[1], RunConfig.from_preset("default", changes=sys.argv[3:]), directory=sys.argv[2])
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    print(json.dumps({"rows": corpus.n_rows, "megabytes": peak / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smiles", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--set", dest="changes", action="append", default=[], help="KEY=VALUE of the configuration, as for molbt prepare")
    arguments = parser.parse_args()
    sizes = FULL if arguments.full else tuple(arguments.sizes)
    smiles = distinct_molecules(arguments.smiles, max(sizes))
    found: list[dict[str, float]] = []
    for size in sizes:
        found.append(prepared(smiles[:size], arguments.changes))
        now, first = found[-1], found[0]
        share, more = _each(now) / _each(first), now["megabytes"] - first["megabytes"]
        print(
            f"{now['rows']:>9,.0f} molecules: {now['seconds']:8.1f} s of CPU, {1e6 * _each(now):6.0f} µs each ({share:.2f} of the first), "
            f"at most {now['megabytes']:5.0f} MB ({more:+.0f})",
            flush=True,
        )
    if len(found) > 1:
        per_molecule = (found[-1]["seconds"] - found[0]["seconds"]) / (found[-1]["rows"] - found[0]["rows"])
        bytes_each = (found[-1]["megabytes"] - found[0]["megabytes"]) * 2**20 / (found[-1]["rows"] - found[0]["rows"])
        print(f"slope from the first to the last: {1e6 * per_molecule:.0f} µs and {bytes_each:,.0f} bytes per molecule")


def _each(one: dict[str, float]) -> float:
    return one["seconds"] / one["rows"]


def distinct_molecules(path: Path | None, n: int) -> list[str]:
    """Return ``n`` SMILES, of a file or made from those that come with molbt."""
    if path is not None:
        return pd.read_parquet(path, columns=["smiles"])["smiles"].drop_duplicates().head(n).tolist()
    known = embedded_molecules()["smiles"].tolist()
    return [smiles if k == 0 else f"[{k}CH4].{smiles}" for k in range(-(-n // len(known))) for smiles in known][:n]


def prepared(smiles: Sequence[str], changes: Sequence[str]) -> dict[str, float]:
    """Prepare a table of these molecules in a fresh process; what it used."""
    with tempfile.TemporaryDirectory() as directory:
        table, script = Path(directory) / "molecules.smi", Path(directory) / "child.py"
        table.write_text("\n".join(smiles) + "\n")
        script.write_text(CHILD)
        command = [sys.executable, str(script), str(table), str(Path(directory) / "corpus"), *changes]
        before = _seconds_of_children()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1]) | {"seconds": _seconds_of_children() - before}


def _seconds_of_children() -> float:
    """CPU seconds of all processes that have ended, their own children included."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
