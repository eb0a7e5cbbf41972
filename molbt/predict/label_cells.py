"""Cells of a measured column, as people write them: numbers, bounds such as ``>10000``, and words for two classes."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from molbt.errors import DataError, ShapeError
from molbt.predict.units import in_unit, known_unit

CLASS_WORDS = {
    "active": 1.0, "inactive": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "positive": 1.0, "negative": 0.0,
}  # fmt: skip
"""Words that name a class, in any case."""

_MISSING = {"", "na", "n/a", "nan", "none", "null", "nd", "n.d.", "-", "<na>"}
_RELATIONS = {
    "": "=",
    "=": "=",
    "==": "=",
    "~": "~",
    "≈": "~",
    "<": "<",
    "<<": "<",
    "<=": "<=",
    "≤": "<=",
    ">": ">",
    ">>": ">",
    ">=": ">=",
    "≥": ">=",
}
_CELL = re.compile(r"(?P<relation>[<>=~≈≤≥]*)\s*(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(?P<unit>[A-Za-zµμ][A-Za-zµμ/]*)?")
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True)
class Cells:
    """What the cells of a column say.

    Attributes
    ----------
    values : ndarray of shape (n,), float64
        Numbers, and 0 or 1 for a class word; NaN where missing or not readable.
    relations : ndarray of shape (n,), str
        ``=``, ``~``, ``<``, ``<=``, ``>`` or ``>=``: how the truth relates to the number.
    is_word : ndarray of shape (n,), bool
        Whether the cell names a class in words (or is a truth value of a typed column).
    units : list of n str
        The unit that stands in the cell (``5 uM``), as ``molbt.predict.units`` spells it, or ``""``.
    problems : list of n str
        Why a cell cannot be read, or ``""``; also ``""`` for an empty cell.
    """

    values: np.ndarray
    relations: np.ndarray
    is_word: np.ndarray
    units: list[str]
    problems: list[str]

    @property
    def names_classes(self) -> bool:
        """Whether every cell that can be read is a class word, 0 or 1."""
        known = np.isfinite(self.values)
        return bool(known.any() and (np.isin(self.values[known], (0.0, 1.0)) & (self.relations[known] == "=")).all())


def read_cells(column: Sequence[Any], relations: Sequence[Any] | None = None) -> Cells:
    """Read the cells of a column.

    Parameters
    ----------
    column : sequence of n str, numbers, truth values or missing values
        A cell may begin with a relation: ``>10000``, ``<= 5``, ``~3.2``; and end with a unit of concentration: ``5 uM``.
    relations : sequence of n str or missing values, optional
        Relations of their own column, for cells that have none in them; empty means ``=``.

    Raises
    ------
    ShapeError
        If the two differ in length.
    """
    if relations is not None and len(relations) != len(column):
        raise ShapeError(f"expected one relation for each of {len(column)} labels, received {len(relations)}")
    n = len(column)
    values, found, is_word = np.full(n, np.nan), np.full(n, "=", dtype="<U2"), np.zeros(n, dtype=bool)
    units, problems = [""] * n, [""] * n
    for row, (cell, beside) in enumerate(zip(column, relations if relations is not None else [""] * n, strict=True)):
        try:
            values[row], found[row], is_word[row], units[row] = _read(cell, beside)
        except DataError as error:
            problems[row] = str(error)
    return Cells(values, found, is_word, units, problems)


def in_one_unit(cells: Cells, unit: str | None, name: str) -> Cells:
    """Return the cells with their values in one unit, and none beside them.

    Parameters
    ----------
    cells : Cells
    unit : str or None
        What numbers without a unit are in.
    name : str
        Of the column, for messages.

    Raises
    ------
    DataError
        If cells have a unit and the one they are to be in is not known, or a molar mass would be needed to convert them.
    """
    rows = [row for row, found in enumerate(cells.units) if found]
    if not rows:
        return cells
    values = cells.values.copy()
    for row in rows:
        converted = in_unit(values[row], cells.units[row], unit)
        if converted is None:
            counts = Counter(cells.units[row] for row in rows)
            said = ", ".join(f"{found} in {number:,} rows" for found, number in counts.items())
            bare = int(np.isfinite(cells.values).sum()) - len(rows)
            raise DataError(
                f"column {name!r} has units in its cells ({said}; {bare:,} numbers have none), which cannot be brought to "
                f"{unit or 'one, because none is named'}, as in row {row} ({cells.values[row]:g} {cells.units[row]}); name the unit that "
                f"numbers without one are in, such as --target-unit {counts.most_common(1)[0][0]}, or split the column"
            )
        values[row] = converted
    return replace(cells, values=values, units=[""] * len(values))


def class_words(column: Sequence[Any], cells: Cells) -> dict[int, str]:
    """Return the words that name class 1 and class 0 in a column, as they stand there first: ``{1: "Active", 0: "inactive, no"}``.

    A class that no word names is not in it.
    """
    found: dict[int, dict[str, str]] = {1: {}, 0: {}}
    for row in np.flatnonzero(cells.is_word).tolist():
        word = str(column[row]).strip()
        found[int(cells.values[row])].setdefault(word.casefold(), word)
    return {number: ", ".join(words.values()) for number, words in found.items() if words}


def flipped(relations: np.ndarray) -> np.ndarray:
    """Return the relations after a change of sign: ``>`` becomes ``<``."""
    return np.array([_FLIPPED.get(relation, relation) for relation in relations.tolist()], dtype="<U2")


def _read(cell: Any, beside: Any) -> tuple[float, str, bool, str]:
    """The number, relation, kind and unit of one cell; DataError with the reason where there is none."""
    if isinstance(cell, bool | np.bool_):
        return float(cell), "=", True, ""
    text = "" if cell is None or cell is pd.NA or cell is pd.NaT else str(cell).strip()
    word = text.casefold()
    if word in _MISSING:
        return math.nan, "=", False, ""
    if word in CLASS_WORDS:
        return CLASS_WORDS[word], "=", True, ""
    match = _CELL.fullmatch(text)
    number = float(match["number"]) if match else math.nan
    unit = known_unit(match["unit"] or "") if match else ""
    if match is None or not math.isfinite(number) or unit is None:
        raise DataError(f"{text[:40]!r} is no finite number such as 1200 or >10, and no class word such as active")
    relation = match["relation"] or ("" if beside is None or beside is pd.NA or beside != beside else str(beside).strip())
    if relation not in _RELATIONS:
        raise DataError(f"unknown relation {relation[:10]!r}")
    return number, _RELATIONS[relation], False, unit
