"""A small twin of molecules and texts, trained once, and trees on it."""

from pathlib import Path

import pytest
from made_pairs import HELD_OUT, TRAINING, made_rows, made_twin, with_unreadable

from molbt.predict.zero_shot import ZeroShotPredictor


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_twin(tmp_path_factory.mktemp("made_twin") / "run")


@pytest.fixture(scope="session")
def boosted(twin: Path) -> ZeroShotPredictor:
    """Trees on the twin, which learned from 4,000 pairs of the training assays, some unreadable, calibrated on the others."""
    table, training = with_unreadable(made_rows(HELD_OUT, n=120, first=240)), with_unreadable(made_rows(TRAINING))
    return ZeroShotPredictor.calibrate(
        twin,
        *(table[name] for name in ("smiles", "text", "label")),
        head="lightgbm",
        training=tuple(training[name] for name in ("smiles", "text", "label")),
        max_pairs=4_000,
    )


@pytest.fixture(scope="session")
def twin_predictor(twin: Path) -> ZeroShotPredictor:
    """The twin itself, calibrated on the same pairs."""
    table = made_rows(HELD_OUT, n=120, first=240)
    return ZeroShotPredictor.calibrate(twin, table["smiles"], table["text"], table["label"])
