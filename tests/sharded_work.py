"""Columns that are worked out without RDKit, at will slowly or with the death of the process: what tests of shards send to workers."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from molbt.data.isolation import map_blocks
from molbt.data.molecules import ParsePolicy
from molbt.data.sharded_tables import REASON

KILL = "kill"
"""A value that its process does not survive."""


@dataclass(frozen=True)
class Lengths:
    """The length of each value, its square root, and a note that few rows have; blank values are refused.

    Parameters
    ----------
    log : str
        A file that gets a line for each shard that is worked on.
    seconds : float
        How long a shard takes.
    scale : float
        A setting that decides the numbers.
    """

    log: str = ""
    seconds: float = 0.0
    scale: float = 1.0

    def settings(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def __call__(self, values: Sequence[Any]) -> pd.DataFrame:
        if self.log:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(f"{values[0]}\n")
        time.sleep(self.seconds)
        if KILL in values:
            os.kill(os.getpid(), signal.SIGKILL)
        lengths = np.array([len(value) for value in values], dtype=np.float64)
        refused = lengths == 0
        return pd.DataFrame(
            {
                REASON: pd.Series(np.where(refused, "blank", ""), dtype="str"),
                "length": pd.Series(lengths, dtype="Int64").mask(refused),
                "root": np.where(refused, np.nan, np.sqrt(lengths) * self.scale).astype(np.float32),
                "note": pd.Series([value if len(value) > 9 else None for value in values], dtype=object),
            }
        )


class Processes:
    """The process that each value was read in, as molecules are."""

    def settings(self) -> dict[str, Any]:
        return {}

    def __call__(self, values: Sequence[Any]) -> pd.DataFrame:
        [found] = map_blocks(process_of_each, list(values), ParsePolicy())
        return pd.DataFrame({REASON: pd.Series([""] * len(values), dtype="str"), "process": found})


def process_of_each(values: Sequence[str], policy: ParsePolicy) -> list[int]:
    return [os.getpid()] * len(values)


def shards_done(log: Path) -> list[str]:
    """The first value of each shard that was worked on, in order."""
    return log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
