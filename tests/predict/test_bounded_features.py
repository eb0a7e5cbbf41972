"""Features in a file: the same predictor as from memory, in less of it."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from molbt.cli.main import run
from molbt.data.files import cache_directory
from molbt.errors import ConfigError, ShapeError
from molbt.predict.batches import Batches
from molbt.predict.boosting import LightGBM
from molbt.predict.bounded_features import BoundedBuilder
from molbt.predict.features import FeatureBuilder, FeatureSet
from molbt.predict.heads import build_head
from molbt.predict.predictor import Predictor
from molbt.predict.stored_block import StoredBlock, StoredRows

N, WIDTH = 3_000, 12


def stored(matrix: np.ndarray, tmp_path) -> StoredBlock:
    rows = StoredRows(tmp_path, matrix.shape[1])
    for start in range(0, len(matrix), 700):
        rows.append(matrix[start : start + 700])
    return rows.block()


@pytest.fixture
def matrix():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(N, WIDTH)).astype(np.float32)
    matrix[rng.random(matrix.shape) < 0.05] = np.nan
    matrix[:, 3], matrix[:, 4] = 7.0, np.nan  # nothing to split
    return matrix


@pytest.fixture
def labels(matrix):
    return np.nan_to_num(matrix[:, 0]) + np.nan_to_num(matrix[:, 1]) ** 2


def test_a_stored_block_gives_the_rows_of_the_array(matrix, tmp_path):
    block = stored(matrix, tmp_path)
    rng = np.random.default_rng(1)
    assert block.shape == matrix.shape
    np.testing.assert_array_equal(block.read(), matrix)
    np.testing.assert_array_equal(block.read(10, 20), matrix[10:20])
    np.testing.assert_array_equal(np.concatenate(list(block.batches(999))), matrix)
    for index in (rng.permutation(N)[:500], rng.random(N) < 0.3, np.empty(0, dtype=np.int64), np.array([5, 5, 2999])):
        np.testing.assert_array_equal(np.asarray(block[index]), matrix[index])
        np.testing.assert_array_equal(block[index].read(1, 4), matrix[index][1:4])
    once_more = block[np.arange(100, 2_000)][rng.permutation(1_900)]
    np.testing.assert_array_equal(once_more[np.arange(7)].read(), np.asarray(once_more)[:7])
    with pytest.raises(ShapeError, match="width 12"):
        StoredRows(tmp_path, WIDTH).append(matrix[:, :3])


def test_a_stored_block_leaves_no_file(matrix, tmp_path):
    block = stored(matrix, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(block.read()) == N


@pytest.mark.parametrize("changes", [{}, {"patience": 5, "n_trees": 60}, {"bin_rows": 500}])
@pytest.mark.parametrize("task_type", ["regression", "classification"])
def test_lightgbm_becomes_the_same_from_a_file(matrix, labels, tmp_path, task_type, changes):
    y = labels if task_type == "regression" else (labels > 1).astype(float)
    valid = np.arange(N) % 11 > 0
    y[::7] = np.nan
    settings = {"n_trees": 20, "task_type": task_type, **changes}
    memory = LightGBM(**settings).fit(FeatureSet("x", {"a": matrix[:, :5], "b": matrix[:, 5:]}, valid), y)
    blocks = {"a": stored(matrix[:, :5], tmp_path), "b": stored(matrix[:, 5:], tmp_path)}
    features = FeatureSet("x", blocks, valid)
    file = LightGBM(**settings).fit(features, y)
    assert file.booster_.model_to_string() == memory.booster_.model_to_string()
    np.testing.assert_array_equal(file.columns_, [0, 1, 2, *range(5, WIDTH)])
    in_memory = FeatureSet("x", {"a": matrix[:, :5], "b": matrix[:, 5:]}, valid)
    np.testing.assert_array_equal(file.predict(features), memory.predict(in_memory))


def test_the_rows_for_bins_change_the_model(matrix, labels):
    features = FeatureSet("x", {"a": matrix}, np.ones(N, dtype=bool))
    few, all_rows = (LightGBM(n_trees=5, bin_rows=rows).fit(features, labels).booster_.model_to_string() for rows in (100, N))
    assert few.split("end of trees")[0] != all_rows.split("end of trees")[0]


def test_columns_that_vary_are_found_as_in_memory(matrix, tmp_path):
    found = Batches(FeatureSet("x", {"a": stored(matrix, tmp_path)}, np.ones(N, dtype=bool))).varying_columns()
    assert found.tolist() == [column not in (3, 4) for column in range(WIDTH)]


def test_other_heads_and_counts_beside_a_file_are_refused(matrix, labels, tmp_path):
    valid = np.ones(N, dtype=bool)
    with pytest.raises(ConfigError, match="use the head lightgbm"):
        build_head("ridge").fit(FeatureSet("x", {"a": stored(matrix, tmp_path)}, valid), labels)
    mixed = {"a": stored(matrix, tmp_path), "counts": sparse.csr_array(np.eye(N, 4, dtype=np.float32))}
    with pytest.raises(ConfigError, match="which LightGBM cannot take together"):
        LightGBM().fit(FeatureSet("x", mixed, valid), labels)


class Lengths(FeatureBuilder):
    """One dense block, or one of counts, from the text alone."""

    def __init__(self, *, counts: bool = False) -> None:
        self.name, self.counts, self.calls = "lengths", counts, []

    def __call__(self, smiles):
        self.calls.append(len(smiles))
        values = np.array([[len(text), text.count("C"), 1.0] for text in smiles], dtype=np.float32).reshape(-1, 3)
        valid = np.array([bool(text) for text in smiles], dtype=bool)
        return FeatureSet(self.name, {"lengths": sparse.csr_array(values) if self.counts else values}, valid)


def test_features_are_stored_above_the_limit_and_held_below_it(monkeypatch):
    monkeypatch.setattr("molbt.predict.bounded_features._SHARD_ROWS", 10)
    smiles = ["C" * (number % 5) for number in range(95)]
    expected = Lengths()(smiles)
    for limit, is_stored in ((95 * 3 * 4, False), (95 * 3 * 4 - 1, True)):
        builder = Lengths()
        bounded = BoundedBuilder(builder, limit)
        features = bounded(smiles)
        assert features.is_stored == is_stored
        np.testing.assert_array_equal(np.asarray(features.blocks["lengths"]), expected.blocks["lengths"])
        np.testing.assert_array_equal(features.valid, expected.valid)
        assert max(builder.calls) == 10
        assert bounded(smiles) is features  # computed once


def test_counts_above_the_limit_are_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr("molbt.predict.bounded_features._SHARD_ROWS", 10)
    with pytest.raises(ConfigError, match=r"after 20 of 95 molecules.*--features embedding.*--no-applicability"):
        BoundedBuilder(Lengths(counts=True), 400)(["CC"] * 95)
    assert not BoundedBuilder(Lengths(counts=True), 10_000)(["CC"] * 95).is_stored


def test_a_predictor_within_a_limit_is_the_one_without(tiny_run, nci_smiles, tmp_path):
    y = [float(len(smiles)) for smiles in nci_smiles]
    settings = {
        "features": "embedding", "model": tiny_run, "head_parameters": {"n_trees": 20}, "applicability": False, "calibration": "cross"
    }  # fmt: skip
    free = Predictor(**settings).fit(nci_smiles, y)
    bounded = Predictor(**settings, memory_limit=1_000).fit(nci_smiles, y)
    assert bounded.head_.booster_.model_to_string() == free.head_.booster_.model_to_string()
    saved = Predictor.load(bounded.save(tmp_path / "p"))
    np.testing.assert_array_equal(saved.predict(nci_smiles), free.predict(nci_smiles))
    np.testing.assert_array_equal(saved.predict_interval(nci_smiles), free.predict_interval(nci_smiles))


def test_fit_takes_a_limit(tiny_run, nci_smiles, tmp_path, capsys):
    table = tmp_path / "t.csv"
    pd.DataFrame({"smiles": nci_smiles, "y": [len(smiles) for smiles in nci_smiles]}).to_csv(table, index=False)
    common = ["-q", "fit", str(table), "--target", "y", "--model", str(tiny_run), "--features", "embedding", "--set-head", "n_trees=20"]
    bounded = [*common, "--memory-limit", "1kB"]
    assert run([*bounded, "-o", str(tmp_path / "p")]) == 2
    assert "--folds 0 --no-applicability" in capsys.readouterr().err
    assert run([*bounded, "--folds", "0", "--no-applicability", "-o", str(tmp_path / "p")]) == 0
    assert run([*common, "--folds", "0", "--no-applicability", "-o", str(tmp_path / "q")]) == 0
    assert (tmp_path / "p/heads/0/head.txt").read_text() == (tmp_path / "q/heads/0/head.txt").read_text()
    assert list((cache_directory() / "features").iterdir()) == []
    assert run([*common, "--memory-limit", "2 apples", "-o", str(tmp_path / "r")]) == 2
    assert "such as 500MB or 2GB" in capsys.readouterr().err


MEASURED = """
import sys
import numpy as np
from pathlib import Path
from molbt.predict.boosting import LightGBM
from molbt.predict.features import FeatureSet
from molbt.predict.stored_block import StoredRows

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

n, width = 200_000, 128
def part(start):
    return np.random.default_rng(start).normal(size=(10_000, width)).astype(np.float32)

LightGBM(n_trees=1).fit(FeatureSet("x", {"x": part(0)[:100]}, np.ones(100, dtype=bool)), part(0)[:100, 0].astype(float))
valid, y = np.ones(n, dtype=bool), np.concatenate([part(start)[:, 0].astype(float) for start in range(0, n, 10_000)])
before = peak()
if sys.argv[1] == "file":
    rows = StoredRows(Path(sys.argv[2]), width)
    for start in range(0, n, 10_000):
        rows.append(part(start))
    block = rows.block()
else:
    block = np.concatenate([part(start) for start in range(0, n, 10_000)])
LightGBM(n_trees=3, bin_rows=5_000).fit(FeatureSet("x", {"x": block}, valid), y)
print(peak() - before, n * width * 4)
"""


@pytest.mark.slow
def test_training_takes_less_memory_than_the_features_have(tmp_path):
    def measure(kind: str) -> tuple[int, int]:
        result = subprocess.run([sys.executable, "-c", MEASURED, kind, str(tmp_path)], capture_output=True, text=True, check=True)
        return tuple(map(int, result.stdout.split()))

    grown, size = measure("file")
    assert grown < 0.8 * size
    grown, size = measure("memory")
    assert grown > size  # the measure sees what it should
