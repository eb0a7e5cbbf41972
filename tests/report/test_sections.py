"""Sections of the page beside the table: many cells, fewer labels, coverage, overlaps, the map."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import CELLS, CONTROL, make_results

from molbt.errors import DataError
from molbt.evaluation.leakage import LEAKAGE_COLUMNS, Leakage
from molbt.report.comparison import compare
from molbt.report.coverage_figure import coverage_figure, coverage_table
from molbt.report.figures import MAX_DRAWN, drawn_rows
from molbt.report.label_curves import label_curves
from molbt.report.page import write_report
from molbt.report.score_matrix import score_matrix
from molbt.report.tables import CROWDED

FEATURES = ("counts", "descriptors", "pca", "untrained", "embedding", "counts+embedding")
HEADS = ("lightgbm", "tanimoto_svm", "ridge", "knn", "gp", "forest")
MANY = {(features, head): (0.01 * i + 0.002 * j, 0.01) for i, features in enumerate(FEATURES) for j, head in enumerate(HEADS)}
MANY[CONTROL] = (0.03, 0.0)


def page_of(path: Path, results: pd.DataFrame, **options: object) -> str:
    return write_report(path / "report.html", title="A title", results=results, control=CONTROL, metric="rmse", **options).read_text()  # type: ignore[arg-type]


def cells_of(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr.*?</tr>", html, flags=re.DOTALL)
    return [[re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, flags=re.DOTALL)] for row in rows]


def test_matrix_holds_each_mean_and_marks_what_may_be_claimed() -> None:
    (comparison,) = compare(make_results(MANY), CONTROL, "rmse")
    head, *rows = cells_of(score_matrix(comparison))
    by_name = {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows}
    assert set(by_name) == set(FEATURES)
    assert set(head[1:]) == set(HEADS)
    # Tasks lie at 0.55 to 0.78, 0.665 in the mean; the spread of 0.01 gives an interval of ± 0.0043.
    assert by_name["counts"]["lightgbm"].startswith("0.665")
    assert by_name["counts"]["lightgbm"].endswith("▲")  # 0.03 below the control
    assert by_name["counts+embedding"]["forest"].startswith("0.725")
    assert by_name["counts+embedding"]["forest"].endswith("▼")
    assert by_name["untrained"]["lightgbm"] == "0.6950"  # as the control: no mark
    assert by_name["counts"]["tanimoto_svm"] == "0.6950"


def test_a_crowded_page_has_a_matrix_and_a_box_and_a_small_one_has_neither(tmp_path: Path) -> None:
    assert len(MANY) > CROWDED > len(CELLS)
    crowded = page_of(tmp_path, make_results(MANY, metrics=("rmse", "rmse_cliff")))
    assert crowded.count('<table class="matrix">') == 1
    assert "<details><summary>synthetic: RMSE on cliff" in crowded
    table = crowded[crowded.index('<div class="scroll tall"><table class="comparison">') :]
    assert table[: table.index("</table>")].count("<tr") == 1 + len(MANY)
    small = page_of(tmp_path, make_results(CELLS))
    assert "matrix" not in small[small.index("<body>") :]
    assert 'class="scroll tall"' not in small


def test_drawing_of_many_keeps_the_best_of_each_role() -> None:
    (comparison,) = compare(make_results(MANY), CONTROL, "rmse")
    drawn = drawn_rows(comparison)
    assert len(drawn) == MAX_DRAWN < len(MANY) - 1
    assert set(comparison.with_role("encoder")[:5]) <= set(drawn)
    assert [row for row in comparison.rows if row in drawn] == drawn


def test_fewer_labels_are_drawn_and_kept_out_of_the_table(tmp_path: Path) -> None:
    full = make_results(CELLS).assign(fraction=1.0)
    few = make_results(CELLS).assign(fraction=0.1)
    few["value"] += 5
    page = page_of(tmp_path, pd.concat([few, full], ignore_index=True))
    assert "<h2>With fewer labels</h2>" in page
    table = page[page.index("<h2>Table") : page.index("<h2>Differences")]
    assert table == (alone := page_of(tmp_path, full))[alone.index("<h2>Table") : alone.index("<h2>Differences")]
    assert "With fewer labels" not in alone


def test_label_curves_name_heads_features_and_shares() -> None:
    parts = [make_results(CELLS).assign(fraction=share) for share in (0.01, 0.1, 1.0)]
    svg = label_curves(pd.concat(parts), "rmse")
    for text in ("tanimoto_svm", "lightgbm", "counts+embedding", ".01", ".1", "1", "share of the training labels"):
        assert f"{text}</text>" in svg
    assert label_curves(parts[0], "rmse") == ""
    assert label_curves(make_results(CELLS), "rmse") == ""


def test_label_curves_leave_out_what_is_undefined() -> None:
    few = make_results(CELLS).assign(fraction=0.01)
    few["value"] = np.nan
    svg = label_curves(pd.concat([few, make_results(CELLS).assign(fraction=1.0)]), "rmse")
    assert "nan" not in svg.lower()


def coverage() -> pd.DataFrame:
    rows = [("a", 0.8, 0.79, 1.0, 100), ("b", 0.8, 0.85, 2.0, 50), ("a", 0.9, 0.93, 1.5, 100), ("b", 0.9, 0.93, 2.5, 50)]
    return pd.DataFrame([*rows, ("c", 0.9, np.nan, np.nan, 0)], columns=["task", "confidence", "coverage", "width", "n"])


def test_coverage_is_tabled_with_its_spread_and_whether_it_is_right() -> None:
    _, eighty, ninety = cells_of(coverage_table(coverage()))
    assert eighty == ["0.800", "0.820", "0.790", "0.850", "1.500", "2", "150", "yes"]
    assert ninety == ["0.900", "0.930", "0.930", "0.930", "2.000", "2", "150", "no"]


def test_coverage_has_a_section_of_its_own(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_results(CELLS), coverage=coverage())
    section = page[page.index("<h2>Coverage") : page.index("<h2>All values")]
    assert section.count("<svg") == 1
    assert "observed on test rows</text>" in section
    assert "Coverage</h2>" not in page_of(tmp_path, make_results(CELLS))


def test_widths_in_different_units_are_shown_per_task(tmp_path: Path) -> None:
    table = coverage().assign(task_type="regression")
    units = {"a": "log mol/L", "b": "kcal/mol", "c": "kcal/mol"}
    page = page_of(tmp_path, make_results(CELLS), coverage=table, label_units=units)
    section = page[page.index("<h2>Coverage") : page.index("<h2>All values")]
    assert "<h3>Intervals of values</h3>" in section
    assert '1.500</td><td class="number">2</td>' not in section  # the mean of 1 and 2
    assert '<td class="number">0.850</td><td class="number">2.000</td><td>kcal/mol</td>' in section
    same = page_of(tmp_path, make_results(CELLS), coverage=table, label_units=dict.fromkeys(units, "pKi"))
    assert '1.500</td><td class="number">2</td>' in same


def test_a_table_that_holds_no_coverage_is_refused() -> None:
    with pytest.raises(DataError, match=r"\['width'\] are missing"):
        coverage_table(coverage().drop(columns="width"))
    with pytest.raises(DataError, match="found none"):
        coverage_figure(coverage().assign(coverage=np.nan))


def leakage(seen: float) -> Leakage:
    rows = [("b", "first <1>", "random", r, 80, 20, 8.0, seen, 10.0, 1, 2, 1) for r in range(2)]
    rows.append(("b", "second", "random", 0, 80, 60, 0.0, 0.0 * seen, 6.0, 0, 0, 0))
    return Leakage(pd.DataFrame(rows, columns=list(LEAKAGE_COLUMNS)), pretrained=True)


def test_overlaps_are_told_under_the_verdict_and_per_task(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_results(CELLS), leakage=leakage(5.0))
    assert page.count("Pretraining saw 10.0 % of test molecules") == 2
    assert page.index("Overlaps: Pretraining saw 10.0 %") < page.index("<h2>Table")
    section = page[page.index("<h2>Overlaps") : page.index("<h2>All values")]
    _, first, second = cells_of(section)
    assert first == ["first &lt;1&gt;", "20", "25.0 %", "50.0 %", "10.0 %", "5.0 %", "2 of 4"]
    assert second == ["second", "60", "0.0 %", "10.0 %", "0.0 %", "0.0 %", "–"]


def test_unknown_overlaps_are_dashes_and_said(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_results(CELLS), leakage=leakage(np.nan))
    assert "What the pretraining saw is not recorded beside this model" in page
    section = page[page.index("<h2>Overlaps") : page.index("<h2>All values")]
    assert cells_of(section)[1][2] == "–"
    assert "nan" not in section


def points() -> pd.DataFrame:
    draw = np.random.default_rng(0).normal
    frames = [
        pd.DataFrame({"features": name, "x": draw(size=50), "y": draw(size=50), "value": np.arange(50.0), "explained": share})
        for name, share in (("pca", 0.4), ("untrained", 0.5), ("embedding", 0.25))
    ]
    return pd.concat(frames, ignore_index=True)


def test_the_map_has_a_panel_for_each_features_and_needs_no_other_file(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_results(CELLS), embedding_map=(points(), "Crippen logP"))
    section = page[page.index("<h2>Map") : page.index("<h2>All values")]
    for text in ("pca", "untrained", "embedding", "Crippen logP", "component 1  (25% of the variance in both)"):
        assert f"{text}</text>" in section
    assert re.findall(r'(?:src|href)="(?!#|data:image/png;base64,)', page) == []
    assert page == page_of(tmp_path, make_results(CELLS), embedding_map=(points(), "Crippen logP"))


def test_metrics_of_values_and_of_classes_both_have_a_verdict(tmp_path: Path) -> None:
    values = make_results(CELLS)
    classes = values.assign(metric="roc_auc", task="c" + values["task"], value=1 - values["value"] / 2)
    both = pd.concat([values, classes], ignore_index=True)
    path = write_report(tmp_path / "both.html", title="T", results=both, control=CONTROL, metric=["rmse", "roc_auc"])
    page = path.read_text()
    assert page.count('<div class="verdict">') == 2
    assert "ROC AUC, higher is better" in page
    assert "RMSE, lower is better" in page
    assert "Also measured" not in page


def test_tasks_of_one_data_set_are_one_unit(tmp_path: Path) -> None:
    results = make_results(CELLS)
    results["data_set"] = results["task"].map(lambda task: f"set {int(task[6:10]) % 6}")
    page = page_of(tmp_path, results)
    assert "mean over 6 data sets" in page
