"""Contributions: what adds up adds up, and atoms are those that RDKit names."""

import re

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator
from scipy import sparse
from scipy.special import logit

from molbt.data.molecules import ParsePolicy
from molbt.errors import ConfigError, DataError, ShapeError
from molbt.predict.atom_environments import environments_of
from molbt.predict.explain import BASE, explain
from molbt.predict.features import COUNT_WIDTH, FeatureSet, feature_builders
from molbt.predict.heads import build_head

ALCOHOLS = ["CCO", "CCCO", "CCCCO", "CC(C)O", "OCCO", "OC1CCCCC1", "CC(O)CC", "OCc1ccccc1", "CCCCCO", "OC1CCCC1"]
OTHERS = ["CCC", "CCCC", "CC(C)C", "C1CCCCC1", "CCN", "c1ccccc1", "CCCCC", "CCF", "CCCl", "CC=C"]
SMILES = [*ALCOHOLS, "not a molecule", *OTHERS]
ACTIVITY = np.array([6.0 + 0.1 * i for i in range(10)] + [5.0] + [4.0 + 0.05 * i for i in range(10)])


@pytest.fixture(scope="module")
def built():
    return feature_builders(["counts+descriptors", "counts", "descriptors"])


def labels_of(task_type):
    return ACTIVITY if task_type == "regression" else (ACTIVITY > 5.5).astype(float)


def fitted(name, features, task_type="regression"):
    parameters = {"n_trees": 40, "column_fraction": 1.0} if name == "lightgbm" else {}
    return build_head(name, task_type, **parameters).fit(features, labels_of(task_type))


@pytest.mark.parametrize("smiles", [*ALCOHOLS, "CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "N[C@@H](C)C(=O)O"])
@pytest.mark.parametrize("width", [64, COUNT_WIDTH])
def test_places_of_features_are_those_that_rdkit_counts(smiles, width):
    mol = Chem.MolFromSmiles(smiles)
    generators = {
        "ecfp4": rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=width),
        "atom_pair": rdFingerprintGenerator.GetAtomPairGenerator(fpSize=width),
    }
    for kind, generator in generators.items():
        found = environments_of(kind, width)(mol)
        counts = generator.GetCountFingerprint(mol).GetNonzeroElements()
        assert {column: len(places) for column, places in found.items()} == counts
        if hasattr(rdFingerprintGenerator.AdditionalOutput, "AllocateAtomsPerBit"):  # newer versions name the atoms themselves
            output = rdFingerprintGenerator.AdditionalOutput()
            output.AllocateAtomsPerBit()
            generator.GetCountFingerprint(mol, additionalOutput=output)
            for column, places in output.GetAtomsPerBit().items():
                assert sorted(tuple(sorted(place)) for place in found[column]) == sorted(tuple(sorted(place)) for place in places)


def test_the_place_of_a_circular_feature_is_all_within_its_radius():
    places = environments_of("ecfp4", COUNT_WIDTH)(Chem.MolFromSmiles("CCCO"))
    found = sorted(atoms for of_column in places.values() for atoms in of_column)
    assert found == [(0,), (0, 1), (0, 1, 2), (0, 1, 2, 3), (1,), (1, 2, 3), (2,), (2, 3), (3,)]


def test_features_that_rdkit_does_not_place_are_refused():
    with pytest.raises(ConfigError, match="'maccs' cannot be traced to atoms"):
        environments_of("maccs", 167)


@pytest.mark.parametrize("name", ["counts+descriptors", "counts", "descriptors"])
@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_contributions_add_up_to_the_prediction(built, name, task_type):
    features = built[name](SMILES)
    head = fitted("lightgbm", features, task_type)
    found = explain(head, features, SMILES)
    predictions = head.predict(features)
    expected = predictions if task_type == "regression" else logit(predictions)
    assert found.additive
    assert found.scale == ("value" if task_type == "regression" else "log-odds")
    np.testing.assert_allclose(found.predictions, expected, rtol=1e-9, atol=1e-9)
    sums = found.frame.groupby("row")["contribution"].sum()
    assert 10 not in sums.index
    np.testing.assert_allclose(sums, np.delete(expected, 10), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.by_block().sum(axis=1), np.delete(expected, 10), rtol=1e-9, atol=1e-9)
    assert set(found.by_block().columns) == {BASE, *features.blocks}


def test_the_base_is_the_mean_prediction_of_the_training_rows(built):
    features = built["counts"](SMILES)
    head = fitted("lightgbm", features)
    base = explain(head, features, SMILES).by_block()[BASE]
    assert base.nunique() == 1
    # SHAP's base of a tree is the mean of its leaves, weighted by training rows: here every row trains every tree.
    whole = build_head("lightgbm", n_trees=40, column_fraction=1.0, row_fraction=1.0).fit(features, ACTIVITY)
    assert explain(whole, features, SMILES).by_block()[BASE].iloc[0] == pytest.approx(np.nanmean(whole.predict(features)), rel=1e-6)


def test_the_oxygen_gets_the_contribution_of_its_own_feature(built):
    # One column decides: the oxygen of a hydroxyl, ECFP with radius 0. It occurs once, or twice in glycol.
    features = built["counts"](SMILES)
    oxygen = environments_of("ecfp4", COUNT_WIDTH)(Chem.MolFromSmiles("CCO"))
    column = next(column for column, places in oxygen.items() if places == [(2,)])
    alone = features.blocks["ecfp4"].toarray()
    alone[:, np.arange(COUNT_WIDTH) != column] = 0
    head = build_head("lightgbm", n_trees=40).fit(FeatureSet("counts", {"ecfp4": sparse.csr_array(alone)}, features.valid), ACTIVITY)
    found = explain(head, FeatureSet("counts", {"ecfp4": features.blocks["ecfp4"]}, features.valid), SMILES)
    ethanol, glycol = found.atoms_of(0), found.atoms_of(4)
    assert ethanol[2] > 0.5
    np.testing.assert_array_equal(ethanol[:2], 0)
    assert glycol[0] == glycol[3] > 0.25
    np.testing.assert_array_equal(glycol[1:3], 0)
    lines = found.frame[found.frame["row"] == 10 + 1]  # propane has no oxygen: what its absence contributes belongs to no atom
    assert lines.loc[lines["atom"].isna() & (lines["block"] == "ecfp4"), "contribution"].item() < -0.5
    np.testing.assert_array_equal(found.atoms_of(11), 0)


@pytest.mark.parametrize(
    ("name", "blocks", "method"),
    [
        ("tanimoto_svm", "counts", "auto"),
        ("tanimoto_svm", "counts+descriptors", "auto"),
        ("lightgbm", "counts", "masking"),
        ("forest", "counts", "auto"),
    ],
)
@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_masking_is_the_change_of_the_prediction_without_the_features_of_an_atom(built, name, blocks, method, task_type):
    features = built[blocks](SMILES)
    head = fitted(name, features, task_type)
    found = explain(head, features, SMILES, method=method)
    assert not found.additive
    assert found.scale == ("value" if task_type == "regression" else "probability")
    row, atom = 7, 0  # the oxygen of benzyl alcohol
    mol = Chem.MolFromSmiles(SMILES[row])
    masked = {key: block[[row]] for key, block in features.blocks.items()}
    for kind in ("ecfp4", "atom_pair"):
        counts = np.zeros((1, COUNT_WIDTH), dtype=np.float32)
        for column, places in environments_of(kind, COUNT_WIDTH)(mol).items():
            counts[0, column] = sum(atom not in place for place in places)
        masked[kind] = sparse.csr_array(counts)
    without = head.predict(FeatureSet(features.name, masked, np.ones(1, bool)))[0]
    assert found.atoms_of(row)[atom] == pytest.approx(head.predict(features)[row] - without, abs=1e-9)
    assert found.atoms_of(row)[atom] == found.atoms_of(row).max() > 0
    assert len(found.atoms_of(row)) == mol.GetNumAtoms()


def test_atoms_are_counted_in_the_standardised_molecule():
    policy = ParsePolicy(standardise="largest_fragment")
    smiles = [f"[Na+].{entry}" for entry in SMILES]
    features = feature_builders(["counts"], policy=policy)["counts"](smiles)
    found = explain(fitted("lightgbm", features), features, smiles, policy=policy)
    assert found.molecules[0].GetNumAtoms() == 3
    assert found.molecules[10] is None
    with pytest.raises(ShapeError, match="block 'ecfp4' of row 0"):
        explain(fitted("lightgbm", features), features, smiles)


def test_the_caption_says_how_a_prediction_adds_up(built):
    features = built["counts"](SMILES)
    head = fitted("lightgbm", features)
    found = explain(head, features, SMILES)
    predicted, *parts = [float(number) for number in re.findall(r"[+-]?\d+\.?\d*", " ".join(found.caption(0)))]
    assert predicted == pytest.approx(head.predict(features)[0], abs=0.01)
    assert len(parts) == 3
    assert predicted == pytest.approx(sum(parts), abs=0.02)
    assert "taken away" in explain(head, features, SMILES, method="masking").caption(0)[1]


def test_explaining_refuses_what_it_cannot_explain(built):
    counts, dense = built["counts"](SMILES), built["descriptors"](SMILES)
    with pytest.raises(ConfigError, match="'ridge' is explained by masking counts"):
        explain(fitted("ridge", dense), dense, SMILES)
    with pytest.raises(ConfigError, match="received the head 'tanimoto_svm'; use method='masking'"):
        explain(fitted("tanimoto_svm", counts), counts, SMILES, method="contributions")
    with pytest.raises(ConfigError, match="did you mean 'masking'"):
        explain(fitted("lightgbm", counts), counts, SMILES, method="mask")
    with pytest.raises(DataError, match="predicts 1, the one label"):
        explain(build_head("lightgbm").fit(counts, np.ones(len(SMILES))), counts, SMILES)
    with pytest.raises(ShapeError, match="one SMILES for each of 21 rows, received 1"):
        explain(fitted("lightgbm", counts), counts, ["CCO"])
    with pytest.raises(ShapeError, match="row 0 does not hold the features"):
        explain(fitted("lightgbm", counts), counts, SMILES[::-1])
    found = explain(fitted("lightgbm", counts), counts, SMILES)
    for row in (10, -1, 21):
        with pytest.raises(ShapeError, match=f"row {row} of 21 has no molecule"):
            found.atoms_of(row)
