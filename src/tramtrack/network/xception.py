"""Xception (Chollet, CVPR 2017): separable convolutions in residual blocks. BatchNorm epsilon 1e-3, momentum .99 in Keras."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import BatchNorm, Chain, Conv, MaxPoolSame, Relu, SeparableConv


def xception() -> Backbone:
    """Xception. The four shortcut convolutions, which Keras leaves unnamed, are called ``block<n>_shortcut_conv`` here."""
    steps: list[tuple[str, nn.Module]] = [
        ("block1_conv1", _plain("block1_conv1", Conv(3, 32, 3, stride=2, padding="valid"), 32)),
        ("block1_conv2", _plain("block1_conv2", Conv(32, 64, 3, padding="valid"), 64)),
        ("block2", Block(2, 64, (128, 128), activation_first=False)),
        ("block3", Block(3, 128, (256, 256))),
        ("block4", Block(4, 256, (728, 728))),
        *((f"block{number}", Block(number, 728, (728, 728, 728), pooled=False)) for number in range(5, 13)),
        ("block13", Block(13, 728, (728, 1024))),
        ("block14_sepconv1", _plain("block14_sepconv1", SeparableConv(1024, 1536), 1536)),
        ("block14_sepconv2", _plain("block14_sepconv2", SeparableConv(1536, 2048), 2048)),
    ]
    return Backbone("xception", steps, boundary="block14_sepconv2", last_block="block14_sepconv1", cam_step="block14_sepconv2")


def _norm(channels: int) -> BatchNorm:
    return BatchNorm(channels, epsilon=1e-3)


def _plain(name: str, convolution: nn.Module, channels: int) -> Chain:
    return Chain(**{name: convolution, f"{name}_bn": _norm(channels), "relu": Relu()})


class Block(nn.Module):
    """Separable convolutions with ReLU before each, added to the input (identity), or pooled and added to its projection."""

    def __init__(
        self, number: int, inputs: int, widths: tuple[int, ...], *, pooled: bool = True, activation_first: bool = True
    ) -> None:
        super().__init__()
        self.activation_first = activation_first
        body: dict[str, nn.Module] = {}
        channels = inputs
        for place, width in enumerate(widths, start=1):
            name = f"block{number}_sepconv{place}"
            if place > 1:
                body[f"{name}_act"] = Relu()
            body |= {name: SeparableConv(channels, width), f"{name}_bn": _norm(width)}
            channels = width
        self.body = Chain(**body)
        self.pool: nn.Module | None = None
        self.shortcut: Chain | None = None
        if pooled:
            projection = Conv(inputs, channels, 1, stride=2, padding="valid")
            prefix = f"block{number}_shortcut"
            self.pool = MaxPoolSame()
            self.shortcut = Chain(**{f"{prefix}_conv": projection, f"{prefix}_bn": _norm(channels)})

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, inputs, H, W) to (N, widths[-1], H', W')."""
        (y,) = self.body(F.relu(x) if self.activation_first else x)  # not in place: the shortcut still reads x
        if self.pool is None or self.shortcut is None:
            return (y + x,)
        return (self.pool(y) + self.shortcut(x)[0],)
