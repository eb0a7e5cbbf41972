"""The page of explained predictions, from contributions set by hand."""

import math

import pandas as pd
import pytest
from rdkit import Chem

from molbt.predict.explain import Explanation
from molbt.report.explanation_page import share_on_atoms, write_explanations


def explanation(lines: list[tuple[int, str, int | None, float]], *, additive: bool = True) -> Explanation:
    frame = pd.DataFrame(lines, columns=["row", "block", "atom", "contribution"]).astype({"atom": "Int64"})
    molecules = [Chem.MolFromSmiles("CO"), None, Chem.MolFromSmiles("CN")]
    return Explanation(frame, frame.groupby("row")["contribution"].sum().reindex(range(3)).to_numpy(), molecules, "value", additive)


LINES = [
    (0, "base", None, 5.0), (0, "ecfp4", 0, 1.0), (0, "ecfp4", 1, -0.5), (0, "ecfp4", None, 0.25),
    (2, "base", None, 5.0), (2, "ecfp4", 1, -0.25), (2, "dense", None, -1.0),
]  # fmt: skip


def test_the_share_on_atoms_compares_the_sums_of_the_captions():
    # Row 0: +0.5 on atoms, +0.25 on none. Row 2: -0.25 and -1.
    assert share_on_atoms(explanation(LINES)) == pytest.approx((0.5 + 0.25) / (0.5 + 0.25 + 0.25 + 1.0))
    assert math.isnan(share_on_atoms(explanation(LINES[:1])))


def test_the_page_holds_each_molecule_its_sums_and_what_was_refused_in_safe_text(tmp_path):
    write_explanations(explanation(LINES), ["CO", "<b>", "CN"], tmp_path, title="A & B", refused={1: "<odd>"}, notes=["1 < 2"])
    page = (tmp_path / "index.html").read_text()
    for text in ("<h1>A &amp; B</h1>", "<p>1 &lt; 2</p>", "<td>1</td><td>&lt;odd&gt;</td>", "Row 0: CO", "Row 2: CN"):
        assert text in page
    cells = [cell.split("</td>")[0].split(">")[-1] for cell in page.split("<tbody>")[1].split("</tbody>")[0].split("<td")[1:]]
    assert cells == ["0", "5.000", "+0.750", "0.000", "5.750", "2", "5.000", "−0.250", "−1.000", "3.750"]
    # One scale for all drawings: the largest sum on an atom.
    for row in (0, 2):
        assert "+1<" in (tmp_path / f"row_{row}.svg").read_text()
    assert not (tmp_path / "row_1.svg").exists()
