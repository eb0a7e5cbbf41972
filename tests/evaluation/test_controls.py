import numpy as np
import pytest

from molbt.errors import ConfigError
from molbt.evaluation.controls import CONTROL, control_features


def embed(smiles):
    return np.zeros((len(smiles), 2), np.float32)


def test_control_features_come_first_and_hold_the_control() -> None:
    names = [name for name, _ in control_features({"embedding": embed, "untrained": embed, "pca": embed, "hidden": embed})]
    assert names == [
        "counts",
        "descriptors",
        "counts+descriptors",
        "pca",
        "untrained",
        "embedding",
        "hidden",
        "counts+untrained",
        "counts+embedding",
    ]
    assert [name for name, _ in control_features()] == names[:3]
    assert CONTROL[0] in names


def test_named_features_bring_what_they_are_judged_by() -> None:
    learned = {"embedding": embed, "untrained": embed, "pca": embed}

    def names(*wanted):
        return [name for name, _ in control_features(learned, wanted)]

    assert names("counts+embedding") == ["counts", "counts+untrained", "counts+embedding"]
    assert names("embedding", "descriptors") == ["counts", "descriptors", "untrained", "embedding"]
    assert names("counts+descriptors+embedding")[-2:] == ["counts+descriptors+untrained", "counts+descriptors+embedding"]


def test_features_of_an_encoder_need_one() -> None:
    with pytest.raises(ConfigError, match=r"'embedding' in 'counts\+embedding'.*--model"):
        control_features(None, ["counts+embedding"])
    with pytest.raises(ConfigError, match="did you mean 'descriptors'"):
        control_features(None, ["descriptor"])
