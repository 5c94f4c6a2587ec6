"""A stride-2 convolution whose end alone is padded: padding the image against a kernel with a leading row of zeros.

The layers are MobileNet's and MobileNetV2's at 512x256, batches of 8, both ways taking turns, each way's best of twelve. The
figure is the least gain of any layer. Goal: the padded kernel, which `tramtrack.network.layers.Conv` uses, is never slower.
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

from measuring import finish, processor
from tramtrack.network.layers import Conv

LAYERS = ((3, 32, 512, 256), (64, 64, 256, 128), (96, 96, 256, 128), (144, 144, 128, 64), (256, 256, 64, 32))
BATCH, ROUNDS, GOAL = 8, 12, 1.0


def gain(inputs: int, outputs: int, height: int, width: int) -> float:
    """Seconds with a padded image over seconds with a padded kernel; a layer with as many outputs as inputs is depthwise."""
    groups = inputs if inputs == outputs else 1
    layer = Conv(inputs, outputs, 3, stride=2, groups=groups).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.rand((BATCH, inputs, height, width)).to(memory_format=torch.channels_last)
    ways: dict[str, Callable[[], Tensor]] = {
        "image": lambda: F.conv2d(F.pad(x, (0, 1, 0, 1)), layer.weight, stride=2, groups=groups),
        "kernel": lambda: layer(x),
    }
    best = dict.fromkeys(ways, math.inf)
    with torch.inference_mode():
        for _ in range(ROUNDS + 1):
            for way, run in ways.items():
                started = time.perf_counter()
                run()
                best[way] = min(best[way], time.perf_counter() - started)
    ratio = best["image"] / best["kernel"]
    kind = "depthwise" if groups > 1 else "plain"
    print(f"{kind:10}{inputs:4} to {outputs:4} channels on {height}x{width}: {ratio:.2f} times as fast", flush=True)
    return ratio


def main() -> None:
    """Print each layer's gain and the JSON line."""
    print(f"on {processor()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    least = min(gain(*layer) for layer in LAYERS)
    finish("padding", least, "times as fast, worst layer", GOAL, least >= GOAL)


if __name__ == "__main__":
    main()
