"""Global batch norm against ``torch.nn.BatchNorm1d``, on one process and on several."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from molbt.errors import ShapeError
from molbt.nn.batch_norm import BatchNorm

SIZES = (5, 2, 0, 4)


def filled(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """A norm with scale, shift and running statistics that are not the initial ones."""
    with torch.no_grad():
        norm.weight.copy_(torch.linspace(0.5, 2, 3))
        norm.bias.copy_(torch.linspace(-1, 1, 3))
        norm.running_mean.copy_(torch.linspace(-2, 3, 3))
        norm.running_var.copy_(torch.linspace(0.1, 4, 3))
    return norm.double()


def rows(n: int) -> Tensor:
    return 3 * torch.randn(n, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 50


def outcome(norm: nn.BatchNorm1d, own: Tensor, weights: Tensor) -> dict[str, np.ndarray]:
    own = own.clone().requires_grad_()
    output = norm(own)
    (output.square() * weights).sum().backward()
    tensors = {"output": output.detach(), "gradient": own.grad, "weight_gradient": norm.weight.grad, "bias_gradient": norm.bias.grad}
    return {name: tensor.numpy() for name, tensor in (tensors | dict(norm.named_buffers())).items()}


def normalise_own_rows(rank: int, world_size: int, *, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    start = sum(sizes[:rank])
    part = slice(start, start + sizes[rank])
    n_rows = sum(sizes[:world_size])
    return outcome(filled(BatchNorm(3)), rows(n_rows)[part], torch.linspace(-1, 1, 3 * n_rows, dtype=torch.float64).view(-1, 3)[part])


@pytest.mark.parametrize("is_training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_norm_on_one_process_is_that_of_torch(dtype, is_training):
    ours, theirs = (filled(norm).to(dtype).train(is_training) for norm in (BatchNorm(3), nn.BatchNorm1d(3)))
    result, expected = (outcome(norm, rows(8).to(dtype), torch.ones(8, 3)) for norm in (ours, theirs))
    assert all(np.array_equal(result[name], expected[name]) for name in expected)


@pytest.mark.parametrize("world_size", [2, 4])
def test_batch_norm_on_ranks_is_that_of_torch_on_the_whole_batch(on_ranks, world_size):
    n_rows = sum(SIZES[:world_size])
    expected = outcome(filled(nn.BatchNorm1d(3)), rows(n_rows), torch.linspace(-1, 1, 3 * n_rows, dtype=torch.float64).view(-1, 3))
    results = on_ranks(normalise_own_rows, world_size, sizes=SIZES)
    for name in ("output", "gradient"):
        np.testing.assert_allclose(np.concatenate([result[name] for result in results]), expected[name], rtol=1e-11, atol=1e-13)
    for name in ("weight_gradient", "bias_gradient"):
        # Each rank back-propagated its own part of the sum.
        np.testing.assert_allclose(sum(result[name] for result in results), expected[name], rtol=1e-11)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        for result in results:
            np.testing.assert_allclose(result[name], expected[name], rtol=1e-13)


@pytest.mark.parametrize("world_size", [1, 2])
def test_batch_norm_of_one_row_uses_and_keeps_the_running_statistics(on_ranks, world_size):
    sizes = (1,) if world_size == 1 else (0, 1)
    expected = outcome(filled(nn.BatchNorm1d(3)).eval(), rows(1), torch.linspace(-1, 1, 3, dtype=torch.float64).view(1, 3))
    results = on_ranks(normalise_own_rows, 2, sizes=sizes) if world_size == 2 else [normalise_own_rows(0, 1, sizes=sizes)]
    assert len(results) == world_size
    np.testing.assert_allclose(results[-1]["output"], expected["output"], rtol=1e-13)
    np.testing.assert_allclose(results[-1]["gradient"], expected["gradient"], rtol=1e-13)
    for result in results:
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            assert np.array_equal(result[name], expected[name])


@pytest.mark.parametrize("options", [{"eps": 0.5}, {"momentum": 0.7}, {"affine": False}])
def test_batch_norm_options_are_those_of_torch(options):
    ours, theirs = BatchNorm(3, **options), nn.BatchNorm1d(3, **options)
    assert torch.equal(ours(rows(4).float()), theirs(rows(4).float()))
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert all(torch.equal(value, theirs.state_dict()[name]) for name, value in ours.state_dict().items())


def test_batch_norm_of_half_precision_input_has_float32_statistics():
    # 300² overflows float16 and 256 + 1 is lost in bfloat16.
    values = (torch.arange(512.0)[:, None] % 5 + torch.tensor([[300.0, 0.0, -7.0]])).bfloat16()
    norm = BatchNorm(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        norm(values)
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.1 * values.double().mean(0).numpy(), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), 0.9 + 0.1 * values.double().var(0).numpy(), rtol=1e-5)


@pytest.mark.parametrize("shape", [(4,), (4, 2), (4, 3, 3)])
def test_batch_norm_refuses_other_shapes(shape):
    with pytest.raises(ShapeError, match=r"expected an input of shape \(batch, 3\)"):
        BatchNorm(3)(torch.zeros(shape))
