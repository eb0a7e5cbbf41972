"""Many features × heads at a glance: one row per features, one column per head, the mean in each cell and what may be claimed of it."""

from html import escape

from molbt.report.comparison import Comparison, Row
from molbt.report.wording import NONE, number

_MARKS = {"better": "▲", "worse": "▼"}


def score_matrix(comparison: Comparison) -> str:
    """Return the means of our own features × heads as an HTML table: columns and rows by their best mean, the control tinted.

    ▲ and ▼ mark a mean that is better or worse than the control's with an interval that excludes zero; the best of a row is bold.
    """
    rows = [row for row in comparison.rows if row.role != "published"]  # best mean first
    by_cell = {row.cell: row for row in rows}
    heads = list(dict.fromkeys(row.head for row in rows))
    features = list(dict.fromkeys(row.features for row in rows))
    best = {name: next(row.cell for row in rows if row.features == name) for name in features}
    head = "".join(f'<th scope="col" class="number">{_breakable(name)}</th>' for name in heads)
    body = "".join(
        f'<tr class="{_role(name, rows)}"><th scope="row">{escape(name)}</th>'
        + "".join(_cell(by_cell.get((name, column)), comparison.decimals, is_best=best[name] == (name, column)) for column in heads)
        + "</tr>"
        for name in features
    )
    return (
        '<div class="scroll"><table class="matrix"><caption>Means at a glance: ▲ better, ▼ worse than the control (the interval excludes '
        f"zero); bold is the best head of a row</caption><thead><tr><th>features</th>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _breakable(name: str) -> str:
    """Long names of heads may break after an underscore, so that more columns fit."""
    return escape(name).replace("_", "_<wbr>")


def _cell(row: Row | None, decimals: int, *, is_best: bool) -> str:
    if row is None:
        return f'<td class="number">{NONE}</td>'
    mark = _MARKS.get(row.claim, "")
    classes = " ".join(["number", *(["best"] if is_best else []), *(["chosen"] if row.role == "the control" else [])])
    spoken = f' <span class="mark" title="{row.claim} than the control">{mark}</span>' if mark else ""
    return f'<td class="{classes}">{number(row.mean, decimals)}{spoken}</td>'


def _role(features: str, rows: list[Row]) -> str:
    return "encoder" if any(row.features == features and row.role == "encoder" for row in rows) else "control"
