"""Few-shot results by groups of assays: as plain text for a terminal, as sections of the page."""

from collections.abc import Iterator
from html import escape

import pandas as pd

from molbt.report.wording import interval, number

_DECIMALS = 3
_HEADINGS = ("support", "features", "head", "mean", "±se", "assays", "Δ to control", "95 % interval", "claim")
_LEFT = ("features", "head", "claim")


def group_text(table: pd.DataFrame, title: str) -> str:
    """Return ``results_by_group`` as aligned plain text, a part for each group."""
    parts = [title]
    for group, rows in table.groupby("group", sort=False):
        lines = [list(_HEADINGS), *_cells(rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
        parts.append(f"{group}")
        parts += [
            "  ".join(
                cell.ljust(width) if name in _LEFT else cell.rjust(width) for name, cell, width in zip(_HEADINGS, line, widths, strict=True)
            ).rstrip()
            for line in lines
        ]
    return "\n".join(parts)


def group_section(table: pd.DataFrame, title: str, note: str) -> Iterator[str]:
    """Yield a section of the page: a heading, a note, and a table per group, folded together where there are many groups."""
    yield f'<h2>{escape(title)}</h2><p class="note">{escape(note)}</p>'
    groups = list(table.groupby("group", sort=False))
    for group, rows in groups:
        head = "".join(f'<th scope="col"{_align(name)}>{escape(name)}</th>' for name in _HEADINGS)
        body = "".join(
            f'<tr class="{"the-control" if row[-1] == "the control" else "unclaimed"}">'
            + "".join(f"<td{_align(name)}>{escape(cell)}</td>" for name, cell in zip(_HEADINGS, row, strict=True))
            + "</tr>"
            for row in _cells(rows)
        )
        yield (
            f"<details{' open' if len(groups) <= 4 else ''}><summary>{escape(str(group))}, assays: {rows['n_tasks'].max()}</summary>"
            f'<div class="scroll"><table class="comparison"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>'
        )


def _cells(rows: pd.DataFrame) -> list[list[str]]:
    return [
        [
            str(row["support"]),
            str(row["features"]),
            str(row["head"]),
            number(row["mean"], _DECIMALS),
            number(row["standard_error"], _DECIMALS),
            str(row["n_tasks"]),
            number(row["difference"], _DECIMALS, sign=True),
            interval(row["ci_low"], row["ci_high"], _DECIMALS),
            str(row["claim"]),
        ]
        for row in rows.to_dict("records")
    ]


def _align(name: str) -> str:
    return "" if name in _LEFT else ' class="number"'
