"""DenseNet121, 169 and 201 (Huang et al., CVPR 2017): every layer's 32 new channels are appended to all before them.

BatchNorm epsilon 1.001e-5; growth 32, bottleneck 128, compression 0.5.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import BatchNorm, Chain, Conv, Relu

_BLOCKS = {"densenet121": (6, 12, 24, 16), "densenet169": (6, 12, 32, 32), "densenet201": (6, 12, 48, 32)}
_GROWTH = 32


def densenet(name: str) -> Backbone:
    """``densenet121``, ``densenet169`` or ``densenet201``.

    The last dense layer is two steps: all features so far cross the boundary beside the last convolution's own input. The
    class activation map is the final activation, not that convolution's 32 channels.
    """
    first = {"conv1_conv": Conv(3, 64, 7, stride=2, padding=3), "conv1_bn": _norm(64), "conv1_relu": Relu()}
    steps: list[tuple[str, nn.Module]] = [("conv1", Chain(**first))]
    steps.append(("pool1", Chain(pool=nn.MaxPool2d(3, 2, padding=1))))  # behind a ReLU Keras's zero border cannot win either
    channels = 64
    counts = _BLOCKS[name]
    for stage, layers in enumerate(counts, start=2):
        for number in range(1, layers + 1):
            prefix = f"conv{stage}_block{number}"
            bottleneck, growth = Bottleneck(prefix, channels), Growth(prefix)
            if stage == 5 and number == layers:
                steps += [(f"{prefix}_1_conv", bottleneck), (f"{prefix}_2_conv", growth)]
            else:
                steps.append((prefix, DenseLayer(bottleneck, growth)))
            channels += _GROWTH
        if stage < 5:
            steps.append((f"pool{stage}", _transition(f"pool{stage}", channels)))
            channels //= 2
    steps.append(("relu", Chain(bn=_norm(channels), relu=Relu())))
    last = f"conv5_block{counts[-1]}"
    return Backbone(name, steps, boundary=f"{last}_2_conv", last_block=f"{last}_1_conv", cam_step="relu")


def _norm(channels: int) -> BatchNorm:
    return BatchNorm(channels, epsilon=1.001e-5)


def _transition(prefix: str, channels: int) -> Chain:
    layers = {
        f"{prefix}_bn": _norm(channels),
        f"{prefix}_relu": Relu(),
        f"{prefix}_conv": Conv(channels, channels // 2, 1),
        f"{prefix}_pool": nn.AvgPool2d(2),
    }
    return Chain(**layers)


class Bottleneck(nn.Module):
    """A dense layer up to its second convolution: gives that convolution's input and all features so far."""

    def __init__(self, prefix: str, channels: int) -> None:
        super().__init__()
        self.body = Chain(
            **{
                f"{prefix}_0_bn": _norm(channels),
                "relu0": Relu(),
                f"{prefix}_1_conv": Conv(channels, 4 * _GROWTH, 1),
                f"{prefix}_1_bn": _norm(4 * _GROWTH),
                "relu1": Relu(),
            }
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, channels, H, W) to (N, 128, H, W) and the input itself."""
        return self.body(x)[0], x


class Growth(nn.Module):
    """The second convolution of a dense layer, its 32 channels appended to all features so far."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.second = Chain(**{f"{prefix}_2_conv": Conv(4 * _GROWTH, _GROWTH, 3)})

    def forward(self, x: Tensor, features: Tensor) -> tuple[Tensor]:
        """(N, 128, H, W) and (N, channels, H, W) to (N, channels + 32, H, W)."""
        return (torch.cat((features, self.second(x)[0]), dim=1),)


class DenseLayer(nn.Module):
    """A whole dense layer in one step."""

    def __init__(self, bottleneck: Bottleneck, growth: Growth) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.growth = growth

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, channels, H, W) to (N, channels + 32, H, W)."""
        return self.growth(*self.bottleneck(x))
