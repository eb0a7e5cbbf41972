import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from molbt.errors import ConfigError, DataError, ShapeError
from molbt.evaluation.benchmarks.base import RESULT_COLUMNS, Benchmark, Task
from molbt.evaluation.protocol import evaluate
from molbt.predict.features import FeatureSet, feature_builders
from molbt.predict.heads import build_head


class MadeBenchmark(Benchmark):
    """Two tasks, the second with two repeats; the label is the length of the text plus noise."""

    name = "made"

    def __init__(self, *, task_type: str = "regression", version: int = 1) -> None:
        self.task_type = task_type
        self.version = version

    def tasks(self) -> Iterator[Task]:
        rng = np.random.default_rng(0)
        for name, repeats in (("first", 1), ("second", 2)):
            smiles = ["C" * n for n in rng.integers(1, 30, size=40)]
            y = np.array([len(text) for text in smiles]) + rng.normal(size=40)
            y = y if self.task_type == "regression" else (y > 15).astype(float)
            for repeat in range(repeats):
                order = np.random.default_rng(repeat).permutation(40)
                parts = {"train": order[:30], "test": order[30:]}
                groups = {"long": y > np.median(y), "none": np.zeros(40, bool)}
                yield Task(name, pd.DataFrame({"smiles": smiles}), y, parts, self.task_type, "random", repeat, groups)

    def metrics(self, task: Task) -> tuple[str, ...]:
        return ("rmse", "rmse_long", "rmse_none") if self.task_type == "regression" else ("roc_auc",)

    def settings(self) -> dict:
        return {"version": self.version}


class LengthBuilder:
    """The length of each text, and how often it was asked for whole tasks."""

    def __init__(self) -> None:
        self.n_calls = 0

    def __call__(self, smiles: Sequence[str]) -> FeatureSet:
        self.n_calls += len(smiles) > 2
        values = np.array([[len(text), len(text) % 3] for text in smiles], dtype=np.float32)
        return FeatureSet("length", {"length": values}, np.ones(len(smiles), bool))


def test_evaluate_gives_one_row_per_metric_with_the_stated_columns() -> None:
    results = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "svm"])
    assert tuple(results.columns) == RESULT_COLUMNS
    assert results["value"].dtype == np.float64
    assert len(results) == 3 * 2 * 3
    assert results.groupby(["task", "repeat"], sort=False).ngroups == 3
    assert set(results["head"]) == {"ridge", "svm"}
    assert set(results["n_train"]) == {30}


def test_evaluate_scores_as_fitting_by_hand_does() -> None:
    benchmark, builder = MadeBenchmark(task_type="classification"), LengthBuilder()
    results = evaluate(benchmark, [("length", builder)], ["logistic"], random_state=5)
    for task, row in zip(benchmark.tasks(), results.itertuples(), strict=True):
        features, train, test = builder(task.smiles), task.parts["train"], task.parts["test"]
        head = build_head("logistic", "classification", random_state=5 + task.repeat).fit(features.rows(train), task.y[train])
        assert row.value == roc_auc_score(task.y[test], head.predict(features.rows(test)))


def test_evaluate_marks_undefined_metrics_with_nan_and_counts_rows(caplog) -> None:
    results = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"]).set_index(["task", "repeat", "metric"])
    assert results.xs("rmse_none", level="metric")["value"].isna().all()
    assert (results.xs("rmse_none", level="metric")["n_test"] == 0).all()
    (first, *_) = MadeBenchmark().tasks()
    assert results.loc[("first", 0, "rmse_long"), "n_test"] == first.groups["long"][first.parts["test"]].sum()
    assert "rmse_none is not defined" in caplog.text


def test_evaluate_builds_features_once_per_task_and_shares_them() -> None:
    builder = LengthBuilder()
    evaluate(MadeBenchmark(), [("length", builder)], ["ridge", "svm", "lightgbm"])
    assert builder.n_calls == 3


def test_evaluate_skips_heads_that_cannot_use_the_features_or_the_type_of_task() -> None:
    features = [("length", LengthBuilder()), *feature_builders(["counts"]).items()]
    results = evaluate(MadeBenchmark(), features, ["tanimoto_svm", "svm", "logistic"])
    assert set(zip(results["features"], results["head"], strict=True)) == {("length", "svm"), ("counts", "tanimoto_svm")}


def test_evaluate_refuses_when_nothing_fits_anything() -> None:
    with pytest.raises(ConfigError, match="none of the heads"):
        evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["tanimoto_svm"])


def test_evaluate_leaves_refused_test_rows_out_and_says_so(caplog) -> None:
    def builder(smiles: Sequence[str]) -> FeatureSet:
        features = LengthBuilder()(smiles)
        valid = np.array([len(text) % 7 > 0 for text in smiles])
        return FeatureSet("length", features.blocks, valid)

    with caplog.at_level(logging.WARNING):
        results = evaluate(MadeBenchmark(), [("length", builder), ("again", builder)], ["ridge"])
    # Once for the same rows of a task, whatever the features and the repeat.
    assert [record.message.partition(":")[0] for record in caplog.records if "have no features" in record.message] == ["first", "second"]
    task = next(MadeBenchmark().tasks())
    usable = np.array([len(text) % 7 > 0 for text in task.smiles])
    row = results.iloc[0]
    assert (row["n_train"], row["n_test"]) == (usable[task.parts["train"]].sum(), usable[task.parts["test"]].sum())
    assert f"{(~usable).sum()} of 40 rows have no features 'length'" in caplog.text


def test_evaluate_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    whole = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "svm"])
    path = tmp_path / "results.csv"
    lines: list[str] = []

    def stop_after_three(line: str) -> None:
        lines.append(line)
        if len(lines) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "svm"], results_path=path, progress=stop_after_three)
    assert len(pd.read_csv(path)) == 9
    builder = LengthBuilder()
    resumed = evaluate(MadeBenchmark(), [("length", builder)], ["ridge", "svm"], results_path=path)
    pd.testing.assert_frame_equal(resumed, whole)
    assert builder.n_calls == 2
    assert len(pd.read_csv(path)) == len(whole)


def test_evaluate_reads_everything_back_bit_for_bit_and_builds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    first = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "tanimoto_svm"], results_path=path)
    builder = LengthBuilder()
    pd.testing.assert_frame_equal(evaluate(MadeBenchmark(), [("length", builder)], ["ridge"], results_path=path), first, check_exact=True)
    assert builder.n_calls == 0


@pytest.mark.parametrize("keep", [-1, -20, -60])
def test_evaluate_does_a_cell_again_whose_lines_were_cut(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "results.csv"
    whole = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"], results_path=path)
    path.write_bytes(path.read_bytes()[:keep])
    pd.testing.assert_frame_equal(evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"], results_path=path), whole)
    pd.testing.assert_frame_equal(evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"], results_path=path), whole)


def evaluate_into(path: Path) -> None:
    evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "svm"], results_path=path)


def test_two_evaluations_of_one_file_write_each_cell_once(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=evaluate_into, args=(path,)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0]
    whole = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "svm"])
    pd.testing.assert_frame_equal(pd.read_csv(path).astype({"value": float}), whole, check_dtype=False)


def test_evaluate_learns_from_the_fractions_asked_for_and_tests_on_all_rows() -> None:
    results = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "svm"], fractions=[0.5, 1.0])
    assert results.groupby("fraction")["n_train"].unique().map(list).to_dict() == {0.5: [15], 1.0: [30]}
    assert set(results.query("metric == 'rmse'")["n_test"]) == {10}
    whole = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge", "svm"])
    pd.testing.assert_frame_equal(results[results["fraction"] == 1].reset_index(drop=True), whole)


def test_evaluate_adds_fractions_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"], results_path=path)
    builder = LengthBuilder()
    both = evaluate(MadeBenchmark(), [("length", builder)], ["ridge"], results_path=path, fractions=[0.3, 1])
    assert builder.n_calls == 3
    assert set(pd.read_csv(path)["fraction"]) == {0.3, 1.0}
    pd.testing.assert_frame_equal(both, evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"], fractions=[0.3, 1]))


def test_a_task_of_one_class_in_training_is_undefined_and_said(caplog) -> None:
    class OneClass(MadeBenchmark):
        def tasks(self) -> Iterator[Task]:
            for task in super().tasks():
                y = task.y.copy()
                y[task.parts["train"]] = np.where(np.arange(30) < 5, 0.0, np.nan)
                yield Task(task.name, task.frame, y, task.parts, "classification", "random", task.repeat)

    results = evaluate(OneClass(task_type="classification"), [("length", LengthBuilder())], ["logistic"])
    assert results["value"].isna().all()
    assert set(results["n_train"]) == {5}
    assert "first #0: its 5 usable training labels are not of both classes" in caplog.text


def test_results_name_the_data_set_of_each_task() -> None:
    class Columns(MadeBenchmark):
        def tasks(self) -> Iterator[Task]:
            for task in super().tasks():
                yield Task(task.name, task.frame, task.y, task.parts, repeat=task.repeat, groups=task.groups, data_set="panel")

    assert set(evaluate(Columns(), [("length", LengthBuilder())], ["ridge"])["data_set"]) == {"panel"}
    results = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"])
    assert (results["data_set"] == results["task"]).all()


def test_evaluate_adds_heads_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"], results_path=path)
    both = evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["svm", "ridge"], results_path=path)
    pd.testing.assert_frame_equal(both, evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["svm", "ridge"]))


def test_evaluate_refuses_results_of_other_settings(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    arguments = [("length", LengthBuilder())], ["ridge"]
    evaluate(MadeBenchmark(), *arguments, results_path=path, identities={"length": "a"})
    with pytest.raises(ConfigError, match=r"shared.random_state was 0, now 1"):
        evaluate(MadeBenchmark(), *arguments, results_path=path, random_state=1, identities={"length": "a"})
    with pytest.raises(ConfigError, match=r"shared.version was 1, now 2"):
        evaluate(MadeBenchmark(version=2), *arguments, results_path=path, identities={"length": "a"})
    with pytest.raises(ConfigError, match=r"features.length was \['a'\], now \['b'\]"):
        evaluate(MadeBenchmark(), *arguments, results_path=path, identities={"length": "b"})


def test_identity_of_a_part_counts_for_every_name_it_is_in(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    arguments = [("counts+length", LengthBuilder())], ["ridge"]
    evaluate(MadeBenchmark(), *arguments, results_path=path, identities={"length": "a"})
    with pytest.raises(ConfigError, match="now"):
        evaluate(MadeBenchmark(), *arguments, results_path=path, identities={"length": "b"})


def test_evaluate_refuses_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text("smiles,y\nC,1\n")
    with pytest.raises(DataError, match=r"settings\.json"):
        evaluate(MadeBenchmark(), [("length", LengthBuilder())], ["ridge"], results_path=path)
    assert path.read_text() == "smiles,y\nC,1\n"


@pytest.mark.parametrize(("names", "heads"), [(["a", "a"], ["ridge"]), (["a"], ["ridge", "ridge"]), ([], ["ridge"]), (["a"], [])])
def test_evaluate_refuses_repeated_or_missing_names(names, heads) -> None:
    with pytest.raises(ConfigError, match="name each once"):
        evaluate(MadeBenchmark(), [(name, LengthBuilder()) for name in names], heads)


def test_evaluate_refuses_an_unknown_head_before_any_work() -> None:
    builder = LengthBuilder()
    with pytest.raises(ConfigError, match="did you mean 'ridge'"):
        evaluate(MadeBenchmark(), [("length", builder)], ["svm", "rigde"])
    assert builder.n_calls == 0


def test_evaluate_refuses_a_builder_that_loses_rows() -> None:
    def lossy(smiles: Sequence[str]) -> FeatureSet:
        return LengthBuilder()(smiles[1:])

    with pytest.raises(ShapeError, match="each of the 40 rows of first, got 39"):
        evaluate(MadeBenchmark(), [("lossy", lossy)], ["ridge"])


def test_task_refuses_parts_that_overlap_or_leave_the_table() -> None:
    frame, y = pd.DataFrame({"smiles": ["C", "CC", "CCC"]}), np.zeros(3)
    for train, test in (([0, 1], [1, 2]), ([0, 1], [3]), ([-1], [1])):
        with pytest.raises(DataError, match="distinct rows"):
            Task("t", frame, y, {"train": np.array(train), "test": np.array(test)})
    with pytest.raises(DataError, match="'train' and 'test'"):
        Task("t", frame, y, {"train": np.array([0])})
    with pytest.raises(ShapeError, match=r"'y' of task 't' must have shape \(3,\)"):
        Task("t", frame, y[:2], {"train": np.array([0]), "test": np.array([1])})
    with pytest.raises(DataError, match="column 'smiles'"):
        Task("t", frame.rename(columns={"smiles": "SMILES"}), y, {"train": np.array([0]), "test": np.array([1])})
