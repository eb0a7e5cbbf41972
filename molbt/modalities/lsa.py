"""Text as latent semantic analysis: TF-IDF of words and word pairs, and its leading directions among the training texts."""

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import numpy as np
import torch
from pydantic import Field
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor

from molbt.data.columns import RaggedColumn
from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.errors import DataError
from molbt.modalities._fingerprint_augmentations import drop_items
from molbt.modalities.base import Columns, Modality, Prepared
from molbt.nn.fingerprint_encoder import FingerprintBatch
from molbt.nn.lsa_encoder import LsaEncoder

_WIDTH = 1 << 20  # hashed terms; 5,111 assay descriptions hold some 40,000, so few share a number
_TERM = r"(?u)[^\W_]+(?:[-/.][^\W_]+)*"  # keeps names such as IL-6, 5-HT2A and CYP3A4 whole


class Lsa(Modality):
    """Texts by their words: no language model, nothing to fetch, and the baseline that a language model has to beat.

    Attributes
    ----------
    ngram_max : int
        Longest run of words that counts as a term.
    max_terms : int
        Terms kept: those in the most training texts (at least two of them).
    components : int
        Leading directions of the training texts' TF-IDF; fewer where there are fewer texts or terms.
    drop : float
        Augmentation: probability that a term is left out.

    References
    ----------
    Deerwester et al., "Indexing by latent semantic analysis", J. Am. Soc. Inf. Sci. 1990, 41, 391.
    """

    augmentations: ClassVar[frozenset[str]] = frozenset({"drop"})
    is_molecular: ClassVar[bool] = False

    ngram_max: int = Field(default=2, ge=1, le=5)
    max_terms: int = Field(default=20_000, ge=1, le=1 << 20)
    components: int = Field(default=256, ge=1, le=4096)
    drop: float = Field(default=0.0, ge=0.0, lt=1.0)

    def prepare(self, values: Sequence[str], policy: ParsePolicy) -> Prepared:
        """Count the terms of each text. A blank text is refused and has no terms; a text without a word has none either.

        Returns
        -------
        Prepared
            One ragged column ``terms`` with the fields ``id`` (uint32, rising within an entry) and ``count`` (uint8, at most 255).
        """
        reasons = ["" if value.strip() else "blank" for value in values]
        if values:
            hashing = HashingVectorizer(
                n_features=_WIDTH, ngram_range=(1, self.ngram_max), token_pattern=_TERM, alternate_sign=False, norm=None
            )
            counts = sparse.csr_array(hashing.transform(values))
            counts.sort_indices()
        else:
            counts = sparse.csr_array((0, _WIDTH))
        fields = {"id": counts.indices.astype(np.uint32), "count": np.minimum(counts.data, 255).astype(np.uint8)}
        return Prepared({"terms": RaggedColumn.from_numpy(fields, counts.indptr.astype(np.int64))}, reasons)

    def fit(self, columns: Columns, index: np.ndarray) -> dict[str, np.ndarray]:
        """Learn the vocabulary, its weights and the directions from the texts at ``index``, each counted once.

        Returns
        -------
        dict of ndarray
            ``terms`` (kept,) int64, rising: the hashed terms that are kept; ``idf`` (kept,) float32; ``components`` (kept, components)
            float32; ``scale`` () float32: the root mean square of the training texts' coordinates.

        Raises
        ------
        DataError
            If fewer than two terms occur in two of the texts.
        """
        counts = self.dense(columns, np.unique(index))
        n_texts = counts.shape[0]
        occurring, frequency = np.unique(counts.indices, return_counts=True)
        shared = np.flatnonzero(frequency >= 2)
        if len(shared) < 2:
            found = f"one word in two of {n_texts} texts" if len(shared) else f"{n_texts} texts without a word in two of them"
            raise DataError(
                f"expected training texts that share two words or more, received {found}, in the modality lsa; check the view's column, or "
                "give it more texts"
            )
        # By frequency, then by hash: which of equally frequent terms are kept does not depend on the order of the texts.
        kept = np.sort(shared[np.argsort(-frequency[shared], kind="stable")[: self.max_terms]])
        terms, idf = occurring[kept], np.log((1 + n_texts) / (1 + frequency[kept])) + 1
        weights = _tf_idf(counts[:, terms], idf)
        svd = TruncatedSVD(min(self.components, *(size - 1 for size in weights.shape)) or 1, random_state=0).fit(weights)
        scale = np.sqrt(np.mean(svd.transform(weights) ** 2)) or 1.0
        return {
            "terms": terms.astype(np.int64),
            "idf": idf.astype(np.float32),
            "components": np.ascontiguousarray(svd.components_.T, dtype=np.float32),
            "scale": np.float32(scale).reshape(()),
        }

    def collate(self, columns: Columns, index: Tensor) -> FingerprintBatch:
        """Gather the terms of texts; the weights are 1 + log(count)."""
        taken = _terms(columns).gather(index)
        weights = 1 + torch.log(taken.fields["count"].to(torch.float32))
        return FingerprintBatch(taken.fields["id"], weights, taken.row_of_item, taken.offsets, _WIDTH)

    def augment(self, batch: FingerprintBatch, draws: Draws) -> FingerprintBatch:
        """Return a copy without the dropped terms."""
        return drop_items(batch, self.drop, draws.stream("drop")) if self.drop else batch

    def build_encoder(  # type: ignore[override]  # the parameters are spelled out: they are the keys of the configuration
        self,
        *,
        embedding_dim: int = 512,
        fitted: Mapping[str, Tensor],
        hidden: Sequence[int] = (1024,),
        activation: str = "gelu",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
    ) -> LsaEncoder:
        """Return the network of ``molbt.nn.lsa_encoder``; ``fitted`` holds what ``fit`` returned."""
        return LsaEncoder(
            embedding_dim=embedding_dim,
            fitted=fitted,
            hidden=hidden,
            activation=activation,
            dropout=dropout,
            input_dropout=input_dropout,
        )

    def dense(self, columns: Columns, index: np.ndarray) -> sparse.csr_matrix:
        """Return the counts of hashed terms at ``index``: SciPy CSR ``(rows, 2²⁰)``, float32, ids sorted."""
        taken = _terms(columns).gather(torch.as_tensor(index, dtype=torch.int64))
        data = taken.fields["count"].numpy().astype(np.float32)
        return sparse.csr_matrix((data, taken.fields["id"].numpy(), taken.offsets.numpy()), shape=(len(index), _WIDTH))


def _tf_idf(counts: sparse.csr_matrix, idf: np.ndarray) -> sparse.csr_matrix:
    """Return (1 + log count) · idf, rows of length 1."""
    weights = counts.astype(np.float64)
    weights.data = (1 + np.log(weights.data)) * idf[weights.indices]
    length = np.sqrt(np.asarray(weights.multiply(weights).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags_array(1 / np.where(length > 0, length, 1)) @ weights)


def _terms(columns: Columns) -> RaggedColumn:
    return cast(RaggedColumn, columns["terms"])
