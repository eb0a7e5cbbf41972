"""Texts become numbers: TF-IDF and its leading directions."""

import numpy as np
import pytest

from molbt.errors import DataError
from molbt.evaluation.zero_shot.text_features import TextFeatures


def test_texts_are_tf_idf_and_its_leading_directions():
    texts = ["inhibition of CYP3A4", "inhibition of 5-HT2A", "activation of CYP3A4", "binding to 5-HT2A"]
    features = TextFeatures([*texts, texts[0]], components=2)
    weights = features.weights(texts).toarray()
    # Terms in two of the four distinct texts: inhibition, of, "inhibition of", "of cyp3a4", cyp3a4, 5-ht2a. Words of three are in "of".
    documents = {"inhibition": 2, "of": 3, "inhibition of": 2, "cyp3a4": 2, "of cyp3a4": 2}
    idf = np.array([np.log(5 / (1 + n)) + 1 for n in documents.values()])
    np.testing.assert_allclose(np.sort(weights[0][weights[0] > 0]), np.sort(idf / np.linalg.norm(idf)), rtol=1e-5)
    _, _, directions = np.linalg.svd(weights)
    np.testing.assert_allclose(np.abs(features.coordinates(texts)), np.abs(weights @ directions[:2].T), atol=1e-4)
    assert not features.weights(["zebra"]).nnz
    with pytest.raises(DataError, match="share words"):
        TextFeatures(["one", "two"])
