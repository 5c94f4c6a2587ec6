"""3x3 convolutions with a quarter of the multiplications, for a frozen trunk in float32 on a CPU.

Winograd's minimal filtering F(4x4, 3x3) (Lavin and Gray, CVPR 2016, arXiv 1509.09308, equation 12): a 6x6 tile of the input
is transformed, multiplied element by element with the transformed kernel and summed over channels, which is 36 matrix
products, and transformed back to a 4x4 tile of the output. Equal to the direct convolution but for rounding.
docs/explanation/speed.md has the gain and the command that prints it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import Conv

TILE, KERNEL = 4, 3
WINDOW = TILE + KERNEL - 1
POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))
"""Where the polynomials are evaluated, beside infinity; one half in place of 2 loses fewer digits than the paper's points."""
FEWEST_OUTPUTS = 256
"""With fewer output channels, moving the tiles costs as much as the multiplications that are saved."""
BYTES_AT_ONCE = 32 << 20
"""Transformed tiles held at a time: enough for large matrix products, and no more memory on larger images."""


def use_winograd(backbone: Backbone, boundary: str | None = None) -> Backbone:
    """Change a backbone in place: the wide 3x3 convolutions of its trunk become Winograd's; returns it.

    For float32 on a CPU, without gradients. Only steps before ``boundary`` (the network's own if None) change.
    """
    for name in backbone.step_names[: backbone.index(boundary or backbone.boundary)]:
        for parent in list(backbone.steps[name].modules()):
            for child, layer in list(parent.named_children()):
                if isinstance(layer, Conv) and layer.out_channels >= FEWEST_OUTPUTS and _is_plain(layer):
                    parent.add_module(child, WinogradConv(layer))
    return backbone


def _is_plain(layer: Conv) -> bool:
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((3, 3), (1, 1), (1, 1), 1)


class WinogradConv(nn.Module):
    """A 3x3 convolution with stride 1 and zero padding, whose kernel is transformed once, in float64."""

    kernel: Tensor  # (36, inputs, outputs)
    bias: Tensor  # (outputs,)
    to_window: Tensor  # (36, 36)
    to_tile: Tensor  # (16, 36)

    def __init__(self, convolution: Conv) -> None:
        super().__init__()
        if not _is_plain(convolution):
            raise ValueError(f"expected a 3x3 convolution with stride 1, padding 1 and one group, received {convolution}")
        weight = convolution.weight.detach()
        tile, kernel, window = transforms(POINTS)
        transformed = torch.einsum("ai,kcij,bj->abck", kernel, weight.double(), kernel)
        bias = torch.zeros(len(weight)) if convolution.bias is None else convolution.bias.detach()
        self.register_buffer("kernel", transformed.flatten(0, 1).to(weight.dtype).contiguous())
        self.register_buffer("bias", bias.to(weight.dtype))
        self.register_buffer("to_window", torch.kron(window, window).to(weight.dtype))
        self.register_buffer("to_tile", torch.kron(tile, tile).to(weight.dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W) in channels_last."""
        count, inputs, height, width = x.shape
        outputs = self.kernel.shape[2]
        rows, columns = -(-height // TILE), -(-width // TILE)
        after = (0, 0, 1, TILE * columns + 1 - width, 1, TILE * rows + 1 - height)
        windows = F.pad(x.permute(0, 2, 3, 1), after).unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE)
        y = x.new_empty((count, rows, TILE, columns, TILE, outputs))
        at_once = BYTES_AT_ONCE // (WINDOW**2 * max(inputs, outputs) * x.itemsize)  # tiles
        views, band = max(1, at_once // (rows * columns)), min(rows, max(1, at_once // columns))
        for first in range(0, count, views):
            for top in range(0, rows, band):
                part = windows[first : first + views, top : top + band].permute(
                    4, 5, 0, 1, 2, 3
                )  # (6, 6, n, r, columns, inputs)
                n, r = part.shape[2:4]
                transformed = self.to_window @ part.reshape(WINDOW**2, -1)
                product = torch.bmm(transformed.view(WINDOW**2, -1, inputs), self.kernel)
                tiles = (self.to_tile @ product.view(WINDOW**2, -1)).view(TILE, TILE, n, r, columns, outputs)
                y[first : first + n, top : top + r] = tiles.permute(2, 3, 0, 4, 1, 5)
        y = y.view(count, rows * TILE, columns * TILE, outputs)[:, :height, :width]
        return y.add_(self.bias).permute(0, 3, 1, 2)


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
