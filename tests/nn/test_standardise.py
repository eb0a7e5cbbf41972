"""Standardised columns against NumPy and numerical differentiation; several ranks are tested with the objectives."""

import numpy as np
import pytest
import torch

from molbt.nn.standardise import standardise


@pytest.mark.parametrize("unbiased", [False, True])
def test_standardise_has_the_value_of_numpy_and_the_right_gradient(unbiased):
    values = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    standardised, variance = standardise(values, unbiased=unbiased, eps=0.1, scale=0.3)
    numbers = values.detach().numpy()
    deviation = numbers.std(0, ddof=1) + 0.1 if unbiased else np.sqrt(numbers.var(0) + 0.1)
    np.testing.assert_allclose(standardised.detach(), 0.3 * (numbers - numbers.mean(0)) / deviation, rtol=1e-12)
    np.testing.assert_allclose(variance, numbers.var(0), rtol=1e-12)
    assert not variance.requires_grad
    assert torch.autograd.gradcheck(lambda x: standardise(x, unbiased=unbiased, eps=0.1, scale=0.3)[0], values)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("n_rows", [1, 2, 100])
def test_standardise_makes_a_constant_column_zero_with_gradient_zero(unbiased, n_rows):
    # The mean of 1000.1 is not exact in float32.
    values = torch.full((n_rows, 1), 1000.1, requires_grad=True)
    standardised, variance = standardise(values, unbiased=unbiased)
    (standardised * torch.arange(n_rows)[:, None]).sum().backward()
    assert standardised.abs().max() < 1e-5
    assert variance.item() < 1e-18
    assert values.grad.isfinite().all()


def test_standardise_leaves_its_input_alone():
    values = torch.arange(6.0).view(3, 2)
    standardise(values)
    assert torch.equal(values, torch.arange(6.0).view(3, 2))
