"""Moments of a batch and the norm of a product, against NumPy and numerical differentiation."""

import numpy as np
import pytest
import torch

from molbt.nn.batch_moments import batch_moments
from molbt.nn.product_norm import squared_product_norm


def test_batch_moments_are_those_of_numpy():
    values = np.random.default_rng(0).normal(5, 2, (11, 4))
    moments = batch_moments(torch.from_numpy(values))
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-14)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-13)
    np.testing.assert_allclose(moments.unbiased_variance, values.var(0, ddof=1), rtol=1e-13)
    np.testing.assert_allclose(moments.centred, values - values.mean(0), atol=1e-14)
    assert moments.n_rows == 11


def test_batch_moments_keep_their_digits_when_the_mean_outweighs_the_spread():
    values = (1e4 + torch.arange(100.0) / 64)[:, None]
    moments = batch_moments(values)
    assert moments.variance.item() == pytest.approx(np.var(np.arange(100) / 64), rel=1e-6)


def test_batch_moments_of_a_constant_column_vanish_where_its_mean_is_rounded():
    values = torch.full((1000, 1), 1000.1)
    assert (values - values.mean(0)).abs().max() > 1e-5  # what one step leaves
    assert batch_moments(values).centred.abs().max() < 1e-9


@pytest.mark.parametrize("unbiased", [False, True])
def test_batch_moments_standardise_with_the_right_gradient(unbiased):
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)

    def standardised(values: torch.Tensor) -> torch.Tensor:
        moments = batch_moments(values)
        return moments.centred * moments.inverse_deviation(unbiased=unbiased, eps=0.1)

    numbers = values.detach().numpy()
    deviation = numbers.std(0, ddof=1) + 0.1 if unbiased else np.sqrt(numbers.var(0) + 0.1)
    np.testing.assert_allclose(standardised(values).detach(), (numbers - numbers.mean(0)) / deviation, rtol=1e-12)
    assert torch.autograd.gradcheck(standardised, values)


@pytest.mark.parametrize("gram", [False, True])
def test_squared_product_norm_and_its_gradient(gram):
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 6, generator=generator, dtype=torch.float64, requires_grad=True) for _ in range(2))
    value = squared_product_norm(a, b, gram=gram)
    assert value.item() == pytest.approx(np.linalg.norm(a.detach().numpy().T @ b.detach().numpy()) ** 2, rel=1e-13)
    assert torch.autograd.gradcheck(lambda a, b: squared_product_norm(a, b, gram=gram), (a, b))
    (gradient,) = torch.autograd.grad(squared_product_norm(a, a, gram=gram), a)  # the same tensor twice
    np.testing.assert_allclose(gradient, 4 * (a @ a.T @ a).detach(), rtol=1e-12)


@pytest.mark.parametrize("gram", [False, True])
def test_squared_product_norm_differentiates_in_float32_when_called_under_autocast(gram):
    a = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (expected,) = torch.autograd.grad(squared_product_norm(a, a, gram=gram), a)
    value = squared_product_norm(a, a, gram=gram)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(value, a)
    assert torch.equal(gradient, expected)
