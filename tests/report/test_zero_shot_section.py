"""Zero-shot tables as text and as a page: the numbers, the claims and the folding."""

import numpy as np
import pandas as pd

from molbt.report.zero_shot_section import comparison_section, comparison_text, coverage_section, coverage_text

ROWS = [
    ("all assays", "twin projections", "twin", 0.70, 0.01, "frequent_hitters", 0.03, 0.01, 0.05, "better"),
    ("all assays", "twin projections", "twin", 0.70, 0.01, "lightgbm_pairs", -0.01, -0.03, 0.01, "no difference shown"),
    ("all assays", "molecules", "frequent_hitters", 0.67, 0.01, "frequent_hitters", np.nan, np.nan, np.nan, "the control"),
    ("all assays", "molecules", "frequent_hitters", 0.67, 0.01, "lightgbm_pairs", -0.04, -0.06, -0.02, "worse"),
    ("< 10 % seen", "twin <b>", "twin", 0.60, 0.02, "frequent_hitters", 0.0, -0.02, 0.02, "no difference shown"),
]
NAMES = ["group", "features", "head", "mean", "standard_error", "control", "difference", "ci_low", "ci_high", "claim"]
TABLE = pd.DataFrame(ROWS, columns=NAMES).assign(metric="roc_auc", n_tasks=40)
COVERAGE = pd.DataFrame(
    [
        {"head": head, "task": f"T{number}", "task_type": "classification", "confidence": level, "coverage": level, "width": 1.4, "n": 50}
        for head in ("twin", "retrieval")
        for number in range(6)
        for level in (0.8, 0.9)
    ]
)


def test_text_has_a_difference_and_a_claim_for_each_control():
    lines = comparison_text(TABLE).splitlines()
    assert lines[1] == "ROC AUC, all assays, assays: 40"
    assert "Δ to frequent_hitters" in lines[2]
    assert "Δ to lightgbm_pairs" in lines[2]
    twin = next(line for line in lines if line.startswith("twin projections"))
    assert "+0.030 (+0.010 to +0.050)  better" in twin
    assert "−0.010 (−0.030 to +0.010)  no difference shown" in twin
    control = next(line for line in lines if line.startswith("molecules"))
    assert "the control" in control
    assert "worse" in control


def test_the_page_escapes_names_and_opens_all_assays():
    page = "".join(comparison_section(TABLE))
    assert "twin &lt;b&gt;" in page
    assert page.count("<details open>") == 1
    assert page.count("<details") == 2
    assert "did not need its pretraining" in page


def test_coverage_of_each_method_is_drawn_and_listed():
    page = "".join(coverage_section(COVERAGE))
    assert page.count("<svg") == 2
    assert "retrieval" in page
    text = coverage_text(COVERAGE)
    assert "classes in a set" in text
    assert "retrieval" in text
