"""What tests of training share."""

import pytest
from small_run import small_corpus

from molbt.data.corpus import Corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return small_corpus(tmp_path_factory.mktemp("training") / "corpus")
