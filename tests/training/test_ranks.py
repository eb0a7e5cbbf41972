"""Several processes train one model as one process would, and begin, stop and fail together."""

import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from small_run import distance_of_models, model_hash, registered, small_config, small_corpus
from torch import nn

from molbt.data.corpus import Corpus
from molbt.errors import ConfigError, MolbtError
from molbt.nn.collectives import rank as own_rank
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import ObjectiveOutput
from molbt.training.ranks import average_gradients, broadcast_from_rank_zero, joined_ranks, on_any_rank
from molbt.training.trainer import pretrain

PLAIN = {"encoder": {"dropout": 0.0}}
ALONE = {1: "alone", 2: "pair"}


def run_of(directory: str, world_size: int) -> Path:
    return Path(directory) / ALONE[world_size]


def train(rank: int, world_size: int, *, directory: str, **changes: Any) -> dict[str, Any]:
    config = small_config(**{**PLAIN, **changes})
    result = pretrain(Corpus.open(Path(directory) / "corpus"), run_of(directory, world_size), config=config)
    return {"loss": result.metrics["loss"].tolist(), "diagonal": result.metrics["barlow_twins.mean_diagonal"].tolist()}


@pytest.mark.parametrize("steps", [1, 12])
def test_two_ranks_train_the_model_of_one_process(on_ranks, tmp_path, steps):
    small_corpus(tmp_path / "corpus")
    changes = {"trainer": {"max_steps": steps}}
    alone = train(0, 1, directory=str(tmp_path), **changes)
    for result in on_ranks(train, 2, directory=str(tmp_path), **changes):
        assert result["loss"] == pytest.approx(alone["loss"], rel=1e-5)
        assert result["diagonal"] == pytest.approx(alone["diagonal"], rel=1e-5)
    assert distance_of_models(tmp_path / "pair", tmp_path / "alone") < 1e-5


class Watched(BarlowTwins):
    twins: ClassVar[list[nn.Module]] = []

    def after_step(self, twin: Any, progress: float) -> None:
        Watched.twins.append(twin)


def state_after(rank: int, world_size: int, *, directory: str) -> dict[str, Any]:
    """Dropout differs between the ranks; what they hold in the end may not."""
    probed = []
    with registered("objectives", barlow_twins=Watched):
        corpus, config = Corpus.open(Path(directory) / "corpus"), small_config(encoder={"dropout": 0.3})
        pretrain(corpus, run_of(directory, world_size), config=config, probe=lambda twin, step: probed.append(step) or {})
    state = torch.cat([tensor.double().flatten() for tensor in Watched.twins[-1].state_dict().values()])
    return {"state": state.numpy(), "probed": probed}


def test_ranks_end_with_the_same_bits_though_their_dropout_differs(on_ranks, tmp_path):
    small_corpus(tmp_path / "corpus")
    first, second = on_ranks(state_after, 2, directory=str(tmp_path))
    assert np.array_equal(first["state"], second["state"])
    assert (first["probed"], second["probed"]) == ([4, 8, 12], [])


def stop_one_rank(rank: int, world_size: int, *, directory: str) -> str:
    """Only the second rank is sent a signal."""

    class Signalled(BarlowTwins):
        def step(self, *args: Any) -> ObjectiveOutput:
            if own_rank() == 1 and args[2].progress == 5 / 12:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().step(*args)

    corpus, output = Corpus.open(Path(directory) / "corpus"), run_of(directory, world_size)
    messages = []
    with registered("objectives", barlow_twins=Signalled):
        try:
            pretrain(corpus, output, config=small_config())
        except MolbtError as error:
            messages.append(f"{type(error).__name__}: {error}")
    pretrain(corpus, output, config=small_config(), resume=True)
    whole = Path(directory) / "whole"
    pretrain(corpus, whole, config=small_config())
    return messages[0] + (" same" if model_hash(output) == model_hash(whole) else " different")


def test_signal_to_one_rank_stops_all_and_the_run_resumes_bit_identically(on_ranks, tmp_path):
    small_corpus(tmp_path / "corpus")
    for message in on_ranks(stop_one_rank, 2, directory=str(tmp_path)):
        assert message.startswith("Interrupted: stopped at step 6 of 12")
        assert message.endswith(" same")


def fail_on_one_rank(rank: int, world_size: int, *, directory: str, how: str) -> str:
    class Failing(BarlowTwins):
        def loss(self, *views: Any) -> ObjectiveOutput:
            output = super().loss(*views)
            # An infinite constant: the gradient, which all ranks see, stays finite.
            return ObjectiveOutput(output.loss + (float("inf") if own_rank() == 1 else 0.0), output.terms)

    output = run_of(directory, world_size)
    if how == "foreign" and rank == 0:
        output.mkdir()
        (output / "notes.txt").touch()
    try:
        with registered("objectives", **({"barlow_twins": Failing} if how == "loss" else {})):
            batch_size = 63 if how == "batch" else 64
            pretrain(Corpus.open(Path(directory) / "corpus"), output, config=small_config(trainer={"batch_size": batch_size}))
    except MolbtError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


@pytest.mark.parametrize(
    ("how", "messages"),
    [
        ("loss", ["TrainingError: the loss or its gradient is not finite"] * 2),
        ("foreign", ["ConfigError: expected a new or empty output directory", "TrainingError: rank 0 could not begin the run"]),
        ("batch", ["ConfigError: expected a trainer.batch_size that 2 ranks can share, received 63"] * 2),
    ],
)
def test_ranks_fail_together(on_ranks, tmp_path, how, messages):
    small_corpus(tmp_path / "corpus")
    for found, expected in zip(on_ranks(fail_on_one_rank, 2, directory=str(tmp_path), how=how), messages, strict=True):
        assert found.startswith(expected)


def exchange(rank: int, world_size: int) -> dict[str, Any]:
    first, second, unused = (nn.Parameter(torch.zeros(size)) for size in (3, 2, 2))
    first.grad = torch.tensor([1.0, 2.0, 3.0]) * (rank + 1)
    if rank == 1:
        second.grad = torch.tensor([4.0, 6.0])
    average_gradients([first, second, unused])
    tensors = [torch.full((2, 3), rank + 0.5).T, torch.tensor(rank == 0), torch.tensor(7 - rank), torch.full((2,), rank).bfloat16()]
    broadcast_from_rank_zero(tensors)
    return {
        "gradients": [parameter.grad.tolist() for parameter in (first, second, unused)],
        "facts": on_any_rank(rank == 1, False, True),
        "tensors": [tensor.tolist() for tensor in tensors],
    }


def test_exchange_between_ranks_by_hand(on_ranks):
    for result in on_ranks(exchange, 2):
        assert result["gradients"] == [[1.5, 3.0, 4.5], [2.0, 3.0], [0.0, 0.0]]
        assert result["facts"] == [True, False, True]
        assert result["tensors"] == [[[0.5, 0.5]] * 3, True, 7, [0.0, 0.0]]


def test_parameter_that_took_no_part_is_treated_alike_on_one_process():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    used.grad = torch.ones(2)
    average_gradients([used, unused])
    assert used.grad.tolist() == [1, 1]
    assert unused.grad.tolist() == [0, 0]


def test_more_ranks_than_samples_are_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("molbt.training.trainer.world_size", lambda: 512)
    with pytest.raises(ConfigError, match="280 samples are too few for 512 ranks"):
        pretrain(corpus, tmp_path / "run", config=small_config(trainer={"batch_size": 1024}))


def test_process_alone_joins_no_group():
    with joined_ranks():
        assert not torch.distributed.is_initialized()
