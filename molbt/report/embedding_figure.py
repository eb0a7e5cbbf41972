"""The evaluated molecules as points: two principal components of each features, coloured by a label or a property."""

import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

from molbt.report.drawing import drawing, plain_axes

MAP_COLUMNS = ("features", "x", "y", "value", "explained")
"""One row per features and molecule; ``explained`` is the share of variance in the two components, the same in all rows of a features."""

# Blue to orange through grey: told apart in the common kinds of colour blindness, and readable on light and on dark paper.
_COLORS = LinearSegmentedColormap.from_list("blue-orange", ["#2f7fd0", "#8d97a3", "#ee7a1d"])


def embedding_figure(points: pd.DataFrame, value_name: str) -> str:
    """Return a panel per features as SVG, with the points as one picture inside each.

    Parameters
    ----------
    points : DataFrame
        ``MAP_COLUMNS``.
    value_name : str
        What the colours stand for.
    """
    names = list(dict.fromkeys(points["features"]))
    low, high = points["value"].quantile([0.02, 0.98])
    count = len(points) // len(names)
    with drawing(
        "embedding-map", 3.7, f"Two principal components of {', '.join(names)} for {count:,} molecules, by {value_name}"
    ) as result:
        result.figure.set_dpi(150)  # of the pictures of points
        dots, panels = None, []
        for number, name in enumerate(names, start=1):
            of_name = points[points["features"] == name]
            axes = result.figure.add_subplot(1, len(names), number)
            panels.append(axes)
            dots = axes.scatter(
                of_name["x"], of_name["y"], c=of_name["value"], cmap=_COLORS, vmin=low, vmax=high, s=7, alpha=0.75, linewidths=0
            )
            dots.set_rasterized(True)
            axes.set_title(name)
            axes.set_xlabel(f"component 1  ({of_name['explained'].iloc[0]:.0%} of the variance in both)")
            plain_axes(axes)
            axes.set_xticklabels([])
            axes.set_yticklabels([])
        bar = result.figure.colorbar(dots, ax=panels, label=value_name, aspect=30, pad=0.02)  # type: ignore[arg-type]
        bar.outline.set_visible(False)  # type: ignore[operator]
    return result.svg
