"""RDKit's 2D descriptors by name."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache, partial

import numpy as np
import rdkit
from rdkit.Chem import Descriptors, Mol

from molbt.errors import ConfigError

_SLOW_OR_UNSTABLE = {"qed", "SPS", "AvgIpc", "Ipc"}  # and the BCUT2D family
# Each of these computes the same E-state indices anew unless told not to, which costs a sixth of the time of the whole default list.
_TAKES_CACHED = {"MaxAbsEStateIndex", "MaxEStateIndex", "MinAbsEStateIndex", "MinEStateIndex"}


def default_names() -> tuple[str, ...]:
    """Return the installed RDKit's descriptors without ``qed``, the ``BCUT2D`` family, ``SPS``, ``AvgIpc`` and ``Ipc``.

    ``qed``, ``BCUT2D`` and ``SPS`` take as long as all others together; ``Ipc`` grows exponentially with the molecule.
    """
    return tuple(name for name in _functions() if name not in _SLOW_OR_UNSTABLE and not name.startswith("BCUT2D"))


def check_names(names: Sequence[str]) -> None:
    """Refuse a list that the installed RDKit cannot compute.

    Raises
    ------
    ConfigError
        If a name is unknown (the closest is named), occurs twice, or there is none.
    """
    for name in names:
        if name not in _functions():
            close = ", ".join(get_close_matches(name, _functions(), n=5)) or "none"
            raise ConfigError(
                f"expected descriptors that RDKit {rdkit.__version__} computes (rdkit.Chem.Descriptors.descList), received {name!r} in "
                f"names; closest: {close}. A list saved with another RDKit version may need that version"
            )
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"names must list one or more different descriptors, received {list(names)}; list each once")


def descriptor_matrix(mols: Sequence[Mol | None], names: Sequence[str]) -> np.ndarray:
    """Return ``(molecules, names)`` float32: raw values, NaN where a descriptor has none.

    A descriptor has no value where RDKit raises, where it gives NaN or an infinity, and where the value exceeds float32's range.
    A molecule of None gives a row of NaN.
    """
    functions = [_functions()[name] for name in names]
    values = np.full((len(mols), len(names)), np.nan)
    for row, mol in enumerate(mols):
        if mol is not None:
            values[row] = [_value(function, mol) for function in functions]
    values[~(np.abs(values) <= np.finfo(np.float32).max)] = np.nan
    return values.astype(np.float32)


def _value(function: Callable[[Mol], float], mol: Mol) -> float:
    try:
        return float(function(mol))
    except Exception:  # RDKit's descriptors raise anything, from ValueError to Boost's own, on molecules they do not cover.
        return np.nan


@cache
def _functions() -> dict[str, Callable[[Mol], float]]:
    return {name: partial(function, force=False) if name in _TAKES_CACHED else function for name, function in Descriptors.descList}
