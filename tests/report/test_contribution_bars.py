"""Bars whose lengths are the contributions, and whose sum stands below."""

from xml.etree import ElementTree

import pytest

from molbt.report.contribution_bars import draw_bars, largest_bar

PARTS = {"molecule": 0.5, "text": -0.25, "<odd>": 0.0, "base": -1.0}
SVG = "{http://www.w3.org/2000/svg}"


def bars(svg: str) -> list[tuple[str, float, float, str]]:
    """Label, left end, width and colour of each bar, and the right of the middle line as 0."""
    root = ElementTree.fromstring(svg)
    zero = float(next(root.iter(f"{SVG}line")).attrib["x1"])
    labels = [text.text for text in root.iter(f"{SVG}text")][::2]
    rects = [rect.attrib for rect in root.iter(f"{SVG}rect")]
    return [(label, float(rect["x"]) - zero, float(rect["width"]), rect["fill"][-8:-1]) for label, rect in zip(labels, rects, strict=True)]


def test_bars_are_as_long_as_their_numbers_and_end_at_zero():
    found = bars(draw_bars(PARTS, base="base", total="sum"))
    assert [label for label, *_ in found] == ["base", "molecule", "text", "<odd>", "sum"]
    unit = found[0][2]  # of the base, which is -1
    for (_, left, width, _), value in zip(found, (-1, 0.5, -0.25, 0, -0.75), strict=True):
        assert width == pytest.approx(abs(value) * unit, abs=0.01)
        assert (left if value > 0 else left + width) == pytest.approx(0, abs=0.01)
    assert len({color for *_, color in found[:3]}) == 3  # the base, more and less


def test_drawings_of_one_scale_can_be_compared():
    small, large = {"base": 1.0}, {"base": 2.0, "molecule": 1.0}
    assert largest_bar(large) == 3  # the sum
    one, other = (bars(draw_bars(parts, base="base", total="sum", largest=3.0)) for parts in (small, large))
    assert other[0][2] == pytest.approx(2 * one[0][2], abs=0.02)


def test_nothing_contributes_nothing():
    assert all(width == 0 for *_, width, _ in bars(draw_bars({"base": 0.0}, base="base", total="sum")))


def test_who_cannot_see_it_is_told_the_numbers():
    root = ElementTree.fromstring(draw_bars(PARTS, base="base", total="sum"))
    assert root.attrib["aria-label"] == "molecule +0.500, text −0.250, <odd> 0.000, base −1.000; sum −0.750"
