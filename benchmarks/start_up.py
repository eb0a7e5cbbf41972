"""How long `import molbt` and `molbt --help` take, and what the import loads.

python benchmarks/start_up.py
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 9
HEAVY = ("torch", "rdkit", "sklearn", "pandas", "numpy", "lightgbm", "transformers", "torch_geometric")


def _median_seconds(command: list[str]) -> float:
    seconds = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])  # the first run fills the file cache


def main() -> None:
    code = f"import sys, molbt; print([name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    empty = _median_seconds([sys.executable, "-c", "pass"])
    imported = _median_seconds([sys.executable, "-c", "import molbt"])
    command = Path(sys.executable).with_name("molbt")
    shown = _median_seconds([str(command), "--help"])
    print(f"heavy packages that `import molbt` loads: {loaded}")
    print(
        f"python -c pass {empty:.3f} s; import molbt {imported:.3f} s; molbt --help {shown:.3f} s (medians of {RUNS} runs; goal: under 1 s)"
    )


if __name__ == "__main__":
    main()
