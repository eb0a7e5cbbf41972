"""A loss, gradient or weight that is not finite ends a run, or a stated number of steps is left out; what was saved stays good."""

import math
from typing import Any

import pandas as pd
import pytest
import torch
from small_run import assert_same_tensors, last_checkpoint, model_hash, model_tensors, registered, small_config, stop_after

from molbt.errors import Interrupted, TrainingError
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import ObjectiveOutput, StepContext, Twin, Views
from molbt.training.run_dir import RunDirectory
from molbt.training.state import TrainingState
from molbt.training.trainer import pretrain


class Spoilt(BarlowTwins):
    """Barlow Twins whose loss or gradient is not finite from a step on."""

    spoil: str = ""
    from_progress: float = 0.0

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        output = super().step(twin, views, context)
        if context.progress < self.from_progress:
            return output
        if self.spoil == "gradient":
            # Finite in value; its slope at 0 is infinite.
            return ObjectiveOutput(output.loss + (0 * output.loss).sqrt(), output.terms)
        return ObjectiveOutput(output.loss + float(self.spoil), output.terms)


@pytest.mark.parametrize("spoil", ["nan", "inf", "gradient"])
def test_loss_that_is_not_finite_stops_the_run_and_spares_the_checkpoint(corpus, tmp_path, monkeypatch, spoil):
    monkeypatch.setattr(Spoilt, "spoil", spoil)
    monkeypatch.setattr(Spoilt, "from_progress", 6 / 12)
    message = "not finite in the epoch up to step 7 of .*the last checkpoint is kept"
    with registered("objectives", barlow_twins=Spoilt), pytest.raises(TrainingError, match=message):
        pretrain(corpus, tmp_path / "run", config=small_config())
    state = RunDirectory(tmp_path / "run").load_checkpoint()
    assert int(state["step"]) == 4
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert not (tmp_path / "run" / "model").exists()
    # What was saved is good: with a sound objective the run goes on to the same end.
    pretrain(corpus, tmp_path / "whole", config=small_config())
    pretrain(corpus, tmp_path / "run", config=small_config(), resume=True)
    assert model_hash(tmp_path / "run") == model_hash(tmp_path / "whole")


def test_loss_that_is_not_finite_in_the_first_epoch_leaves_no_checkpoint(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Spoilt, "spoil", "nan")
    with registered("objectives", barlow_twins=Spoilt), pytest.raises(TrainingError, match="there is no checkpoint yet"):
        pretrain(corpus, tmp_path / "run", config=small_config())
    assert RunDirectory(tmp_path / "run").load_checkpoint() is None


class SpoiltAt(BarlowTwins):
    """Barlow Twins whose projections are not numbers in some steps: loss, gradient and running statistics are spoilt with them."""

    steps: tuple[int, ...] = ()
    n_steps: int = 12

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        if round(self.n_steps * context.progress) not in self.steps:
            return super().step(twin, views, context)
        projections = {view: twin.project(view, views.embedding(view) * math.nan) for pair in context.pairs for view in pair}
        return self.loss(*projections.values())


@pytest.fixture
def spoilt_at(monkeypatch):
    def spoil(*steps: int, n_steps: int = 12) -> Any:
        monkeypatch.setattr(SpoiltAt, "steps", steps)
        monkeypatch.setattr(SpoiltAt, "n_steps", n_steps)
        return registered("objectives", barlow_twins=SpoiltAt)

    return spoil


def test_steps_that_are_not_finite_are_skipped_up_to_the_number_allowed(corpus, tmp_path, caplog, spoilt_at):
    config = small_config(trainer={"skip_non_finite": 2})
    with spoilt_at(2, 7):
        pretrain(corpus, tmp_path / "run", config=config)
    assert "step 3 is skipped: its loss or gradient is not finite (1 of 2)" in caplog.text
    assert "step 8 is skipped: its loss or gradient is not finite (2 of 2)" in caplog.text
    state = last_checkpoint(tmp_path / "run")
    assert (int(state["step"]), int(state["skipped"])) == (12, 2)
    assert int(state["optimiser.twin.encoders.a.first_weight.step"]) == 10
    assert all(tensor.isfinite().all() for tensor in [*state.values(), *model_tensors(tmp_path / "run").values()])
    metrics = pd.read_csv(tmp_path / "run" / "metrics.csv")
    assert metrics["skipped_steps"].tolist() == [1, 2, 2]
    assert metrics["loss"].notna().all()


def test_one_step_more_than_allowed_ends_the_run(corpus, tmp_path, spoilt_at):
    message = r"not finite in the epoch up to step 8 of .* \(1 steps were skipped\); the last checkpoint is kept"
    with spoilt_at(2, 7), pytest.raises(TrainingError, match=message):
        pretrain(corpus, tmp_path / "run", config=small_config(trainer={"skip_non_finite": 1}))
    assert int(RunDirectory(tmp_path / "run").load_checkpoint()["step"]) == 4


def test_skipped_step_leaves_everything_as_it_was(corpus, tmp_path, spoilt_at):
    # The last step: what is saved after it is what was there before it.
    config = small_config(trainer={"skip_non_finite": 1, "max_steps": 6})
    with spoilt_at(5, n_steps=6), pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "run", config=config, progress=stop_after(4))
    before = last_checkpoint(tmp_path / "run")
    with spoilt_at(5, n_steps=6):
        pretrain(corpus, tmp_path / "run", config=config, resume=True)
    after = last_checkpoint(tmp_path / "run")
    kept = {name for name in before if name.startswith(("twin.", "optimiser.", "objectives."))}
    assert_same_tensors({name: after[name] for name in kept}, {name: before[name] for name in kept})


def test_run_with_skipped_steps_resumes_bit_identically_and_keeps_their_count(corpus, tmp_path, spoilt_at):
    config = small_config(trainer={"skip_non_finite": 2})
    with spoilt_at(2, 7):
        pretrain(corpus, tmp_path / "whole", config=config)
        for stop in (3, 6):
            with pytest.raises(Interrupted):
                pretrain(corpus, tmp_path / "run", config=config, resume=True, progress=stop_after(stop))
        pretrain(corpus, tmp_path / "run", config=config, resume=True)
    assert model_hash(tmp_path / "run") == model_hash(tmp_path / "whole")
    assert int(last_checkpoint(tmp_path / "run")["skipped"]) == 2
    with spoilt_at(2, 7, 10):
        with pytest.raises(Interrupted):
            pretrain(corpus, tmp_path / "third", config=config, progress=stop_after(8))
        with pytest.raises(TrainingError, match="2 steps were skipped"):
            pretrain(corpus, tmp_path / "third", config=config, resume=True)


def test_epoch_without_a_finite_step_ends_the_run(corpus, tmp_path, spoilt_at):
    with spoilt_at(4, 5, 6, 7), pytest.raises(TrainingError, match="not finite in any step of epoch 2"):
        pretrain(corpus, tmp_path / "run", config=small_config(trainer={"skip_non_finite": 9}))
    assert int(RunDirectory(tmp_path / "run").load_checkpoint()["step"]) == 4


def test_healthy_run_is_the_same_when_steps_may_be_skipped(corpus, whole, tmp_path):
    pretrain(corpus, tmp_path / "run", config=small_config(trainer={"skip_non_finite": 3}))
    assert model_hash(tmp_path / "run") == model_hash(whole)
    assert "skipped_steps" not in pd.read_csv(tmp_path / "run" / "metrics.csv")


@pytest.mark.parametrize("where", ["weight", "statistic", "slot"])
def test_state_that_is_not_finite_is_never_saved(corpus, tmp_path, monkeypatch, where):
    # Spoilt by the step before a checkpoint, when every loss and gradient so far was finite.
    step = torch.optim.AdamW.step

    def spoil(optimiser: torch.optim.Optimizer) -> None:
        step(optimiser)
        first = optimiser.param_groups[0]["params"][0]
        if int(optimiser.state[first]["step"]) == 8:
            target = {"weight": first.data, "slot": optimiser.state[first]["exp_avg_sq"], "statistic": statistics[0]}[where]
            target.view(-1)[0] = math.inf

    statistics: list[torch.Tensor] = []
    load = TrainingState.broadcast
    monkeypatch.setattr(TrainingState, "broadcast", lambda state: (statistics.append(next(state.twin.buffers())), load(state))[1])
    monkeypatch.setattr(torch.optim.AdamW, "step", spoil)
    with pytest.raises(TrainingError, match=r"the weights are not finite after step 8 of .*the last checkpoint is kept"):
        pretrain(corpus, tmp_path / "run", config=small_config())
    state = RunDirectory(tmp_path / "run").load_checkpoint()
    assert int(state["step"]) == 4
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_learning_rate_beyond_all_measure_leaves_no_model(corpus, tmp_path):
    with pytest.raises(TrainingError, match="not finite"):
        pretrain(corpus, tmp_path / "run", config=small_config(trainer={"learning_rate": 1e38, "max_steps": 4, "warmup": 0.0}))
    assert not (tmp_path / "run" / "model").exists()
    assert RunDirectory(tmp_path / "run").load_checkpoint() is None


def test_spoilt_statistics_are_seen_where_nobody_puts_them_back(corpus, tmp_path, monkeypatch, spoilt_at):
    # The control: dropping the update alone leaves the running statistics spoilt.
    monkeypatch.setattr(TrainingState, "put_back", lambda state, buffers: None)
    with spoilt_at(2), pytest.raises(TrainingError, match="the weights are not finite after step 4"):
        pretrain(corpus, tmp_path / "run", config=small_config(trainer={"skip_non_finite": 1}))
