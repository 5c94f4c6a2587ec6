"""Layers of a full training step in float32, torch's own way and ours in turns: time, and distance from float64.

Two things: the gradient of the kernel of a 3x3 convolution across channels, and batch normalisation by the batch's own
statistics, forward and backward, for which torch has one kernel that is exact and one that stays in channels_last. All images
are channels_last, of the sizes that networks have at 512x256. Goal: each of ours at least as fast as torch's (for batch
normalisation: as its exact one), and within 1e-5 of its scale of float64.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent))

import tramtrack.training  # noqa: F401 (the settings of memory and products under which a study runs)
from measuring import finish, processor
from tramtrack.network.batchnorm import BatchNormalised
from tramtrack.network.gradients import weight_gradient

ROUNDS, BATCH, EXACT = 3, 4, 1e-5
KERNELS = {"64 to 64": (64, 64, 512, 256), "128 to 128": (128, 128, 256, 128), "512 to 512": (512, 512, 64, 32)}
IMAGES = {"64 channels": (64, 256, 128), "728 channels": (728, 32, 16), "256 channels": (256, 64, 32)}
Way = Callable[[], tuple[Tensor, ...]]


def random(*shape: int, seed: int = 0) -> Tensor:
    """Normal values, channels_last."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(memory_format=torch.channels_last)


def kernel_ways(inputs: int, outputs: int, height: int, width: int) -> dict[str, Way]:
    """dL/dweight by torch, by us, and by torch in float64."""
    x, dy = random(BATCH, inputs, height, width), random(BATCH, outputs, height, width, seed=1)

    def by_torch(dtype: torch.dtype) -> tuple[Tensor, ...]:
        weight = torch.empty((outputs, inputs, 3, 3), dtype=dtype).to(memory_format=torch.channels_last)
        geometry = (None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, (False, True, False))
        return (torch.ops.aten.convolution_backward(dy.to(dtype), x.to(dtype), weight, *geometry)[1],)

    return {
        "torch": lambda: by_torch(torch.float32),
        "ours": lambda: (weight_gradient(x, dy, (3, 3), (1, 1), (1, 1)),),
        "float64": lambda: by_torch(torch.float64),
    }


def norm_ways(channels: int, height: int, width: int) -> dict[str, Way]:
    """The normalised image and its three gradients, by torch's two kernels, by us, and by torch in float64."""
    means = torch.linspace(-5, 5, channels).view(1, -1, 1, 1)
    x, dy = random(BATCH, channels, height, width) + means, random(BATCH, channels, height, width, seed=1)
    weight, bias = torch.linspace(0.5, 1.5, channels), torch.linspace(-1, 1, channels)

    def through(norm: Callable[[Tensor, Tensor, Tensor], Tensor], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
        given = [tensor.detach().to(dtype).requires_grad_(True) for tensor in (x, weight, bias)]
        y = norm(*given)
        return y.detach(), *torch.autograd.grad(y, given, dy.to(dtype))

    def torch_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, weight, bias, True, 0.0, 1e-3)

    def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch_norm(x.contiguous(), weight, bias).contiguous(memory_format=torch.channels_last)

    return {
        "torch": lambda: through(plain),
        "torch in channels_last": lambda: through(torch_norm),
        "ours": lambda: through(lambda *given: BatchNormalised.apply(*given, 1e-3)[0]),
        "float64": lambda: through(plain, torch.float64),
    }


def compare(what: str, ways: dict[str, Way]) -> tuple[float, float]:
    """Print the least milliseconds of each way and its largest distance from float64; returns our gain and our distance."""
    exact = ways.pop("float64")()
    best, distance = dict.fromkeys(ways, math.inf), dict.fromkeys(ways, 0.0)
    for _ in range(ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            found = way()
            best[name] = min(best[name], 1000 * (time.perf_counter() - started))
            distance[name] = max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(found, exact, strict=True))
    gain = best["torch"] / best["ours"]
    words = "; ".join(f"{name} {best[name]:.1f} ms, off by {distance[name]:.1e}" for name in ways)
    print(f"{what}: {words}; {gain:.2f} times as fast", flush=True)
    return gain, distance["ours"]


def main() -> None:
    """Print a line a layer; the figure is the least gain."""
    print(f"on {processor()}, {torch.get_num_threads()} threads, float32, {BATCH} views")
    found = [compare(f"kernel's gradient, {name}", kernel_ways(*size)) for name, size in KERNELS.items()]
    found += [compare(f"batch normalisation, {name}", norm_ways(*size)) for name, size in IMAGES.items()]
    gain, distance = min(gain for gain, _ in found), max(distance for _, distance in found)
    finish("gradients", gain, "times as fast, the least of all", 1.0, gain >= 1 and distance < EXACT)


if __name__ == "__main__":
    main()
