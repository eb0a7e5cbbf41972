"""Batch norm whose statistics are those of the global batch, on any device."""

import torch
from torch import Tensor, nn

from molbt.nn.collectives import sum_over_ranks, world_size


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over all ranks (``SyncBatchNorm`` refuses CPU tensors); on one process exactly ``torch.nn.BatchNorm1d``.

    Statistics are computed in float32 also under autocast, in two passes. A batch of one row keeps the running statistics: its
    variance is not defined, and the last batch of an epoch may have one row.

    Shapes
    ------
    input and output ``(batch, num_features)``.
    """

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or (world_size() == 1 and len(input) > 1):
            return super().forward(input)
        if world_size() == 1:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        values = input.float() if input.dtype in (torch.float16, torch.bfloat16) else input
        count = sum_over_ranks(values.new_tensor(float(len(values))))
        mean = sum_over_ranks(values.sum(0)) / count
        centred = values - mean
        variance = sum_over_ranks(centred.square().sum(0)) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                momentum = 0.1 if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((variance * count / (count - 1).clamp(min=1)).to(self.running_var.dtype), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        output = centred * torch.rsqrt(variance + self.eps)
        if self.affine:
            output = output * self.weight + self.bias
        return output.to(input.dtype)
