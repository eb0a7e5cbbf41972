"""Matplotlib figures as inline SVG: the same bytes from the same numbers, text as text, colours that follow the page's light or dark theme.

Only matplotlib's object interface is used, so nothing global is changed and figures can be drawn in any thread that draws no other.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 9.6
"""Inches; 72 points each, so that 9 points of text are 12 pixels on the page."""

# Colours after Okabe and Ito, told apart in the common kinds of colour blindness; each is drawn as its light-theme value and replaced by
# a variable of the page, which has a lighter one for the dark theme.
PAPER, INK, MUTED, GRID = "#fefefe", "#1b1f24", "#626b76", "#dfe3e8"
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#d55e00", "#00856a", "#b0568c", "#3b92c9"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY)
MARKERS = ("o", "s", "D", "^", "v")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
DARK = {
    PAPER: "#16191d",
    INK: "#e6e8eb",
    MUTED: "#a2abb6",
    GRID: "#343b44",
    BLUE: "#58b4f0",
    ORANGE: "#ff9552",
    GREEN: "#3fcfa9",
    PURPLE: "#e79fcb",
    SKY: "#9ad4f5",
}

_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.useoffset": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    **{f"{part}.color": INK for part in ("text", "xtick", "ytick")},
    **{f"axes.{part}": INK for part in ("labelcolor", "titlecolor")},
    "axes.edgecolor": MUTED,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
}


class Drawing:
    """A figure being drawn; ``svg`` holds the result after the block."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.svg = ""


@contextmanager
def drawing(name: str, height: float, description: str) -> Iterator[Drawing]:
    """Give a figure to draw on; at the end of the block it becomes SVG.

    Parameters
    ----------
    name : str
        Unique in the page: it keeps the identifiers of several drawings apart.
    height : float
        Inches.
    description : str
        What a reader who cannot see the drawing is told.
    """
    with matplotlib.style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        result = Drawing(Figure(figsize=(WIDTH, height), layout="constrained"))
        yield result
        file = io.StringIO()
        result.figure.savefig(file, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    result.svg = _inline(file.getvalue(), description)


def plain_axes(axes: Axes, *, grid: str = "both") -> None:
    """A light grid and no tick marks."""
    axes.set_facecolor("none")
    axes.grid(axis=grid)  # type: ignore[arg-type]
    axes.tick_params(length=0)


def shorten(text: str, limit: int = 48) -> str:
    """Return the text on one line, cut in the middle when it is longer than a label can be."""
    text = " ".join(str(text).split())
    keep = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:keep]}…{text[-keep:]}"


def _inline(svg: str, description: str) -> str:
    """Strip what a file of its own needs and a page does not, and hand the colours to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)
    for color in DARK:
        svg = svg.replace(color, f"var({variable(color)}, {color})")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1).strip()


def variable(color: str) -> str:
    """Return the name of the page's variable for a colour."""
    return f"--c-{color.removeprefix('#')}"
