"""A mixing objective through the trainer: Mixed Barlow Twins, which encodes a third batch made of the other two."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from small_run import assert_same_tensors, last_checkpoint, registered, small_config, small_corpus, stop_after
from torch import Tensor

from molbt.errors import Interrupted
from molbt.nn.collectives import gather_rows
from molbt.nn.standardise import standardise
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views
from molbt.training.trainer import pretrain


class MixedBarlowTwins(Objective):
    """Barlow Twins, and the correlations that a mixture ``m = α a + (1 − α) b[π]`` should have with both views.

    One α and one permutation π of the global batch per step; gradient flows through the targets.

    References
    ----------
    Bandara et al., "Guarding Barlow Twins against overfitting with mixed samples", https://arxiv.org/abs/2312.02151
    """

    history: ClassVar[list[tuple[float, Tensor]]] = []

    def __init__(
        self, *, redundancy_lambda: float = 0.0078125, mixing_weight: float = 4.0, alpha: float | None = None, local: bool = False
    ) -> None:
        super().__init__()
        self.twins = BarlowTwins(redundancy_lambda=redundancy_lambda)
        self.factor = mixing_weight * redundancy_lambda
        self.alpha = alpha
        self.local = local

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        ((a, b),) = context.pairs
        alpha = context.step_draws.uniform() if self.alpha is None else torch.tensor(self.alpha)
        permutation = context.draws.permutation()
        if self.local:  # the mistake of the reference implementation: each rank permutes its own rows
            permutation = torch.cat([part.flip(0) for part in torch.arange(views.n_rows).chunk(views.n_rows // len(views.rows))])
        partners = permutation[views.rows]
        mixed = twin.encoder_of(a).mix(views.batch(a), views.batch_at(b, partners), alpha)
        z_m = twin.project(a, twin.encode(a, mixed))
        output = self.twins.loss(views.projection(a), views.projection(b))
        regulariser = self.regulariser(views.projection(a), views.projection(b), z_m, alpha, permutation)
        MixedBarlowTwins.history.append((float(alpha), permutation))
        return ObjectiveOutput(output.loss + self.factor * regulariser, {**output.terms, "mixing": regulariser.detach()})

    @staticmethod
    def regulariser(z_a: Tensor, z_b: Tensor, z_m: Tensor, alpha: Tensor, permutation: Tensor) -> Tensor:
        with torch.autocast(z_a.device.type, enabled=False):
            a, b, m = (gather_rows(standardise(z.float())[0]) for z in (z_a, z_b, z_m))
            n = len(a)
            mixed_targets = alpha * a + (1 - alpha) * b[permutation]
            return sum(((m - mixed_targets).T @ side / n).square().sum() for side in (a, b))


class TargetsFirst(Objective):
    """Takes targets from the twin's own shared encoder before anything else is encoded (as SimSiam may): gradients must survive it."""

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        ((a, b),) = context.pairs
        with torch.no_grad():
            target = twin.project(b, twin.encode(b, views.batch(b)))
        loss = (views.projection(a).float() - target.float()).square().mean()
        return ObjectiveOutput(loss, {"loss": loss.detach()})


@pytest.fixture(autouse=True)
def _known_and_empty():
    MixedBarlowTwins.history.clear()
    with registered("objectives", mixed=MixedBarlowTwins, targets_first=TargetsFirst):
        yield


def mixed_config(trainer: dict[str, Any] | None = None, **parameters: Any):
    return small_config(objectives=[{"name": "mixed", **parameters}], encoder={"dropout": 0.0}, trainer=trainer or {})


def test_mixing_objective_lowers_its_loss_and_draws_anew_at_each_step(corpus, tmp_path):
    result = pretrain(corpus, tmp_path / "run", config=mixed_config({"epochs": 6}))
    assert result.metrics["mixed.mixing"].iloc[-1] < 0.7 * result.metrics["mixed.mixing"].iloc[0]
    alphas = [alpha for alpha, _ in MixedBarlowTwins.history]
    assert len(set(alphas)) == len(alphas) == 24
    assert all(0 <= alpha < 1 for alpha in alphas)
    permutations = torch.stack([permutation for _, permutation in MixedBarlowTwins.history])
    assert torch.equal(permutations.sort(dim=1).values, torch.arange(64).expand(24, 64))
    assert len(permutations.unique(dim=0)) == 24


@pytest.mark.parametrize("stop", [3, 8])
def test_mixing_objective_resumes_bit_identically(corpus, tmp_path, stop):
    pretrain(corpus, tmp_path / "whole", config=mixed_config())
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "stopped", config=mixed_config(), progress=stop_after(stop))
    pretrain(corpus, tmp_path / "stopped", config=mixed_config(), resume=True)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), last_checkpoint(tmp_path / "whole"))


def test_regulariser_is_exactly_zero_where_the_mixture_is_the_first_view(corpus, tmp_path):
    result = pretrain(corpus, tmp_path / "run", config=mixed_config(alpha=1.0))
    assert (result.metrics["mixed.mixing"] == 0).all()
    assert (pretrain(corpus, tmp_path / "half", config=mixed_config(alpha=0.5)).metrics["mixed.mixing"] > 1).all()


def test_views_at_positions_are_the_selected_rows(corpus, tmp_path):
    # Made anew from the samples, or selected from the batch: the same rows, in the same order.
    seen = []

    class Selecting(MixedBarlowTwins):
        def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
            order = context.draws.permutation()
            encoder = twin.encoder_of("b")
            seen.append((encoder.select(views.batch("b"), order).to_dense(), views.batch_at("b", order).to_dense()))
            seen.append((views.original("b").to_dense() >= views.batch("b").to_dense(), torch.ones(64, 256, dtype=torch.bool)))
            assert not torch.equal(views.original("b").to_dense(), views.batch("b").to_dense())
            return super().step(twin, views, context)

    with registered("objectives", mixed=Selecting):
        pretrain(corpus, tmp_path / "run", config=mixed_config({"max_steps": 2}))
    assert len(seen) == 4
    assert all(torch.equal(actual, expected) for actual, expected in seen)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_targets_from_shared_encoders_leave_the_gradients_alone(corpus, tmp_path, precision):
    # Autocast keeps casts of weights; one made without gradient must not serve the pass that needs it.
    config = small_config(objectives=[{"name": "targets_first"}], trainer={"precision": precision, "max_steps": 1})
    pretrain(corpus, tmp_path / "run", config=config)
    moments = {name: tensor for name, tensor in last_checkpoint(tmp_path / "run").items() if name.endswith(".exp_avg")}
    assert {name.split(".")[2] for name in moments} == {"encoders", "projectors"}
    assert all(tensor.any() for tensor in moments.values())


def train_on_rank(rank: int, world_size: int, *, directory: str, local: bool = False) -> dict[str, Any]:
    with registered("objectives", mixed=MixedBarlowTwins):
        output = Path(directory) / f"run-{world_size}-{local}"
        result = pretrain(small_corpus(Path(directory) / "corpus"), output, config=mixed_config({"epochs": 2}, local=local))
    weights = {name: tensor for name, tensor in last_checkpoint(output).items() if name.startswith("twin.")}
    return {
        "mixing": result.metrics["mixed.mixing"].tolist(),
        "weights": torch.cat([weights[name].double().flatten() for name in sorted(weights)]).numpy(),
    }


def test_mixing_objective_on_two_ranks_equals_one_process(on_ranks, tmp_path):
    small_corpus(tmp_path / "corpus")
    alone = train_on_rank(0, 1, directory=str(tmp_path))
    for result in on_ranks(train_on_rank, 2, directory=str(tmp_path)):
        assert result["mixing"] == pytest.approx(alone["mixing"], rel=1e-4)
        torch.testing.assert_close(torch.from_numpy(result["weights"]), torch.from_numpy(alone["weights"]), rtol=1e-3, atol=2e-5)
    # The comparison notices a permutation within each rank.
    for result in on_ranks(train_on_rank, 2, directory=str(tmp_path), local=True):
        assert result["mixing"] != pytest.approx(alone["mixing"], rel=1e-3)
