"""The kernel's gradient of a convolution across channels, on a CPU in float32: a matrix product for each of its places.

For a channels_last image, in which the channels of a pixel lie side by side, torch's own takes up to three times as long.
docs/explanation/speed.md has the command that prints both.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

FEWEST_INPUTS = 32
"""With fewer input channels, such as those of an image, the products are too thin and torch's gradient is faster."""


def convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...], groups: int
) -> Tensor:
    """`torch.nn.functional.conv2d`, whose gradient of ``weight`` is by matrix products where that is faster."""
    plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
    trained = torch.is_grad_enabled() and weight.requires_grad
    if plain or not trained or groups > 1 or weight.shape[2:].numel() == 1 or weight.shape[1] < FEWEST_INPUTS:
        return F.conv2d(x, weight, bias, stride, padding, groups=groups)
    y: Tensor = Convolved.apply(x, weight, bias, stride, padding)
    return y


class Convolved(torch.autograd.Function):
    """A convolution of x (N, inputs, H, W) with weight (outputs, inputs, k, k)."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], padding: tuple[int, ...]
    ) -> Tensor:
        """(N, outputs, H', W')."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.bias = stride, padding, None if bias is None else bias.shape
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """From dL/dy (N, outputs, H', W') to dL/dx, dL/dweight and dL/dbias."""
        x, weight = ctx.saved_tensors
        wants_dx, wants_dweight, wants_dbias = ctx.needs_input_grad[:3]
        geometry = (ctx.bias, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, (wants_dx, False, wants_dbias))
        dx, _, dbias = torch.ops.aten.convolution_backward(dy, x, weight, *geometry)
        size = (weight.shape[2], weight.shape[3])
        return dx, weight_gradient(x, dy, size, ctx.stride, ctx.padding) if wants_dweight else None, dbias, None, None


def weight_gradient(x: Tensor, dy: Tensor, size: tuple[int, int], stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """dL/dweight (outputs, inputs, *size) from x (N, inputs, H, W) and dL/dy (N, outputs, H', W'), both channels_last."""
    height, width = dy.shape[2:]
    sides = (0, 0, padding[1], padding[1], padding[0], padding[0])
    padded, flat = F.pad(x.permute(0, 2, 3, 1), sides), dy.permute(0, 2, 3, 1).flatten(0, 2)
    gradient = x.new_empty((*size, dy.shape[1], x.shape[1]))
    for row, column in itertools.product(range(size[0]), range(size[1])):
        rows = slice(row, row + (height - 1) * stride[0] + 1, stride[0])
        columns = slice(column, column + (width - 1) * stride[1] + 1, stride[1])
        torch.mm(flat.T, padded[:, rows, columns].flatten(0, 2), out=gradient[row, column])
    return gradient.permute(2, 3, 0, 1)
