"""A twin of two different encoders, with an objective that restores what one view hides."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from sklearn.preprocessing import RobustScaler
from small_run import DESCRIPTORS, FINGERPRINTS, assert_same_tensors, last_checkpoint, model_tensors, registered, small_config, stop_after
from torch import nn

from molbt.errors import Interrupted
from molbt.objectives.base import Objective, ObjectiveOutput, StepContext, Twin, Views
from molbt.training.trainer import pretrain

VIEWS = {"fingerprint": FINGERPRINTS["a"], "descriptors": DESCRIPTORS}
PAIRS = [["fingerprint", "descriptors"]]


class DescriptorRegression(Objective):
    """Mean squared error of the scaled descriptors, before masking, from the embedding of another view."""

    def __init__(self, *, source: str, target: str) -> None:
        super().__init__()
        self.source = source
        self.target = target

    def build(self, twin: Twin, *, pairs: Sequence[tuple[str, str]], n_tasks: Mapping[str, int]) -> None:
        self.head = nn.Linear(twin.embedding_dim(self.source), twin.encoder_of(self.target).input_dim)

    def step(self, twin: Twin, views: Views, context: StepContext) -> ObjectiveOutput:
        truth = twin.encoder_of(self.target).scale(views.original(self.target))
        error = (self.head(views.embedding(self.source)).float() - truth).square().mean()
        return ObjectiveOutput(error, {"error": error.detach()})


@pytest.fixture(autouse=True)
def _known():
    with registered("objectives", descriptor_regression=DescriptorRegression):
        yield


def two_encoders(**changes: Any):
    return small_config(views=VIEWS, pairs=PAIRS, **changes)


def test_two_encoders_are_trained_apart(corpus, tmp_path):
    result = pretrain(corpus, tmp_path / "run", config=two_encoders(trainer={"epochs": 6}))
    assert result.metrics["loss"].iloc[-1] < 0.8 * result.metrics["loss"].iloc[0]
    tensors = model_tensors(tmp_path / "run")
    assert {".".join(name.split(".")[:2]) for name in tensors} == {
        f"{kind}.{view}" for kind in ("encoders", "projectors") for view in VIEWS
    }
    for view in VIEWS:
        assert result.metrics[f"embedding_rank.{view}"].iloc[-1] > 2


def test_two_encoders_keep_the_scaling_of_the_training_samples(corpus, tmp_path):
    config = two_encoders()
    pretrain(corpus, tmp_path / "run", config=config)
    samples = corpus.samples(config)
    values = corpus.columns(config.views["descriptors"])["values"].arrays()["values"][samples.entries["descriptors"]]
    scaler = RobustScaler(unit_variance=True).fit(values)
    tensors = model_tensors(tmp_path / "run")
    assert tensors["encoders.descriptors.fitted.centre"].numpy() == pytest.approx(scaler.center_, rel=1e-5)
    assert tensors["encoders.descriptors.fitted.scale"].numpy() == pytest.approx(scaler.scale_, rel=1e-4)


@pytest.mark.parametrize("stop", [5, 8])
def test_two_encoders_resume_bit_identically(corpus, tmp_path, stop):
    config = two_encoders()
    pretrain(corpus, tmp_path / "whole", config=config)
    with pytest.raises(Interrupted):
        pretrain(corpus, tmp_path / "stopped", config=config, progress=stop_after(stop))
    pretrain(corpus, tmp_path / "stopped", config=config, resume=True)
    assert_same_tensors(last_checkpoint(tmp_path / "stopped"), last_checkpoint(tmp_path / "whole"))


def test_objective_restores_what_the_augmentation_hides(corpus, tmp_path):
    # All but one in ten descriptors are masked: a target taken from the augmented view would be constant, and learned at once.
    views = {**VIEWS, "descriptors": {**DESCRIPTORS, "mask": 0.9}}
    regression = {"name": "descriptor_regression", "source": "fingerprint", "target": "descriptors"}
    config = small_config(views=views, pairs=PAIRS, objectives=[regression], trainer={"epochs": 10})
    errors = pretrain(corpus, tmp_path / "run", config=config).metrics["descriptor_regression.error"]
    assert errors.iloc[0] > 0.7
    assert errors.iloc[-1] < 0.6 * errors.iloc[0]
