"""Coverage of the control's intervals and sets on test rows, counted again by hand."""

import numpy as np
import pandas as pd
import pytest

from molbt.cli.main import run
from molbt.data.sources import embedded_activities
from molbt.evaluation.benchmarks.table import TableBenchmark
from molbt.evaluation.coverage import COLUMNS, NOT_COUNTED, measure_coverage
from molbt.predict.features import feature_builders
from molbt.predict.heads import build_head
from molbt.predict.replicates import molecule_folds
from molbt.report.coverage_figure import check_coverage


@pytest.fixture
def table(tmp_path):
    series = embedded_activities().iloc[::3].reset_index(drop=True)
    series["class"] = (series["activity"] > series["activity"].median()).astype(int)
    series.to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def test_coverage_is_counted_on_test_rows_that_took_no_part(table):
    benchmark = TableBenchmark(table, target=["activity", "class"], split="random")
    found = measure_coverage(benchmark)
    assert tuple(found.columns) == COLUMNS
    assert len(check_coverage(found)) == 6
    assert found["confidence"].tolist() == [0.8, 0.9, 0.95] * 2
    regression = next(benchmark.tasks())
    train, test = regression.parts["train"], regression.parts["test"]
    built = feature_builders(["counts"])["counts"](regression.smiles)
    # Five of twenty folds of the training molecules calibrate.
    folds = molecule_folds(regression.y[train], [regression.smiles[row] for row in train], "regression", 20, 0)
    kept = train[np.sort(np.concatenate([rows for _, rows in folds[:5]]))]
    rest = np.setdiff1d(train, kept)
    head = build_head("tanimoto_svm").fit(built.rows(rest), regression.y[rest])
    errors = np.sort(np.abs(head.predict(built.rows(kept)) - regression.y[kept]))
    end = errors[int(np.ceil((len(errors) + 1) * 0.9)) - 1]
    hits = np.abs(head.predict(built.rows(test)) - regression.y[test]) <= end
    row = found.iloc[1]
    assert (row["coverage"], row["n"], row["n_calibration"]) == (hits.mean(), len(test), len(kept))
    assert row["width"] == pytest.approx(2 * end)
    classes = found[found["task_type"] == "classification"]
    assert classes["width"].is_monotonic_increasing
    assert classes["width"].between(0, 2).all()


def test_without_rows_to_calibrate_on_the_table_and_the_report_stand_and_say_so(tmp_path, capsys):
    pd.DataFrame({"smiles": ["C" * n for n in range(1, 31)], "y": range(30)}).to_csv(tmp_path / "t.csv", index=False)
    found = measure_coverage(TableBenchmark(tmp_path / "t.csv", target="y", split="random"))
    assert (tuple(found.columns), len(found)) == (COLUMNS, 0)
    command = ["evaluate", "table", str(tmp_path / "t.csv"), "--target", "y", "--split", "random", "--heads", "knn", "--coverage"]
    assert run([*command, "-o", str(tmp_path / "r")]) == 0
    said = capsys.readouterr()
    assert "knn" in said.out
    assert NOT_COUNTED in said.out
    assert "9 or more are needed" in said.err
    assert "Coverage could not be counted: no task has the 9 rows" in (tmp_path / "r" / "report.html").read_text()
    assert not (tmp_path / "r" / "coverage.csv").exists()


def test_evaluate_writes_and_shows_coverage_where_it_is_asked_for(table, tmp_path, capsys):
    command = ["evaluate", "table", str(table), "--target", "activity,class", "--split", "random", "--heads", "knn"]
    assert run([*command, "--coverage", "-o", str(tmp_path / "r")]) == 0
    assert "held on test rows by the intervals and sets of counts × tanimoto_svm" in capsys.readouterr().out
    expected = measure_coverage(TableBenchmark(table, target=["activity", "class"], split="random"))
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "r" / "coverage.csv"), expected)
    page = (tmp_path / "r" / "report.html").read_text()
    assert page.count("Observed against nominal coverage") == 2  # values and classes apart
    assert run([*command, "-o", str(tmp_path / "plain")]) == 0
    assert not (tmp_path / "plain" / "coverage.csv").exists()
    assert "Observed against nominal coverage" not in (tmp_path / "plain" / "report.html").read_text()
