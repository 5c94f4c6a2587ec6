"""What Winograd's convolutions gain in float32 on this processor, with and without in turns: trunks, and VGG's trained layer.

The trained layer is the last convolution of the VGGs as the study trains it: its forward pass and the gradient of its weights
on kept activations. Goal: VGG16's trunk is faster with them, and differs by less than 1e-5 of its scale.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

import tramtrack.training  # noqa: F401 (the settings of memory and products under which a study runs)
from measuring import finish, processor
from tramtrack.network.build import build
from tramtrack.network.folding import fold_batchnorm
from tramtrack.network.layers import Conv
from tramtrack.network.winograd import TrainedConv, WinogradConv, use_winograd

ROUNDS, BATCH, SIZE = 5, 4, (512, 256)


def time_trained_layer() -> tuple[float, float]:
    """Least milliseconds a view of VGG's last convolution, forward and backward: torch's, and ours."""
    layer = Conv(512, 512, 3, bias=True).to(memory_format=torch.channels_last)
    x = torch.randn((8, 512, SIZE[0] // 16, SIZE[1] // 16)).relu_().to(memory_format=torch.channels_last)
    best = [math.inf, math.inf]
    for _ in range(ROUNDS):
        for side, convolution in enumerate((layer, TrainedConv(layer))):
            layer.zero_grad()
            started = time.perf_counter()
            convolution(x).relu().mean().backward()
            best[side] = min(best[side], 1000 * (time.perf_counter() - started) / len(x))
    return best[0], best[1]


def main() -> None:
    """Print seconds a view of both, their ratio and their difference, for each network; the figure is the first one's ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="vgg16,vgg19,resnet50v2")
    names = parser.parse_args().networks.split(",")
    print(f"on {processor()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, float32")
    grey = torch.randint(0, 65536, (BATCH, 1, *SIZE), generator=torch.Generator().manual_seed(0)).float()
    ratios, differences = [], []
    for name in names:
        plain = fold_batchnorm(build(name))
        quick = use_winograd(fold_batchnorm(plain))
        replaced = sum(isinstance(module, WinogradConv) for module in quick.modules())
        best, outputs = [math.inf, math.inf], [None, None]
        with torch.inference_mode():
            x = plain.prepare_input(grey)
            for _ in range(ROUNDS):
                for side, network in enumerate((plain, quick)):
                    started = time.perf_counter()
                    outputs[side] = network.trunk(x)[0]
                    best[side] = min(best[side], (time.perf_counter() - started) / BATCH)
        direct, winograd = outputs
        differences.append(float((direct - winograd).abs().max() / direct.abs().max()))
        ratios.append(best[0] / best[1])
        print(
            f"{name:12} {replaced:3} convolutions; {best[0]:.3f} s a view without, {best[1]:.3f} s with: "
            f"{ratios[-1]:.2f} times as fast, differs by {differences[-1]:.1e} of its scale"
        )
    direct_ms, quick_ms = time_trained_layer()
    gain = direct_ms / quick_ms
    print(f"VGG's trained layer: {direct_ms:.1f} ms a view by torch, {quick_ms:.1f} ms ours: {gain:.2f} times as fast")
    finish("winograd", ratios[0], f"times as fast, {names[0]}", 1.0, ratios[0] > 1 and differences[0] < 1e-5)


if __name__ == "__main__":
    main()
