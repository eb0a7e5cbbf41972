import numpy as np
import pandas as pd
import pytest
from synthetic_results import CELLS, CONTROL, make_results

from molbt.report.comparison import compare
from molbt.report.tables import HEADINGS, html_table, text_table
from molbt.report.wording import decimals_for, metric_name, number


def row_of(text: str, features: str, head: str) -> str:
    (line,) = (line for line in text.splitlines() if line.split()[:2] == [features, head])
    return line


def test_text_table_is_aligned_and_holds_every_row_with_its_numbers(results: pd.DataFrame) -> None:
    text = text_table(results, CONTROL, "rmse", label_unit="pKi")
    lines = text.splitlines()
    assert lines[0] == "synthetic: RMSE (pKi), lower is better; mean over 24 tasks"
    assert [heading for heading in HEADINGS if heading not in lines[1]] == []
    assert len(lines) == 3 + len(CELLS)
    # .55 + .01 · 11.5 + .02, and ± 2.0687 · .02 / √23 = ± .0086; the typical half-width asks for three decimals.
    line = row_of(text, "counts", "lightgbm")
    assert "0.685" in line
    assert "+0.011 to +0.029" in line
    assert line.endswith("worse")
    starts = {row_of(text, *cell).index(cell[1]) for cell in CELLS if " " not in cell[1]}
    assert starts == {lines[1].index("head")}


def test_text_table_puts_the_best_first_and_marks_the_control(results: pd.DataFrame) -> None:
    body = text_table(results, CONTROL, "rmse").splitlines()[3:]
    order = [tuple(line.split()[:2]) for line in body]
    assert order == sorted(CELLS, key=lambda cell: CELLS[cell][0])
    assert body[1].endswith("the control")


def test_undefined_values_are_counted_and_shown_as_a_dash() -> None:
    results = make_results({CONTROL: (0.0, 0.0), ("embedding", "lightgbm"): (0.1, 0.1), ("pca", "lightgbm"): (0.1, 0.1)})
    results.loc[results["features"] == "pca", "value"] = np.nan
    results.loc[(results["features"] == "embedding") & (results["task"] == "CHEMBL1800_Ki"), "value"] = np.nan
    text = text_table(results, CONTROL, "rmse")
    assert row_of(text, "pca", "lightgbm").split()[2:7] == ["–"] * 5
    assert "pca × lightgbm: 48 values are undefined and left out" in text
    assert "embedding × lightgbm: 2 values are undefined and left out" in text
    assert "embedding × lightgbm: its mean is over 23 tasks, that of the control over 24" in text
    assert "nan" not in text.lower()


def test_the_best_published_methods_are_shown_and_the_rest_counted(results: pd.DataFrame, published: pd.DataFrame) -> None:
    text = text_table(results, CONTROL, "rmse", published=published)
    assert [n for n in range(8) if f"descriptor {n} (published)" in text] == [0, 1, 2, 3, 4]
    assert "the best 5 published methods are shown, 3 more are left out" in text


def test_html_table_has_the_numbers_of_the_text_table(results: pd.DataFrame) -> None:
    (comparison,) = compare(results, CONTROL, "rmse")
    html = html_table(comparison)
    for line in text_table(results, CONTROL, "rmse").splitlines()[3:]:
        for cell in line.split("  "):
            assert f">{cell.strip()}</td>" in html or not cell.strip()
    assert html.count('class="the-control') == 1


def test_names_with_markup_and_line_breaks_do_no_harm() -> None:
    cell = ("<b>embedding</b>\n&", "light\tgbm")
    results = make_results({CONTROL: (0.0, 0.0), cell: (0.1, 0.1)})
    (comparison,) = compare(results, CONTROL, "rmse")
    assert "&lt;b&gt;embedding&lt;/b&gt; &amp;</td>" in html_table(comparison)
    assert len(text_table(results, CONTROL, "rmse").splitlines()) == 5


@pytest.mark.parametrize(
    ("value", "decimals", "sign", "text"),
    [
        (0.6265, 3, False, "0.626"),  # the double nearest to .6265 lies below it
        (0.0123, 3, True, "+0.012"),
        (-0.0123, 3, True, "−0.012"),
        (-0.0001, 3, True, "0.000"),
        (float("nan"), 3, False, "–"),
        (float("inf"), 3, False, "–"),
    ],
)
def test_numbers_are_rounded_signed_and_dashed(value: float, decimals: int, sign: bool, text: str) -> None:
    assert number(value, decimals, sign=sign) == text


def test_decimals_follow_the_width_of_the_intervals() -> None:
    nan = float("nan")
    assert decimals_for([0.0086, nan], [0.02], [0.6]) == 4
    assert decimals_for([3.2], [1.0], [60.0]) == 1
    assert decimals_for([nan], [0.02], [0.6]) == 3
    assert decimals_for([nan], [nan], [0.55]) == 3


def test_metrics_are_named_with_the_label_unit_only_where_they_have_it() -> None:
    assert metric_name("rmse_cliff", "pKi") == "RMSE on cliff (pKi)"
    assert metric_name("roc_auc", "pKi") == "ROC AUC"
