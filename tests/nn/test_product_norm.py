"""The norm of a product against NumPy and numerical differentiation."""

import numpy as np
import pytest
import torch

from molbt.nn.product_norm import squared_product_norm


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
