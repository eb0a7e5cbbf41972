from pathlib import Path

import pytest
from directories import make


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One directory of each kind. Copy what you change."""
    return make(tmp_path_factory.mktemp("hostile"))
