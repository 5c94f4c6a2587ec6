"""The variant ``stride-16``: the last stage of a network without its stride, so that its maps are as fine as VGG's.

The weights stay those of the network; its last stage then sees each structure twice as large as on photographs, and is meant
to be trained so. There is no dilation.
"""

from __future__ import annotations

from torch import nn

from tramtrack.errors import UsageError
from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import Chain, Conv
from tramtrack.network.registry import is_challenger
from tramtrack.network.resnet_v2 import Both
from tramtrack.network.xception import Block


def refine(backbone: Backbone) -> Backbone:
    """Take the last stride out of a network at stride 32, in place; a VGG, at stride 16 already, stays as it is.

    Which layers that are: Xception's last pool and the shortcut beside it, the last block of ResNetV2's fourth stack, the
    stride-2 depthwise convolution of a MobileNet's last stage, DenseNet's last transition pool. Raises UsageError for a
    challenger.
    """
    family = backbone.facts.family
    if is_challenger(backbone.name):
        raise UsageError(
            f"{backbone.facts.title}: stride 16 is refused: which stride of a network of timm is its last stage's is not "
            "known; use stride 32"
        )
    if family == "Xception":
        block = backbone.steps["block13"]
        assert isinstance(block, Block) and block.shortcut is not None
        block.pool = nn.MaxPool2d(3, 1, padding=1)
        _plain(block.shortcut.get_submodule("block13_shortcut_conv"))
    elif family == "ResNetV2":
        last = [name for name in backbone.step_names if name.startswith("conv4_")][-1]
        both = backbone.steps[last]
        assert isinstance(both, Both)
        both.block.stride = 1
        _plain(both.block.body.get_submodule(f"{last}_2_conv"))
    elif family == "MobileNet":
        name = "conv_dw_12" if backbone.name == "mobilenet" else "block_13"
        depthwise = [layer for layer in backbone.steps[name].modules() if isinstance(layer, Conv) and layer.depthwise]
        _plain(depthwise[0])
    elif family == "DenseNet":
        transition = backbone.steps["pool4"]
        assert isinstance(transition, Chain)
        transition.add_module("pool4_pool", nn.Identity())
    return backbone


def _plain(convolution: nn.Module) -> None:
    """A stride of 1, and zeros on all sides so that the size stays."""
    assert isinstance(convolution, Conv)
    convolution.stride = (1, 1)
    convolution.padding = (convolution.kernel_size[0] // 2, convolution.kernel_size[1] // 2)
    convolution.extra = "valid"
