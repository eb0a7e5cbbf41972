"""The map of the evaluated molecules, against scikit-learn's principal components."""

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem.Crippen import MolLogP
from sklearn.decomposition import PCA

from molbt.evaluation.benchmarks.table import TableBenchmark
from molbt.evaluation.embedding_map import embedding_map, two_components


def test_components_are_those_of_scikit_learn():
    rows = np.random.default_rng(0).normal(size=(60, 5)) * [5, 3, 1, 0.5, 0.1] + 7
    points, explained = two_components(rows)
    reference = PCA(2, svd_solver="full").fit(rows)
    theirs = reference.transform(rows)
    theirs *= np.sign(reference.components_[np.arange(2), np.abs(reference.components_).argmax(axis=1)])
    assert np.allclose(points, theirs)
    assert explained == pytest.approx(reference.explained_variance_ratio_.sum())


@pytest.fixture
def table(tmp_path, nci_smiles):
    values = [*nci_smiles[:40], "C1CC"]
    pd.DataFrame({"smiles": values, "y": np.arange(41.0), "z": np.arange(41.0) ** 2}).to_csv(tmp_path / "t.csv", index=False)
    return tmp_path / "t.csv"


def embed(smiles):
    mols = [Chem.MolFromSmiles(text) for text in smiles]
    counts = [(m.GetNumAtoms(), m.GetNumBonds(), m.GetRingInfo().NumRings()) if m else (np.nan,) * 3 for m in mols]
    return np.array(counts, dtype=np.float32)


def test_one_task_gives_its_labels_and_refused_molecules_are_left_out(table):
    points, name = embedding_map(TableBenchmark(table, target="y", split="random"), {"embedding": embed, "untrained": embed})
    assert name == "y"
    assert points.groupby("features", sort=False).size().to_dict() == {"embedding": 40, "untrained": 40}
    assert points["value"].tolist()[:40] == list(range(40))


def test_several_tasks_are_coloured_by_logp_and_the_draw_is_repeatable(table, nci_smiles):
    benchmark = TableBenchmark(table, target=["y", "z"], split="random")
    points, name = embedding_map(benchmark, {"embedding": embed}, max_molecules=15)
    assert name == "Crippen logP"
    known = {round(MolLogP(Chem.MolFromSmiles(smiles)), 6) for smiles in nci_smiles[:40]}
    assert {round(value, 6) for value in points["value"]} <= known
    assert 14 <= len(points) <= 15  # the unreadable one may have been drawn
    again, _ = embedding_map(benchmark, {"embedding": embed}, max_molecules=15)
    pd.testing.assert_frame_equal(points, again)
