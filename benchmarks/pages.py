"""What huge pages for large tensors gain in the trunk's forward pass: processes with and without, in turns.

Each turn is a process of its own, because torch reads THP_MEM_ALLOC_ENABLE once; it runs each trunk as a study does on the same
grey values and prints its least seconds a view. Goal: no network is slower with huge pages, as geometric mean of the ratios.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor

NETWORKS, TURNS, PASSES, BATCH, SIZE = "vgg16,xception,mobilenetv2", 3, 3, 8, (512, 256)


def time_trunks(names: list[str]) -> dict[str, float]:
    """Least seconds a view of each network's trunk in this process."""
    import torch

    from tramtrack.network.build import build
    from tramtrack.protocol import Transfer
    from tramtrack.training.transfer import Classifier

    grey = torch.randint(0, 65536, (BATCH, 1, *SIZE), generator=torch.Generator().manual_seed(0)).float()
    found = {}
    for name in names:
        generator = torch.Generator().manual_seed(0)
        trunk = Classifier(build(name, generator), Transfer(), generator).fast_trunk(torch.device("cpu"), torch.float32)
        found[name] = math.inf
        with torch.inference_mode():
            for _ in range(PASSES):
                started = time.perf_counter()
                trunk(grey)
                found[name] = min(found[name], (time.perf_counter() - started) / BATCH)
    return found


def main() -> None:
    """Print seconds a view without and with huge pages and their ratio for each network; the figure is the geometric mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default=NETWORKS)
    parser.add_argument("--turn", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    names = chosen.networks.split(",")
    if chosen.turn:
        print(json.dumps(time_trunks(names)))
        return
    granted = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    print(f"on {processor()}; huge pages: {granted.read_text().strip() if granted.exists() else 'not known here'}")
    best = {side: dict.fromkeys(names, math.inf) for side in "01"}
    for _ in range(TURNS):
        for side, kept in best.items():
            turn = [sys.executable, __file__, "--turn", "--networks", chosen.networks]
            done = subprocess.run(
                turn, env={**os.environ, "THP_MEM_ALLOC_ENABLE": side}, capture_output=True, text=True, check=True
            )
            for name, seconds in json.loads(done.stdout).items():
                kept[name] = min(kept[name], seconds)
    ratios = [best["0"][name] / best["1"][name] for name in names]
    for name, ratio in zip(names, ratios, strict=True):
        print(f"{name:12} {best['0'][name]:.3f} s a view without, {best['1'][name]:.3f} s with: {ratio:.2f} times as fast")
    figure = math.exp(sum(map(math.log, ratios)) / len(ratios))
    finish("pages", figure, "times as fast with huge pages", 1.0, figure >= 1.0)


if __name__ == "__main__":
    main()
