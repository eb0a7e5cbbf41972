"""The drawn molecule: its colours are the numbers, and the document is whole."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from rdkit import Chem

from molbt.errors import ShapeError
from molbt.report.molecule_drawing import draw_contributions

PHENOL = Chem.MolFromSmiles("Oc1ccccc1")
VALUES = np.array([0.5, -0.25, 0, 0, 0, 0, 0])


def discs(svg: str) -> list[str]:
    return [element.attrib["style"] for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("ellipse")]


def fill(style: str) -> tuple[int, ...]:
    found = re.search(r"fill:#([0-9A-Fa-f]{6})", style)
    assert found is not None
    return tuple(int(found[1][i : i + 2], 16) for i in (0, 2, 4))


def test_each_atom_has_a_disc_whose_colour_is_its_contribution() -> None:
    colors = [fill(style) for style in discs(draw_contributions(PHENOL, VALUES))]
    assert colors[0] == (0x00, 0x72, 0xB2)  # the largest: full blue
    assert colors[1] == pytest.approx([(0xFF + value) / 2 for value in (0xD5, 0x5E, 0x00)], abs=1)  # half as far down: half orange
    assert set(colors[2:]) == {(255, 255, 255)}


def test_a_common_scale_makes_drawings_comparable_and_is_written_below() -> None:
    svg = draw_contributions(PHENOL, VALUES, largest=1.0)
    assert fill(discs(svg)[0]) == pytest.approx([(0xFF + value) / 2 for value in (0x00, 0x72, 0xB2)], abs=1)
    assert "−1<" in svg
    assert "+1<" in svg


def test_the_caption_is_text_and_the_same_numbers_give_the_same_bytes() -> None:
    svg = draw_contributions(PHENOL, VALUES, ["pKi < 6 & rising", "second line"])
    texts = ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert texts[-2:] == ["pKi < 6 & rising", "second line"]
    assert svg == draw_contributions(Chem.MolFromSmiles("Oc1ccccc1"), VALUES, ["pKi < 6 & rising", "second line"])


def test_nothing_is_fetched() -> None:
    svg = draw_contributions(PHENOL, VALUES)
    addresses = set(re.findall(r"https?://[^'\"]+", svg))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.rdkit.org/xml", "http://www.w3.org/1999/xlink"}  # names of vocabularies
    assert "href=" not in svg


def test_contributions_of_nothing_are_drawn_white() -> None:
    assert {fill(style) for style in discs(draw_contributions(PHENOL, np.zeros(7)))} == {(255, 255, 255)}


@pytest.mark.parametrize("values", [np.zeros(6), np.full(7, np.nan), np.zeros((7, 1))])
def test_values_that_are_not_one_per_atom_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ShapeError, match="one finite contribution for each of 7 atoms"):
        draw_contributions(PHENOL, values)
    with pytest.raises(ShapeError, match="each of 0 atoms"):
        draw_contributions(Chem.MolFromSmiles(""), np.zeros(0))
