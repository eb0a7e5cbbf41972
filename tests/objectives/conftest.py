"""What tests of objectives share."""

import pytest
from small_run import small_corpus

from molbt.data.corpus import Corpus


@pytest.fixture(scope="session")
def objective_corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return small_corpus(tmp_path_factory.mktemp("objectives") / "corpus")
