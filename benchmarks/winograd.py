"""What Winograd's convolutions gain in a float32 trunk on this processor: the folded trunk with and without, in turns.

Goal: VGG16's trunk is faster with them, and differs by less than 1e-5 of its scale.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor
from tramtrack.network.build import build
from tramtrack.network.folding import fold_batchnorm
from tramtrack.network.winograd import WinogradConv, use_winograd

ROUNDS, BATCH, SIZE = 5, 4, (512, 256)


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
    finish("winograd", ratios[0], f"times as fast, {names[0]}", 1.0, ratios[0] > 1 and differences[0] < 1e-5)


if __name__ == "__main__":
    main()
