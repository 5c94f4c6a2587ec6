"""Fold frozen BatchNorms into the convolutions before them: the same function with fewer passes over the data.

In inference BatchNorm is y = (x - mean) * gamma / sqrt(variance + epsilon) + beta, a factor and a shift for each channel.
Behind a convolution both can be multiplied into its weights once. The result is equal but for rounding.
"""

from __future__ import annotations

import copy
import itertools

import torch
from torch import nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import BatchNorm, Chain, SeparableConv


@torch.no_grad()
def fold_batchnorm(backbone: Backbone, boundary: str | None = None) -> Backbone:
    """A copy of ``backbone`` for running its trunk: each BatchNorm that follows a convolution there is folded into it.

    Only steps before ``boundary`` (the network's own if None) change, so the tail is still the one that is trained. A
    BatchNorm that stands before an activation and a convolution (DenseNet's and ResNetV2's first of a block) stays. The copy
    is in inference mode; the original is untouched. Equal to the original's inference but for rounding, in any dtype.
    """
    folded = copy.deepcopy(backbone).eval()
    for name in folded.step_names[: folded.index(boundary or folded.boundary)]:
        for module in folded.steps[name].modules():
            if isinstance(module, Chain):
                _fold_chain(module)
    return folded


def _fold_chain(chain: Chain) -> None:
    names = list(chain._modules)
    for before, after in itertools.pairwise(names):
        convolution, norm = chain.get_submodule(before), chain.get_submodule(after)
        if isinstance(norm, BatchNorm) and isinstance(convolution, nn.Conv2d | SeparableConv):
            _multiply_in(convolution.pointwise if isinstance(convolution, SeparableConv) else convolution, norm)
            chain.add_module(after, nn.Identity())


def _multiply_in(convolution: nn.Conv2d, norm: BatchNorm) -> None:
    """Scale the convolution's output channels and shift its bias by what ``norm`` would do to them; computed in float64."""
    assert norm.running_mean is not None and norm.running_var is not None
    factor = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    bias = convolution.bias.double() if convolution.bias is not None else torch.zeros_like(factor)
    shift = (bias - norm.running_mean.double()) * factor + norm.bias.double()
    weight = convolution.weight.double() * factor.view(-1, 1, 1, 1)
    convolution.weight.copy_(weight)
    convolution.bias = nn.Parameter(shift.to(convolution.weight.dtype), requires_grad=False)
