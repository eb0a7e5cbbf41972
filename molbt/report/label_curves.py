"""Low-label curves: the metric over the share of training labels, a panel per head and a line per features."""

import textwrap

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from molbt.evaluation.metrics import find_metric
from molbt.evaluation.statistics import summarise
from molbt.report.comparison import ENCODER_PARTS, feature_parts
from molbt.report.drawing import LINES, MARKERS, MUTED, SERIES, drawing, plain_axes, shorten
from molbt.report.wording import metric_name

MAX_HEADS = 6
"""Panels drawn: the heads that do best with all labels."""

_LABEL_WIDTH = 26  # characters


def label_curves(results: pd.DataFrame, metric: str, *, label_unit: str = "") -> str:
    """Return the mean of a metric over data sets at each share of the training labels, as SVG; "" where there is one share only.

    Parameters
    ----------
    results : DataFrame
        Of one benchmark, as ``evaluate`` returns it; a table without the column ``fraction`` has one share.
    metric : str
    label_unit : str

    Notes
    -----
    Data sets where the metric is not defined at some share are left out of that mean, so a line may rest on fewer at its left end.
    """
    chosen = results[results["metric"] == metric]
    if "fraction" not in chosen.columns or chosen["fraction"].nunique() < 2:
        return ""
    means = summarise(chosen).dropna(subset="mean")
    larger = find_metric(metric)[0].larger_is_better
    full = means[means["fraction"] == means["fraction"].max()].sort_values("mean", ascending=not larger, kind="stable")
    heads = list(dict.fromkeys(full["head"]))[:MAX_HEADS]
    features = list(dict.fromkeys(chosen["features"]))
    shares = sorted(means["fraction"].unique())
    n_rows = (len(heads) + 1) // 2
    benchmark = str(chosen["benchmark"].iloc[0])
    with drawing(f"labels-{benchmark}-{metric}", 0.9 + 2.6 * n_rows, f"{metric} over the share of training labels, by head") as result:
        first = None
        for number, head in enumerate(heads, start=1):
            axes = result.figure.add_subplot(n_rows, 2, number, sharey=first)
            first = first or axes
            for name in features:
                line = means[(means["head"] == head) & (means["features"] == name)].sort_values("fraction")
                if len(line):
                    axes.plot(line["fraction"], line["mean"], **_look(name, features))
            axes.set_title(shorten(head))
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(shares))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}".replace("0.", ".")))
            axes.set_xlabel("share of the training labels")
            # A panel is low: the units of several data sets would run into the next one.
            axes.set_ylabel(textwrap.fill(metric_name(metric, label_unit), _LABEL_WIDTH))
            plain_axes(axes)
        handles = [Line2D([], [], label=shorten(name), **_look(name, features)) for name in features]
        result.figure.legend(handles=handles, loc="outside upper left", ncols=min(4, len(handles)))
    return result.svg


def _look(name: str, features: list[str]) -> dict:
    """Features that use the encoder are drawn heavy; the others differ by colour, dash and marker."""
    place = features.index(name)
    uses_encoder = bool(set(feature_parts(name)) & set(ENCODER_PARTS))
    color = SERIES[place % len(SERIES)] if place < 2 * len(SERIES) else MUTED
    return {
        "color": color,
        "linestyle": LINES[place % len(LINES)],
        "marker": MARKERS[(place + place // len(MARKERS)) % len(MARKERS)],
        "markersize": 4,
        "linewidth": 2.6 if uses_encoder else 1.3,
    }
