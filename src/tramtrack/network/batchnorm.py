"""Batch normalisation by the batch's own statistics on a CPU, exact and without leaving channels_last.

torch has two kernels for it. The one for its plain layout is exact, but every layer before and after it then copies the image
from one layout to the other. The one for channels_last adds up hundreds of thousands of values one after the other in single
precision. Here a band of rows that fits into the processor's cache is summed at a time, and deviations from the mean are
squared, not values: as exact as the first, nearly as fast as the second. docs/explanation/speed.md has the command that prints
both.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

BYTES_AT_ONCE = 1 << 20
"""Of the image in one band; a few of them are held at a time."""


class BatchNormalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + epsilon) * weight + bias over (N, C, H, W), with the mean and the biased variance of x.

    Gradients as in Ioffe and Szegedy, ICML 2015 (arXiv 1502.03167), section 3.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised x in channels_last, mean (C,) and variance (C,) in the dtype of ``weight``."""
        rows = _rows(x)
        mean = _sum(part.to(weight.dtype).sum(0) for part in _bands(rows)) / len(rows)
        variance = _sum((part - mean).square_().sum(0) for part in _bands(rows)) / len(rows)
        ctx.save_for_backward(x, weight, mean, (variance + epsilon).rsqrt())
        ctx.mark_non_differentiable(mean, variance)
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, epsilon), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """From dL/dy to dL/dx, dL/dweight and dL/dbias."""
        x, weight, mean, scale = ctx.saved_tensors
        rows, gradient = _rows(x), _rows(dy)
        pairs = list(zip(_bands(rows), _bands(gradient), strict=True))
        dbias = _sum(g.to(weight.dtype).sum(0) for _, g in pairs)
        dweight = _sum((part - mean).mul_(g).sum(0) for part, g in pairs) * scale
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        along, of_all = dweight * scale / len(rows), dbias / len(rows)
        for (part, g), target in zip(pairs, _bands(_rows(dx)), strict=True):
            target.copy_((part - mean).mul_(along).neg_().add_(g).sub_(of_all).mul_(weight * scale))
        return dx, dweight, dbias, None


def _rows(x: Tensor) -> Tensor:
    """(N, C, H, W) as (N * H * W, C), without a copy where x is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _bands(rows: Tensor) -> tuple[Tensor, ...]:
    return rows.split(max(1, BYTES_AT_ONCE // (rows.shape[1] * rows.itemsize)))


def _sum(parts: Iterator[Tensor]) -> Tensor:
    """The sum of (C,) tensors, pairwise as torch sums."""
    return torch.stack(list(parts)).sum(0)
