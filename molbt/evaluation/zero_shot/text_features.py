"""Descriptions of assays as numbers, learned from the training assays' texts: TF-IDF, and its leading directions."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from molbt.errors import DataError

COMPONENTS = 64
_TERM = r"(?u)[^\W_]+(?:[-/.][^\W_]+)*"  # keeps names such as IL-6, 5-HT2A and CYP3A4 whole


class TextFeatures:
    """TF-IDF of words and word pairs, weighed by the training texts, each distinct one counted once.

    Parameters
    ----------
    texts : sequence of str
        Of the training assays.
    components : int
        Directions of ``coordinates``; fewer where there are fewer texts or terms.

    Raises
    ------
    DataError
        If no word occurs in two of the texts.

    References
    ----------
    Deerwester et al., "Indexing by latent semantic analysis", J. Am. Soc. Inf. Sci. 1990, 41, 391.
    """

    def __init__(self, texts: Sequence[str], *, components: int = COMPONENTS) -> None:
        distinct = list(dict.fromkeys(texts))
        self._vectorizer = TfidfVectorizer(token_pattern=_TERM, ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32)
        try:
            weights = self._vectorizer.fit_transform(distinct)
        except ValueError as error:  # scikit-learn's word for an empty vocabulary
            raise DataError(
                f"expected training texts that share words, received {len(distinct)} distinct texts ({error}); give other descriptions"
            ) from error
        n_components = max(min(components, *(size - 1 for size in weights.shape)), 1)
        self._directions = TruncatedSVD(n_components, random_state=0).fit(weights)

    def weights(self, texts: Sequence[str]) -> sparse.csr_array:
        """Return TF-IDF vectors of length 1: CSR ``(texts, terms)`` float32; a text without a known word is at the origin."""
        return sparse.csr_array(self._vectorizer.transform(texts))

    def coordinates(self, texts: Sequence[str]) -> np.ndarray:
        """Return coordinates on the leading directions: ``(texts, components)`` float32."""
        return self._directions.transform(self._vectorizer.transform(texts)).astype(np.float32)
