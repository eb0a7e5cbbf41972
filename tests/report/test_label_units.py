"""Errors in different units have no mean, in no table, verdict or drawing."""

import numpy as np
import pandas as pd
import pytest
from synthetic_results import CONTROL, make_results

from molbt.report.label_units import has_mean, headline_metrics, metrics_without_mean, task_table, values_by_task
from molbt.report.page import write_report

ENCODER = ("embedding", "lightgbm")
UNITS = {"CHEMBL1800_Ki": "log mol/L", "CHEMBL1801_Ki": "kcal/mol"}


@pytest.fixture
def mixed() -> pd.DataFrame:
    """Two tasks of regression, one of which has errors four times as large, and R² of both."""
    results = make_results({CONTROL: (0.0, 0.0), ENCODER: (-0.1, 0.0)}, n_tasks=2, metrics=("rmse", "rmse_cliff", "r2"))
    results.loc[(results["task"] == "CHEMBL1801_Ki") & results["metric"].str.startswith("rmse"), "value"] *= 4
    return results


@pytest.mark.parametrize(
    ("units", "metric", "expected"),
    [
        ({}, "rmse", True),
        (UNITS, "rmse", False),
        (UNITS, "rmse_cliff", False),
        (UNITS, "r2", True),
        (dict.fromkeys(UNITS, "pKi"), "rmse", True),
        (dict.fromkeys(UNITS, ""), "rmse", False),  # unknown units may differ
        ({"CHEMBL1800_Ki": "pKi"}, "rmse", False),
    ],
)
def test_errors_have_a_mean_in_one_known_unit_only(mixed, units, metric, expected):
    assert has_mean(mixed, metric, units) is expected


def test_one_task_is_its_own_mean_whatever_its_unit(mixed):
    one = mixed[mixed["task"] == "CHEMBL1800_Ki"]
    assert has_mean(one, "rmse", {"CHEMBL1800_Ki": ""})


def test_r2_takes_the_place_of_an_error_without_mean(mixed):
    assert headline_metrics(mixed, {}) == ["rmse"]
    assert headline_metrics(mixed, UNITS) == ["r2"]
    assert metrics_without_mean(mixed, UNITS) == ["rmse", "rmse_cliff"]
    classes = mixed.replace({"metric": {"r2": "roc_auc"}})
    assert headline_metrics(classes, UNITS) == ["rmse", "roc_auc"]  # there is no R²: shown task by task


def test_values_by_task_are_means_of_repeats_with_their_units(mixed):
    table = values_by_task(mixed, "rmse", {**UNITS, "CHEMBL1801_Ki": ""})
    assert list(table.columns) == ["features", "head", "CHEMBL1800_Ki (log mol/L)", "CHEMBL1801_Ki (unknown unit)"]
    of_control = table[table["features"] == "counts"].iloc[0]
    np.testing.assert_allclose(of_control.iloc[2:].astype(float), [0.55, 4 * 0.56])  # by make_results: .55 + .01 · task


def test_the_table_of_tasks_marks_the_control_and_dashes_what_is_undefined(mixed):
    mixed.loc[(mixed["features"] == "embedding") & (mixed["task"] == "CHEMBL1800_Ki"), "value"] = np.nan
    html = task_table(mixed, "rmse", UNITS, CONTROL)
    assert html.count('class="the-control"') == 1
    assert "<td>embedding</td><td>lightgbm</td>" + '<td class="number">–</td>' in html
    assert "RMSE by task, lower is better; no mean, because the units are not the same" in html


@pytest.mark.parametrize("metric", ["rmse", ["r2"]])
def test_the_page_shows_no_mean_over_different_units(tmp_path, mixed, metric):
    page = write_report(tmp_path / "r.html", title="t", results=mixed, control=CONTROL, metric=metric, label_units=UNITS).read_text()
    one_unit = write_report(tmp_path / "s.html", title="t", results=mixed, control=CONTROL, metric=metric).read_text()
    of_means = "RMSE, lower is better; mean over 2 tasks"
    assert of_means in one_unit
    assert of_means not in page
    assert "CHEMBL1801_Ki (kcal/mol)" in page
    assert "2.240" in page
    assert "mean RMSE" not in page
