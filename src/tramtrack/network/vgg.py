"""VGG16 and VGG19 (Simonyan and Zisserman, ICLR 2015): 3x3 convolutions in five blocks, a 2x2 maximum after each."""

from __future__ import annotations

from torch import nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import Chain, Conv, Relu

_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def vgg(name: str) -> Backbone:
    """``vgg16`` or ``vgg19``. The class activation map is the last convolution's, before the last pool (stride 16)."""
    steps: list[tuple[str, nn.Module]] = []
    inputs, step = 3, ""
    for block, (channels, convolutions) in enumerate(zip(_CHANNELS, _CONVOLUTIONS[name], strict=True), start=1):
        for number in range(1, convolutions + 1):
            step = f"block{block}_conv{number}"
            steps.append((step, Chain(**{step: Conv(inputs, channels, 3, bias=True), "relu": Relu()})))
            inputs = channels
        steps.append((f"block{block}_pool", Chain(pool=nn.MaxPool2d(2))))
    return Backbone(name, steps, boundary=step, last_block="block5_conv1", cam_step=step)
