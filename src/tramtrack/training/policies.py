"""The transfer policies: which weights of a base are trained, and where the frozen trunk ends.

``last-conv`` is the study's, and it hands the networks very different numbers of weights: 36,864 in a DenseNet, 3,159,552 in
Xception. ``equal-slice`` and ``equal-adapter`` give every network DenseNet's number, within one per cent.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from tramtrack.errors import UsageError
from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import AnyBatchNorm, Conv, SeparableConv
from tramtrack.sections import Policy

EQUAL_WEIGHTS = 36_864
"""Weights of the base that the equal policies train: the whole last convolution of a DenseNet."""


def open_base(backbone: Backbone, policy: Policy, generator: torch.Generator) -> tuple[str, nn.Module | None]:
    """Freeze ``backbone`` but for what ``policy`` trains, in place; returns the boundary and the adapter, if it has one.

    No BatchNorm is opened here: its scale and shift belong to the BatchNorm policy. Raises UsageError with the reason where a
    challenger cannot follow the policy.
    """
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    if policy == "head":
        return backbone.after(backbone.cam_step), None
    if policy == "equal-adapter":
        return backbone.after(backbone.cam_step), Adapter(
            backbone.facts.feature_channels, generator, signed=backbone.signed_map
        )
    if policy == "equal-slice":
        _slice(backbone)
        return backbone.boundary, None
    if policy == "last-conv":
        for parameter in backbone.last_conv().parameters():
            parameter.requires_grad_(True)
        return backbone.boundary, None
    boundary = backbone.last_block if policy == "last-block" else backbone.step_names[0]
    for name in backbone.step_names[backbone.index(boundary) :]:
        for module in backbone.steps[name].modules():
            if not isinstance(module, AnyBatchNorm):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(True)
    return boundary, None


def _slice(backbone: Backbone) -> None:
    """Replace the last convolution (of a separable one its pointwise half) by one of which a slice is trained."""
    whole = backbone.last_conv()
    convolution = whole.pointwise if isinstance(whole, SeparableConv) else whole
    assert isinstance(convolution, nn.Conv2d)
    an_output = convolution.weight[0].numel() + (convolution.bias is not None)
    outputs = round(EQUAL_WEIGHTS / an_output)
    _require_sliceable(backbone, convolution, outputs * an_output)
    sliced = SlicedConv(convolution, outputs)
    parent = next(module for module in backbone.modules() if convolution in module.children())
    name = next(name for name, child in parent.named_children() if child is convolution)
    parent.add_module(name, sliced)


def _require_sliceable(backbone: Backbone, convolution: nn.Conv2d, weights: int) -> None:
    """Raise UsageError unless some output channels of ``convolution`` can be trained and have EQUAL_WEIGHTS within 1 %.

    The last convolution of each of the eleven can; that of a challenger need not.
    """
    where = f"{backbone.facts.title}: policy equal-slice is refused: its last convolution, {backbone.facts.last_conv}, "
    plain = type(convolution) in (nn.Conv2d, Conv) and convolution.padding_mode == "zeros" and convolution.dilation == (1, 1)
    if convolution.groups > 1 or not plain:
        what = f"has {convolution.groups} groups" if convolution.groups > 1 else f"is a {type(convolution).__name__} of timm"
        raise UsageError(f"{where}{what}, so that no slice of its channels is one of the others' kind; use equal-adapter")
    if weights > convolution.weight.numel() * 1.01 or abs(weights - EQUAL_WEIGHTS) > 0.01 * EQUAL_WEIGHTS:
        has = sum(parameter.numel() for parameter in convolution.parameters())
        raise UsageError(
            f"{where}has {has:,} weights, and no number of its channels has {EQUAL_WEIGHTS:,} within 1 %; use equal-adapter"
        )


class SlicedConv(nn.Conv2d):
    """A convolution of which ``outputs`` evenly spaced output channels are trained; the others are frozen, to the bit."""

    channels: Tensor  # (outputs,) int64

    def __init__(self, whole: nn.Conv2d, outputs: int) -> None:
        with torch.device("meta"):  # nothing is drawn: the weights are the whole convolution's
            super().__init__(
                whole.in_channels,
                whole.out_channels,
                whole.kernel_size,  # type: ignore[arg-type]
                stride=whole.stride,  # type: ignore[arg-type]
                padding=whole.padding,  # type: ignore[arg-type]
                groups=whole.groups,
                bias=whole.bias is not None,
            )
        self.weight, self.bias = whole.weight, whole.bias
        self.register_buffer("channels", torch.linspace(0, whole.out_channels - 1, outputs).round().long())
        self.trained_weight = nn.Parameter(self.weight.detach()[self.channels].clone())
        self.trained_bias = None if self.bias is None else nn.Parameter(self.bias.detach()[self.channels].clone())

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, out_channels, H', W')."""
        weight = self.weight.index_copy(0, self.channels, self.trained_weight)
        bias = self.bias
        if bias is not None and self.trained_bias is not None:
            bias = bias.index_copy(0, self.channels, self.trained_bias)
        return self._conv_forward(x, weight, bias)


class Adapter(nn.Module):
    """A residual 1x1 bottleneck on a feature map: relu(x + up(relu(down(x)))), or on a ``signed`` map without the last relu.

    ``up`` starts at zero, so training starts from the frozen base: a map that is not negative stays so, and one with negative
    values (of some challengers) keeps them. Its output reaches as many evenly spaced channels of the map
    as bring the weights of both, which have no bias, to EQUAL_WEIGHTS.
    """

    reached: Tensor  # (outputs,) int64

    def __init__(self, channels: int, generator: torch.Generator, signed: bool = False) -> None:
        super().__init__()
        self.signed = signed
        hidden = math.ceil(EQUAL_WEIGHTS / 2 / channels)
        outputs = round(EQUAL_WEIGHTS / hidden) - channels
        self.down = nn.utils.skip_init(nn.Conv2d, channels, hidden, 1, bias=False)
        self.up = nn.utils.skip_init(nn.Conv2d, hidden, outputs, 1, bias=False)
        nn.init.xavier_uniform_(self.down.weight, generator=generator)
        nn.init.zeros_(self.up.weight)
        self.register_buffer("reached", torch.linspace(0, channels - 1, outputs).round().long())

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, h, w) to the same shape."""
        change = self.up(torch.relu(self.down(x)))
        changed = x.index_add(1, self.reached, change.to(x.dtype))
        return changed if self.signed else torch.relu(changed)
