"""Results and a run directory to report on."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_results import CELLS, make_results


@pytest.fixture
def results() -> pd.DataFrame:
    return make_results(CELLS, metrics=("rmse", "rmse_cliff"))


@pytest.fixture
def published(results: pd.DataFrame) -> pd.DataFrame:
    cells = {(f"descriptor {n} (published)", "RF"): (0.07 + 0.01 * n, 0.05) for n in range(8)}
    return make_results(cells, repeats=1)


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A run of ten epochs as the trainer leaves it behind."""
    path = tmp_path / "run"
    path.mkdir()
    epochs = np.arange(1, 11)
    pd.DataFrame(
        {
            "step": 15 * epochs,
            "epoch": epochs,
            "samples_seen": 15 * 1024 * epochs,
            "learning_rate": 1e-3 * np.cos(epochs / 8),
            "loss": 400 / epochs,
            "gradient_norm": 90 / epochs,
            "barlow_twins.loss": 400 / epochs,
            "barlow_twins.invariance": 100 / epochs,
            "barlow_twins.redundancy": 300 / epochs,
            "barlow_twins.mean_diagonal": 0.5,
            "barlow_twins.sampling_floor": 60.0,
            "seconds": 2.5,
            "samples_per_second": 6144.0,
            "embedding_std.a": 0.9,
            "embedding_rank.a": 100 + 10 * epochs,
            "projection_rank.a": 300 + 20 * epochs,
            "mean_diagonal.a-b": 0.5 + 0.03 * epochs,
            "rms_off_diagonal.a-b": 0.1 / epochs,
            "dead_columns.a-b": 0.0,
        }
    ).to_csv(path / "metrics.csv", index=False)
    spectrum = np.exp(-np.arange(64) / 16)
    lines = [json.dumps({"step": int(15 * n), "embedding.a": list(30 * spectrum), "projection.a": list(9 * spectrum**0.5)}) for n in epochs]
    (path / "spectra.jsonl").write_text("\n".join(lines) + "\n")
    (path / "config.yaml").write_text("views: {a: {modality: fingerprint}}\n")
    record = {"config": {"secret": 1}, "samples": 14_882, "hardware": {"device": "cpu"}, "versions": {"rdkit": "2025.09.1"}, "init": None}
    (path / "run.json").write_text(json.dumps(record))
    return path
