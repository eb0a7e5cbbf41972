import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from synthetic_results import CELLS, CONTROL, make_results

from molbt.errors import DataError
from molbt.report.page import write_report
from molbt.report.run_record import read_run

VOID = {"meta", "br", "img", "use", "path", "rect", "line"}


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects what the tests ask about."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def page_of(path: Path, results: pd.DataFrame, **options: object) -> str:
    return write_report(path / "report.html", title="A title", results=results, control=CONTROL, metric="rmse", **options).read_text()  # type: ignore[arg-type]


def test_the_page_has_its_sections_in_order(tmp_path: Path, results: pd.DataFrame, published: pd.DataFrame, run_directory: Path) -> None:
    page = page_of(tmp_path, results, published=published, run_directory=run_directory, notes=["2 rows were refused"])
    outline = Outline(page)
    headings = ["A title", "Table", "Differences to the control, drawn", "Training", "Configuration and origin", "All values"]
    assert outline.headings == headings
    assert page.index('class="verdict"') < page.index("<h2>Table")
    assert page.count("<svg") == 4
    assert "RMSE on cliff" in page
    for text in ("2 rows were refused", "modality: fingerprint", "2025.09.1", "14,882", "150"):
        assert text in page
    assert "secret" not in page


def test_a_metric_without_any_value_has_no_table(tmp_path: Path) -> None:
    results = make_results(CELLS, metrics=("rmse", "rmse_cliff"))
    assert "RMSE on cliff" in page_of(tmp_path, results).partition("<h2>All values")[0]
    undefined = results.assign(value=results["value"].where(results["metric"] == "rmse"))
    assert "RMSE on cliff" not in page_of(tmp_path, undefined).partition("<h2>All values")[0]


def test_the_page_needs_nothing_beside_it(tmp_path: Path, results: pd.DataFrame, run_directory: Path) -> None:
    page = page_of(tmp_path, results, run_directory=run_directory)
    outline = Outline(page)
    assert not outline.tags & {"script", "link", "img", "iframe", "object"}
    assert re.findall(r"(?:src|href)=\"(?!#)", page) == []
    assert re.findall(r"url\((?!#)", page) == []
    # Clip paths and markers are found by their identifiers: two drawings must not share one.
    assert len(outline.ids) == len(set(outline.ids))


def test_the_same_input_gives_the_same_bytes(tmp_path: Path, results: pd.DataFrame, published: pd.DataFrame, run_directory: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    first = page_of(tmp_path / "one", results, published=published, run_directory=run_directory)
    with mpl.rc_context({"font.size": 30, "axes.xmargin": 0.3, "svg.fonttype": "path"}):
        second = page_of(tmp_path / "two", results, published=published, run_directory=run_directory)
    assert first == second


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path, results: pd.DataFrame) -> None:
    before = dict(mpl.rcParams)
    page_of(tmp_path, results)
    assert dict(mpl.rcParams) == before


def test_names_from_outside_cannot_become_markup(tmp_path: Path, run_directory: Path) -> None:
    attack = "<script>alert(1)</script>$x_1$--><!--\"'&"
    cells = {CONTROL: (0.0, 0.0), (f"embedding+{attack}", attack): (0.1, 0.1)}
    results = make_results(cells)
    results = results.assign(benchmark=attack, split=attack, task=results["task"] + attack, extra=attack)
    (run_directory / "config.yaml").write_text(attack)
    (run_directory / "run.json").write_text(json.dumps({attack: attack}))
    metrics = pd.read_csv(run_directory / "metrics.csv")
    metrics[f"probe.{attack}"] = 1.0
    metrics.to_csv(run_directory / "metrics.csv", index=False)
    path = tmp_path / "attack.html"
    write_report(path, title=attack, results=results, control=CONTROL, metric="rmse", run_directory=run_directory, notes=[attack])
    page = path.read_text()
    assert "<script" not in page
    assert "<!--" not in page
    assert "script" not in Outline(page).tags


def test_undefined_values_are_dashes_on_the_page(tmp_path: Path, results: pd.DataFrame) -> None:
    results.loc[results["features"] == "embedding", "value"] = np.nan
    page = page_of(tmp_path, results)
    assert "embedding × lightgbm: 48 values are undefined and left out" in page
    assert re.search(r"\bnan\b", page, flags=re.IGNORECASE) is None
    # 48 rows of each of the two metrics.
    values = page[page.index("<h2>All values") :]
    assert values.count("<td>–</td>") == 96


def test_one_task_is_drawn_by_repeat_and_claims_nothing(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_results(CELLS, n_tasks=1, repeats=3))
    assert "no interval over tasks exists" in page
    assert "repeat 2" in page
    assert "no difference shown" not in page


def test_one_task_and_one_repeat_still_makes_a_page(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_results(CELLS, n_tasks=1, repeats=1))
    Outline(page)  # refuses a page that is not well formed
    assert "no interval" in page


def test_the_drawings_name_every_row_and_task(tmp_path: Path, results: pd.DataFrame) -> None:
    page = page_of(tmp_path, results)
    forest, tasks = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)
    for features, head in set(CELLS) - {CONTROL}:
        assert f"{features} × {head}</text>" in forest
    for task in results["task"].unique():
        assert f"{task}</text>" in tasks


def test_task_names_are_left_out_of_the_drawing_when_there_are_many(tmp_path: Path) -> None:
    page = page_of(tmp_path, make_results(CELLS, n_tasks=70))
    assert "70 tasks, sorted" in page
    assert "CHEMBL1805_Ki</text>" not in page


def test_a_run_without_an_epoch_is_reported_as_such(tmp_path: Path, results: pd.DataFrame, run_directory: Path) -> None:
    for name in ("metrics.csv", "spectra.jsonl", "config.yaml"):
        (run_directory / name).unlink()
    assert "no record of a finished epoch" in page_of(tmp_path, results, run_directory=run_directory)


def test_training_drawing_has_the_loss_its_terms_and_the_diagnostics(tmp_path: Path, results: pd.DataFrame, run_directory: Path) -> None:
    page = page_of(tmp_path, results, run_directory=run_directory)
    training, spectrum = re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)[2:]
    for name in (
        "loss",
        "barlow_twins.invariance",
        "barlow_twins.redundancy",
        "embedding_rank.a",
        "mean_diagonal.a-b",
        "rms_off_diagonal.a-b",
    ):
        assert f"{name}</text>" in training
    # The objective's own copies of the diagnostics are not terms of its loss.
    assert "barlow_twins.mean_diagonal" not in training
    for name in ("embedding.a", "projection.a", "epoch 1 (step 15)", "epoch 5 (step 75)", "epoch 10 (step 150)"):
        assert f"{name}</text>" in spectrum
    assert "No column of the projections was dead" in page


def test_dead_columns_get_a_panel_when_there_are_some(tmp_path: Path, results: pd.DataFrame, run_directory: Path) -> None:
    metrics = pd.read_csv(run_directory / "metrics.csv")
    metrics["dead_columns.a-b"] = 3.0
    metrics.to_csv(run_directory / "metrics.csv", index=False)
    page = page_of(tmp_path, results, run_directory=run_directory)
    assert "dead columns of the projections" in page
    assert "No column of the projections was dead" not in page


def test_a_failing_report_leaves_the_old_one_in_place(tmp_path: Path, results: pd.DataFrame) -> None:
    page = page_of(tmp_path, results)
    with pytest.raises(DataError, match="not in the results"):
        write_report(tmp_path / "report.html", title="A title", results=results, control=("no", "head"), metric="rmse")
    assert (tmp_path / "report.html").read_text() == page
    assert [entry.name for entry in tmp_path.iterdir() if entry.suffix != ".html"] == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "{", "cannot read"),
        ("run.json", "[]", "JSON object"),
        ("metrics.csv", "step\n1\n", "'epoch'"),
        ("metrics.csv", "", "cannot read"),
        ("spectra.jsonl", '{"step": 1, "embedding.a": [1]}\n{"embedding.a": 3}\n', "line 2 of"),
    ],
)
def test_damaged_run_files_are_refused_with_their_place(run_directory: Path, name: str, content: str, message: str) -> None:
    (run_directory / name).write_text(content)
    with pytest.raises(DataError, match=message):
        read_run(run_directory)


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run\.json"):
        read_run(tmp_path)


def test_writing_a_report_loads_neither_torch_nor_pyplot() -> None:
    code = "import sys, molbt.report.page; print([name for name in ('torch', 'rdkit', 'matplotlib.pyplot') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_model_on_its_own_tells_its_configuration_and_facts():
    from molbt.model.checkpoint import find_model

    record = read_run(find_model("default"))
    assert record.metrics.empty
    assert "name: multitask" in record.config
    assert record.facts["molecules"] == "177,561"
    assert record.facts["versions.rdkit"]
