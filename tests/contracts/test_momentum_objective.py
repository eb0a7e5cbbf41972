"""A momentum objective through the trainer: BYOL, whose state is copies of the networks that follow them."""

import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_run import DESCRIPTORS, FINGERPRINTS, assert_same_tensors, last_checkpoint, registered, small_config, small_corpus, stop_after
from torch import Tensor, nn

from molbt.errors import Interrupted
from molbt.nn.batch_norm import BatchNorm
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views
from molbt.training.trainer import pretrain

BASE_MOMENTUM = 0.9


class Byol(Objective):
    """``mean_i |l2(p_a) − l2(t_b)|² + |l2(p_b) − l2(t_a)|²``: predictions of one view against targets of the other.

    Targets come from momentum copies of encoder and projector, with batch statistics and without gradient.

    References
    ----------
    Grill et al., "Bootstrap your own latent", NeurIPS 2020, https://arxiv.org/abs/2006.07733
    """

    history: ClassVar[list[tuple[float, list[Tensor], list[Tensor]]]] = []

    def __init__(self, *, hidden: int = 32) -> None:
        super().__init__()
        self.hidden = hidden
        self.predictors = nn.ModuleDict()
        self.targets = nn.ModuleDict()
        self.key_of_view: dict[str, str] = {}

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        for view in dict.fromkeys(view for pair in pairs for view in pair):
            width = twin.projection_dim(view)
            self.predictors[view] = nn.Sequential(
                nn.Linear(width, self.hidden, bias=False), BatchNorm(self.hidden), nn.ReLU(), nn.Linear(self.hidden, width, bias=False)
            )
            self.key_of_view[view] = twin.encoder_key(view)
            networks = {"encoder": twin.encoder_of(view), "projector": twin.projector_of(view)}
            if self.key_of_view[view] not in self.targets:
                self.targets[self.key_of_view[view]] = nn.ModuleDict(copy.deepcopy(networks)).requires_grad_(False)

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        loss = torch.zeros((), device=views.rows.device)
        for a, b in context.pairs:
            target_a, target_b = self.target(views, a), self.target(views, b)
            loss = loss + self.distance(self.predict(views, a), target_b) + self.distance(self.predict(views, b), target_a)
        return ObjectiveOutput(loss, {"loss": loss.detach()})

    def predict(self, views: Views, view: str) -> Tensor:
        return self.predictors[view](views.projection(view))

    @torch.no_grad()
    def target(self, views: Views, view: str) -> Tensor:
        networks = self.targets[self.key_of_view[view]]
        return networks["projector"](networks["encoder"](views.batch(view)))

    @staticmethod
    def distance(prediction: Tensor, target: Tensor) -> Tensor:
        return 2 - 2 * nn.functional.cosine_similarity(prediction.float(), target.float()).mean()

    def after_step(self, twin: Twin, progress: float) -> None:
        momentum = 1 - (1 - BASE_MOMENTUM) * (math.cos(math.pi * progress) + 1) / 2
        online, targets = self.pairs_of_parameters(twin)
        torch._foreach_lerp_(targets, online, 1 - momentum)
        Byol.history.append((progress, [p.detach().clone() for p in online], [p.clone() for p in targets]))

    def pairs_of_parameters(self, twin: Twin) -> tuple[list[Tensor], list[Tensor]]:
        online: list[Tensor] = []
        targets: list[Tensor] = []
        for key, networks in self.targets.items():  # an encoder's key is the name of a view that uses it
            online += [*twin.encoder_of(key).parameters(), *twin.projector_of(key).parameters()]
            targets += [*networks["encoder"].parameters(), *networks["projector"].parameters()]
        return online, targets


@pytest.fixture(autouse=True)
def _known_and_empty():
    Byol.history.clear()
    with registered("objectives", byol=Byol):
        yield


def byol_config(**changes: Any):
    return small_config(**{"objectives": [{"name": "byol", "hidden": 48}], **changes})


def test_momentum_copies_follow_the_networks_and_nothing_else_moves_them(corpus, tmp_path):
    config = byol_config(trainer={"weight_decay": 0.5})  # strong, so that a copy that decays is noticed
    pretrain(corpus, tmp_path / "run", config=config)
    assert len(Byol.history) == 12
    _, _, before = Byol.history[0]
    for step, (progress, online, targets) in enumerate(Byol.history):
        assert progress == step / 12
        if step:
            momentum = 1 - 0.1 * (math.cos(math.pi * step / 12) + 1) / 2
            for target, previous, followed in zip(targets, before, online, strict=True):
                torch.testing.assert_close(target, momentum * previous + (1 - momentum) * followed, rtol=1e-5, atol=1e-7)
        before = targets
    state = last_checkpoint(tmp_path / "run")
    trained = {name for name in state if name.startswith("optimiser.")}
    assert not any(".targets." in name for name in trained)
    assert {name.split(".")[4] for name in trained if ".predictors." in name} == {"a", "b"}
    saved = state["objectives.byol.targets.a.encoder.last.weight"]
    assert any(torch.equal(saved, target) for target in before)


def test_momentum_objective_trains_its_predictors_and_lowers_the_loss(corpus, tmp_path):
    result = pretrain(corpus, tmp_path / "run", config=byol_config(trainer={"epochs": 6}))
    assert result.metrics["byol.loss"].iloc[-1] < 0.7 * result.metrics["byol.loss"].iloc[0]
    moments = {name: tensor for name, tensor in last_checkpoint(tmp_path / "run").items() if "predictors" in name and "exp_avg_sq" in name}
    assert len(moments) == 8
    assert all(tensor.any() for tensor in moments.values())


@pytest.mark.parametrize("stop", [2, 4, 7])
def test_momentum_objective_resumes_bit_identically(corpus, tmp_path, stop):
    config = byol_config()
    pretrain(corpus, tmp_path / "whole", config=config)
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "stopped", config=config, progress=stop_after(stop))
    pretrain(corpus, tmp_path / "stopped", config=config, resume=True)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), last_checkpoint(tmp_path / "whole"))


def test_momentum_objective_runs_in_bfloat16(corpus, tmp_path):
    result = pretrain(corpus, tmp_path / "run", config=byol_config(trainer={"precision": "bf16"}))
    assert result.metrics["byol.loss"].between(0, 8).all()
    state = last_checkpoint(tmp_path / "run")
    assert all(tensor.dtype in (torch.float32, torch.float64, torch.int64) for tensor in state.values())


def test_momentum_objective_keeps_a_copy_of_each_encoder(corpus, tmp_path):
    views = {"a": FINGERPRINTS["a"], "descriptors": DESCRIPTORS}
    config = byol_config(views=views, pairs=[["a", "descriptors"]], encoder={"dropout": 0.0})
    pretrain(corpus, tmp_path / "run", config=config)
    copies = {name.split(".")[3] for name in last_checkpoint(tmp_path / "run") if name.startswith("objectives.byol.targets.")}
    assert copies == {"a", "descriptors"}


def train_on_rank(rank: int, world_size: int, *, directory: str) -> dict[str, Any]:
    with registered("objectives", byol=Byol):
        config = byol_config(encoder={"dropout": 0.0}, trainer={"epochs": 2})
        result = pretrain(small_corpus(Path(directory) / "corpus"), Path(directory) / f"run-{world_size}", config=config)
    targets = torch.cat([parameter.flatten() for parameter in Byol.history[-1][2]])
    return {"targets": targets.numpy(), "loss": result.metrics["loss"].tolist()}


def test_momentum_objective_on_two_ranks_equals_one_process(on_ranks, tmp_path):
    small_corpus(tmp_path / "corpus")
    alone = train_on_rank(0, 1, directory=str(tmp_path))
    first, second = on_ranks(train_on_rank, 2, directory=str(tmp_path))
    assert (first["targets"] == second["targets"]).all()
    torch.testing.assert_close(torch.from_numpy(first["targets"]), torch.from_numpy(alone["targets"]), rtol=1e-3, atol=1e-5)
    assert first["loss"] == pytest.approx(alone["loss"], rel=1e-4)
