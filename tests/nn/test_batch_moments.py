"""Moments of a batch against NumPy; several ranks are tested with batch norm."""

import numpy as np
import pytest
import torch

from molbt.nn.batch_moments import batch_moments


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
