"""The main path on a CUDA device: columns and weights live there, and the features are those of the CPU."""

import numpy as np
import pytest
import torch
from small_run import small_config

from molbt import MoleculeFeaturizer
from molbt.data.columns import RaggedColumn
from molbt.model.twin_model import TwinModel
from molbt.objectives.barlow_twins import BarlowTwins
from molbt.objectives.base import StepContext, Views
from molbt.training.batches import SampleStore
from molbt.training.trainer import pretrain

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
]


def store_on(device: str, corpus, config) -> SampleStore:
    twin = TwinModel(config, {})
    columns = {name: corpus.columns(view) for name, view in config.views.items()}
    return SampleStore(twin.modalities, columns, corpus.samples(config), seed=0, device=torch.device(device))


def loss_and_gradients(device: str, corpus, config) -> list[torch.Tensor]:
    """One step's loss and the gradient of every weight, from the same weights on each device."""
    torch.manual_seed(0)
    twin = TwinModel(config, {}).to(device).train()
    batch = store_on(device, corpus, config).batch(0, 0, 64)
    context = StepContext(pairs=config.pairs, draws=batch.draws("bt"), step_draws=batch.step_draws("bt", 0))
    views = Views(twin, batch, torch.arange(64, device=device), 64)
    loss = BarlowTwins(redundancy_weight=8.0).step(twin, views, context).loss
    loss.backward()
    return [loss.detach().cpu(), *(parameter.grad.cpu() for parameter in twin.parameters())]


def test_columns_stay_on_the_device_and_views_are_those_of_the_cpu(corpus):
    config = small_config()
    there, here = store_on("cuda", corpus, config), store_on("cpu", corpus, config)
    for columns in there.columns.values():
        for column in columns.values():
            assert isinstance(column, RaggedColumn)
            assert all(values.is_cuda for values in (column.offsets, *column.fields.values()))
    for ours, theirs in zip(there.batch(1, 0, 64).all_views().values(), here.batch(1, 0, 64).all_views().values(), strict=True):
        assert ours.ids.is_cuda
        assert torch.equal(ours.ids.cpu(), theirs.ids)
        assert torch.equal(ours.row_of_item.cpu(), theirs.row_of_item)
        torch.testing.assert_close(ours.weights.cpu(), theirs.weights)


def test_a_step_has_the_loss_and_gradients_of_the_cpu(corpus):
    # On the GPU the first layer is a product of dense rows, on the CPU an embedding bag.
    torch.backends.cuda.matmul.allow_tf32 = False
    config = small_config(encoder={"dropout": 0.0})  # each device draws its own
    ours, theirs = (loss_and_gradients(device, corpus, config) for device in ("cuda", "cpu"))
    for a, b in zip(ours, theirs, strict=True):
        assert torch.linalg.vector_norm(a - b) <= 1e-4 * torch.linalg.vector_norm(b) + 1e-7


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_trains_and_its_features_are_the_same_on_the_cpu(corpus, tmp_path, precision):
    config = small_config(trainer={"device": "cuda", "precision": precision})
    result = pretrain(corpus, tmp_path / "run", config=config)
    assert np.isfinite(result.metrics["loss"]).all()
    assert result.metrics["loss"].iloc[-1] < result.metrics["loss"].iloc[0]
    smiles = ["CCO", "c1ccccc1C(=O)O", "CC(C)Cc1ccc(cc1)C(C)C(=O)O"]
    there, here = (MoleculeFeaturizer(result.model, device=device).fit_transform(smiles) for device in ("cuda", "cpu"))
    assert np.linalg.norm(there - here) <= 1e-4 * np.linalg.norm(here)
