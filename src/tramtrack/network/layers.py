"""The layers that torch lacks or does otherwise than Keras: padding, BatchNorm statistics, separable convolution, steps.

All tensors are (N, C, H, W). Every layer with weights carries the name of its Keras counterpart as its module name.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tramtrack.network.batchnorm import BatchNormalised
from tramtrack.network.gradients import conv2d

Padding = Literal["valid", "same", "end"]

AnyBatchNorm = nn.modules.batchnorm._BatchNorm
"""Ours, and those of a challenger, which torch and timm make."""


class Conv(nn.Conv2d):
    """A square convolution with the padding of Keras.

    ``same`` pads as TensorFlow does: with stride 2 and a 3x3 kernel an even size gets one zero row at the end only, an odd
    size one on either side. ``end`` always pads one zero row and column at the end (Keras ``ZeroPadding2D(((0, 1), (0, 1)))``).
    Where the end gets one zero more than the beginning, the small kernel is given a leading row or column of zeros and both
    ends are padded alike: the same sums, without a copy of the large image.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        padding: Padding | int = "same",
        bias: bool = False,
        groups: int = 1,
    ) -> None:
        symmetric = padding if isinstance(padding, int) else kernel // 2 if padding == "same" and stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride=stride, padding=symmetric, bias=bias, groups=groups)
        self.extra: Padding = "valid" if isinstance(padding, int) or stride == 1 else padding

    @property
    def depthwise(self) -> bool:
        """True where every channel has its own kernel."""
        return self.groups > 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H', W')."""
        weight, padding = self.weight, self.padding
        assert not isinstance(padding, str)
        if self.extra != "valid":
            kernel, stride = self.kernel_size[0], self.stride[0]
            (top, bottom), (left, right) = (
                (0, 1) if self.extra == "end" else same_padding(size, kernel, stride) for size in x.shape[2:]
            )
            weight, padding = F.pad(weight, (right - left, 0, bottom - top, 0)), (bottom, right)
        return conv2d(x, weight, self.bias, self.stride, padding, self.groups)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after ``size`` pixels, so that a valid convolution gives ceil(size / stride); an odd one comes last."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class MaxPoolSame(nn.Module):
    """A 3x3 maximum with stride 2 and TensorFlow's ``same`` padding, whose border never wins (it is minus infinity)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C, ceil(H / 2), ceil(W / 2))."""
        return F.max_pool2d(x, 3, 2, padding=(x.shape[2] % 2, x.shape[3] % 2), ceil_mode=True)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose moving variance takes the biased batch variance, as in Keras 3 (torch takes the unbiased).

    ``momentum`` is in torch's sense: Keras .99 is .01 here.
    """

    def __init__(self, channels: int, epsilon: float, momentum: float = 0.01) -> None:
        super().__init__(channels, eps=epsilon, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (N, C, H, W) by the moving statistics, or in training mode by the batch's own, which are taken up."""
        mean, variance = self.running_mean, self.running_var
        assert mean is not None and variance is not None and self.momentum is not None
        if not self.training:
            return F.batch_norm(x, mean, variance, self.weight, self.bias, False, 0.0, self.eps)
        if x.device.type == "cpu":
            y, batch_mean, batch_variance = BatchNormalised.apply(x, self.weight, self.bias, self.eps)
        else:
            batch_mean, unbiased = torch.zeros_like(mean), torch.zeros_like(variance)  # both are filled in
            y = F.batch_norm(x, batch_mean, unbiased, self.weight, self.bias, True, 1.0, self.eps)
            count = x.numel() / x.shape[1]
            batch_variance = unbiased * (count - 1) / count
        with torch.no_grad():
            mean.lerp_(batch_mean, self.momentum)
            variance.lerp_(batch_variance, self.momentum)
        return y


class SeparableConv(nn.Module):
    """A 3x3 convolution of each channel on its own, then a 1x1 convolution across channels, nothing between (Xception)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) to (N, outputs, H, W)."""
        return self.pointwise(self.depthwise(x))


class Relu(nn.Module):
    """max(x, 0), or with ``ceiling`` 6 also cut off there (ReLU6).

    Writes over its input where no gradient is asked for: put it only behind a layer whose output nobody else reads.
    """

    def __init__(self, ceiling: float | None = None) -> None:
        super().__init__()
        self.ceiling = ceiling

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        inplace = not (torch.is_grad_enabled() and x.requires_grad)
        return F.relu(x, inplace=inplace) if self.ceiling is None else F.hardtanh(x, 0.0, self.ceiling, inplace=inplace)


class Chain(nn.Sequential):
    """Layers one after the other on the first tensor of the state; the others pass unchanged."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__(OrderedDict(layers))

    def forward(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """(x, …) to (f(x), …)."""
        for layer in self:
            x = layer(x)
        return (x, *rest)
