"""InfoNCE against cross-entropy, and unit rows of what has no length."""

import pytest
import torch

from molbt.nn.contrast import info_nce, mean_cosine, unit_rows


def rows(n: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_info_nce_is_cross_entropy_over_what_is_not_excluded():
    anchors, candidates = unit_rows(rows(5, 4)), unit_rows(rows(7, 4, 1))
    positives = torch.tensor([6, 0, 3, 3, 1])
    excluded = torch.zeros(5, 7, dtype=torch.bool)
    found = info_nce(anchors, candidates, positives, temperature=0.3, excluded=excluded)
    expected = torch.nn.functional.cross_entropy(anchors @ candidates.T / 0.3, positives, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    excluded[0, [2, 6]] = True  # a negative, and the positive, which stays
    found = info_nce(anchors, candidates, positives, temperature=0.3, excluded=excluded)
    kept = [0, 1, 3, 4, 5, 6]
    alone = torch.nn.functional.cross_entropy(anchors[:1] @ candidates[kept].T / 0.3, torch.tensor([5]))
    assert found[0].item() == pytest.approx(alone.item(), rel=1e-12)
    assert torch.equal(found[1:], info_nce(anchors, candidates, positives, temperature=0.3, excluded=torch.zeros_like(excluded))[1:])


def test_unit_rows_of_zeros_are_zeros_with_a_finite_gradient():
    values = torch.zeros(3, 4, requires_grad=True)
    unit = unit_rows(values)
    unit.sum().backward()
    assert torch.equal(unit, torch.zeros(3, 4))
    assert values.grad.isfinite().all()
    assert unit_rows(rows(3, 4)).norm(dim=1).tolist() == pytest.approx([1, 1, 1], rel=1e-12)
    assert unit_rows(rows(3, 4).half()).dtype == torch.float32


def test_mean_cosine_is_that_of_the_rows():
    a, b = rows(6, 4), rows(6, 4, 1)
    assert mean_cosine(a, b).item() == pytest.approx(torch.nn.functional.cosine_similarity(a, b).mean().item(), rel=1e-12)
