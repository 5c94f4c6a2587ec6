"""3x3 convolutions with a quarter of the multiplications, in float32 on a CPU: of the frozen trunk, and of the trained tail.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, CVPR 2016, arXiv 1509.09308, equation 12): a 6x6 tile of the input
is transformed, multiplied element by element with the transformed kernel and summed over channels, which is 36 matrix
products, and transformed back to a 4x4 tile of the output. Equal to the direct convolution but for rounding.
docs/explanation/speed.md has the gain and the command that prints it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from tramtrack.network.backbone import Backbone
from tramtrack.network.gradients import weight_gradient
from tramtrack.network.layers import Conv

TILE, KERNEL = 4, 3
WINDOW = TILE + KERNEL - 1
POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))
"""Where the polynomials are evaluated, beside infinity; one half in place of 2 loses fewer digits than the paper's points."""
FEWEST_OUTPUTS = 256
"""With fewer output channels, moving the tiles costs as much as the multiplications that are saved."""
FEWEST_TRAINED = 128
"""The same for a layer that is trained: there the gradient of its input is Winograd's too."""
BYTES_AT_ONCE = 32 << 20
"""Transformed tiles held at a time: enough for large matrix products, and no more memory on larger images."""


def use_winograd(backbone: Backbone, boundary: str | None = None) -> Backbone:
    """Change a backbone in place: the wide 3x3 convolutions of its trunk become Winograd's; returns it.

    For float32 on a CPU, without gradients. Only steps before ``boundary`` (the network's own if None) change.
    """
    for parent, name, layer in _wide(backbone, 0, backbone.index(boundary or backbone.boundary), FEWEST_OUTPUTS):
        parent.add_module(name, WinogradConv(layer))
    return backbone


def train_by_winograd(backbone: Backbone, boundary: str) -> Backbone:
    """Change a backbone in place: from ``boundary`` on, wide 3x3 convolutions are Winograd's where that is faster; returns it.

    They keep their parameters and names; see `TrainedConv`.
    """
    for parent, name, layer in _wide(backbone, backbone.index(boundary), len(backbone.step_names), FEWEST_TRAINED):
        parent.add_module(name, TrainedConv(layer))
    return backbone


def _wide(backbone: Backbone, first: int, stop: int, outputs: int) -> list[tuple[nn.Module, str, Conv]]:
    return [
        (parent, child, layer)
        for name in backbone.step_names[first:stop]
        for parent in backbone.steps[name].modules()
        for child, layer in parent.named_children()
        if isinstance(layer, Conv) and layer.out_channels >= outputs and _is_plain(layer)
    ]


def _is_plain(layer: Conv) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((3, 3), (1, 1), (1, 1), 1)


def _require_plain(layer: Conv) -> None:
    if not _is_plain(layer):
        raise ValueError(f"expected a 3x3 convolution with stride 1, padding 1 and one group, received {layer}")


class WinogradConv(nn.Module):
    """A 3x3 convolution with stride 1 and zero padding, whose kernel is transformed once, in float64."""

    kernel: Tensor  # (36, inputs, outputs)
    bias: Tensor  # (outputs,)

    def __init__(self, convolution: Conv) -> None:
        super().__init__()
        _require_plain(convolution)
        weight = convolution.weight.detach()
        bias = torch.zeros(len(weight)) if convolution.bias is None else convolution.bias.detach()
        self.register_buffer("kernel", transform_kernel(weight.double()).to(weight.dtype))
        self.register_buffer("bias", bias.to(weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W) in channels_last."""
        return convolve(x, self.kernel).add_(self.bias.view(1, -1, 1, 1))


class TrainedConv(Conv):
    """A wide 3x3 convolution that may be trained: by Winograd in float32 on a CPU, else as torch does it.

    It takes over the parameters of the convolution it stands for; its kernel is transformed anew at each call.
    """

    def __init__(self, convolution: Conv) -> None:
        _require_plain(convolution)
        with torch.device("meta"):  # nothing is drawn: the weights are the other convolution's
            super().__init__(convolution.in_channels, convolution.out_channels, KERNEL, bias=convolution.bias is not None)
        self.weight, self.bias = convolution.weight, convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        single = x.dtype == self.weight.dtype == torch.float32
        if x.device.type != "cpu" or not single or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        y: Tensor = Winograd.apply(x, self.weight)
        return y if self.bias is None else y + self.bias.view(1, -1, 1, 1)


class Winograd(torch.autograd.Function):
    """The convolution of x (N, inputs, H, W) with weight (outputs, inputs, 3, 3); the gradient of weight is the direct one.

    Winograd's would be as close, but a gradient that is zero would come out as rounding noise, and Adam gives noise a whole
    step.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """(N, outputs, H, W) in channels_last."""
        ctx.save_for_backward(x, weight)
        return convolve(x, transform_kernel(weight))

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """From dL/dy (N, outputs, H, W) to dL/dx and dL/dweight."""
        x, weight = ctx.saved_tensors
        wants_dx, wants_dweight = ctx.needs_input_grad
        dx = _image_gradient(x, weight, dy) if wants_dx else None
        return dx, weight_gradient(x, dy, (KERNEL, KERNEL), (1, 1), (1, 1)) if wants_dweight else None


def _image_gradient(x: Tensor, weight: Tensor, dy: Tensor) -> Tensor:
    """dL/dx: the convolution of dL/dy with the kernel turned round, by Winograd where that is faster."""
    if weight.shape[1] < FEWEST_TRAINED:
        return conv2d_input(x.shape, weight, dy, padding=1)
    return convolve(dy, transform_kernel(weight.flip(2, 3).transpose(0, 1)))


def convolve(x: Tensor, kernel: Tensor) -> Tensor:
    """(N, inputs, H, W) and a transformed kernel (36, inputs, outputs) to (N, outputs, H, W) in channels_last."""
    count, inputs, height, width = x.shape
    outputs = kernel.shape[2]
    rows, columns = -(-height // TILE), -(-width // TILE)
    _, to_tile, _ = _matrices(x.dtype)
    y = x.new_empty((count, rows, TILE, columns, TILE, outputs))
    for views, band, transformed in _transformed(x, max(inputs, outputs)):
        product = torch.bmm(transformed.view(WINDOW**2, -1, inputs), kernel)
        target = y[views, band]
        tiles = (to_tile @ product.view(WINDOW**2, -1)).view(TILE, TILE, len(target), target.shape[1], columns, outputs)
        target.copy_(tiles.permute(2, 3, 0, 4, 1, 5))
    return y.view(count, rows * TILE, columns * TILE, outputs)[:, :height, :width].permute(0, 3, 1, 2)


def transform_kernel(weight: Tensor) -> Tensor:
    """A kernel (outputs, inputs, 3, 3) to (36, inputs, outputs), in its own dtype."""
    outputs, inputs = weight.shape[:2]
    _, _, to_kernel = _matrices(weight.dtype)
    flat = weight.permute(2, 3, 1, 0).reshape(KERNEL**2, -1)
    return (to_kernel @ flat).view(WINDOW**2, inputs, outputs)


def _transformed(x: Tensor, widest: int) -> Iterator[tuple[slice, slice, Tensor]]:
    """The windows of x (N, inputs, H, W) transformed, (36, tiles * inputs), with the views and rows of tiles they are of.

    ``widest`` is the larger number of channels: no more of them are held at a time than BYTES_AT_ONCE.
    """
    count, _, height, width = x.shape
    rows, columns = -(-height // TILE), -(-width // TILE)
    to_window, _, _ = _matrices(x.dtype)
    after = (0, 0, 1, TILE * columns + 1 - width, 1, TILE * rows + 1 - height)
    windows = F.pad(x.permute(0, 2, 3, 1), after).unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE)
    at_once = BYTES_AT_ONCE // (WINDOW**2 * widest * x.itemsize)  # tiles
    step, height_of_band = max(1, at_once // (rows * columns)), min(rows, max(1, at_once // columns))
    for first in range(0, count, step):
        for top in range(0, rows, height_of_band):
            views, band = slice(first, first + step), slice(top, top + height_of_band)
            part = windows[views, band].permute(4, 5, 0, 1, 2, 3)  # (6, 6, n, r, columns, inputs)
            yield views, band, to_window @ part.reshape(WINDOW**2, -1)


@functools.cache
def _matrices(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """What takes a window (36) to the product's domain (36, 36), a product to a tile (16, 36), a kernel (9) there (36, 9)."""
    tile, kernel, window = transforms(POINTS)
    with torch.inference_mode(False):  # they take part in gradients later, wherever they are first asked for
        return tuple(torch.kron(each, each).to(dtype) for each in (window, tile, kernel))  # type: ignore[return-value]


def transforms(points: Sequence[Fraction]) -> tuple[Tensor, Tensor, Tensor]:
    """The matrices A^T (4, 6), G (6, 3) and B^T (6, 6) of F(4, 3), float64: A^T [(G g) * (B^T d)] filters d (6,) by g (3,).

    The Cook-Toom construction: polynomials are multiplied by their values at five ``points`` and at infinity.
    """
    tile = [[point**power for point in points] + [Fraction(power == TILE - 1)] for power in range(TILE)]
    kernel, window = [], []
    for point in points:
        others = [other for other in points if other != point]
        scale = Fraction(1)
        for other in others:
            scale *= point - other
        kernel.append([point**power / scale for power in range(KERNEL)])
        window.append([*_polynomial(others), Fraction(0)])
    kernel.append([Fraction(0)] * (KERNEL - 1) + [Fraction(1)])
    window.append(_polynomial(points))
    found = (
        torch.tensor([[float(value) for value in row] for row in rows], dtype=torch.float64) for rows in (tile, kernel, window)
    )
    a, g, b = found
    return a, g, b


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients, lowest power first, of the product of (x - root)."""
    coefficients = [Fraction(1)]
    for root in roots:
        raised = [Fraction(0), *coefficients]
        coefficients = [high - root * low for high, low in zip(raised, [*coefficients, Fraction(0)], strict=True)]
    return coefficients
