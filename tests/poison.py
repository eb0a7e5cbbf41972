"""Molecules that RDKit does not survive, and functions that kill their process on marked values.

A module of its own, because worker processes import it.
"""

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rdkit import Chem, RDConfig
from rdkit.Chem import Descriptors, Mol

from molbt.data.identity import identity_hashes, molecule_and_scaffold_hashes
from molbt.data.mol_blocks import read_blocks
from molbt.data.molecules import ParsePolicy, Refusal

POISON = {
    "a ring of 100,000 carbons": "C1" + "C" * 99_998 + "C1",
    "an aromatic ring of 20,000": "c1" + "c" * 19_998 + "c1",
    "a ring of 10,000": "C1" + "C" * 9_998 + "C1",
    "a chain of 100,000": "C" * 100_000,
    "50,000 nested branches": "C(" * 50_000 + "C" + ")" * 50_000,
}
"""Ways to hang or crash RDKit 2026.9."""

RAISED = {"max_length": 1_000_000, "max_heavy_atoms": 1_000_000, "max_seconds": 1.0}
"""Limits that let them through to RDKit, and a time that none of them takes less than."""

CRASH, HANG, EXIT, KILLED, NO_MEMORY = "[Xe]", "[Rn]", "[Kr]", "[Ne]", "[Ar]"
"""Molecules that functions of this module die of, each in its own way."""

SLOW = "[He]"
"""A molecule that takes them a quarter of a second."""


def molecules(n: int) -> list[str]:
    """Distinct real molecules of a table that arrives inside RDKit's wheel."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    return list(dict.fromkeys(line.split()[0] for line in lines))[:n]


def suffer(text: str) -> None:
    """Die, if the value says so; a value that was refused is not read."""
    if isinstance(text, Refusal):
        return
    if text == CRASH:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif text == HANG:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        time.sleep(600)
    elif text == EXIT:
        os._exit(3)
    elif text == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    elif text == NO_MEMORY:
        raise MemoryError
    elif text == SLOW:
        time.sleep(0.25)


def _lengths(values: Sequence[str]) -> np.ndarray:
    return np.array([-1 if isinstance(value, Refusal) else len(value) for value in values])


def lengths_one_by_one(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """The length of each value, −1 for a refused one: dies while it takes them."""
    for value in values:
        suffer(value)
    return _lengths(values)


def lengths_in_chunks(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """The same, taken in slices: dies at the end of a slice."""
    parts = [np.empty(0, dtype=int)]
    for first in range(0, len(values), 64):
        chunk = values[first : first + 64]
        parts.append(_lengths(chunk))
        for value in chunk:
            suffer(value)
    return np.concatenate(parts)


def lengths_after_all(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """The same, but it takes all values first: dies long after it took the value."""
    taken = [*values]
    for value in taken:
        suffer(value)
    return _lengths(taken)


def lengths_behind_the_watch(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """The same, by a way that the watch does not see."""
    for value in list.__iter__(values):
        suffer(value)
    return _lengths(list(list.__iter__(values)))


def dying(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """Dies of anything."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return _lengths(values)


def dying_of_many(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """Dies of many values, and of none alone."""
    if len(values) > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return _lengths(values)


def not_heeding(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """Dies of a value, and of its refusal too."""
    if any(value == CRASH or isinstance(value, Refusal) for value in values):
        os.kill(os.getpid(), signal.SIGSEGV)
    return _lengths(values)


def raising(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """Raises an error that has a number and a file name."""
    if len(values) > 1 and "C" in values:
        raise OSError(28, "No space left on device", "some file")
    return _lengths(values)


def hashes(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """`molecule_and_scaffold_hashes`, of molecules that are survived."""
    for value in values:
        suffer(value)
    return molecule_and_scaffold_hashes(values, policy)


def process(values: Sequence[str], policy: ParsePolicy) -> list[int]:
    """The process that worked on the values, and its parent."""
    return [os.getpid(), os.getppid()]


def burn(values: Sequence[str], policy: ParsePolicy) -> float:
    """The CPU seconds of its process after it has used some."""
    while time.process_time() < 0.3:
        pass
    return time.process_time()


def mass_or_death(mol: Mol) -> float:
    """The molar mass, of molecules that are survived."""
    suffer(Chem.MolToSmiles(mol))
    return Descriptors.MolWt(mol)


def identities(values: Sequence[str], policy: ParsePolicy) -> np.ndarray:
    """`identity_hashes`, of molecules that are survived."""
    for value in values:
        suffer(value)
    return identity_hashes(values, policy)


def blocks(values: Sequence[str], policy: ParsePolicy) -> list[tuple[str, str]]:
    """`read_blocks`, of mol blocks that are survived."""
    for value in values:
        if not isinstance(value, Refusal) and " Xe " in value:
            suffer(CRASH)
    return read_blocks(values, policy)
