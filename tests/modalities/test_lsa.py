"""Terms and TF-IDF against scikit-learn's own vectorizer, directions against a singular value decomposition, and twins of texts."""

import gzip
import json

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from molbt.data.molecules import ParsePolicy
from molbt.draws import Draws
from molbt.errors import DataError
from molbt.modalities.lsa import Lsa

POLICY = ParsePolicy()
TEXTS = [
    "Inhibition of human CYP3A4 in liver microsomes.",
    "Inhibition of human CYP2D6 in liver microsomes. Inhibition was measured at 10 uM.",
    "Binding affinity to the rat 5-HT2A receptor",
    "Binding affinity to the human 5-HT2A receptor expressed in CHO cells",
    "Antagonist activity at human IL-6 receptor in CHO cells",
    "Agonist activity at the rat IL-6 receptor",
]


def prepared(texts, **parameters):
    modality = Lsa(**parameters)
    return modality, modality.prepare(texts, POLICY).columns


def fitted(modality, columns, index):
    return {name: torch.as_tensor(array) for name, array in modality.fit(columns, np.asarray(index)).items()}


def coordinates(modality, columns, arrays, index):
    encoder = modality.build_encoder(embedding_dim=4, hidden=(8,), fitted=arrays)
    return encoder.coordinates(modality.collate(columns, torch.as_tensor(index))).numpy()


def tf_idf(texts):
    """scikit-learn's, with the same terms: words and pairs that occur in two texts or more."""
    pattern = r"(?u)[^\W_]+(?:[-/.][^\W_]+)*"
    return TfidfVectorizer(ngram_range=(1, 2), token_pattern=pattern, min_df=2, sublinear_tf=True).fit_transform(texts).toarray()


def test_coordinates_have_the_similarities_of_scikit_learns_tf_idf():
    modality, columns = prepared(TEXTS, components=5)
    arrays = fitted(modality, columns, range(6))
    found = coordinates(modality, columns, arrays, range(6)) * float(arrays["scale"])
    expected = tf_idf(TEXTS)
    # All directions but the last: the inner products are those of the best approximation of rank 5.
    u, s, v = np.linalg.svd(expected, full_matrices=False)
    approximation = (u[:, :5] * s[:5]) @ v[:5]
    np.testing.assert_allclose(found @ found.T, approximation @ approximation.T, atol=1e-5)
    assert np.mean((found / float(arrays["scale"])) ** 2) == pytest.approx(1, rel=1e-5)


def test_names_of_targets_stay_whole():
    modality, columns = prepared(["5-HT2A", "5 HT2A", "IL-6 receptor", "cyp3a4", "CYP3A4"], ngram_max=1)
    matrix = modality.dense(columns, np.arange(5))
    assert [matrix[[row]].nnz for row in range(5)] == [1, 2, 2, 1, 1]
    assert (matrix[[3]] != matrix[[4]]).nnz == 0


def test_only_training_texts_decide():
    modality, columns = prepared(TEXTS, components=3)
    alone = prepared(TEXTS[:4], components=3)[1]
    some, same, repeated = (
        modality.fit(c, np.array(i)) for c, i in ((columns, [0, 1, 2, 3]), (alone, [0, 1, 2, 3]), (alone, [3, 0, 1, 2, 2, 2]))
    )
    for name, array in some.items():
        np.testing.assert_array_equal(array, same[name])
        np.testing.assert_array_equal(array, repeated[name])
    everything = modality.fit(columns, np.arange(6))
    assert len(everything["terms"]) > len(some["terms"])


def test_the_most_frequent_terms_are_kept():
    modality, columns = prepared(TEXTS, ngram_max=1, max_terms=3, components=2)
    kept = set(modality.fit(columns, np.arange(6))["terms"].tolist())
    matrix = modality.dense(columns, np.arange(6))
    frequency = np.asarray((matrix > 0).sum(axis=0)).ravel()
    assert len(kept) == 3
    assert min(frequency[list(kept)]) >= np.sort(frequency)[-3]


def test_unknown_words_and_blank_texts():
    modality, columns = prepared([*TEXTS, "zebra crossing", "  ", "human zebra", "human", "!!! ..."], components=3)
    assert modality.prepare(["a b", " ", ""], POLICY).reasons == ["", "blank", "blank"]
    arrays = fitted(modality, columns, range(6))
    found = coordinates(modality, columns, arrays, range(11))
    assert np.isfinite(found).all()
    assert not found[[6, 7, 10]].any()
    np.testing.assert_allclose(found[8], found[9], atol=1e-6)  # the unknown word does not shorten the known one


def test_texts_that_share_no_word_are_refused():
    modality, columns = prepared(["alpha beta", "gamma delta"])
    with pytest.raises(DataError, match="without a word in two of them"):
        modality.fit(columns, np.arange(2))


def test_dropped_terms_do_not_depend_on_the_batch():
    modality, columns = prepared(TEXTS, drop=0.5)

    def kept(rows):
        rows = torch.tensor(rows)
        batch = modality.augment(modality.collate(columns, rows), Draws.for_rows(rows, seed=1, epoch=0, view="text"))
        return [batch.ids[batch.row_of_item == row].tolist() for row in range(len(rows))]

    whole, part = kept([0, 1, 2, 3, 4, 5]), kept([4, 2])
    assert part == [whole[4], whole[2]]
    total = sum(len(ids) for ids in whole)
    assert 0.3 * len(columns["terms"].fields["id"]) < total < 0.7 * len(columns["terms"].fields["id"])


def test_real_descriptions_of_one_kind_are_nearest_to_each_other(real_data):
    with gzip.open(real_data / "zero-shot" / "assay_text_corpus.jsonl.gz", "rt") as lines:
        entries = [json.loads(line) for line in lines]
    texts = [entry["text"] for entry in entries if entry["rewrites"]][:300]
    rewrites = [entry["rewrites"][0] for entry in entries if entry["rewrites"]][:300]
    modality, columns = prepared([*texts, *rewrites])
    found = coordinates(modality, columns, fitted(modality, columns, range(300)), range(600))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    nearest = (found[300:] @ found[:300].T).argmax(axis=1)
    distinct = sparse.csr_array(found[:300] @ found[:300].T > 1 - 1e-6)  # several assays share a description
    hits = np.mean([distinct[[nearest[i]], [i]].item() or nearest[i] == i for i in range(300)])
    assert hits > 0.5  # by chance 1 in 300
