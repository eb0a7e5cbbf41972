"""The demo from end to end on a part of its molecules; `make demo` runs it whole."""

import pandas as pd

from molbt import demo
from molbt.data.sources import embedded_activities, embedded_molecules

SMALL = [
    "views.a.width=512", "encoder.embedding_dim=16", "encoder.hidden=[32]", "projector.widths=[32, 32]",
    "trainer.epochs=2", "trainer.batch_size=64", "trainer.num_threads=1",
]  # fmt: skip


def test_demo_judges_the_encoder_beside_every_control_and_goes_on_where_it_was(tmp_path, monkeypatch):
    molecules = pd.concat([embedded_molecules().head(400), embedded_activities()[["smiles"]].head(3)], ignore_index=True)
    activities = embedded_activities().head(120)
    monkeypatch.setattr(demo, "embedded_molecules", lambda: molecules)
    monkeypatch.setattr(demo, "embedded_activities", lambda: activities)
    result = demo.run_demo(tmp_path, repeats=1, changes=SMALL)
    pairs = set(zip(result.results["features"], result.results["head"], strict=True))
    for features in (
        "counts",
        "descriptors",
        "counts+descriptors",
        "pca",
        "untrained",
        "embedding",
        "counts+untrained",
        "counts+embedding",
    ):
        assert (features, "lightgbm") in pairs
    assert ("counts", "tanimoto_svm") in pairs
    assert result.results["value"].notna().all()
    assert result.notes[0].startswith("3 molecules of the activity series")  # what was put among the molecules above
    page = result.report.read_text()
    assert "counts+embedding" in page
    assert page.count("<svg") >= 3
    weights = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    again = demo.run_demo(tmp_path, repeats=1, changes=SMALL)
    pd.testing.assert_frame_equal(again.results, result.results)
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == weights
