"""ResNet50V2, 101V2 and 152V2 (He et al., ECCV 2016) as Keras builds them: normalisation and ReLU before each convolution.

What is peculiar to Keras: the first pool's border is zero and its input still signed, the stride sits in the LAST block of
a stack, and only the first convolution, the projections and the third convolutions have a bias. BatchNorm epsilon 1.001e-5.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from tramtrack.network.backbone import Backbone
from tramtrack.network.layers import BatchNorm, Chain, Conv, Relu

_BLOCKS = {"resnet50v2": (3, 4, 6, 3), "resnet101v2": (3, 4, 23, 3), "resnet152v2": (3, 8, 36, 3)}


def resnet_v2(name: str) -> Backbone:
    """``resnet50v2``, ``resnet101v2`` or ``resnet152v2``.

    The last block is two steps, because its shortcut crosses the boundary beside the input of the last convolution.
    """
    steps: list[tuple[str, nn.Module]] = [("conv1", Chain(conv1_conv=Conv(3, 64, 7, stride=2, padding=3, bias=True)))]
    steps.append(("pool1", Chain(pad=nn.ZeroPad2d(1), pool=nn.MaxPool2d(3, 2))))
    inputs = 64
    for stack, blocks in enumerate(_BLOCKS[name], start=2):
        filters = 32 * 2 ** (stack - 1)
        for number in range(1, blocks + 1):
            prefix = f"conv{stack}_block{number}"
            stride = 2 if number == blocks and stack < 5 else 1
            block = Bottleneck(prefix, inputs, filters, stride=stride, projected=number == 1)
            join = Join(prefix, filters)
            if stack == 5 and number == blocks:
                steps += [(f"{prefix}_2_conv", block), (f"{prefix}_3_conv", join)]
            else:
                steps.append((prefix, Both(block, join)))
            inputs = 4 * filters
    steps.append(("post_relu", Chain(post_bn=_norm(inputs), post_relu=Relu())))
    return Backbone(name, steps, boundary="conv5_block3_3_conv", last_block="conv5_block3_2_conv", cam_step="post_relu")


def _norm(channels: int) -> BatchNorm:
    return BatchNorm(channels, epsilon=1.001e-5)


class Bottleneck(nn.Module):
    """A block up to its third convolution: gives that convolution's input and the shortcut."""

    def __init__(self, prefix: str, inputs: int, filters: int, *, stride: int, projected: bool) -> None:
        super().__init__()
        self.stride = stride
        self.preactivation = Chain(**{f"{prefix}_preact_bn": _norm(inputs), "relu": Relu()})
        self.body = Chain(
            **{
                f"{prefix}_1_conv": Conv(inputs, filters, 1),
                f"{prefix}_1_bn": _norm(filters),
                "relu1": Relu(),
                f"{prefix}_2_conv": Conv(filters, filters, 3, stride=stride, padding=1),
                f"{prefix}_2_bn": _norm(filters),
                "relu2": Relu(),
            }
        )
        projection = Conv(inputs, 4 * filters, 1, stride=stride, padding="valid", bias=True)
        self.shortcut = Chain(**{f"{prefix}_0_conv": projection}) if projected else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, inputs, H, W) to the third convolution's input (N, filters, H', W') and the shortcut (N, 4 filters, H', W')."""
        (activated,) = self.preactivation(x)
        (y,) = self.body(activated)
        if self.shortcut is not None:
            return y, self.shortcut(activated)[0]
        return y, F.max_pool2d(x, 1, self.stride) if self.stride > 1 else x


class Join(nn.Module):
    """The third convolution of a block, added to the shortcut."""

    def __init__(self, prefix: str, filters: int) -> None:
        super().__init__()
        self.third = Chain(**{f"{prefix}_3_conv": Conv(filters, 4 * filters, 1, bias=True)})

    def forward(self, x: Tensor, shortcut: Tensor) -> tuple[Tensor]:
        """(N, filters, H, W) and (N, 4 filters, H, W) to (N, 4 filters, H, W)."""
        return (shortcut + self.third(x)[0],)


class Both(nn.Module):
    """A whole block: the bottleneck and the join in one step."""

    def __init__(self, block: Bottleneck, join: Join) -> None:
        super().__init__()
        self.block = block
        self.join = join

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, inputs, H, W) to (N, 4 filters, H', W')."""
        return self.join(*self.block(x))
