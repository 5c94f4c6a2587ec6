"""A study's peak memory on a cohort that grows: it must stay under 4096 MiB whatever the number of views.

For each size, a cohort of distinct synthetic pictures (16-bit PNG of 2294x1914, a bright half disc with coarse grain of its
own) is ingested and run through the whole pipe under the study's preset at 1536x768, with two epochs: `tramtrack ingest` and
`tramtrack run`, and the resident memory of the process tree is watched. Pages of the kept activations count where they are
resident, so the printed size of those is what memory would grow by if they stayed.

Prints the peak at each size, the growth a view between the smallest and the largest cohort, and how many views would reach
the limit at that rate. Goal: every peak under 4096 MiB, and the 5,972 views of the published study as well at the rate seen.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from measuring import Watched, finish, processor, tramtrack, watch
from tramtrack.imaging.prepare import png_bytes
from tramtrack.network.build import skeleton
from tramtrack.progress import track
from tramtrack.protocol import Protocol
from tramtrack.training.hardware import choose_device, resolve_dtype

ROWS, COLUMNS = 2294, 1914
WOMEN, NETWORK = "40,80,160", "mobilenetv2"
GOAL_MIB, STUDY_VIEWS = 4096.0, 5972


def write_cohort(folder: Path, women: int) -> tuple[Path, Path]:
    """Four pictures a woman, every third woman positive; returns the table of pictures and the table of labels."""
    down, across = np.ogrid[:ROWS, :COLUMNS]
    depth = np.sqrt(np.clip(1 - ((down - ROWS / 2) / (0.45 * ROWS)) ** 2 - (across / (0.7 * COLUMNS)) ** 2, 0, 1))
    folder.mkdir()
    table, labels = folder / "views.csv", folder / "labels.csv"
    with table.open("w", newline="") as views, labels.open("w", newline="") as known:
        rows, truths = csv.writer(views), csv.writer(known)
        rows.writerow(("woman", "exam", "side", "view", "file"))
        truths.writerow(("woman", "bac"))
        for woman in track(range(women), f"{women} women"):
            generator = np.random.default_rng(woman)
            truths.writerow((f"w{woman:05}", int(woman % 3 == 0)))
            for side, view in (("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO")):
                grain = generator.integers(-6000, 6000, (ROWS // 32 + 1, COLUMNS // 32 + 1)).repeat(32, 0).repeat(32, 1)
                tissue = (30000 * depth + grain[:ROWS, :COLUMNS] + 9000) * (depth > 0)
                picture = tissue if side == "L" else tissue[:, ::-1]
                file = folder / f"w{woman:05}-{side}-{view}.png"
                file.write_bytes(png_bytes(np.ascontiguousarray(picture.astype(np.uint16))))
                rows.writerow((f"w{woman:05}", "1", side, view, file.name))
    return table, labels


def write_protocol(path: Path, epochs: int) -> Protocol:
    """The study's preset with fewer epochs and everything of every woman kept in the folds."""
    preset = Protocol.load("mobini-2024").model_dump(mode="json")
    preset["training"] |= {"epochs": epochs, "patience": 0}
    preset["split"] |= {"training_prevalence": 0.0}
    protocol = Protocol.model_validate({**preset, "name": "memory"})
    path.write_text(protocol.to_toml(), encoding="utf-8")
    return protocol


def kept_mib(views: int, protocol: Protocol, network: str) -> float:
    """Size of the kept activations of this many views, in MiB."""
    size = (protocol.prepare.height, protocol.prepare.width)
    dtype = resolve_dtype(protocol.training.dtype, choose_device())
    with torch.device("meta"), torch.inference_mode():
        crossing = skeleton(network).eval().trunk(torch.empty((1, 3, *size)))
    return views * sum(math.prod(tensor.shape) for tensor in crossing) * dtype.itemsize / 2**20


def one_size(folder: Path, women: int, protocol: Path, network: str) -> tuple[Watched, Watched]:
    """Write, ingest and run one cohort; what ingest and run took."""
    table, labels = write_cohort(folder / "pictures", women)
    study = folder / "study"
    ingesting = watch(tramtrack("ingest", table, "--labels", labels, "--study", study))
    command = tramtrack("run", study, "--protocol", protocol, "--networks", network, "--weights", "random")
    return ingesting, watch(command)


def main() -> None:
    """Grow the cohort, print the peaks and the JSON line."""
    parser = argparse.ArgumentParser(description="Peak memory of a study on cohorts of growing size.")
    parser.add_argument("--women", default=WOMEN, help=f"women of each cohort, four views each (default {WOMEN})")
    parser.add_argument("--network", default=NETWORK, help=f"the network to train, from random weights (default {NETWORK})")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the training views (default 2)")
    chosen = parser.parse_args()
    sizes = sorted({int(count) for count in chosen.women.split(",")})
    if len(sizes) < 2 or sizes[0] < 20:
        parser.error("expected at least two sizes, of at least twenty women each")
    print(f"on {processor()}, {chosen.network} from random weights")
    print(f"{'views':>6}{'ingest':>14}{'run':>14}{'kept activations':>20}")
    peaks = []
    with tempfile.TemporaryDirectory() as made:
        protocol = write_protocol(Path(made) / "memory.toml", chosen.epochs)
        for women in sizes:
            with tempfile.TemporaryDirectory(dir=made) as folder:
                ingesting, running = one_size(Path(folder), women, Path(made) / "memory.toml", chosen.network)
            peaks.append(max(ingesting.peak_mib, running.peak_mib))
            kept = kept_mib(4 * women, protocol, chosen.network)
            print(f"{4 * women:6}{ingesting.peak_mib:10.0f} MiB{running.peak_mib:10.0f} MiB{kept:16.0f} MiB", flush=True)
    growth = (peaks[-1] - peaks[0]) / (4 * (sizes[-1] - sizes[0]))
    study = peaks[-1] + max(growth, 0.0) * max(STUDY_VIEWS - 4 * sizes[-1], 0)
    print(f"growth {growth:.2f} MiB a view; at that rate {STUDY_VIEWS:,} views would need {study:.0f} MiB")
    figure = max(peaks)
    finish("memory", figure, "MiB", GOAL_MIB, figure <= GOAL_MIB and study <= GOAL_MIB)


if __name__ == "__main__":
    main()
