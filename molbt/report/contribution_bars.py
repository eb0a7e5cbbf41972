"""Contributions that add up to a prediction, drawn as bars: an SVG that needs nothing, in the colours of the page."""

from collections.abc import Mapping
from html import escape

from molbt.report.drawing import BLUE, GRID, INK, MUTED, ORANGE, variable
from molbt.report.wording import number

_WIDTH, _LINE, _BAR = 560, 24, 14  # pixels
_LABELS, _VALUES = 110, 70
_FONT = 'font-family="system-ui, sans-serif" font-size="13"'


def draw_bars(contributions: Mapping[str, float], *, base: str, total: str, largest: float | None = None) -> str:
    """Return an SVG: a bar for the base and for each contribution, blue to the right and orange to the left, and below their sum.

    Parameters
    ----------
    contributions : mapping of str to float
    base : str
        The one among them that is the same for all predictions: drawn first, in grey.
    total : str
        What the sum is called.
    largest : float, optional
        The size of the longest bar, positive; give the same to several drawings to compare them. By default the largest here.
    """
    value = sum(contributions.values())
    full = largest or largest_bar(contributions) or 1.0
    names = sorted(contributions, key=lambda name: name != base)
    middle, scale = _LABELS + (_WIDTH - _LABELS - _VALUES) / 2, (_WIDTH - _LABELS - _VALUES) / 2 / full
    height = _LINE * (len(names) + 1) + 8
    lines = [f'<line x1="{middle:g}" y1="0" x2="{middle:g}" y2="{height}" {_paint("stroke", MUTED)}/>']
    for place, name in enumerate(names):
        color = MUTED if name == base else BLUE if contributions[name] > 0 else ORANGE
        lines += _line(name, contributions[name], _LINE * place, color, middle, scale)
    top = _LINE * len(names) + 8
    lines.append(f'<line x1="0" y1="{top - 4}" x2="{_WIDTH}" y2="{top - 4}" {_paint("stroke", GRID)}/>')
    lines += _line(total, value, top, INK, middle, scale, weight="bold")
    told = ", ".join(f"{name} {number(size, 3, sign=True)}" for name, size in contributions.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(f"{told}; {total} {number(value, 3, sign=True)}")}">\n' + "\n".join(lines) + "\n</svg>\n"
    )


def largest_bar(contributions: Mapping[str, float]) -> float:
    """Return the size of the longest bar of a drawing."""
    return max((abs(value) for value in (*contributions.values(), sum(contributions.values()))), default=0.0)


def _line(name: str, value: float, top: float, color: str, middle: float, scale: float, *, weight: str = "normal") -> list[str]:
    width, style = (
        abs(value) * scale,
        f'y="{top + _LINE / 2 + 4.5:g}" text-anchor="end" font-weight="{weight}" {_paint("fill", INK)} {_FONT}',
    )
    return [
        f'<text x="{_LABELS - 8}" {style}>{escape(name)}</text>',
        f'<rect x="{middle if value > 0 else middle - width:.2f}" y="{top + (_LINE - _BAR) / 2:g}" width="{width:.2f}" height="{_BAR}" '
        f"{_paint('fill', color)}/>",
        f'<text x="{_WIDTH - 4}" {style}>{number(value, 3, sign=True)}</text>',
    ]


def _paint(attribute: str, color: str) -> str:
    return f'{attribute}="var({variable(color)}, {color})"'
