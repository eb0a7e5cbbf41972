"""Batch norm whose statistics are those of the global batch, on any device."""

import torch
from torch import Tensor, nn

from molbt.errors import ShapeError
from molbt.nn.batch_moments import batch_moments
from molbt.nn.collectives import world_size


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over all ranks (``SyncBatchNorm`` refuses CPU tensors); on one process exactly ``torch.nn.BatchNorm1d``.

    Statistics are computed in float32 also under autocast. A global batch of one row is normalised by the running statistics and leaves
    them as they are: its variance is not defined, and the last batch of an epoch may have one row.

    Parameters
    ----------
    num_features : int
    eps : float
        Added to the variance.
    momentum : float
        Share of the batch in the new running statistics.
    affine : bool
        Whether to learn a scale and a shift.

    Shapes
    ------
    input and output ``(batch, num_features)``; ranks may hold different numbers of rows.

    Raises
    ------
    ShapeError
        If the input has another number of dimensions or features.
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, *, eps: float = 1e-5, momentum: float = 0.1, affine: bool = True) -> None:
        super().__init__(num_features, eps=eps, momentum=momentum, affine=affine)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim != 2 or input.shape[1] != self.num_features:
            raise ShapeError(
                f"batch norm expected an input of shape (batch, {self.num_features}), got {tuple(input.shape)}; "
                "flatten other dimensions into rows first"
            )
        if not self.training:
            return super().forward(input)
        if world_size() > 1:
            return self._forward_over_ranks(input)
        if len(input) > 1:
            return super().forward(input)
        return nn.functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)

    def _forward_over_ranks(self, input: Tensor) -> Tensor:
        moments = batch_moments(input.float() if input.dtype in (torch.float16, torch.bfloat16) else input)
        # Without a branch on the number of rows, which would make every layer wait for the device.
        is_defined = moments.n_rows > 1
        dtype = moments.mean.dtype
        offset = torch.where(is_defined, torch.zeros_like(moments.mean), moments.mean - self.running_mean.to(dtype))
        variance = torch.where(is_defined, moments.variance, self.running_var.to(dtype))
        output = (moments.centred + offset) * torch.rsqrt(variance + self.eps)
        with torch.no_grad():
            share = is_defined.to(self.running_mean.dtype) * self.momentum
            self.running_mean.lerp_(moments.mean.to(self.running_mean.dtype), share)
            self.running_var.lerp_(moments.unbiased_variance.to(self.running_var.dtype), share)
            self.num_batches_tracked.add_(is_defined)
        if self.affine:
            output = output * self.weight + self.bias
        return output.to(input.dtype)
