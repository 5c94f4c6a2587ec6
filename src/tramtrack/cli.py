"""The command line: each verb is one call of the library. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from tramtrack.cli_weights import weights_app
from tramtrack.console import print_json as _print_json
from tramtrack.console import say as _say
from tramtrack.console import table as _table
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network.registry import NETWORKS, known_name
from tramtrack.protocols import presets

app = typer.Typer(
    name="tramtrack",
    help="Compare deep networks for breast arterial calcifications on mammograms. Research use only.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
phantom_app = typer.Typer(help="Synthetic mammograms with calcified arteries.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(phantom_app, name="phantom")
app.add_typer(weights_app, name="weights")

StudyFolder = Annotated[Path, typer.Argument(help="The study's folder.")]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help=f"A preset ({', '.join(presets())}) or a .toml file; default: the study's own.")
]
NetworkNames = Annotated[
    str | None,
    typer.Option(
        "--networks", help="Names with commas between, see `tramtrack networks`, or timm:<model>; default: all eleven."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Weights = Annotated[str, typer.Option("--weights", help="pretrained, or random for a control that is never ranked.")]
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="A folder with weight files, where there is no internet.")
]
Cache = Annotated[
    Literal["auto", "on", "off"],
    typer.Option("--cache", help="Keep the frozen trunk's activations on disk; auto: where the policy allows it."),
]
Processes = Annotated[int, typer.Option("--processes", min=1, max=256, help="Worker processes.")]


@app.command()
def ingest(
    source: Annotated[Path, typer.Argument(help="Exams: a folder, or a CSV with woman, exam, side, view, file.")],
    study: Annotated[Path, typer.Option("--study", help="The study's folder; it is made where there is none.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A CSV: woman, bac and, where known, exam, side, view.")
    ] = None,
    processes: Processes = 2,
    as_json: AsJson = False,
) -> None:
    """Find the mammographic views; every other file becomes an exclusion with its reason. The input is never modified."""
    cohort = _study(study).ingest(source, labels, processes)
    if as_json:
        counts = {"views": len(cohort.views), "exams": cohort.exams, "women": cohort.women}
        unmatched = cohort.unmatched.to_dict("records")
        _print_json({**counts, "exclusions": cohort.exclusions.by_reason(), "unmatched": unmatched})
        return
    _say(repr(cohort))
    _table(
        [{"excluded because": reason, "files": str(count)} for reason, count in cohort.exclusions.by_reason().items()],
        f"Excluded files, each with its reason in {study / 'cohort' / 'exclusions.csv'}",
    )
    for kind, group in cohort.unmatched.groupby("kind"):
        _say(f"{len(group)} {kind}: {', '.join(group['what'].head(3))}{' ...' if len(group) > 3 else ''}")


@app.command()
def split(study: StudyFolder, protocol: ProtocolName = None, as_json: AsJson = False) -> None:
    """Deal the women to training, validation and test; fails where anything would leak."""
    folds = _study(study, protocol).split()
    counts = folds.groupby("fold")["bac_woman"].agg(["size", "sum"]).reset_index()
    rows = [{"fold": r["fold"], "women": str(r["size"]), "with BAC": str(r["sum"])} for r in counts.to_dict("records")]
    _print_json(rows) if as_json else _table(rows, "Women in each fold")


@app.command()
def prepare(study: StudyFolder, protocol: ProtocolName = None, processes: Processes = 2) -> None:
    """Crop, orient and scale every view to the protocol's size."""
    geometry = _study(study, protocol).prepare(processes)
    _say(f"{len(geometry)} views prepared in {study / 'prepared'}")


@app.command()
def train(
    study: StudyFolder,
    networks: NetworkNames = None,
    protocol: ProtocolName = None,
    weights: Weights = "pretrained",
    weights_dir: WeightsDir = None,
    cache: Cache = "auto",
) -> None:
    """Train networks, once for each seed; goes on where it stopped. The test fold stays sealed."""
    for name in _names(networks):
        for run in _study(study, protocol).train(name, weights, weights_dir, cache):
            _say(f"{run.folder}: {run.information['epochs']} epochs, best {run.information['best_epoch']}")


@app.command()
def evaluate(
    study: StudyFolder,
    networks: NetworkNames = None,
    unseal: Annotated[bool, typer.Option("--unseal", help="Score the test fold as well; the look is logged.")] = False,
    as_json: AsJson = False,
) -> None:
    """Score the finished runs on training and validation, and with --unseal on the test fold."""
    chosen = _names(networks) if networks else None
    _show_results(_study(study).evaluate(chosen, unseal=unseal), as_json)


@app.command()
def explain(study: StudyFolder) -> None:
    """Grad-CAM++ heat maps of hits, misses and false alarms, the same views under every network."""
    _say(f"heat maps are in {_study(study).explain()}")


@app.command()
def report(study: StudyFolder) -> None:
    """Write the report: one HTML file that opens without a network."""
    _say(f"the report is {_study(study).report()}")


@app.command()
def run(
    study: StudyFolder,
    protocol: ProtocolName = None,
    networks: NetworkNames = None,
    weights: Weights = "pretrained",
    weights_dir: WeightsDir = None,
    cache: Cache = "auto",
    as_json: AsJson = False,
) -> None:
    """Split, prepare, train, evaluate, explain and report; goes on where it stopped."""
    chosen = _study(study, protocol)
    found = chosen.run(_names(networks), weights=weights, weights_dir=weights_dir, cache=cache)
    _show_results(found, as_json)
    if not as_json:
        _say(f"the report is {study / 'report' / 'index.html'}")


@app.command()
def status(study: StudyFolder, as_json: AsJson = False) -> None:
    """How far each stage of a study is."""
    rows = _study(study).status()
    _print_json(rows) if as_json else _table(rows, str(study))


@app.command()
def networks(as_json: AsJson = False) -> None:
    """The eleven networks and what is known of each."""
    from dataclasses import asdict

    if as_json:
        _print_json([asdict(network) for network in NETWORKS.values()])
        return
    rows = [
        {
            "name": network.name,
            "network": network.title,
            "family": network.family,
            "depth": str(network.depth),
            "parameters": f"{network.parameters:,}",
            "last convolution": f"{network.last_conv} ({network.last_conv_parameters:,})",
            "stride": str(network.stride),
        }
        for network in NETWORKS.values()
    ]
    _table(rows, "The networks of the study, without their classifiers")


@app.command()
def protocol(
    name: Annotated[str, typer.Argument(help="A preset or a .toml file.")] = "mobini-2024", as_json: AsJson = False
) -> None:
    """Print a protocol, every setting of it, as TOML to start your own from; --json adds units, meanings and whose choice."""
    from tramtrack.protocol import Protocol

    chosen = Protocol.load(name)
    _print_json(chosen.settings()) if as_json else print(chosen.to_toml(), end="")


@phantom_app.command("cohort")
def phantom_cohort(
    out: Annotated[Path, typer.Argument(help="The folder to write dicom/, masks/, labels.csv and truth.csv into.")],
    women: Annotated[int, typer.Option("--women", help="Number of women, four views each.")] = 144,
    prevalence: Annotated[float, typer.Option("--prevalence", help="Share of women with BAC, 0 to 1.")] = 1 / 3,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files.")] = 2024,
    processes: Processes = 2,
) -> None:
    """Write a synthetic cohort as DICOM, with exact masks and labels; goes on where it stopped."""
    from tramtrack.phantom.cohort import write_cohort

    _say(str(write_cohort(out, women=women, prevalence=prevalence, seed=seed, workers=processes)))


def main() -> None:
    """Run the command line: 0 done, 1 failed, 2 wrong usage; an expected failure is one line on standard error."""
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app()
    except TramtrackError as error:
        _fail(str(error), error.exit_code)
    except _Interrupted:
        _fail("interrupted; what is finished is kept, and the same command goes on from there", 1)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; what was finished before is kept", 1)


class _Interrupted(BaseException):
    """Ctrl-C; no Exception, so that nothing on the way takes it for a failure of its own and goes on."""


def _interrupt(signal_number: int, frame: object) -> None:
    raise _Interrupted


def _fail(message: str, code: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"tramtrack: {message}", markup=False)
    sys.exit(code)


def _study(folder: Path, protocol: str | None = None) -> Any:
    from tramtrack.study import Study

    return Study(folder, protocol)


def _names(text: str | None) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()] if text is not None else list(NETWORKS)
    if not names:
        raise UsageError("--networks: expected names with commas between, received none")
    return [known_name(name) for name in names]


def _show_results(found: Any, as_json: bool) -> None:
    if as_json:
        records = json.loads(found.scores.to_json(orient="records"))
        _print_json({"scores": records, "verdict": found.verdict, "test_fold_unsealed": found.unsealed})
        return
    fold = "test" if found.unsealed else "validation"
    table = found.table().astype(str)
    alike = [
        name for name in ("variant", "seed", "weights") if table[name].nunique() == 1 and "random" not in table[name].iloc[0]
    ]
    _table(table.drop(columns=alike).to_dict("records"), f"By woman, {fold} fold, with intervals")
    _say(found.verdict)


if __name__ == "__main__":
    main()
