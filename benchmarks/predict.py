"""How long one new exam takes, from its four DICOM files to the answer on disk, with the networks loaded, and the peak memory.

The exam is synthetic, four views of 1536x768 pixels, which the networks see at that size. Their weights are random, and so is
what validation would have said (thresholds, calibration women, how maps become a burden), since the time depends on neither.
The answer lacks nothing: every view is called, marked and segmented, and each of its 18 DICOM results is there, else it stops.
Each network answers in a process of its own, whose whole tree is watched; the first answer is not counted. Printed beside the
whole: the answer without heat maps, and what the networks take with their maps.

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

import numpy as np
import safetensors.torch
import torch

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor, watch
from tramtrack import store
from tramtrack.dicomout.names import WRITTEN
from tramtrack.evaluation.aggregate import UNITS
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.conformal import Conformal
from tramtrack.evaluation.threshold import Threshold
from tramtrack.explain.burden import Calibration
from tramtrack.imaging.prepare import png_bytes
from tramtrack.judgement.results import name_of
from tramtrack.judgement.scoring import Chosen
from tramtrack.network.build import build
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.prediction.case import Case
from tramtrack.prediction.exported import write_export
from tramtrack.prediction.panel import Panel, Seen
from tramtrack.prediction.predictor import Predictor
from tramtrack.protocol import Prepare, Protocol
from tramtrack.training.hardware import choose_device, dtype_name, resolve_dtype
from tramtrack.training.record import Run
from tramtrack.training.transfer import Classifier

GOAL_SECONDS = {"mobilenetv2": 3.0, "vgg16": 8.0}
GOAL_MIB = 3 * 1024
SIZE = (1536, 768)
SEED = 9106
WOMEN = {"n": 200, "positives": 26, "women": 200}
"""What is said of validation and of the women kept for calibration."""


def write_network(network: str, out: Path) -> None:
    """An exported folder with one run of random weights, at the study's size, that calls, marks and segments every view."""
    protocol = Protocol(prepare=Prepare(height=SIZE[0], width=SIZE[1]))
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
    rule = protocol.evaluation.threshold
    thresholds = {(unit, rule): Threshold(rule, unit, 0.0, 0.5, **WOMEN) for unit in UNITS}
    fitted = {unit: Recalibration(unit, 0.0, 1.0, WOMEN["positives"] / WOMEN["n"], **WOMEN) for unit in UNITS}
    kept = np.random.default_rng(SEED).random(WOMEN["n"])
    burden = Calibration(name_of(run), "heat map", 1e-12, 1.0, None, 1.0, 1.0, 1.0, 1.0)
    panel = Panel(
        runs=(run,),
        protocols=(protocol,),
        study=None,
        protocol=protocol,
        aggregation="maximum",
        chosen=Chosen(thresholds, fitted),
        validation=WOMEN,
        seen=Seen(frozenset(), None, True, {}, {}),
        conformal=Conformal(np.sort(kept[: WOMEN["positives"]]), np.sort(kept[WOMEN["positives"] :])),
        spread_limit=None,
        calibrations=(burden,),
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
        case.save_dicom(out.parent / "answer")
        return case

    case = whole(True)
    lacking = sorted({*WRITTEN} - {path.name for path in (out.parent / "answer").iterdir()})
    answer = case.answer
    if lacking or answer.conformal.finding is None or answer.probability.value is None or answer.burden[0].area_mm2 is None:
        raise SystemExit(f"{export}: the answer that is timed is not a whole one; it lacks {', '.join(lacking) or 'a figure'}")
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
    store.write_json(out, {"seconds": seconds, "dtype": ready.panel.runs[0].identity["dtype"]})


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
            print(
                f"{network} ({found['dtype']}): {medians['whole']:.2f} s to JSON, page and {len(WRITTEN)} DICOM results "
                f"(goal {goal:g}), "
                f"{medians['without heat maps']:.2f} s without heat maps; the networks with their maps "
                f"take {medians['networks alone']:.2f} s; peak {peak:.0f} MiB (goal {GOAL_MIB})"
            )
    finish("predict", worst, "largest share of a goal in time or memory", 1.0, met)


if __name__ == "__main__":
    main()
