"""From the cells of a measured column to one label per row, by a stated policy.

Every row keeps its place: a row without a label says why. In order:

1. **Read.** Numbers, class words, bounds (``>10000``) and approximate values (``~3``, which count as measured); see `label_cells`. Cells
   with a unit (``5 uM``) are brought to that of the policy, which numbers without one are in; where it names none they are refused.
2. **Convert.** Units and logarithms; a bound turns round where the sign does. Zero and negative numbers have no logarithm.
3. **Classify**, where there is a threshold. A bound is used where it decides the class: >10 µM is inactive at a threshold of 1 µM.
4. **Bounds that are left** are dropped, or taken as measured, as the policy says.
5. **Replicates.** Of a molecule that was measured more than once (stereoisomers are different molecules), the first row carries the one
   label, and the others say which row that is. Values that lie too far apart are a conflict, and so is a tie of classes.
"""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from molbt.data.molecule_values import molar_masses
from molbt.errors import DataError, ShapeError
from molbt.predict.label_cells import CLASS_WORDS, Cells, class_words, flipped, in_one_unit, read_cells
from molbt.predict.label_counts import LabelCounts, listed
from molbt.predict.label_policy import LabelPolicy
from molbt.predict.replicates import measured_molecules, replicate_groups
from molbt.predict.units import Conversion

_WORDS_TO_USE = (
    f"only two classes are known, 1 ({', '.join(word for word, label in CLASS_WORDS.items() if label)}) and "
    f"0 ({', '.join(word for word, label in CLASS_WORDS.items() if not label)}), in any case: write these, "
)
# 30 nM and 3 nM are one log unit apart, and their logarithms a rounding error more.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Labels:
    """The labels of one target.

    Attributes
    ----------
    name : str
    task_type : {"regression", "classification"}
    unit : str or None
        Of the labels; None where unknown, and for classes.
    values : ndarray of shape (n,), float64
        NaN where there is no label.
    reasons : list of n str
        Why a row whose cell is not empty has no label, or ``""``.
    counts : LabelCounts
    max_spread : float or None
        The largest spread of replicates that is no conflict, in units of the label; None for classes.
    words : dict of int to str
        The words of the column that name class 1 and class 0, where there are any and no threshold makes the classes.
    """

    name: str
    task_type: str
    unit: str | None
    values: np.ndarray
    reasons: list[str]
    counts: LabelCounts
    max_spread: float | None
    words: dict[int, str] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """Why nothing can be learned from these labels, or ``""``."""
        known = self.values[np.isfinite(self.values)]
        if len(known) < 2:
            return f"{len(known)} label, and two or more are needed"
        if self.task_type == "regression" or (known != known[0]).any():
            return ""
        number = int(known[0])
        word = f" ({self.words[number]})" if number in self.words else ""
        return f"all {len(known):,} labels are of class {number}{word}, and one class cannot be learned"

    def summary(self) -> str:
        """Return one line: ``pIC50: regression, 1,017 labels; left out: bounds 3``."""
        unit = f" in {self.unit}" if self.unit and self.unit != self.name else ""
        used = listed({"bounds": self.counts.bounds_used, "approximate values": self.counts.approximate})
        left_out = self.counts.left_out()
        return (
            f"{self.name}: {self.task_type}{unit}, {self.counts.labels:,} labels"
            + (f"; used: {used}" if used else "")
            + (f"; left out: {left_out}" if left_out else "")
        )

    def facts(self) -> dict[str, Any]:
        """Return JSON values about the labels, for ``Predictor.save``."""
        words = {f"class_{number}": word for number, word in self.words.items()}
        return {**asdict(self.counts), "max_spread": self.max_spread, **words}


def make_labels(
    column: Sequence[Any],
    smiles: Sequence[object],
    policy: LabelPolicy | None = None,
    *,
    name: str = "target",
    relations: Sequence[Any] | None = None,
) -> Labels:
    """Return one label per row, or the reason why there is none.

    Parameters
    ----------
    column : sequence of n cells
        As `read_cells` takes them.
    smiles : sequence of n str
        What was measured, to find replicates, and for units by mass the molecule as written, salt included.
    policy : LabelPolicy, optional
    name : str
        Of the column, for messages.
    relations : sequence of n str, optional
        As in `read_cells`.

    Raises
    ------
    DataError
        If no label is left, classes were asked for and there are other numbers and no threshold, or cells have units that cannot be
        brought to one.
    ShapeError
        If the lengths differ.
    """
    policy = policy or LabelPolicy()
    if len(smiles) != len(column):
        raise ShapeError(f"expected one cell of {name!r} for each of {len(smiles)} molecules, received {len(column)}")
    cells = in_one_unit(read_cells(column, relations), policy.unit, name)
    rows = _Rows(cells)
    task_type = _task_type(cells, policy)
    if task_type == "regression" or policy.has_threshold:
        rows.leave_out(cells.is_word, "unreadable", "a class where numbers are expected")
        rows.convert(policy.conversion, smiles)
    if policy.has_threshold:
        rows.classify(policy)
    elif task_type == "regression":
        if policy.censored == "drop":
            rows.leave_out(rows.is_bound, "censored", "a bound, not a value (--censored value would use it)")
    else:
        _require_classes(cells, name)
    bounds_used, approximate = int((rows.known & rows.is_bound).sum()), int((rows.known & (rows.relations == "~")).sum())
    max_spread = policy.spread_limit(rows.values[rows.known])
    if policy.duplicates != "keep":
        rows.combine(measured_molecules(smiles), task_type, policy, max_spread)
    tally = Counter(rows.status)
    counts = LabelCounts(**tally, rows=len(rows.values), bounds_used=bounds_used, approximate=approximate)
    if not counts.labels:
        first = next((f"; row {row}: {reason}" for row, reason in enumerate(rows.reasons) if reason), "")
        odd = f", {counts.left_out()}" if counts.left_out() else ""
        raise DataError(
            f"column {name!r} leaves no label in {counts.rows:,} rows (empty {counts.missing:,}{odd}{first}); "
            f"{_WORDS_TO_USE if counts.unreadable else ''}name another column or change how it is read"
        )
    unit = policy.conversion.label_unit if task_type == "regression" else None
    words = class_words(column, cells) if task_type == "classification" and not policy.has_threshold else {}
    spread = max_spread if task_type == "regression" else None
    return Labels(name, task_type, unit, rows.values, rows.reasons, counts, spread, words)


class _Rows:
    """The rows on their way to labels: a row that is left out loses its value and gets a status and a reason."""

    def __init__(self, cells: Cells) -> None:
        self.values, self.relations, self.reasons = cells.values.copy(), cells.relations.copy(), list(cells.problems)
        self.status = [
            "labels" if known else "unreadable" if problem else "missing"
            for known, problem in zip(self.known.tolist(), cells.problems, strict=True)
        ]

    @property
    def known(self) -> np.ndarray:
        return np.isfinite(self.values)

    @property
    def is_bound(self) -> np.ndarray:
        return np.isin(self.relations, ("<", "<=", ">", ">="))

    def leave_out(self, mask: np.ndarray, status: str, reason: str) -> None:
        for row in np.flatnonzero(mask & self.known).tolist():
            self.values[row], self.status[row], self.reasons[row] = np.nan, status, reason

    def convert(self, conversion: Conversion, smiles: Sequence[object]) -> None:
        masses = molar_masses(smiles) if conversion.needs_molar_mass else None
        if masses is not None:
            self.leave_out(np.isnan(masses), "unconvertible", f"{conversion.unit} needs a molar mass, and the molecule cannot be read")
        converted = conversion(self.values, masses)
        self.leave_out(np.isnan(converted), "unconvertible", "zero or negative, which has no logarithm")
        self.values = converted
        if conversion.reverses:
            self.relations = flipped(self.relations)

    def classify(self, policy: LabelPolicy) -> None:
        """Replace values by classes; ``active_below`` is ``active_above`` of the negated values."""
        sign = 1.0 if policy.active_above is not None else -1.0
        threshold = sign * float(policy.active_above if policy.active_above is not None else policy.active_below or 0.0)
        values, relations = sign * self.values, self.relations if sign > 0 else flipped(self.relations)
        at_or_above, below = values >= threshold, values < threshold
        is_lower, is_upper = np.isin(relations, (">", ">=")), np.isin(relations, ("<", "<="))
        stays_below = np.where(relations == "<", values <= threshold, below)
        undecided = (is_lower & ~at_or_above) | (is_upper & ~stays_below)
        self.leave_out(undecided, "censored", "a bound that does not decide the class")
        classes = np.where(is_upper, 0.0, at_or_above.astype(float))
        self.values = np.where(self.known, classes, np.nan)

    def combine(self, molecules: Sequence[str], task_type: str, policy: LabelPolicy, max_spread: float) -> None:
        """Give the first row of each molecule the label of all."""
        for group in replicate_groups(molecules, np.flatnonzero(self.known)):
            values = self.values[group].tolist()
            label = _class_of(values, policy) if task_type == "classification" else _value_of(values, policy, max_spread)
            if label is None and policy.conflicts == "keep":
                continue
            if label is None:
                spread = "as many of either class" if task_type == "classification" else f"{max(values) - min(values):.3g} apart"
                others = f"the {len(group)} measurements of this molecule, from row {group[0]} on"
                for row in group:
                    self.values[row], self.status[row], self.reasons[row] = np.nan, "conflicts", f"{others}, are {spread}"
                continue
            for row in group[1:]:
                self.values[row], self.status[row] = np.nan, "replicates"
                self.reasons[row] = f"replicate of row {group[0]}, which carries the label of the {len(group)} measurements"
            self.values[group[0]] = label


def _task_type(cells: Cells, policy: LabelPolicy) -> str:
    if policy.task_type != "auto":
        return policy.task_type
    return "classification" if policy.has_threshold or (cells.names_classes and policy.scale == "none") else "regression"


def _require_classes(cells: Cells, name: str) -> None:
    odd = np.flatnonzero(np.isfinite(cells.values) & ~(np.isin(cells.values, (0.0, 1.0)) & (cells.relations == "=")))
    if len(odd):
        cell = f"{cells.relations[odd[0]].replace('=', '')}{cells.values[odd[0]]:g}"
        raise DataError(
            f"classification of {name!r} expects 0 and 1, or words such as active and inactive, received {cell} in row {odd[0]}; "
            "pass a threshold (--active-above, --active-below)"
        )


def _value_of(values: list[float], policy: LabelPolicy, max_spread: float) -> float | None:
    """The label of several measured values; None where they are a conflict that has none."""
    if max(values) - min(values) > max_spread + _ROUNDING:
        return statistics.fmean(values) if policy.conflicts == "mean" else None
    return (
        values[0]
        if policy.duplicates == "first"
        else statistics.median(values)
        if policy.duplicates == "median"
        else statistics.fmean(values)
    )


def _class_of(values: list[float], policy: LabelPolicy) -> float | None:
    """The class of several; None where they are a tie."""
    share = statistics.fmean(values)
    return None if share == 0.5 else values[0] if policy.duplicates == "first" else float(share > 0.5)
