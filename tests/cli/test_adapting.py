"""``adapt-text``: what it prints, what its options change, and its exit codes."""

import json
import signal
import sys
from pathlib import Path

import pytest
from small_run import in_child
from text_models import made_texts, save_tiny
from transformers import BertModel

from molbt.cli.main import run
from molbt.config import RunConfig
from molbt.training.run_dir import RunDirectory

SMALL = ["--epochs", "1", "--batch-size", "32", "--max-tokens", "32", "--held-out", "0.2", "--threads", "1", "--precision", "fp32"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "bert", BertModel)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "assays.jsonl"
    records = [{"text": text, "other": f"one {text}"} for text in made_texts(120)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def adapt(corpus: Path, model: Path, output: Path, *options: str) -> int:
    return run(["adapt-text", str(corpus), "--model", str(model), "-o", str(output), *SMALL, *options])


def test_it_prints_the_perplexities_and_where_the_model_is(corpus, model, tmp_path, capsys):
    assert adapt(corpus, model, tmp_path / "run") == 0
    printed = capsys.readouterr().out.splitlines()
    report = json.loads((tmp_path / "run" / "model" / "adaptation.json").read_text())
    assert printed[0].endswith("held-out texts; head: initialised from seed 0")
    assert f"{report['held_out_tokens']:,} masked tokens of {report['held_out_texts']} " in printed[0]
    for name, value in report["perplexity"].items():
        assert any(line.startswith(f"perplexity {name.replace('_', ' ')}: {value:.4g}") for line in printed)
    assert printed[-1] == f"model: {tmp_path / 'run' / 'model'}"
    # The run is a model of the modality text.
    changes = {"views": {"a": {"modality": "text", "model": str(tmp_path / "run")}, "b": {"like": "a"}}, "pairs": [["a", "b"]]}
    assert RunConfig.from_dict({**changes, "objectives": [{"name": "barlow_twins"}]}).as_dict()["views"]["a"]["sha256"]


def test_options_reach_the_configuration(corpus, model, tmp_path):
    options = [
        "--column",
        "text",
        "--column",
        "other",
        "--max-steps",
        "2",
        "--learning-rate",
        "0.002",
        "--shuffle",
        "within",
        "--seed",
        "3",
    ]
    assert adapt(corpus, model, tmp_path / "run", *options, "--no-head-control") == 0
    report = json.loads((tmp_path / "run" / "model" / "adaptation.json").read_text())
    expected = {"max_steps": 2, "learning_rate": 0.002, "shuffle": "within", "seed": 3, "head_control": False, "lora_rank": None}
    assert {key: report["config"][key] for key in expected} == expected
    assert report["training_texts"] + report["held_out_texts"] == 240
    assert "head_only" not in report["perplexity"]


def test_killed_command_resumes_to_the_same_model(corpus, model, tmp_path, monkeypatch):
    assert adapt(corpus, model, tmp_path / "whole", "--epochs", "3") == 0
    saved = RunDirectory.save_checkpoint

    def killed(self: RunDirectory, *arguments: object, **options: object) -> None:
        saved(self, *arguments, **options)
        signal.raise_signal(signal.SIGKILL)

    def until_killed() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(RunDirectory, "save_checkpoint", killed)
            adapt(corpus, model, tmp_path / "run", "--epochs", "3")

    assert in_child(until_killed) == -signal.SIGKILL
    assert not (tmp_path / "run" / "model").exists()
    assert adapt(corpus, model, tmp_path / "run", "--epochs", "3", "--resume") == 0
    models = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("whole", "run")]
    assert models[0] == models[1]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--column", "nothing"], 1, "has the key nothing; pass --column NAME"),
        (["--held-out", "0.9"], 2, "the options of adapt-text cannot be used: held_out"),
        (["--shuffle", "all"], 2, "shuffle"),
        (["--max-tokens", "64"], 2, "max_tokens must be at most 40"),
        (["--epochs", "0"], 2, ""),
    ],
)
def test_what_cannot_be_done_has_its_exit_code(corpus, model, tmp_path, capsys, options, code, message):
    assert adapt(corpus, model, tmp_path / "run", *options) == code
    assert message in capsys.readouterr().err
    assert adapt(corpus, model, tmp_path / "run", "--max-steps", "1") == 0  # the directory is not taken


def test_missing_lora_package_is_named_with_its_extra(corpus, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    assert adapt(corpus, model, tmp_path / "run", "--lora", "4", "--no-head-control") == 1
    assert "pip install 'molbt[lora]'" in capsys.readouterr().err
