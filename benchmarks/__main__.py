"""Every ratio that `benchmarks/RESULTS.md` reports, one script after the other.

    python -m benchmarks [--full] [--peer PYTHON] [--smiles FILE]

``--full`` lets the growth run go to a million molecules; ``--peer`` and ``--smiles`` go to the scripts that take them. Each script also
runs by itself. `shipped_encoder.py` is no part of it: it trains the encoder that ships.
"""

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--peer")
    parser.add_argument("--smiles")
    arguments = parser.parse_args()
    peer = ["--peer", arguments.peer] if arguments.peer else []
    smiles = ["--smiles", arguments.smiles] if arguments.smiles else []
    commands = {
        "start_up.py": [],
        "loss.py": [],
        "prepare.py": peer + smiles,
        "isolation.py": [],
        "step.py": [],
        "growth.py": smiles + (["--full"] if arguments.full else []),
    }
    failed = []
    for script, options in commands.items():
        if not (HERE / script).is_file():
            print(f"\n== {script} is not here", flush=True)
            continue
        print(f"\n== {script} {' '.join(options)}".rstrip(), flush=True)
        if subprocess.run([sys.executable, str(HERE / script), *options], check=False).returncode:
            failed.append(script)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
