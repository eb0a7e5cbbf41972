"""The differences over random splits of one data set, as text and as HTML."""

from html import escape

import pandas as pd

from molbt.evaluation.split_differences import split_differences
from molbt.report.wording import decimals_for, interval, metric_name, number

_HEADINGS = ("features", "head", "Δ to control", "95 % interval", "better/worse/splits", "claim")
_WORDS = ("features", "head", "claim")
_NOTE = "corrected resampled t-intervals: about other splits of these molecules, not about other data"


def split_table(results: pd.DataFrame, control: tuple[str, str], metric: str, label_unit: str = "") -> str:
    """Return the differences of one metric as aligned plain text; empty where ``split_differences`` has none."""
    lines = _lines(results, control, metric)
    if not lines:
        return ""
    table = [list(_HEADINGS), *lines]
    widths = [max(len(line[place]) for line in table) for place in range(len(_HEADINGS))]
    aligned = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join([_caption(results, control, metric, label_unit), *aligned, f"* {_NOTE}"])


def split_section(results: pd.DataFrame, control: tuple[str, str], metric: str, label_unit: str = "") -> str:
    """Return the differences of one metric as a section of the page; empty where ``split_differences`` has none."""
    lines = _lines(results, control, metric)
    if not lines:
        return ""
    kinds = ["" if name in _WORDS else ' class="number"' for name in _HEADINGS]
    head = "".join(f'<th scope="col"{kind}>{escape(name)}</th>' for kind, name in zip(kinds, _HEADINGS, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, line, strict=True)) + "</tr>" for line in lines
    )
    caption = escape(_caption(results, control, metric, label_unit))
    return (
        f'<h3>Over splits of this data set</h3><div class="scroll"><table class="comparison"><caption>{caption}</caption>'
        f'<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div><ul class="footnotes"><li>{escape(_NOTE)}</li></ul>'
    )


def _caption(results: pd.DataFrame, control: tuple[str, str], metric: str, label_unit: str) -> str:
    n_splits = results["repeat"].nunique()
    return f"{metric_name(metric, label_unit)}, difference to {' × '.join(control)} over {n_splits} random splits of this one data set"


def _lines(results: pd.DataFrame, control: tuple[str, str], metric: str) -> list[list[str]]:
    found = split_differences(results[results["metric"] == metric], control)
    if found.empty:
        return []
    halves = ((found["ci_high"] - found["ci_low"]) / 2).tolist()
    decimals = decimals_for(halves, halves, results.loc[results["metric"] == metric, "value"].tolist())
    return [
        [
            row["features"],
            row["head"],
            number(row["mean_difference"], decimals, sign=True),
            interval(row["ci_low"], row["ci_high"], decimals),
            f"{row['wins']}/{row['losses']}/{row['n_splits']}",
            row["claim"],
        ]
        for row in found.to_dict("records")
    ]
