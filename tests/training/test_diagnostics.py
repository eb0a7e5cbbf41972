"""Diagnostics against NumPy, hand calculation and known distributions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from molbt.training.diagnostics import (
    centre_share,
    collapse_reason,
    cross_correlation,
    effective_rank,
    normalised_std,
    probe_twin,
    singular_values,
)


def gaussian(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def orthonormal(n: int, d: int) -> Tensor:
    """Centred columns with the identity as covariance."""
    values = gaussian(n, d).double()
    return torch.linalg.qr(values - values.mean(0)).Q * math.sqrt(n)


def test_effective_rank_of_identity_covariance_is_the_width_and_of_a_line_one():
    assert effective_rank(singular_values(orthonormal(200, 12))) == pytest.approx(12)
    line = torch.arange(50.0)[:, None] * torch.tensor([1.0, -2.0, 3.0])
    assert effective_rank(singular_values(line)) == pytest.approx(1, abs=1e-6)
    assert effective_rank(singular_values(torch.ones(50, 3))) == 0


def test_effective_rank_is_the_exponential_of_the_entropy():
    # Shares ½, ¼, ¼: the entropy is 1.5 ln 2.
    assert effective_rank(torch.tensor([2.0, 1.0, 1.0, 0.0])) == pytest.approx(2**1.5)


def test_singular_values_are_numpys_of_the_centred_matrix():
    values = gaussian(30, 7) + 5
    centred = values.double().numpy() - values.double().numpy().mean(0)
    assert singular_values(values).numpy() == pytest.approx(np.linalg.svd(centred, compute_uv=False), rel=1e-12)


def test_normalised_std_is_one_for_isotropic_and_zero_for_collapsed_values():
    assert normalised_std(gaussian(4000, 64)) == pytest.approx(1, abs=0.01)
    assert normalised_std(gaussian(1, 64).expand(100, 64)) == pytest.approx(0, abs=1e-7)
    # On a line through the origin the rows differ in length and sign only.
    assert normalised_std(torch.tensor([[3.0, 0.0], [-1.0, 0.0]])) == pytest.approx(0.5 * math.sqrt(2))


def test_the_centre_and_the_residuals_share_the_length_of_unit_rows():
    values = gaussian(40, 9) + 1
    rows = values.double().numpy() / np.linalg.norm(values.double().numpy(), axis=1, keepdims=True)
    residuals = np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()
    assert centre_share(values) == pytest.approx(1 - residuals, rel=1e-10)
    assert centre_share(values) == pytest.approx(np.square(rows.mean(axis=0)).sum(), rel=1e-10)


def test_the_centre_is_nothing_for_isotropic_rows_and_everything_for_collapsed_ones():
    assert centre_share(gaussian(4000, 64)) == pytest.approx(0, abs=1e-3)
    assert centre_share(gaussian(1, 64).expand(100, 64)) == pytest.approx(1)


def test_normalised_std_is_numpys():
    values = gaussian(40, 9) + 1
    rows = values.double().numpy() / np.linalg.norm(values.double().numpy(), axis=1, keepdims=True)
    assert normalised_std(values) == pytest.approx(rows.std(axis=0).mean() * 3, rel=1e-10)


def test_cross_correlation_is_numpys():
    a = gaussian(100, 6)
    b = 0.5 * a + gaussian(100, 6, seed=1)
    expected = np.corrcoef(a.numpy().T, b.numpy().T)[:6, 6:]
    found = cross_correlation(a, b)
    assert found["mean_diagonal"] == pytest.approx(np.diag(expected).mean(), abs=1e-4)
    assert found["rms_off_diagonal"] == pytest.approx(np.sqrt((expected[~np.eye(6, dtype=bool)] ** 2).mean()), abs=1e-4)
    assert found["dead_columns"] == 0


def test_cross_correlation_counts_the_dead_columns_of_both_views():
    a, b = gaussian(50, 4), gaussian(50, 4, seed=1)
    a[:, 0], b[:, 2] = 3.0, -1.0
    assert cross_correlation(a, b)["dead_columns"] == 2
    assert all(math.isfinite(value) for value in cross_correlation(a[:, :1], b[:, :1]).values())


class LinearTwin(torch.nn.Module):
    """Encodes by a matrix of given columns, projects by a batch norm that must run in evaluation mode."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix
        self.norm = torch.nn.BatchNorm1d(matrix.shape[1], dtype=matrix.dtype)

    def encode(self, view: str, batch: Tensor) -> Tensor:
        return batch @ self.matrix

    def project(self, view: str, embedding: Tensor) -> Tensor:
        return self.norm(embedding)


def test_probe_of_a_healthy_twin_finds_no_collapse_and_changes_nothing():
    twin = LinearTwin(torch.eye(8)).train()
    before = {name: tensor.clone() for name, tensor in twin.state_dict().items()}
    numbers, spectra = probe_twin(twin, {"a": gaussian(300, 8), "b": gaussian(300, 8, seed=1)}, [("a", "b")])
    assert collapse_reason(numbers) == ""
    assert numbers["embedding_rank.a"] == pytest.approx(8, rel=0.01)
    assert len(spectra["projection.b"]) == 8
    assert twin.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in twin.state_dict().items())


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (torch.ones(100, 8), "embedding_std.a is"),
        (torch.ones(100, 8) + 1e-3 * gaussian(100, 8), "embedding_std.a is"),
        (gaussian(100, 1) * torch.linspace(1, 2, 8), "embedding_rank.a is 1"),
        (torch.full((100, 8), math.nan), "embedding_std.a is nan"),
    ],
)
def test_probe_tells_what_collapsed(values, reason):
    healthy = gaussian(100, 8)
    twin = LinearTwin(torch.eye(8))
    if values.isnan().any():
        numbers = {"embedding_std.a": normalised_std(values)}
    else:
        numbers, _ = probe_twin(twin, {"a": values, "b": healthy}, [("a", "b")])
    assert collapse_reason(numbers).startswith(reason)
