"""Batch normalisation over the whole batch, however many processes share it.

Ioffe, Szegedy, "Batch Normalization", arXiv:1502.03167. torch's own ``SyncBatchNorm`` does the same on GPUs only.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.engine.collectives import total
from training.engine.processes import processes


class _AcrossProcesses(_BatchNorm):
    # torch also allows None for these.
    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def forward(self, rows: Tensor) -> Tensor:
        """Normalise rows [N, C, ...]; in one process, and in evaluation, this is torch's own layer."""
        if not self.training or processes() == 1:
            normalised: Tensor = super().forward(rows)
            return normalised
        return self._normalise(rows.float()).to(rows.dtype)

    def _normalise(self, rows: Tensor) -> Tensor:
        """Normalise this process's rows, float32 [N, C, ...] with N >= 0, by the statistics over all processes."""
        others = [0, *range(2, rows.dim())]
        channel = (1, -1, *(1 for _ in range(2, rows.dim())))
        sums = total(torch.cat([rows.sum(others), rows.new_full((1,), rows[:, 0].numel())]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = rows - mean.view(channel)
        variance = total(centred.square().sum(others)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(channel) + self.bias.view(channel)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards the batch's."""
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class BatchNorm1d(_AcrossProcesses, nn.BatchNorm1d):
    """Normalises [N, C]."""


class BatchNorm2d(_AcrossProcesses, nn.BatchNorm2d):
    """Normalises [N, C, H, W]."""
