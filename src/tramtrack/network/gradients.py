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

MOST_GROWTH = 1.1
"""By how much the zeros may lengthen the products; beyond that, copies cost less."""


def conv2d(
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
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """From dL/dy (N, outputs, H', W') to dL/dx, dL/dweight and dL/dbias."""
        x, weight = ctx.saved_tensors
        wants_dx, wants_dweight, wants_dbias = ctx.needs_input_grad[:3]
        dx = None
        if wants_dx:
            geometry = (None, ctx.stride, ctx.padding, (1, 1), False, (0, 0), 1, (True, False, False))
            dx = torch.ops.aten.convolution_backward(dy, x, weight, *geometry)[0]
        size = (weight.shape[2], weight.shape[3])
        dweight = weight_gradient(x, dy, size, ctx.stride, ctx.padding) if wants_dweight else None
        return dx, dweight, dy.sum((0, 2, 3)) if wants_dbias else None, None, None


def weight_gradient(x: Tensor, dy: Tensor, size: tuple[int, int], stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
    """dL/dweight (outputs, inputs, *size) from x (N, inputs, H, W) and dL/dy (N, outputs, H', W'), both channels_last.

    With stride 1, dL/dy of a large image is laid on the grid of the padded x, zeros beside it: then what lies under a place of
    the kernel is the same memory a few pixels on, and nothing is copied.
    """
    sides = (0, 0, padding[1], padding[1], padding[0], padding[0])
    padded, dy = F.pad(x.permute(0, 2, 3, 1), sides), dy.permute(0, 2, 3, 1)
    (height, width), (rows, columns) = dy.shape[1:3], padded.shape[1:3]
    same_grid = tuple(stride) == (1, 1) and rows * columns < MOST_GROWTH * height * width
    if same_grid:
        dy = F.pad(dy, (0, 0, 0, columns - width, 0, rows - height))
    flat, whole = dy.flatten(0, 2), padded.flatten(0, 2)
    gradient = x.new_empty((*size, flat.shape[1], whole.shape[1]))
    for row, column in itertools.product(range(size[0]), range(size[1])):
        if same_grid:
            on = row * columns + column
            torch.mm(flat[: len(flat) - on].T, whole[on:], out=gradient[row, column])
            continue
        down = slice(row, row + (height - 1) * stride[0] + 1, stride[0])
        along = slice(column, column + (width - 1) * stride[1] + 1, stride[1])
        torch.mm(flat.T, padded[:, down, along].flatten(0, 2), out=gradient[row, column])
    return gradient.permute(2, 3, 0, 1)
