import re

import numpy as np
import pandas as pd

from molbt.evaluation.few_shot.strata import GROUP_COLUMNS
from molbt.report.few_shot_section import group_section, group_text

ROWS = [
    ("< 10 % seen", 16, "counts", "tanimoto_logistic", 0.2241, 0.01, 19, np.nan, np.nan, np.nan, "the control"),
    ("< 10 % seen", 16, "counts", "a <b>", 0.2, 0.0204, 19, -0.0241, -0.03, -0.01, "worse"),
    ("> 50 % seen", 16, "counts", "tanimoto_logistic", 0.093, np.nan, 1, np.nan, np.nan, np.nan, "the control"),
]
TABLE = pd.DataFrame(ROWS, columns=list(GROUP_COLUMNS))


def test_the_text_has_a_part_for_each_group_with_all_numbers() -> None:
    lines = group_text(TABLE, "By stratum").splitlines()
    assert lines[0] == "By stratum"
    assert [line for line in lines if line.endswith("seen")] == ["< 10 % seen", "> 50 % seen"]
    (row,) = [line for line in lines if "a <b>" in line]
    assert re.split(r" {2,}", row.strip()) == ["16", "counts", "a <b>", "0.200", "0.020", "19", "−0.024", "−0.030 to −0.010", "worse"]
    assert "–" in lines[-1]  # one assay has no standard error


def test_the_page_has_the_same_cells_escaped() -> None:
    html = "".join(group_section(TABLE, "By stratum", "A note & more"))
    assert html.count("<details") == 2
    assert "A note &amp; more" in html
    assert "a &lt;b&gt;" in html
    assert "<b>" not in html
    assert "&lt; 10 % seen, assays: 19" in html
    for cell in ("0.224", "−0.024", "−0.030 to −0.010"):
        assert cell in html
    assert html.count('class="the-control"') == 2
