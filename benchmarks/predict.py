"""How long one new exam takes, from its four DICOM files to the answer on disk, with the networks loaded, and the peak memory.

The exam is synthetic, four views of 1536x768 pixels, which the networks see at that size; their weights are random, since the
time does not depend on them. Each network answers in a process of its own, whose whole tree is watched; the first answer is not
counted. Printed beside the whole: the answer without heat maps, and what the networks take with their maps.

Goal: 3 s with MobileNetV2 and 8 s with VGG16 on two cores with hardware bfloat16, and 3 GiB at most.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor, watch
from tramtrack import store
from tramtrack.evaluation.aggregate import UNITS
from tramtrack.evaluation.scores import Undefined
from tramtrack.imaging.prepare import png_bytes
from tramtrack.judgement.scoring import Chosen
from tramtrack.network.build import build
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.prediction.case import Case
from tramtrack.prediction.exported import write_export
from tramtrack.prediction.panel import Panel, Seen
from tramtrack.prediction.predictor import Predictor
from tramtrack.protocol import Protocol
from tramtrack.training.hardware import choose_device, dtype_name, resolve_dtype
from tramtrack.training.record import Run
from tramtrack.training.transfer import Classifier

GOAL_SECONDS = {"mobilenetv2": 3.0, "vgg16": 8.0}
GOAL_MIB = 3 * 1024
SIZE = (1536, 768)
SEED = 9106


def write_network(network: str, out: Path) -> None:
    """An exported folder with one run of random weights, at the study's size."""
    protocol = Protocol()
    generator = torch.Generator().manual_seed(SEED)
    model = Classifier(build(network, generator), protocol.transfer, generator)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    weights = store.write_bytes(out.parent / f"{network}-run" / "weights.safetensors", safetensors.torch.save(state))
    dtype = dtype_name(resolve_dtype("auto", choose_device("cpu")))
    identity = {"network": network, "variant": "last-conv", "seed": 0, "weights": "random weights", "dtype": dtype}
    run = Run(
        weights.parent,
        {**identity, "protocol": protocol.sha256},
        {"weights_file_sha256": store.file_sha256(weights)},
    )
    none = {unit: Undefined("recalibration", "random weights", 0, 0, 0) for unit in UNITS}
    thresholds = {(unit, protocol.evaluation.threshold): none[unit] for unit in UNITS}
    panel = Panel(
        runs=(run,),
        protocols=(protocol,),
        study=None,
        protocol=protocol,
        aggregation="maximum",
        chosen=Chosen(thresholds, none),
        validation={"n": 0, "positives": 0, "women": 0},
        seen=Seen(frozenset(), None, True, {}, {}),
        conformal="random weights",
        spread_limit=None,
        calibrations=(None,),
        scales=(1.0,),
        validation_files=(),
    )
    write_export(panel, [1.0], "# Random weights\n", out)


def side(export: Path, exam: Path, rounds: int, out: Path) -> None:
    """Answer ``exam`` again and again, and write the seconds of each part."""
    ready = Predictor(export, device="cpu")

    def whole(heatmaps: bool) -> Case:
        case = ready.predict(exam, key="none", heatmaps=heatmaps)
        case.save(out.parent / "answer")
        if hasattr(case, "save_dicom"):  # where this version writes DICOM results
            case.save_dicom(out.parent / "answer")
        return case

    case = whole(True)
    with tempfile.TemporaryDirectory() as made:
        files = []
        for (view_side, view), picture in case.pictures.items():
            files.append(Path(made) / f"{view_side}{view}.png")
            files[-1].write_bytes(png_bytes(picture))
        parts: dict[str, Callable[[], object]] = {
            "whole": lambda: whole(True),
            "without heat maps": lambda: whole(False),
            "networks alone": lambda: ready.readers[0].look(files),
        }
        seconds: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(rounds):
            for name, part in parts.items():
                started = time.perf_counter()
                part()
                seconds[name].append(time.perf_counter() - started)
    dicom = hasattr(case, "save_dicom")
    store.write_json(out, {"seconds": seconds, "dicom": dicom, "dtype": ready.panel.runs[0].identity["dtype"]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--networks", default=",".join(GOAL_SECONDS))
    parser.add_argument("--side", nargs=3, metavar=("EXPORT", "EXAM", "OUT"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        export, exam, out = map(Path, chosen.side)
        side(export, exam, chosen.rounds, out)
        return
    print(f"{processor()}; {chosen.rounds} answers each, the median")
    worst, met = 0.0, True
    with tempfile.TemporaryDirectory(prefix="tramtrack-bench-") as made:
        work = Path(made)
        settings = PhantomSettings(rows=SIZE[0], columns=SIZE[1], pitch_mm=0.15)
        write_cohort(work / "cohort", women=1, prevalence=0.5, seed=SEED, workers=1, settings=settings)
        (exam,) = (path for path in (work / "cohort" / "dicom").iterdir() if path.is_dir())
        for network in chosen.networks.split(","):
            write_network(network, work / network)
            out = work / f"{network}.json"
            words = [sys.executable, __file__, "--rounds", str(chosen.rounds), "--side", work / network, exam, out]
            peak = watch(words).peak_mib
            found = json.loads(out.read_text())
            medians = {name: statistics.median(values) for name, values in found["seconds"].items()}
            goal = GOAL_SECONDS[network]
            share = max(medians["whole"] / goal, peak / GOAL_MIB)
            worst, met = max(worst, share), met and share <= 1
            what = "JSON, page and DICOM results" if found["dicom"] else "JSON and page"
            print(
                f"{network} ({found['dtype']}): {medians['whole']:.2f} s to {what} (goal {goal:g}), "
                f"{medians['without heat maps']:.2f} s without heat maps; the networks with their maps "
                f"take {medians['networks alone']:.2f} s; peak {peak:.0f} MiB (goal {GOAL_MIB})"
            )
    finish("predict", worst, "largest share of a goal in time or memory", 1.0, met)


if __name__ == "__main__":
    main()
