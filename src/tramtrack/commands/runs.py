"""The verbs of training and of what it found: ``tramtrack train``, ``evaluate``, ``claim``, ``report``, ``run``, ``status``."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tramtrack.commands.cohort import say_warnings
from tramtrack.commands.opening import open_study, spread_study
from tramtrack.commands.options import (
    AsJson,
    Cache,
    CpusPerRun,
    EngineName,
    EvaluatedNames,
    FactorLevels,
    GpusPerRun,
    NetworkNames,
    ProtocolName,
    Repeats,
    StudyDevice,
    StudyFolder,
    Weights,
    WeightsDir,
)
from tramtrack.console import print_json, say, table
from tramtrack.errors import UsageError
from tramtrack.network.registry import NETWORKS, known_name


def train(
    study: StudyFolder,
    networks: NetworkNames = None,
    protocol: ProtocolName = None,
    weights: Weights = "pretrained",
    weights_dir: WeightsDir = None,
    cache: Cache = "auto",
    device: StudyDevice = "auto",
    engine: EngineName = "local",
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    factors: FactorLevels = None,
) -> None:
    """Train networks, once for each seed and variant; goes on where it stopped. The test fold stays sealed.

    A network that fails is left out, the others are trained, and the exit code is 1.
    """
    chosen = spread_study(study, protocol, device, engine, cpus_per_run, gpus_per_run, factors)
    for run in chosen.train_each(_names(networks), weights, weights_dir, cache):
        say(f"{run.folder}: {run.information['epochs']} epochs, best {run.information['best_epoch']}")


def evaluate(
    study: StudyFolder,
    networks: EvaluatedNames = None,
    unseal: Annotated[bool, typer.Option("--unseal", help="Score the test fold as well; the look is logged.")] = False,
    device: StudyDevice = "auto",
    as_json: AsJson = False,
) -> None:
    """Score the finished runs on training and validation, and with --unseal on the test fold."""
    chosen = _names(networks) if networks else None
    _show_results(open_study(study, device=device).evaluate(chosen, unseal=unseal), as_json)


def claim(
    sentence: Annotated[str, typer.Argument(help='Such as "vgg16 > mobilenetv2 on f1 in test by woman".')],
    study: StudyFolder,
    as_json: AsJson = False,
) -> None:
    """Whether the evaluation carries a sentence: supported, contradicted, equivalent, unresolved, or cannot be tested."""
    from dataclasses import asdict

    found = open_study(study).claim(sentence)
    if as_json:
        print_json(asdict(found))
        return
    say(found.sentence)
    label = "the primary comparison" if found.family == "primary" else "a secondary comparison"
    say(f"This is {label}, about {found.target} on women like these.")


def report(
    study: StudyFolder,
    export: Annotated[
        bool, typer.Option("--export", help="Also write its tables (CSV, LaTeX, HTML) and figures (SVG, PDF).")
    ] = False,
) -> None:
    """Write the report: one HTML file that opens without a network."""
    page = open_study(study).report(export)
    say(f"the report is {page}")
    if export:
        say(f"its tables are in {page.parent / 'tables'}, its figures in {page.parent / 'figures'}")


def run(
    study: StudyFolder,
    protocol: ProtocolName = None,
    networks: NetworkNames = None,
    weights: Weights = "pretrained",
    weights_dir: WeightsDir = None,
    cache: Cache = "auto",
    device: StudyDevice = "auto",
    engine: EngineName = "local",
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    factors: FactorLevels = None,
    repeats: Repeats = None,
    as_json: AsJson = False,
) -> None:
    """Split, prepare, train, evaluate, explain and report; goes on where it stopped."""
    chosen = spread_study(study, protocol, device, engine, cpus_per_run, gpus_per_run, factors, repeats)
    found = chosen.run(_names(networks), weights=weights, weights_dir=weights_dir, cache=cache)
    _show_results(found, as_json)
    if not as_json:
        say_warnings(study)
        say(f"the report is {study / 'report' / 'index.html'}")


def status(study: StudyFolder, as_json: AsJson = False) -> None:
    """How far each stage of a study is."""
    rows = open_study(study).status()
    print_json(rows) if as_json else table(rows, str(study))


def _names(text: str | None) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()] if text is not None else list(NETWORKS)
    if not names:
        raise UsageError("--networks: expected names with commas between, received none")
    return [known_name(name) for name in names]


def _show_results(found: Any, as_json: bool) -> None:
    if as_json:
        records = json.loads(found.scores.to_json(orient="records"))
        print_json({"scores": records, "verdict": found.verdict, "test_fold_unsealed": found.unsealed})
        return
    fold = "test" if found.unsealed else "validation"
    rows = found.table().astype(str)
    alike = [
        name for name in ("variant", "seed", "weights") if rows[name].nunique() == 1 and "random" not in rows[name].iloc[0]
    ]
    further = [name for name in rows if name in ("partial_auc", "average_precision", "ppv", "npv", "brier")]  # in the report
    table(rows.drop(columns=[*alike, *further]).to_dict("records"), f"By woman, {fold} fold, with intervals")
    say(found.verdict)
