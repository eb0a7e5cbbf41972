"""Overlaps with the pretraining, per task."""

import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from molbt.report.wording import NONE

if TYPE_CHECKING:
    from molbt.evaluation.leakage import Leakage

_HEADINGS = (
    "task",
    "test molecules",
    "seen in pretraining",
    "scaffold seen",
    "training molecules seen",
    "test molecules in training part",
    "InChIKey agrees",
)


def leakage_section(leakage: "Leakage") -> Iterator[str]:
    """Yield the section: the sentence that stands with every table, and the shares of each task, its splits averaged."""
    yield "<h2>Overlaps</h2>"
    yield f"<p>{escape(leakage.sentence())}</p>"
    yield (
        '<p class="note">Molecules are the same when their connectivity is, without salts, removable charges and stereochemistry '
        "(64-bit hashes; hits are compared by the first block of the InChIKey where the run kept the molecule). An acyclic molecule has no "
        "scaffold and counts as not seen. To see a label in training is a leak; a molecule without its label, seen in pretraining, "
        "is an advantage that molecules yet to be made will not have.</p>"
    )
    head = "".join(f'<th scope="col"{_align(name)}>{escape(name)}</th>' for name in _HEADINGS)
    body = "".join(_row(str(task), rows) for task, rows in leakage.table.groupby("task", sort=False))
    yield (
        f"<details{' open' if leakage.table['task'].nunique() <= 12 else ''}><summary>{leakage.table['task'].nunique()} tasks</summary>"
        f'<div class="scroll tall"><table class="wrap"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>'
    )


def _row(task: str, rows: pd.DataFrame) -> str:
    n_test, n_train = rows["test_molecules"].sum(), rows["train_molecules"].sum()
    checked = int(rows["hits_checked"].sum())
    cells = (
        f"{rows['test_molecules'].mean():,.0f}",
        _share(rows["test_seen"].sum(skipna=False), n_test),
        _share(rows["test_scaffolds_seen"].sum(skipna=False), n_test),
        _share(rows["train_seen"].sum(skipna=False), n_train),
        _share(rows["test_in_train"].sum(), n_test),
        f"{int(rows['hits_confirmed'].sum()):,} of {checked:,}" if checked else NONE,
    )
    return f"<tr><td>{escape(task)}</td>" + "".join(f'<td class="number">{cell}</td>' for cell in cells) + "</tr>"


def _align(heading: str) -> str:
    return "" if heading == "task" else ' class="number"'


def _share(count: float, total: float) -> str:
    return f"{100 * count / total:.1f} %" if total and math.isfinite(count) else NONE
