"""A made world of described assays, and a small twin of it."""

from pathlib import Path

import pytest
from made_pairs import TEXTS, TRAINING, made_rows, made_twin

from molbt.evaluation.zero_shot.training import Training
from molbt.predict.training_pairs import TrainingPairs


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_twin(tmp_path_factory.mktemp("made_twin") / "run")


@pytest.fixture(scope="session")
def training(run: Path) -> Training:
    return Training(TrainingPairs.of(made_rows(TRAINING), TEXTS), run=run)
