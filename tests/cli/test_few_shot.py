"""``evaluate fsmol`` in this process, on a made folder."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_fs_mol import MOLECULES, write_fs_mol

from molbt import RunConfig, pretrain
from molbt.cli.few_shot import sizes_of
from molbt.cli.main import run
from molbt.errors import ConfigError
from molbt.evaluation.few_shot.text_scores import TextScores


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fs_mol(tmp_path_factory.mktemp("made"))


def arguments(data_dir: Path, output: Path, *more: str) -> list[str]:
    return ["evaluate", "fsmol", "--data-dir", str(data_dir), "-o", str(output), "--draws", "2", "-q", *more]


def test_tables_files_and_the_page_are_made(data_dir: Path, tmp_path: Path, capsys) -> None:
    assert run(arguments(data_dir, tmp_path, "--support", "0,16", "--heads", "prototypes", "--features", "ecfp")) == 0
    printed = capsys.readouterr().out
    for part in ("fsmol_0", "fsmol_16", "tanimoto_logistic", "prototypes", "lookup", "random_forest", "TwinBooster", "< 10 % seen"):
        assert part in printed
    results = pd.read_csv(tmp_path / "results.csv")
    # Two features with the named head at size 16 (two draws of three assays, four metrics), the control, and the lookup there and at 0.
    assert len(results) == ((2 + 1) * 2 + 2 + 1) * 3 * 4
    assert set(results["features"]) == {"counts", "ecfp", "training labels"}
    assert pd.read_csv(tmp_path / "seen.csv")["task"].tolist() == ["T1", "T2", "T3"]
    assert set(pd.read_csv(tmp_path / "by_class.csv")["group"]) == {"2 transferase", "3 hydrolase", "unknown"}
    page = (tmp_path / "report.html").read_text()
    assert "By enzyme class of the target" in page
    assert "2 transferase" in page
    assert "ΔAUPRC, against the share of actives in the support set" in page


def test_a_second_call_computes_nothing_again(data_dir: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    command = arguments(data_dir, tmp_path, "--support", "16", "--heads", "tanimoto_logistic", "--features", "counts")
    assert run(command) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr("molbt.evaluation.few_shot.protocol.fit_and_score", None)  # to fit anything would fail
    assert run(command) == 0
    assert capsys.readouterr().out == first


def test_the_clean_regime_writes_exclusions_and_refuses_an_encoder_that_saw_evaluated_molecules(
    data_dir: Path, tmp_path: Path, capsys
) -> None:
    config = RunConfig.from_preset("default", changes=[*SMALL])
    clean = pretrain(MOLECULES[170:192], tmp_path / "clean", config=config).directory
    seen = pretrain([*MOLECULES[170:192], MOLECULES[0]], tmp_path / "seen", config=config).directory
    command = [*arguments(data_dir, tmp_path / "r", "--support", "16", "--regime", "clean", "--features", "embedding"), "--model"]
    assert run([*command, str(clean)]) == 0
    printed = capsys.readouterr().out
    assert "clean training labels" in printed
    assert "training labels less as many" in printed
    assert set(pd.read_csv(tmp_path / "r" / "exclude_clean.csv")["smiles"]) == set(MOLECULES[60:105])
    assert len(pd.read_csv(tmp_path / "r" / "exclude_random.csv")) > 0
    embedded = pd.read_csv(tmp_path / "r" / "results.csv").query("features == 'embedding' and metric == 'delta_auprc'")
    assert len(embedded) == 3 * 2
    assert embedded["value"].notna().all()
    assert run([*command, str(seen)]) == 1
    assert "saw test molecules" in capsys.readouterr().err


def test_sizes_are_separated_by_commas_or_spaces() -> None:
    assert sizes_of("16,32, 64") == sizes_of("16 32 64") == [16, 32, 64]
    with pytest.raises(ConfigError, match="--support"):
        sizes_of("16;32")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--support", "1"], "from 2 on"),
        (["--regime", "cleaned"], "did you mean 'clean'"),
        (["--part", "train"], "unknown part"),
        (["--target", "y"], "--target"),
        (["--coverage"], "--coverage"),
        (["--heads", "tanimoto"], "unknown head"),
    ],
)
def test_what_does_not_fit_is_a_usage_error(data_dir: Path, tmp_path: Path, capsys, options: list[str], said: str) -> None:
    assert run(arguments(data_dir, tmp_path, *options)) == 2
    assert said in capsys.readouterr().err


def test_options_of_fsmol_are_refused_elsewhere(data_dir: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "a.csv").write_text("smiles,y\nCCO,1\n")
    for option in (["--support", "16"], ["--regime", "clean"]):
        assert run(["evaluate", "table", str(tmp_path / "a.csv"), "--target", "y", "-o", str(tmp_path / "r"), *option]) == 2
        assert option[0] in capsys.readouterr().err


def test_a_run_with_texts_blends_kernels_and_starts_from_the_score_of_the_text(data_dir: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    # Scores that a run of two epochs would not give: they rank by position.
    monkeypatch.setattr(TextScores, "__call__", lambda self, assay, smiles: 100.0 * np.arange(len(smiles)))
    write_texts(data_dir / "fs-mol" / "task_text.jsonl.gz")
    assert run(["data", "pairs", "-o", str(tmp_path / "pairs.csv"), "--data-dir", str(data_dir)]) == 0
    small = [argument for change in SMALL_PROFILE for argument in ("--set", change)]
    pretrained = ["pretrain", str(tmp_path / "pairs.csv"), "--preset", "fsmol_profile_transfer", "-o", str(tmp_path / "run"), "-q", *small]
    assert run(pretrained) == 0
    command = arguments(data_dir, tmp_path / "r", "--support", "16", "--heads", "blended_logistic", "--model", str(tmp_path / "run"))
    assert run([*command, "--features", "counts+embedding+zero_shot"]) == 0
    assert "counts+embedding+zero_shot" in capsys.readouterr().out
    results = pd.read_csv(tmp_path / "r" / "results.csv").query("metric == 'delta_auprc'")
    cells = set(zip(results["features"], results["head"], strict=True))
    blended = {(f"counts{rest}", "blended_logistic") for rest in ("", "+untrained", "+embedding", "+embedding+zero_shot")}
    assert cells == {*blended, ("counts", "tanimoto_logistic"), ("training labels", "lookup")}
    one, other = (results.loc[results["features"] == f"counts+embedding{rest}", "value"].to_numpy() for rest in ("", "+zero_shot"))
    assert len(one) == 2 * 3
    assert (one != other).any()
    # The same logistic regression on the same kernel, found by another algorithm.
    ours, control = (
        results.query("features == 'counts' and head == @head")["value"].to_numpy() for head in ("blended_logistic", "tanimoto_logistic")
    )
    assert ours == pytest.approx(control, abs=1e-6)


def test_scores_of_texts_need_a_run_and_texts(data_dir: Path, tmp_path: Path, capsys) -> None:
    command = arguments(data_dir, tmp_path / "r", "--support", "16", "--heads", "blended_logistic", "--features")
    assert run([*command, "counts+zero_shot"]) == 2
    assert "there are no --model" in capsys.readouterr().err
    assert run([*command, "zero_shot"]) == 2
    assert "stand beside others" in capsys.readouterr().err


SMALL = (
    *("views.a.width=256", "encoder.embedding_dim=8", "encoder.hidden=[16]", "projector.widths=[16]"),
    *("trainer.epochs=1", "trainer.batch_size=16", "trainer.num_threads=1", "trainer.probe_size=16"),
)
"""Changes that make a run of a moment."""

SMALL_PROFILE = (
    *("views.fingerprint.width=256", "encoder.embedding_dim=8", "encoder.hidden=[16]", "projector.widths=[8]"),
    *("trainer.epochs=2", "trainer.batch_size=16", "trainer.num_threads=1", "trainer.probe_size=16"),
)


def write_texts(path: Path) -> None:
    """A description of each made assay."""
    texts = {"A1": "nitrogen in small molecules", "A2": "no nitrogen in small molecules"} | dict.fromkeys(("T1", "T2", "T3"), "nitrogen")
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps({"task": task, "text": text}) + "\n" for task, text in texts.items())
