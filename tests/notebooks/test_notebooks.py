"""Every notebook runs from top to bottom, and shows what it says it shows."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
EMBEDDED_DATA = {"01_pretrain_and_featurize"}
"""Notebooks whose data arrive with the dependencies; the others need the public data sets."""

SHOWN = {
    "01_pretrain_and_featurize": "counts+embedding",
    "02_fsmol_few_shot": "counts+embedding+zero_shot",
    "03_zero_shot_with_assay_text": "lightgbm_pairs",
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch, request):
    if path.stem not in EMBEDDED_DATA:
        monkeypatch.setenv("MOLBT_DATA", str(request.getfixturevalue("real_data")))
    monkeypatch.setenv("MOLBT_NOTEBOOK_EPOCHS", "1")
    monkeypatch.setenv("MOLBT_NOTEBOOK_MOLECULES", "200")
    monkeypatch.setenv("MOLBT_NOTEBOOK_DIRECTORY", str(tmp_path))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    errors = [output for cell in notebook.cells for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert errors == []
    shown = [output["data"]["text/plain"] for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert any(SHOWN.get(path.stem, "") in text for text in shown)
    assert path.stem not in SHOWN or (tmp_path / "run" / "model" / "model.safetensors").is_file()


def test_notebooks_are_stored_without_outputs():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert all(not cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)
