"""Build any network by name: the eleven with seeded random weights as Keras would draw them, a challenger with timm's."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.challenger import challenger, challenger_facts
from tramtrack.network.densenet import densenet
from tramtrack.network.layers import BatchNorm
from tramtrack.network.mobilenet import mobilenet, mobilenetv2
from tramtrack.network.registry import NetworkFacts, facts, is_challenger
from tramtrack.network.resnet_v2 import resnet_v2
from tramtrack.network.vgg import vgg
from tramtrack.network.xception import xception

_BUILDERS: dict[str, Callable[[], Backbone]] = {
    "xception": xception,
    "mobilenet": mobilenet,
    "mobilenetv2": mobilenetv2,
    **{name: partial(vgg, name) for name in ("vgg16", "vgg19")},
    **{name: partial(resnet_v2, name) for name in ("resnet50v2", "resnet101v2", "resnet152v2")},
    **{name: partial(densenet, name) for name in ("densenet121", "densenet169", "densenet201")},
}


def build(name: str, generator: torch.Generator | None = None) -> Backbone:
    """The network ``name`` in float32 on the CPU, in inference mode, with random weights.

    Kernels are drawn from ``generator`` by Glorot's uniform rule, Keras's default; biases are 0 and BatchNorm is the
    identity. Without a generator a fresh one with seed 0 is used; global seeds are never touched. Raises UsageError for an
    unknown name. A challenger draws as timm does, by a seed from ``generator``.
    """
    if is_challenger(name):
        return challenger(name, generator)
    backbone = skeleton(name).to_empty(device="cpu")
    draw = generator or torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, BatchNorm):
            module.reset_parameters()  # ones and zeros: nothing is drawn
        elif isinstance(module, nn.Conv2d):
            _glorot_uniform(module.weight, draw)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for parameter in backbone.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return backbone.eval()


def skeleton(name: str) -> Backbone:
    """The network ``name`` without any weights (on torch's meta device): its steps, layers and shapes, at no cost.

    A challenger is made with weights first, since timm computes with them on the way.
    """
    if is_challenger(name):
        return challenger(name).to("meta")
    facts(name)
    with torch.device("meta"):
        return _BUILDERS[name]()


def network_facts(name: str) -> NetworkFacts:
    """The facts of any network; those of a challenger are read from timm. Raises UsageError for an unknown name."""
    return challenger_facts(name) if is_challenger(name) else facts(name)


@torch.no_grad()
def _glorot_uniform(weight: Tensor, generator: torch.Generator) -> None:
    """Uniform within sqrt(6 / (fan_in + fan_out)); Keras's fans of a depthwise kernel have the same sum as torch's."""
    outputs, inputs, rows, columns = weight.shape
    limit = math.sqrt(6 / ((inputs + outputs) * rows * columns))
    weight.uniform_(-limit, limit, generator=generator)
