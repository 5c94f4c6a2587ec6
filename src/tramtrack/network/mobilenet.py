"""MobileNet (Howard et al., 2017) and MobileNetV2 (Sandler et al., CVPR 2018), both at width 1.0, with ReLU6.

BatchNorm epsilon is 1e-3 in both; Keras's momentum is .99 in the first and .999 in the second.
"""

from __future__ import annotations

from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import BatchNorm, Chain, Conv, Relu

_V1_BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
_V2_BLOCKS = (
    *((16, 1, 1),),
    *((24, 2, 6), (24, 1, 6)),
    *((32, 2, 6), (32, 1, 6), (32, 1, 6)),
    *((64, 2, 6), *((64, 1, 6),) * 3),
    *((96, 1, 6),) * 3,
    *((160, 2, 6), (160, 1, 6), (160, 1, 6)),
    *((320, 1, 6),),
)
"""Channels, stride and expansion of the inverted residual blocks (table 2 of the paper)."""


def mobilenet() -> Backbone:
    """MobileNet. Its stride-2 depthwise layers pad at the end whatever the size; the first convolution pads as ``same``."""
    steps: list[tuple[str, nn.Module]] = [("conv1", _v1_layer("conv1", Conv(3, 32, 3, stride=2), 32))]
    inputs = 32
    for number, (outputs, stride) in enumerate(_V1_BLOCKS, start=1):
        name = f"conv_dw_{number}"
        padding = "same" if stride == 1 else "end"
        depthwise = Conv(inputs, inputs, 3, stride=stride, padding=padding, groups=inputs)  # type: ignore[arg-type]
        steps.append((name, _v1_layer(name, depthwise, inputs)))
        name = f"conv_pw_{number}"
        steps.append((name, _v1_layer(name, Conv(inputs, outputs, 1), outputs)))
        inputs = outputs
    return Backbone("mobilenet", steps, boundary="conv_pw_13", last_block="conv_dw_13", cam_step="conv_pw_13")


def mobilenetv2() -> Backbone:
    """MobileNetV2. Stride-2 layers pad by the size: an even one at the end, an odd one on both sides."""
    first = {"Conv1": Conv(3, 32, 3, stride=2), "bn_Conv1": _v2_norm(32), "Conv1_relu": Relu(6.0)}
    last = {"Conv_1": Conv(320, 1280, 1), "Conv_1_bn": _v2_norm(1280), "out_relu": Relu(6.0)}
    steps: list[tuple[str, nn.Module]] = [("Conv1", Chain(**first))]
    inputs = 32
    for number, (outputs, stride, expansion) in enumerate(_V2_BLOCKS):
        prefix = f"block_{number}" if number else "expanded_conv"
        steps.append((prefix, InvertedResidual(prefix, inputs, outputs, stride, expansion)))
        inputs = outputs
    steps.append(("Conv_1", Chain(**last)))
    return Backbone("mobilenetv2", steps, boundary="Conv_1", last_block="block_16", cam_step="Conv_1")


class InvertedResidual(nn.Module):
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1 without activation; added to the input where shapes allow."""

    def __init__(self, prefix: str, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: dict[str, nn.Module] = {}
        if expansion > 1:
            layers |= {f"{prefix}_expand": Conv(inputs, wide, 1), f"{prefix}_expand_BN": _v2_norm(wide), "relu1": Relu(6.0)}
        layers |= {
            f"{prefix}_depthwise": Conv(wide, wide, 3, stride=stride, groups=wide),
            f"{prefix}_depthwise_BN": _v2_norm(wide),
            "relu2": Relu(6.0),
            f"{prefix}_project": Conv(wide, outputs, 1),
            f"{prefix}_project_BN": _v2_norm(outputs),
        }
        self.body = Chain(**layers)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, inputs, H, W) to (N, outputs, ceil(H / stride), ceil(W / stride))."""
        (y,) = self.body(x)
        return (x + y,) if self.residual else (y,)


def _v1_layer(name: str, convolution: Conv, channels: int) -> Chain:
    return Chain(**{name: convolution, f"{name}_bn": BatchNorm(channels, epsilon=1e-3), "relu": Relu(6.0)})


def _v2_norm(channels: int) -> BatchNorm:
    return BatchNorm(channels, epsilon=1e-3, momentum=0.001)
