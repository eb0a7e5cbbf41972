"""The protocol against fitting and scoring by hand."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_fs_mol import MOLECULES, write_fs_mol
from sklearn.metrics import average_precision_score, roc_auc_score

from molbt.errors import ConfigError, ShapeError
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS
from molbt.evaluation.benchmarks.fsmol import METRICS, FSMol
from molbt.evaluation.few_shot.methods import few_shot_head
from molbt.evaluation.few_shot.protocol import evaluate_few_shot
from molbt.evaluation.few_shot.sampling import draw_support
from molbt.predict.features import FeatureSet, feature_builders


class CountingBuilder:
    """Counts of letters, without the one that decides the labels, and how often it was asked for whole tasks."""

    def __init__(self, refuse: str | None = None) -> None:
        self.n_calls = 0
        self.refuse = refuse

    def __call__(self, smiles: Sequence[str]) -> FeatureSet:
        self.n_calls += len(smiles) > 2
        values = np.array([[text.count(letter) for letter in "COF(="] for text in smiles], dtype=np.float32)
        return FeatureSet("letters", {"letters": values}, np.array([text != self.refuse for text in smiles]))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fs_mol(tmp_path_factory.mktemp("made"))


def by_cell(results: pd.DataFrame) -> pd.Series:
    return results.set_index(["benchmark", "task", "repeat", "head", "metric"])["value"]


def test_values_are_those_of_fitting_by_hand(data_dir: Path) -> None:
    benchmark = FSMol(data_dir, support=[16, 32], draws=2, limit=2)
    results = evaluate_few_shot(benchmark, [("letters", CountingBuilder())], ["logistic", "forest"], random_state=5)
    assert tuple(results.columns) == RESULT_COLUMNS
    assert len(results) == 2 * 2 * 2 * 2 * len(METRICS)
    values = by_cell(results)
    for assay in ("T1", "T2"):
        task = benchmark.read(assay)
        features = CountingBuilder()(task.frame["smiles"].tolist())
        for size in (16, 32):
            for seed in range(2):
                support, query = draw_support(task.y, size, seed)
                head = few_shot_head("forest", random_state=5 + seed).fit(features.rows(support), task.y[support])
                scores = head.predict(features.rows(query))
                cell = f"fsmol_{size}", assay, seed, "forest"
                precision = average_precision_score(task.y[query], scores)
                assert values[*cell, "average_precision"] == pytest.approx(precision)
                assert values[*cell, "delta_auprc"] == pytest.approx(precision - task.y[query].mean())
                assert values[*cell, "delta_auprc_support"] == pytest.approx(precision - task.y[support].mean())
                assert values[*cell, "roc_auc"] == pytest.approx(roc_auc_score(task.y[query], scores))
    known = results[(results["benchmark"] == "fsmol_32") & (results["task"] == "T1")]
    assert set(known["n_train"]) == {32}
    assert set(known["n_test"]) == {8}


def test_a_task_too_small_for_a_size_is_undefined_and_said(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    benchmark = FSMol(data_dir, support=[16, 32], draws=2)
    with caplog.at_level(logging.WARNING, logger="molbt"):
        results = evaluate_few_shot(benchmark, [("letters", CountingBuilder())], ["logistic"])
    small = results[(results["task"] == "T3") & (results["benchmark"] == "fsmol_32")]
    assert len(small) == 2 * len(METRICS)
    assert small["value"].isna().all()
    assert not small["n_test"].any()
    assert results.drop(small.index)["value"].notna().all()
    assert "T3: too small for a support set of 32" in caplog.text


def test_sizes_do_not_depend_on_each_other(data_dir: Path) -> None:
    together = by_cell(evaluate_few_shot(FSMol(data_dir, support=[32, 16], draws=2), [("letters", CountingBuilder())], ["knn"]))
    alone = by_cell(evaluate_few_shot(FSMol(data_dir, support=[16], draws=2), [("letters", CountingBuilder())], ["knn"]))
    pd.testing.assert_series_equal(together.loc[alone.index], alone)


def test_features_are_built_once_per_assay(data_dir: Path) -> None:
    builder = CountingBuilder()
    evaluate_few_shot(FSMol(data_dir, support=[16, 32], draws=3), [("letters", builder)], ["logistic", "knn"])
    assert builder.n_calls == 3


def test_processes_change_nothing(data_dir: Path) -> None:
    benchmark = FSMol(data_dir, support=[16], draws=3, limit=1)
    features = list(feature_builders(["counts"]).items())
    one, two = (evaluate_few_shot(benchmark, features, ["tanimoto_logistic"], n_jobs=n) for n in (1, 2))
    pd.testing.assert_frame_equal(one, two)


def test_a_stopped_evaluation_goes_on_where_it_was(data_dir: Path, tmp_path: Path) -> None:
    path, benchmark = tmp_path / "results.csv", FSMol(data_dir, support=[16], draws=2)
    whole = evaluate_few_shot(benchmark, [("letters", CountingBuilder())], ["logistic"])

    class KilledError(Exception):
        pass

    def stop(label: str, done: int, total: int) -> None:
        if done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        evaluate_few_shot(benchmark, [("letters", CountingBuilder())], ["logistic"], results_path=path, progress=stop)
    with open(path, "ab") as file:
        file.write(b"fsmol_16,T3,T3,stratified,0,1.0,lett")  # a line that was cut
    builder = CountingBuilder()
    resumed = evaluate_few_shot(benchmark, [("letters", builder)], ["logistic"], results_path=path)
    assert builder.n_calls == 1  # T3 alone was left
    pd.testing.assert_frame_equal(resumed, whole)
    more = CountingBuilder()
    evaluate_few_shot(FSMol(data_dir, support=[16], draws=3), [("letters", more)], ["logistic"], results_path=path)
    assert more.n_calls == 3  # the third draw is new in each assay
    assert len(pd.read_csv(path)) == 3 * 3 * len(METRICS)


def test_results_of_other_settings_are_refused(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    evaluate_few_shot(FSMol(data_dir, draws=1), [("letters", CountingBuilder())], ["logistic"], results_path=path)
    for changed, random_state in ((FSMol(data_dir, draws=1, duplicates="distinct"), 0), (FSMol(data_dir, draws=1), 1)):
        with pytest.raises(ConfigError, match="other settings"):
            evaluate_few_shot(changed, [("letters", CountingBuilder())], ["logistic"], results_path=path, random_state=random_state)


def test_zero_shot_methods_are_scored_on_the_same_query_sets(data_dir: Path) -> None:
    benchmark = FSMol(data_dir, support=[0, 16], draws=2)
    length = {("text", "length"): lambda assay, smiles: np.array([float(len(text)) for text in smiles])}
    results = by_cell(evaluate_few_shot(benchmark, [("letters", CountingBuilder())], ["logistic"], zero_shot=length))
    task = benchmark.read("T1")
    scores = np.array([len(text) for text in MOLECULES[:40]])
    whole = average_precision_score(task.y, scores) - task.y.mean()
    assert results["fsmol_0", "T1", 0, "length", "delta_auprc"] == pytest.approx(whole)
    assert np.isnan(results["fsmol_0", "T1", 0, "length", "delta_auprc_support"])  # there is no support set
    assert "logistic" not in results["fsmol_0"].index.get_level_values("head")
    _, query = draw_support(task.y, 16, 1)
    expected = average_precision_score(task.y[query], scores[query]) - task.y[query].mean()
    assert results["fsmol_16", "T1", 1, "length", "delta_auprc"] == pytest.approx(expected)


def test_the_score_of_the_text_is_a_block_of_the_features_that_name_it(data_dir: Path) -> None:
    benchmark = FSMol(data_dir, support=[16], draws=2, limit=2)

    def score(assay: str, smiles: Sequence[str]) -> np.ndarray:
        return np.array([len(text) * (1 if assay == "T1" else -1) for text in smiles], dtype=np.float64)

    features = [("letters", CountingBuilder()), ("letters+zero_shot", CountingBuilder())]
    results = evaluate_few_shot(benchmark, features, ["blended_logistic"], text_scores=score)
    values = results.set_index(["features", "task", "repeat", "metric"])["value"]
    for assay in ("T1", "T2"):
        task = benchmark.read(assay)
        plain = CountingBuilder()(task.frame["smiles"].tolist())
        scores = score(assay, task.frame["smiles"].tolist())[:, None].astype(np.float32)
        scored = FeatureSet("scored", {**plain.blocks, "zero_shot": scores}, plain.valid)
        support, query = draw_support(task.y, 16, 1)
        for name, made in (("letters", plain), ("letters+zero_shot", scored)):
            head = few_shot_head("blended_logistic").fit(made.rows(support), task.y[support])
            expected = roc_auc_score(task.y[query], head.predict(made.rows(query)))
            assert values[name, assay, 1, "roc_auc"] == pytest.approx(expected)
    with pytest.raises(ConfigError, match="pass text_scores"):
        evaluate_few_shot(benchmark, features, ["blended_logistic"])


def test_the_control_is_fitted_on_its_own_features_alone(data_dir: Path) -> None:
    benchmark = FSMol(data_dir, support=[16], draws=1, limit=1)
    features = [("letters", CountingBuilder()), ("others", CountingBuilder())]
    for heads, cells in ((["knn"], 3), (["knn", "logistic"], 4)):
        results = evaluate_few_shot(benchmark, features, heads, control=("letters", "logistic"))
        assert len(results) == cells * len(METRICS)
        assert set(results.loc[results["features"] == "letters", "head"]) == {"knn", "logistic"}


def test_refused_rows_are_left_out_of_both_sets(data_dir: Path) -> None:
    benchmark = FSMol(data_dir, support=[16], draws=6, limit=1)
    refused = MOLECULES[3]
    results = evaluate_few_shot(benchmark, [("letters", CountingBuilder(refuse=refused))], ["logistic"])
    y = benchmark.read("T1").y
    sizes = results.drop_duplicates("repeat").set_index("repeat")[["n_train", "n_test"]]
    for seed in range(6):
        support, _ = draw_support(y, 16, seed)
        assert tuple(sizes.loc[seed]) == ((15, 24) if 3 in support else (16, 23))
    assert sizes["n_train"].nunique() == 2


def test_names_and_builders_are_checked(data_dir: Path) -> None:
    benchmark = FSMol(data_dir, draws=1)
    letters = ("letters", CountingBuilder())
    with pytest.raises(ConfigError, match="different names"):
        evaluate_few_shot(benchmark, [letters], ["logistic", "logistic"])
    with pytest.raises(ConfigError, match="did you mean 'logistic'"):
        evaluate_few_shot(benchmark, [letters], ["logistics"])
    with pytest.raises(ConfigError, match="add a head"):
        evaluate_few_shot(benchmark, [letters], ["tanimoto_svm"])
    with pytest.raises(ShapeError, match="40 rows"):
        evaluate_few_shot(benchmark, [("short", lambda smiles: CountingBuilder()(smiles[:2]))], ["logistic"])


def test_settings_for_few_labels_are_those_of_their_heads() -> None:
    for name in ("forest", "tanimoto_logistic", "prototypes"):
        assert few_shot_head(name).task_type == "classification"
    assert few_shot_head("forest").n_trees == 100
    assert len(few_shot_head("tanimoto_logistic").costs) == 1
    assert few_shot_head("blended_logistic", random_state=3).random_state == 3
    with pytest.raises(ConfigError, match="did you mean 'blended_logistic'"):
        few_shot_head("blend_logistic")
    with pytest.raises(ConfigError, match="does regression only"):
        few_shot_head("ridge")
