"""Units of concentrations, and the logarithmic scales on which activities are learned."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from molbt.errors import ConfigError, suggestion

# Powers of ten of mol/L, and of g/L for concentrations by mass. Exponents, not factors: 9 − log10(500) is exact where 500e-9 is not.
_MOLAR = {"M": 0, "mM": -3, "uM": -6, "nM": -9, "pM": -12, "fM": -15}
_BY_MASS = {"g/L": 0, "mg/mL": 0, "mg/L": -3, "ug/mL": -3, "ug/L": -6, "ng/mL": -6, "ng/L": -9, "pg/mL": -9}
_KNOWN = _MOLAR | _BY_MASS

P_SCALES = ("pIC50", "pEC50", "pAC50", "pKi", "pKd", "pXC50")
"""−log10 of mol/L, by what was measured."""

SCALES = ("none", "log10", "-log10", *P_SCALES)


@dataclass(frozen=True)
class Conversion:
    """From the numbers in a column to labels.

    Parameters
    ----------
    unit : str, optional
        Of the column: M, mM, µM (uM), nM, pM, fM, or by mass g/L, mg/mL, mg/L, µg/mL, µg/L, ng/mL, ng/L, pg/mL. For the scales ``none``,
        ``log10`` and ``-log10``, which convert no unit, any text.
    scale : str
        ``none``, ``log10`` or ``-log10`` of the number, or a name of ``P_SCALES``: −log10 of mol/L.

    Raises
    ------
    ConfigError
        If the scale is unknown, or a p scale comes without a known unit.
    """

    unit: str | None = None
    scale: str = "none"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ConfigError(f"unknown scale {self.scale!r} of labels{suggestion(_in_right_case(self.scale, SCALES), SCALES)} (--to)")
        if self.scale in P_SCALES and _plain(self.unit) not in _KNOWN:
            received = "no unit" if self.unit is None else f"the unit {self.unit!r}"
            closest = suggestion(_in_right_case(_plain(self.unit), _KNOWN), _KNOWN)
            raise ConfigError(f"{self.scale} is made from a concentration, received {received}{closest} (--target-unit)")

    @property
    def label_unit(self) -> str | None:
        """What labels and predictions are in: ``pIC50``, ``log10 nM``, ``nM``; None where nobody said."""
        if self.scale in P_SCALES or self.unit is None:
            return None if self.scale == "none" else self.scale
        return self.unit if self.scale == "none" else f"{self.scale} {self.unit}"

    @property
    def is_logarithmic(self) -> bool:
        return self.scale != "none"

    @property
    def reverses(self) -> bool:
        """Whether larger numbers become smaller labels, so that ``>`` becomes ``<``."""
        return self.scale in ("-log10", *P_SCALES)

    @property
    def needs_molar_mass(self) -> bool:
        return self.scale in P_SCALES and _plain(self.unit) in _BY_MASS

    def __call__(self, values: np.ndarray, molar_masses: np.ndarray | None = None) -> np.ndarray:
        """Return labels: ``(n,)`` float64.

        Parameters
        ----------
        values : ndarray of shape (n,), float64
            In ``unit``.
        molar_masses : ndarray of shape (n,), float64, optional
            In g/mol; needed where ``needs_molar_mass``.

        Returns
        -------
        ndarray of shape (n,), float64
            NaN where a logarithm was asked for and the number is zero or negative, or where the molar mass is missing.
        """
        if not self.is_logarithmic:
            return values
        logarithm = np.log10(values, out=np.full(len(values), np.nan), where=values > 0)
        if self.scale in P_SCALES:
            unit = _plain(self.unit)
            logarithm = logarithm + _KNOWN[unit]
            if molar_masses is not None:
                logarithm = logarithm - np.log10(molar_masses)
        return -logarithm if self.reverses else logarithm


def known_unit(text: str) -> str | None:
    """Return a unit of concentration as it is spelled here, ``""`` for an empty text, and None for any other."""
    unit = _plain(text)
    return unit if unit in _KNOWN or not unit else None


def in_unit(value: float, unit: str, wanted: str | None) -> float | None:
    """Return a number of one unit of concentration in another; None where that would take a molar mass, or the other is none.

    >>> in_unit(5.0, "uM", "nM")
    5000.0
    """
    plain = _plain(wanted)
    if plain not in _KNOWN or (unit in _MOLAR) != (plain in _MOLAR):
        return None
    power = _KNOWN[unit] - _KNOWN[plain]
    return value * 10.0**power if power >= 0 else value / 10.0**-power  # powers of ten are exact where they are no fractions


def _plain(unit: str | None) -> str:
    """Both characters that look like µ, as u."""
    return (unit or "").strip().replace("µ", "u").replace("μ", "u")


def _in_right_case(name: str, valid: Iterable[str]) -> str:
    """The valid name that differs in case only, or the name: what to suggest. It is not guessed, as mM and MM may both be meant."""
    return next((known for known in valid if known.casefold() == name.casefold()), name)
