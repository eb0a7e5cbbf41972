"""Exchange between ranks: values, and the gradient of the mean of the ranks' scalars."""

import numpy as np
import pytest
import torch
from torch import Tensor

from molbt.nn.collectives import gather_rows, rank, rows_per_rank, sum_over_ranks, world_size

SIZES = (3, 0, 5, 2)


def own_rows(rank: int) -> Tensor:
    return torch.randn(SIZES[rank], 4, generator=torch.Generator().manual_seed(rank), dtype=torch.float64)


def row_weights(n_ranks: int) -> Tensor:
    n_rows = sum(SIZES[:n_ranks])
    return torch.linspace(-1, 2, n_rows * 4, dtype=torch.float64).view(n_rows, 4)


def exchange(own_rank: int, n_ranks: int) -> dict:
    """Values, and the gradients after averaging over ranks scalars that differ between them."""
    rows = own_rows(own_rank).requires_grad_()
    gathered = gather_rows(rows)
    scalar = (own_rank + 1) * (gathered.square() * row_weights(n_ranks)).sum()
    (gather_gradient,) = torch.autograd.grad(scalar, rows)

    # A transposed (not contiguous) tensor on the way in and on the way back.
    products = sum_over_ranks((rows.T @ rows).T)
    (sum_gradient,) = torch.autograd.grad((own_rank + 1) * (products.T * torch.arange(16.0).view(4, 4)).sum(), rows)
    return {
        "rank": (rank(), world_size()),
        "counts": rows_per_rank(rows),
        "gathered": gathered.detach().numpy(),
        "numbers": gather_rows(torch.full((SIZES[own_rank],), own_rank)).numpy(),
        "gather_gradient": gather_gradient.numpy() / n_ranks,
        "products": products.detach().numpy(),
        "sum_gradient": sum_gradient.numpy() / n_ranks,
    }


@pytest.mark.parametrize("n_ranks", [2, 4])
def test_exchange_has_the_value_and_gradient_of_one_process(on_ranks, n_ranks):
    rows = torch.cat([own_rows(r) for r in range(n_ranks)])
    mean_factor = np.mean(np.arange(n_ranks) + 1)  # the mean of the ranks' scalars, which the average of gradients belongs to
    weights = torch.arange(16.0, dtype=torch.float64).view(4, 4)
    results = on_ranks(exchange, n_ranks)
    for own_rank, result in enumerate(results):
        assert result["rank"] == (own_rank, n_ranks)
        assert result["counts"] == list(SIZES[:n_ranks])
        assert np.array_equal(result["gathered"], rows.numpy())
        assert result["numbers"].tolist() == [r for r in range(n_ranks) for _ in range(SIZES[r])]
        np.testing.assert_allclose(result["products"], (rows.T @ rows).numpy(), rtol=1e-13)
    gather_gradient = np.concatenate([result["gather_gradient"] for result in results])
    np.testing.assert_allclose(gather_gradient, mean_factor * 2 * (rows * row_weights(n_ranks)).numpy(), rtol=1e-12, atol=1e-14)
    sum_gradient = np.concatenate([result["sum_gradient"] for result in results])
    np.testing.assert_allclose(sum_gradient, mean_factor * (rows @ (weights + weights.T)).numpy(), rtol=1e-12)


def test_exchange_is_the_identity_on_one_process():
    rows = own_rows(0)
    assert sum_over_ranks(rows) is rows
    assert gather_rows(rows) is rows
    assert rows_per_rank(rows) == [3]
    assert (rank(), world_size()) == (0, 1)
