"""Tables and page of explained predictions for a described assay, from explanations set by hand."""

import numpy as np
import pandas as pd
import pytest

from molbt.predict.pair_explanation import PairExplanation
from molbt.report.pair_explanation_page import write_pair_explanations

PAIRS = pd.DataFrame(
    {
        "smiles": ["CCN", "<i>", "CCC"],
        "assay": ["a", "b", "c"],
        "text": ["long " * 100, "R & D", "c"],
        "label": [1.0, 0.0, 1.0],
        "shared": [0.625, 0.5, 0.0],
    }
)
ASSAYS = pd.DataFrame({"assay": ["a"], "text": ["<u>"], "pairs": [1234], "shared": [0.31]})


@pytest.fixture
def written(tmp_path):
    found = [PairExplanation({"molecule": 0.5, "text": -0.25, "base": -1.0}, PAIRS, ASSAYS), None]
    write_pair_explanations(found, ["CCO", "<b>"], np.array([0.25, np.nan]), tmp_path, title="A & B", refused={1: "<odd>"}, notes=["1 < 2"])
    return tmp_path


def test_tables_hold_the_numbers(written):
    predictions = pd.read_csv(written / "predictions.csv")
    assert predictions["row"].tolist() == [0, 1]
    assert predictions["log_odds"].tolist()[0] == -0.75
    assert predictions.isna().sum().to_dict() == {"row": 0, "smiles": 0, "log_odds": 1, "prediction": 1, "molbt_reason": 1}
    contributions = pd.read_csv(written / "contributions.csv")
    assert contributions.to_numpy().tolist() == [[0, "molecule", 0.5], [0, "text", -0.25], [0, "base", -1.0]]
    pairs, assays = pd.read_csv(written / "pairs.csv"), pd.read_csv(written / "assays.csv")
    pd.testing.assert_frame_equal(pairs, PAIRS.drop(columns="assay").assign(row=0)[["row", "smiles", "text", "label", "shared"]])
    assert assays.to_numpy().tolist() == [[0, "<u>", 1234, 0.31]]


def test_the_page_shows_them_in_safe_text(written):
    page = (written / "index.html").read_text()
    for text in ("<h1>A &amp; B</h1>", "<p>1 &lt; 2</p>", "Row 0: probability of activity 0.250", "<td>1</td><td>&lt;odd&gt;</td>"):
        assert text in page
    for text in ("&lt;i&gt;", "R &amp; D", "&lt;u&gt;", ">active<", ">inactive<", ">62 %<", ">1,234<", ">31 %<", "CCO"):
        assert text in page
    for text in ("<i>", "<u>", "<odd>", "Row 1: "):
        assert text not in page
    assert "long " * 50 not in page  # shortened
    # The bars, the molecule and the training molecule; none of what shares nothing.
    assert page.count("<svg") == 3


def test_without_a_molecule_the_tables_have_their_columns(tmp_path):
    write_pair_explanations([None], ["C1CC"], np.array([np.nan]), tmp_path, title="A", refused={0: "unclosed ring"})
    assert pd.read_csv(tmp_path / "pairs.csv").columns.tolist() == ["row", "smiles", "text", "label", "shared"]
    assert pd.read_csv(tmp_path / "assays.csv").columns.tolist() == ["row", "text", "pairs", "shared"]
    assert "unclosed ring" in (tmp_path / "index.html").read_text()
