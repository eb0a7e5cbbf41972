"""``evaluate fsmol --support 0`` and ``evaluate toxcast`` in this process, on made folders."""

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest
from made_fs_mol import labelled, write_fs_mol, write_task
from made_pairs import HELD_OUT, TEXTS, TRAINING, made_rows, made_twin

from molbt.cli.main import run
from molbt.cli.zero_shot_methods import ZeroShotOptions, fs_mol_parts, zero_shot_part
from molbt.evaluation.benchmarks.fsmol import FSMol
from molbt.evaluation.few_shot.regimes import training_sets
from molbt.evaluation.few_shot.strata import STRATA
from molbt.evaluation.few_shot.training_labels import TrainingLabels
from molbt.evaluation.zero_shot.methods.lightgbm_pairs import LightgbmPairs
from molbt.predict.training_pairs import TrainingPairs

QUICK = ["--methods", "frequent_hitters,lightgbm_pairs,retrieval"]


def write_texts(path: Path, texts: dict[str, str], key: str = "task") -> None:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({key: name, "text": text}) + "\n" for name, text in texts.items())


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FS-Mol with six test assays that have descriptions, and three that have none."""
    folder = write_fs_mol(tmp_path_factory.mktemp("made"))
    directory = folder / "fs-mol"
    lists = json.loads((directory / "fsmol-0.1.json").read_text())
    for part, names in (("train", TRAINING[:8]), ("test", HELD_OUT[:6])):
        for name in names:
            rows = made_rows([name], n=90)
            lines = labelled(rows["smiles"].tolist())
            write_task(
                directory / part / f"{name}.jsonl.gz",
                [entry | {"Property": f"{label:.1f}"} for entry, label in zip(lines, rows["label"], strict=True)],
            )
        lists[part] += names
    (directory / "fsmol-0.1.json").write_text(json.dumps(lists))
    write_texts(directory / "task_text.jsonl.gz", {name: TEXTS[name] for name in TRAINING[:8] + HELD_OUT[:6]})
    return folder


def arguments(data_dir: Path, output: Path, *more: str) -> list[str]:
    return ["-q", "evaluate", "fsmol", "--data-dir", str(data_dir), "-o", str(output), *more]


def test_methods_stand_beside_their_controls_by_stratum(data_dir: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    command = arguments(data_dir, tmp_path, "--support", "0", *QUICK)
    assert run(command) == 0
    printed = capsys.readouterr().out
    for part in ("Without a support set", "ROC AUC", "Δ to frequent_hitters", "Δ to lightgbm_pairs", "sets on assays", *STRATA[-1:]):
        assert part in printed
    table = pd.read_csv(tmp_path / "zero_shot.csv")
    assert set(table["metric"]) == {"roc_auc", "delta_auprc"}
    results = pd.read_csv(tmp_path / "results.csv").query("metric == 'roc_auc'")
    wide = results.pivot_table(index="task", columns="head", values="value")
    found = table.query("head == 'retrieval' and control == 'lightgbm_pairs' and metric == 'roc_auc' and group == 'all assays'")
    assert found["difference"].item() == pytest.approx((wide["retrieval"] - wide["lightgbm_pairs"]).mean())
    assert found["n_tasks"].item() == 6  # the others have no description
    covered = pd.read_csv(tmp_path / "zero_shot_coverage.csv")
    assert set(covered["head"]) == {"frequent_hitters", "lightgbm_pairs", "retrieval"}
    page = (tmp_path / "report.html").read_text()
    assert "Coverage on held-out assays" in page
    assert "lightgbm_pairs has the same molecules" in page
    monkeypatch.setattr(LightgbmPairs, "fit", None)  # to fit anything again would fail
    assert run(command) == 0
    assert capsys.readouterr().out == printed


def test_only_described_assays_are_evaluated_with_other_texts(data_dir: Path, tmp_path: Path, capsys) -> None:
    chosen = {name: TEXTS[name] for name in TRAINING[:8] + HELD_OUT[:2]}
    write_texts(tmp_path / "texts.jsonl.gz", chosen, key="assay_id")
    command = arguments(data_dir, tmp_path / "r", "--support", "0", "--methods", "retrieval", "--texts", str(tmp_path / "texts.jsonl.gz"))
    assert run(command) == 0
    capsys.readouterr()
    assert set(pd.read_csv(tmp_path / "r" / "results.csv")["task"]) == set(HELD_OUT[:2])
    assert not (tmp_path / "r" / "zero_shot_coverage.csv").exists()  # two assays are too few


def test_coverage_counts_described_assays_alone(tmp_path: Path) -> None:
    rows = made_rows(TRAINING[:8], n=90)
    texts = {name: TEXTS[name] for name in HELD_OUT[:6]}
    assays = {name: (own["smiles"].tolist(), own["label"].to_numpy()) for name, own in made_rows(HELD_OUT[:6], n=90).groupby("task")}
    options = ZeroShotOptions(["lookup"])
    part = zero_shot_part(options, TrainingPairs.of(rows, TEXTS), texts, model=None, output=tmp_path)
    assert set(part.coverage(assays)["task"]) == set(texts)
    few = zero_shot_part(options, TrainingPairs.of(rows, TEXTS), dict(list(texts.items())[:4]), model=None, output=tmp_path)
    assert few.coverage(assays) is None


def test_methods_on_a_twin_and_sizes_together(data_dir: Path, tmp_path: Path, capsys) -> None:
    twin = made_twin(tmp_path / "twin")
    command = arguments(
        data_dir, tmp_path / "r", "--support", "0,16", "--draws", "1", "--features", "ecfp", "--heads", "tanimoto_logistic",
        "--methods", "frequent_hitters,twin", "--model", str(twin),
    )  # fmt: skip
    assert run(command) == 0
    assert "fsmol_16" in capsys.readouterr().out
    page = (tmp_path / "r" / "report.html").read_text()
    assert "These are controls alone" not in page  # the twin is an encoder
    assert "fsmol_0: ΔAUPRC, against the share of actives" not in page
    results = pd.read_csv(tmp_path / "r" / "results.csv").query("head == 'twin'")
    assert set(results["benchmark"]) == {"fsmol_0", "fsmol_16"}
    assert results.query("task in @HELD_OUT and metric == 'roc_auc' and benchmark == 'fsmol_0'")["value"].notna().all()


def test_in_the_clean_regime_methods_learn_from_no_evaluated_molecule(data_dir: Path, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.jsonl.gz", TEXTS | {"A1": "an assay of nitrogen", "A2": "another assay", "T1": "an assay"})
    benchmark = FSMol(data_dir, support=[0])
    sets = training_sets(benchmark, TrainingLabels.read(benchmark.data), "clean")
    options = ZeroShotOptions(["retrieval"], tmp_path / "texts.jsonl.gz")
    rows = benchmark.data.usable_rows("train")
    clean, as_many = fs_mol_parts(options, benchmark.data.directory, rows, sets, model=None, output=tmp_path)
    evaluated = {smiles for assay in benchmark.assays for smiles in benchmark.read(assay).frame["smiles"]}
    learned = [part.scores[0].training.pairs for part in (clean, as_many)]
    assert learned[0].smiles
    assert not evaluated & set(learned[0].smiles)
    assert set(learned[1].smiles) - set(learned[0].smiles)
    assert {name for name, _ in clean.callables()} == {"nearest assays, clean training labels"}
    assert clean.identities().keys().isdisjoint(as_many.identities())


def test_what_does_not_fit_is_a_usage_error(data_dir: Path, tmp_path: Path, capsys) -> None:
    for more, said in (
        (["--methods", "twins"], "did you mean 'twin'"),
        (["--methods", "twin"], "--model RUN"),
    ):
        assert run(arguments(data_dir, tmp_path, "--support", "0", *more)) == 2
        assert said in capsys.readouterr().err
    assert run(["-q", "evaluate", "moleculeace", "--data-dir", str(data_dir), "--methods", "twin", "-o", str(tmp_path)]) == 2
    assert "fsmol and toxcast" in capsys.readouterr().err


def test_options_that_would_have_no_effect_are_refused(data_dir: Path, tmp_path: Path, capsys) -> None:
    toxcast = ["-q", "evaluate", "toxcast", "--data-dir", str(write_toxcast(tmp_path / "data")), "-o", str(tmp_path / "r")]
    for command, option in (
        *((toxcast, option) for option in (["--heads", "forest"], ["--features", "counts"], ["--layer", "hidden_1", "--model", "default"])),
        *((toxcast, option) for option in (["--coverage"], ["--fractions", "0.1"], ["--write-card", "--model", str(tmp_path)])),
        (arguments(data_dir, tmp_path, "--support", "0"), ["--heads", "forest"]),
        (arguments(data_dir, tmp_path, "--support", "0"), ["--coverage"]),
        (arguments(data_dir, tmp_path, "--support", "16"), ["--max-pairs", "100"]),
    ):
        told = run([*command, *option]), capsys.readouterr().err
        assert told[0] in (1, 2), option
        assert option[0] in told[1], told
    assert not (tmp_path / "r").exists()


def write_toxcast(folder: Path) -> Path:
    directory = folder / "zero-shot"
    directory.mkdir(parents=True)
    rows = made_rows([*TRAINING[:8], *HELD_OUT[:6]], n=150)
    smiles = rows["smiles"].drop_duplicates().tolist()
    names = {value: f"M{place}" for place, value in enumerate(smiles)}
    pd.DataFrame({"mol_id": list(names.values()), "smiles": smiles, "scaffold_fold": [p % 4 for p in range(len(smiles))]}).to_parquet(
        directory / "molecules.parquet"
    )
    activities = pd.DataFrame({"assay_id": rows["task"], "mol_id": rows["smiles"].map(names), "label": rows["label"].astype(int)})
    activities.to_parquet(directory / "activities.parquet")
    with gzip.open(directory / "assays.jsonl.gz", "wt") as file:
        for name in rows["task"].unique():
            split = "valid" if name in HELD_OUT else "train"
            file.write(json.dumps({"assay_id": name, "source": "toxcast", "split": split, "text": TEXTS[name]}) + "\n")
    return folder


def test_toxcast_knows_neither_the_assays_nor_the_molecules(tmp_path: Path, capsys) -> None:
    folder = write_toxcast(tmp_path / "data")
    command = ["-q", "evaluate", "toxcast", "--data-dir", str(folder), "-o", str(tmp_path / "r"), "--methods"]
    assert run([*command, "frequent_hitters,lookup,retrieval"]) == 0
    printed = capsys.readouterr().out
    assert "held-out assays" in printed
    results = pd.read_csv(tmp_path / "r" / "results.csv").query("metric == 'roc_auc'")
    assert set(results["task"]) <= set(HELD_OUT)
    assert set(results["n_test"]) == {76}  # folds 0 and 1 of 4
    assert (results.query("head == 'lookup'")["value"] == 0.5).all()  # no test molecule is a training molecule
    assert results.query("head == 'retrieval'")["value"].mean() > 0.6
