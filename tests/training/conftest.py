"""What tests of training share."""

from pathlib import Path

import pytest
from small_run import small_config, small_corpus

from molbt.data.corpus import Corpus
from molbt.training.trainer import pretrain


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return small_corpus(tmp_path_factory.mktemp("training") / "corpus")


@pytest.fixture(scope="session")
def whole(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    path = tmp_path_factory.mktemp("whole") / "run"
    pretrain(corpus, path, config=small_config())
    return path
