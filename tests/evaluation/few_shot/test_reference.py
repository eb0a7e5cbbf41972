"""Standardised features against the mean and deviation of the reference molecules."""

from collections.abc import Sequence

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors
from small_run import nci_smiles

from molbt.errors import DataError
from molbt.evaluation.few_shot.reference import standardised
from molbt.predict.features import FeatureSet, feature_builders

REFERENCE, TASK = nci_smiles(60), nci_smiles(80)[60:]


def embed(smiles: Sequence[str]) -> np.ndarray:
    """Weight and polar surface, NaN where a SMILES cannot be read."""
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    rows = [(Descriptors.MolWt(mol), Descriptors.TPSA(mol)) if mol else (np.nan, np.nan) for mol in mols]
    return np.array(rows, dtype=np.float32)


def test_dense_blocks_are_z_scores_among_the_reference_and_counts_stay() -> None:
    builder = feature_builders(["counts+weights"], learned={"weights": embed})["counts+weights"]
    scaled, plain = standardised(builder, ["no SMILES", *REFERENCE])(TASK), builder(TASK)
    known = embed(REFERENCE).astype(np.float64)
    expected = (embed(TASK) - known.mean(axis=0)) / known.std(axis=0)
    np.testing.assert_allclose(scaled.blocks["weights"], np.clip(expected, -10, 10), rtol=1e-4, atol=1e-4)
    assert list(scaled.blocks) == list(plain.blocks)
    for name in plain.sparse_blocks:
        assert scaled.blocks[name] is plain.blocks[name]


def test_features_without_a_dense_block_are_built_as_they_were() -> None:
    builder = feature_builders(["counts"])["counts"]
    assert standardised(builder, REFERENCE) is builder


def test_refused_rows_stay_refused_and_a_useless_reference_is_an_error() -> None:
    builder = feature_builders(["weights"], learned={"weights": embed})["weights"]
    features: FeatureSet = standardised(builder, REFERENCE)(["CCO", "no SMILES"])
    assert features.valid.tolist() == [True, False]
    with pytest.raises(DataError, match="got 1 of 2"):
        standardised(builder, ["CCO", "no SMILES"])
