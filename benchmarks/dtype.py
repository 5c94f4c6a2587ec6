"""bfloat16 against float32 on this processor: forward passes of each network, interleaved, each side's best of five.

The rule behind dtype "auto" is a rule on hardware, not a measurement; this prints whether it is right here. Goal: the dtype
that auto chooses is the faster one, in geometric mean over the networks.
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
from tramtrack.training.hardware import choose_device, dtype_name, resolve_dtype

ROUNDS, BATCH, SIZE = 5, 8, (512, 256)


def main() -> None:
    """Print float32 seconds over bfloat16 seconds for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="vgg16,xception,mobilenetv2")
    names = parser.parse_args().networks.split(",")
    device = choose_device()
    chosen = resolve_dtype("auto", device)
    print(f"on {processor()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    print(f"auto is {dtype_name(chosen)}")
    ratios = []
    for name in names:
        network = build(name).to(device)
        batch = torch.rand((BATCH, 3, *SIZE), device=device).to(memory_format=torch.channels_last)
        best = dict.fromkeys((torch.float32, torch.bfloat16), math.inf)
        for _ in range(ROUNDS + 1):
            for dtype in best:
                started = time.perf_counter()
                with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                    network(batch)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                best[dtype] = min(best[dtype], time.perf_counter() - started)
        ratios.append(best[torch.float32] / best[torch.bfloat16])
        print(f"{name:12} float32 time / bfloat16 time = {ratios[-1]:.2f}")
    figure = math.exp(sum(map(math.log, ratios)) / len(ratios))
    finish("dtype", figure, "float32 time over bfloat16 time", 1.0, (figure > 1) == (chosen == torch.bfloat16))


if __name__ == "__main__":
    main()
