"""What each stage costs a view on this machine, and what that makes of 5,972, 100,000 and 1.2 million views: time and disk.

Stages whose start costs seconds are measured on few views and on many, and the difference counts: ingest and prepare on
two cohorts, the evaluation on copies of the measured study's scores. The others are as the runs themselves recorded them.
What does not grow with the views is printed beside the tables. Goal: the stages that the formula counts are at least half
of what the measured study took from ingest to the last seed, so that nothing big is left out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import pandas as pd
import torch

from measuring import finish, processor, tramtrack, watch
from tramtrack import store
from tramtrack.judgement import results as judgement
from tramtrack.judgement.results import test_file
from tramtrack.network.build import skeleton
from tramtrack.network.registry import facts
from tramtrack.protocol import Protocol, Split, Training
from tramtrack.study import Study
from tramtrack.study_files import SCORED
from tramtrack.training.activations import bytes_a_view
from tramtrack.training.record import Run, read_predictions
from tramtrack.training.transfer import Classifier

VIEWS = (5_972, 100_000, 1_200_000)
EPOCHS = 20
"""Epochs that the tables count for each seed; the measured study trains three."""
COPIES = 10, 40
"""How many women are evaluated for one of the measured study: few, and many."""
GOAL = 0.5


def main() -> None:
    """Measure a synthetic study and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--women", type=int, default=24)
    parser.add_argument("--networks", default="vgg16,mobilenetv2")
    chosen = parser.parse_args()
    protocol = Protocol.load("demo").model_copy(
        update={
            "split": Split(training=0.5, validation=0.25, test=0.25, training_prevalence=0.5, training_prevalence_of="women"),
            "training": Training(epochs=3, patience=0),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        whole, stages, runs, study = _measure(Path(folder), protocol, chosen.women, chosen.networks.split(","))
        views = study.views()
        shares = {
            "scored": float(views["fold"].isin(SCORED).mean()),
            "training": float((views["fold"] == "training").mean()),
            "test": float((views["fold"] == "test").mean()),
        }
        prepared = sum(file.stat().st_size for file in views["file"]) / len(views)
        evaluation, start = _evaluation(study, runs, Path(folder) / "copies")
        shown = _timed(lambda: (study.explain(), study.report()))
    size = f"{protocol.prepare.height}x{protocol.prepare.width}"
    print(f"on {processor()}; {len(views)} views at {size}, {torch.get_num_threads()} threads")
    networks = {f"{run.key.network}, one seed of {EPOCHS} epochs": _seconds_a_view(run, shares) for run in runs}
    seconds = {**stages, **networks, "evaluate": evaluation}
    _print_table("seconds a view", seconds, 3600, "h")
    print(f"whatever the views: {start:.0f} s of the evaluation, {shown:.0f} s for heat maps of a few views and the report")
    disk = {
        "prepared": prepared,
        **{f"{run.key.network}, activations": shares["scored"] * _activation_bytes(run, protocol) for run in runs},
    }
    _print_table("bytes a view", disk, 1e9, "GB")
    counted = len(views) * (sum(stages.values()) + sum(_seconds_a_view(run, shares, epochs=3, scores=False) for run in runs))
    print(f"the formula counts {counted:.1f} s of the {whole:.1f} s that the measured study took")
    finish("scaling", counted / whole, "share of the measured time", GOAL, counted / whole >= GOAL)


def _measure(
    folder: Path, protocol: Protocol, women: int, networks: list[str]
) -> tuple[float, dict[str, float], list[Run], Study]:
    """Wall seconds of ingest, prepare and training; seconds a view of the first two; the runs; the study."""
    studies, took = {}, {}
    for count in (4, women):
        cohort = folder / f"cohort-{count}"
        watch(tramtrack("phantom", "cohort", cohort, "--women", str(count), "--prevalence", "0.5", "--seed", "5"))
        study = studies[count] = Study(folder / f"study-{count}", protocol)
        unstated = Study(study.folder)  # under a stated protocol the intake would prepare the views as well
        took["ingest", count] = _timed(lambda of=unstated, cohort=cohort: of.ingest(cohort / "dicom", cohort / "labels.csv"))
    study = studies[women]
    study.split()
    took["prepare", women] = _timed(study.prepare)
    took["prepare", 4] = _timed(lambda: _prepare_few(study, folder / "few", 16))
    training = _timed(lambda: [study.train(name, weights="random") for name in networks])
    views, few = len(study.views()), 16
    stages = {
        "ingest": (took["ingest", women] - took["ingest", 4]) / (4 * women - few),
        "prepare": (took["prepare", women] - took["prepare", 4]) / (views - few),
    }
    return took["ingest", women] + took["prepare", women] + training, stages, study.runs(), study


def _evaluation(study: Study, runs: list[Run], folder: Path) -> tuple[float, float]:
    """Seconds a view of the cohort that an evaluation takes, and seconds that it takes beside that."""
    study.evaluate(unseal=True)
    views, (few, many) = study.views(), COPIES
    took = [_timed(lambda copies=copies: _evaluate_copies(study, runs, copies, folder / str(copies))) for copies in COPIES]
    a_view = (took[1] - took[0]) / (len(views) * (many - few))
    return a_view, took[0] - a_view * len(views) * few


def _evaluate_copies(study: Study, runs: list[Run], copies: int, folder: Path) -> None:
    """Evaluate so many women with the scores of each woman of ``study``."""

    def copied(table: pd.DataFrame) -> pd.DataFrame:
        women = (table.assign(woman=table["woman"] + f"/{k}", view_id=table["view_id"] + f"/{k}") for k in range(copies))
        return pd.concat(women, ignore_index=True)

    moved = [replace(run, folder=run.key.folder(folder / "runs")) for run in runs]
    for run, to in zip(runs, moved, strict=True):
        store.write_csv(to.folder / "predictions.csv", copied(run.predictions()))
    judgement.evaluate(
        moved,
        study.protocol,
        folder / "results",
        score_test=lambda run, _: copied(read_predictions(test_file(study.folder / "results", run))),
        views=copied(study.views()),
    )


def _prepare_few(study: Study, folder: Path, count: int) -> None:
    from tramtrack.imaging.gallery import prepare_views

    rows = study.views().assign(file=lambda table: table["original"]).head(count)
    prepare_views(rows.to_dict("records"), folder, study.protocol.prepare, {"few": count})


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _seconds_a_view(run: Run, shares: dict[str, float], epochs: int = EPOCHS, scores: bool = True) -> float:
    """Of a view of the cohort: its part of the activations, of the epochs' steps, and of the scores of the test views."""
    scored = run.information["training_views"] / shares["training"] * shares["scored"]
    trunk = run.information["seconds_trunk"] / scored * shares["scored"]
    step = run.information["seconds_an_epoch_cached"] / run.information["training_views"] * shares["training"]
    return trunk + epochs * step + (run.information["milliseconds_a_view"] / 1000 * shares["test"] if scores else 0.0)


def _activation_bytes(run: Run, protocol: Protocol) -> float:
    """Bytes that a scored view's activations take on disk."""
    model = Classifier(skeleton(run.key.network), protocol.transfer, torch.Generator()).eval()
    size = (protocol.prepare.height, protocol.prepare.width)
    return float(bytes_a_view(model, size, getattr(torch, run.identity["dtype"])))


def _print_table(what: str, costs: dict[str, float], unit: float, name: str) -> None:
    print(f"{what:36}{'':>14}" + "".join(f"{f'{count:,} views':>18}" for count in VIEWS))
    for stage, cost in costs.items():
        title = facts(stage.partition(",")[0]).title + stage[stage.index(",") :] if "," in stage else stage
        print(f"{title:36}{cost:14,.4g}" + "".join(f"{cost * count / unit:15,.4g} {name:2}" for count in VIEWS).rstrip())
    total = sum(costs.values())
    print(f"{'in all':36}{total:14,.4g}" + "".join(f"{total * count / unit:15,.4g} {name:2}" for count in VIEWS).rstrip())


if __name__ == "__main__":
    main()
