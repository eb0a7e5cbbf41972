"""What may have changed when a run goes on: refused with the difference, or said."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import assert_same_run, assert_same_tensors, last_checkpoint, model_hash, nci_smiles, small_config, small_corpus, stop_after

from molbt.data.corpus import Corpus
from molbt.errors import ConfigError, Interrupted
from molbt.training.hardware import Hardware
from molbt.training.trainer import pretrain


@pytest.fixture
def stopped(corpus: Corpus, tmp_path: Path) -> Path:
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "stopped", config=small_config(), progress=stop_after(6))
    return tmp_path / "stopped"


def test_resuming_with_other_settings_is_refused_with_the_difference(corpus, stopped):
    changed = small_config(trainer={"learning_rate": 0.02}, encoder={"dropout": 0.2})
    before = last_checkpoint(stopped)
    with pytest.raises(ConfigError, match=r"encoder\.dropout: 0\.1 -> 0\.2; trainer\.learning_rate: 0\.01 -> 0\.02"):
        pretrain(corpus, stopped, config=changed, resume=True)
    assert_same_tensors(last_checkpoint(stopped), before)


def test_resuming_with_another_corpus_is_refused_with_the_difference(stopped, tmp_path):
    with pytest.raises(ConfigError, match="rows: 280 -> 279; samples: "):
        pretrain(small_corpus(tmp_path / "other", n=279), stopped, config=small_config(), resume=True)


def test_resuming_with_another_number_of_ranks_is_refused(corpus, stopped, monkeypatch):
    monkeypatch.setattr("molbt.training.continuation.world_size", lambda: 2)
    with pytest.raises(ConfigError, match="ranks: 1 -> 2"):
        pretrain(corpus, stopped, resume=True)


def test_resuming_elsewhere_keeps_precision_and_threads_and_says_so(corpus, stopped, whole, monkeypatch, caplog):
    resolve = Hardware.resolve.__func__

    def elsewhere(cls: type[Hardware], trainer: Any) -> Hardware:
        return Hardware(**{**resolve(cls, trainer).as_dict(), "precision": "bf16", "num_threads": 2, "machine": "another one"})

    monkeypatch.setattr(Hardware, "resolve", classmethod(elsewhere))
    pretrain(corpus, stopped, resume=True)
    assert "machine: " in caplog.text
    assert "-> another one" in caplog.text
    assert model_hash(stopped) == model_hash(whole)


def test_resumed_run_reads_the_same_molecules_from_their_table(stopped, whole, monkeypatch, tmp_path):
    # Prepared again, from the cache or anew: the corpus is known by its content.
    monkeypatch.setenv("MOLBT_CACHE", str(tmp_path / "cache"))
    molecules = nci_smiles(280)
    with pytest.raises(Interrupted):
        pretrain(molecules, tmp_path / "run", config=small_config(), progress=stop_after(2))
    pretrain(molecules, tmp_path / "run", resume=True)
    assert model_hash(tmp_path / "run") == model_hash(whole)


def edit_description(run: Path, section: str, **changes: Any) -> None:
    path = run / "run.json"
    content = json.loads(path.read_text())
    (content[section] if section else content).update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("package", ["molbt", "torch", "rdkit"])
def test_resuming_with_another_version_is_said_with_both(corpus, stopped, whole, caplog, package):
    now = json.loads((stopped / "run.json").read_text())["versions"][package]
    edit_description(stopped, "versions", **{package: "0.0.9"})
    pretrain(corpus, stopped, resume=True)
    assert f"goes on elsewhere than it began, so its last bits may differ: {package}: 0.0.9 -> {now}" in caplog.text
    assert_same_run(stopped, whole)


def test_resuming_with_another_number_of_threads_keeps_that_of_the_run_and_says_so(corpus, stopped, whole, caplog, request):
    caplog.set_level("INFO", logger="molbt")
    request.addfinalizer(partial(torch.set_num_threads, torch.get_num_threads()))
    torch.set_num_threads(3)
    config = small_config(trainer={"num_threads": None})
    with pytest.raises(ConfigError, match=r"trainer\.num_threads: 1 -> None"):
        pretrain(corpus, stopped, config=config, resume=True)
    # Begun with torch's own choice, which was 1 there and is 3 here.
    run = json.loads((stopped / "run.json").read_text())
    edit_description(stopped, "config", trainer={**run["config"]["trainer"], "num_threads": None})
    pretrain(corpus, stopped, config=config, resume=True)
    assert "goes on with its own num_threads (1, here 3)" in caplog.text
    assert model_hash(stopped) == model_hash(whole)


def test_resuming_on_another_kind_of_device_is_refused(corpus, stopped):
    edit_description(stopped, "hardware", device="cuda")
    with pytest.raises(ConfigError, match="was started on cuda, here it would run on cpu"):
        pretrain(corpus, stopped, resume=True)


def test_run_goes_on_though_a_setting_is_newer_than_it(corpus, stopped, whole):
    run = json.loads((stopped / "run.json").read_text())
    edit_description(
        stopped, "config", trainer={name: value for name, value in run["config"]["trainer"].items() if name != "skip_non_finite"}
    )
    pretrain(corpus, stopped, resume=True)
    assert_same_run(stopped, whole)


def test_run_begun_with_a_setting_that_is_unknown_here_is_refused_with_its_name(corpus, stopped):
    run = json.loads((stopped / "run.json").read_text())
    edit_description(stopped, "config", trainer={**run["config"]["trainer"], "from_the_future": 3})
    with pytest.raises(ConfigError, match=r"unknown key 'from_the_future'.*run\.json|run\.json.*unknown key 'from_the_future'"):
        pretrain(corpus, stopped, config=small_config(), resume=True)


def test_resuming_with_molecules_that_were_changed_is_refused(stopped, tmp_path):
    changed = ["CCCCO", *nci_smiles(280)[1:]]
    with pytest.raises(ConfigError, match=r"corpus: \w+ -> \w+"):
        pretrain(changed, stopped, config=small_config(), resume=True)
