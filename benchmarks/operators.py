"""Where a forward pass of ours spends its time: torch.profiler on the trunk and tail of each network at 512x256.

For each network a table of operators (calls, milliseconds, share of the pass) and its five costliest convolutions by shape.
The figure is the share of all networks' time that is spent in convolutions and matrix products, the part that no fusing can
save; there is no goal, so ``met`` says only that every network was profiled. docs/explanation/speed.md says what follows.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor
from peer import lively
from tramtrack.network.build import build
from tramtrack.network.registry import NETWORKS
from tramtrack.network.weight_set import load
from tramtrack.protocol import Transfer
from tramtrack.training.hardware import dtype_name, resolve_dtype
from tramtrack.training.transfer import Classifier
from views import SIZE

BATCH, SHOWN = 8, 8
CPU = torch.device("cpu")
CONVOLUTION = "aten::mkldnn_convolution"
PRODUCTS = (CONVOLUTION, "aten::_conv_depthwise2d", "aten::_slow_conv2d_forward", "aten::bmm", "aten::mm", "aten::addmm")


def profiled(name: str, dtype: torch.dtype) -> Any:
    """The profiler's events of one forward pass after one to warm up."""
    generator = torch.Generator().manual_seed(0)
    model = Classifier(load(build(name, generator), lively(name)), Transfer(), generator)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trunk = model.fast_trunk(CPU, dtype)
    grey = torch.randint(0, 65536, (BATCH, 1, *SIZE), generator=generator).float()

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            model.backbone.tail(trunk(grey), model.boundary)

    run()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as found:
        run()
    return found


def show(name: str, found: Any) -> tuple[float, float]:
    """Print one network's tables; returns milliseconds in convolutions and products, and in all."""
    events = sorted(found.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events) / 1e3
    products = sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS) / 1e3
    print(f"\n{name}: {total:.0f} ms for {BATCH} views, {100 * products / total:.0f} % in convolutions and products")
    for event in events[:SHOWN]:
        milliseconds = event.self_cpu_time_total / 1e3
        print(f"  {event.key:36}{event.count:5}{milliseconds:9.1f} ms{100 * milliseconds / total:6.1f} %")
    shaped = [event for event in found.key_averages(group_by_input_shape=True) if event.key == CONVOLUTION]
    for event in sorted(shaped, key=lambda event: -event.self_cpu_time_total)[:5]:
        (_, inputs, height, width), (outputs, each, rows, columns) = event.input_shapes[:2]
        kind = "depthwise " if each == 1 and inputs > 1 else ""
        layer = f"{kind}{rows}x{columns}, {inputs} to {outputs} channels on {height}x{width}"
        print(f"    {layer:52}{event.count:4}{event.self_cpu_time_total / 1e3:9.1f} ms")
    return products, total


def main() -> None:
    """Profile each network and print the JSON line."""
    parser = argparse.ArgumentParser(description="Where a forward pass of ours spends its time.")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="which networks, separated by commas (default all)")
    names = parser.parse_args().networks.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"no network {unknown[0]}; there are {', '.join(NETWORKS)}")
    dtype = resolve_dtype("auto", CPU)
    print(f"on {processor()}, {torch.backends.cpu.get_cpu_capability()}, {dtype_name(dtype)}")
    sums = [show(name, profiled(name, dtype)) for name in names]
    share = math.fsum(products for products, _ in sums) / math.fsum(total for _, total in sums)
    finish("operators", share, "share of the time in convolutions and products", 0.0, len(sums) == len(names))


if __name__ == "__main__":
    main()
