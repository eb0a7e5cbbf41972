"""Tiny language models."""

from pathlib import Path

import pytest
from text_models import save_tiny
from transformers import BertForMaskedLM, BertModel


@pytest.fixture(scope="session")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without a head over the vocabulary, as sentence encoders are published."""
    return save_tiny(tmp_path_factory.mktemp("tiny") / "body", BertModel)


@pytest.fixture(scope="session")
def with_head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "with_head", BertForMaskedLM)
