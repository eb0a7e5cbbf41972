"""What tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of public data sets: ``MOLBT_DATA``, or ``../shared/data`` beside the repository.

    Without it a test is skipped, or fails when ``MOLBT_REQUIRE_DATA=1``.
    """
    repository = Path(__file__).resolve().parents[1]
    directory = Path(os.environ.get("MOLBT_DATA", repository.parent / "shared" / "data"))
    if not directory.is_dir():
        reason = f"the public data sets are not in {directory}; set MOLBT_DATA to their folder"
        if os.environ.get("MOLBT_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return directory
