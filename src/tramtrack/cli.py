"""The command line: each verb is one call of the library. Heavy imports wait until a verb needs them."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from tramtrack.commands.blind import make_page, take_ratings
from tramtrack.commands.burden import associate, burden
from tramtrack.commands.export import card, export
from tramtrack.commands.facts import networks, plan, policies, protocol
from tramtrack.commands.node import listen, pull, queue
from tramtrack.commands.phantom import phantom_app
from tramtrack.commands.predict import calibrate, predict
from tramtrack.commands.segment import segment
from tramtrack.commands.serve import serve
from tramtrack.commands.validate import pool, validate
from tramtrack.commands.weights import weights_app
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
Device = Annotated[
    str, typer.Option("--device", help="auto (CUDA where there is one), cpu, cuda (one run a GPU), or one GPU, such as cuda:1.")
]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", help="local: this machine; ray: a Ray cluster (extra cluster), the study on shared storage."),
]
CpusPerRun = Annotated[int, typer.Option("--cpus-per-run", min=1, help="With --engine ray: CPUs, and threads, of each run.")]
GpusPerRun = Annotated[
    float | None,
    typer.Option("--gpus-per-run", min=0, help="With --engine ray: GPUs of each run; default: one where there are any."),
]
FactorLevels = Annotated[
    list[str] | None,
    typer.Option(
        "--factors",
        help="Variants to cross beside the protocol's own: policy=, batchnorm=, stride= or size= with levels; once a factor.",
    ),
]
Repeats = Annotated[
    int | None, typer.Option("--repeats", min=1, max=100, help="Splits of the cohort, each with runs of its own; default: 1.")
]
Processes = Annotated[int, typer.Option("--processes", min=1, max=256, help="Worker processes.")]


@app.command()
def ingest(
    source: Annotated[Path, typer.Argument(help="Exams: a folder, or a CSV with woman, exam, side, view, file.")],
    study: Annotated[Path, typer.Option("--study", help="The study's folder; it is made where there is none.")],
    labels: Annotated[
        Path | None, typer.Option("--labels", help="A CSV: woman, bac and, where known, exam, side, view.")
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", help="The file with the key of the pseudonyms, or none to keep PatientIDs. [default: your own key]"
        ),
    ] = None,
    adjudication: Annotated[
        Path | None, typer.Option("--adjudication", help="cohort/disagreements.csv with bac_adjudicated filled in.")
    ] = None,
    findings: Annotated[
        Path | None,
        typer.Option("--findings", help="A CSV of views with burden_mm2, length_mm or distractor_<kind>."),
    ] = None,
    protocol: ProtocolName = None,
    processes: Processes = 2,
    as_json: AsJson = False,
) -> None:
    """Find the mammographic views; every other file becomes an exclusion with its reason. The input is never modified."""
    cohort = _study(study, protocol).ingest(source, labels, processes, key, adjudication, findings)
    if as_json:
        counts = {"views": len(cohort.views), "exams": cohort.exams, "women": cohort.women}
        unmatched = cohort.unmatched.to_dict("records")
        _print_json({**counts, "exclusions": cohort.exclusions.by_reason(), "unmatched": unmatched})
        return
    _say(repr(cohort))
    _say(_named_by(key, cohort))
    _table(
        [{"excluded because": reason, "files": str(count)} for reason, count in cohort.exclusions.by_reason().items()],
        f"Excluded files, each with its reason in {study / 'cohort' / 'exclusions.csv'}",
    )
    for kind, group in cohort.unmatched.groupby("kind"):
        _say(f"{len(group)} {kind}: {', '.join(group['what'].head(3))}{' ...' if len(group) > 3 else ''}")


def _named_by(key: str | None, cohort: Any) -> str:
    """Whose names stand in the study's files."""
    from tramtrack.cohort.privacy import PLAIN, own_key_file

    if key is None and cohort.synthetic and (cohort.views["synthetic"] == "yes").all():
        return "synthetic women keep their names"
    if not cohort.views["woman"].str.fullmatch(r"W-[0-9a-f]{12}").any():
        return f"women keep the names of their files (--key {PLAIN}): handle this folder like patients' records"
    return f"women go by keyed hashes; whoever has the key can tell whose they are: {key or own_key_file()}"


@app.command()
def audit(study: StudyFolder, processes: Processes = 2, as_json: AsJson = False) -> None:
    """Write cohort/audit.html and audit.json: where every file went, what the views are, and what still identifies somebody."""
    from tramtrack.cohort.audit_page import write_audit

    page = write_audit(study, processes)
    found = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    if as_json:
        _print_json(found)
        return
    for problem in found["problems"]:
        _say(f"does not add up: {problem}")
    counts = found["identifying"].items()
    _table([{"attribute": name, "files": str(count)} for name, count in counts], "What still identifies somebody")
    _say(f"the audit is {page}")


@app.command()
def split(study: StudyFolder, protocol: ProtocolName = None, repeats: Repeats = None, as_json: AsJson = False) -> None:
    """Deal the women to training, validation and test; fails where anything would leak."""
    folds = _study(study, protocol, repeats=repeats).split()
    counts = folds.groupby("fold")["bac_woman"].agg(["size", "sum"]).reset_index()
    rows = [{"fold": r["fold"], "women": str(r["size"]), "with BAC": str(r["sum"])} for r in counts.to_dict("records")]
    _print_json(rows) if as_json else _table(rows, "Women in each fold")
    if not as_json:
        _warnings(study)


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
    device: Device = "auto",
    engine: EngineName = "local",
    cpus_per_run: CpusPerRun = 2,
    gpus_per_run: GpusPerRun = None,
    factors: FactorLevels = None,
) -> None:
    """Train networks, once for each seed and variant; goes on where it stopped. The test fold stays sealed."""
    chosen = _spread_study(study, protocol, device, engine, cpus_per_run, gpus_per_run, factors)
    for name in _names(networks):
        for run in chosen.train(name, weights, weights_dir, cache):
            _say(f"{run.folder}: {run.information['epochs']} epochs, best {run.information['best_epoch']}")


@app.command()
def evaluate(
    study: StudyFolder,
    networks: NetworkNames = None,
    unseal: Annotated[bool, typer.Option("--unseal", help="Score the test fold as well; the look is logged.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Score the finished runs on training and validation, and with --unseal on the test fold."""
    chosen = _names(networks) if networks else None
    _show_results(_study(study, device=device).evaluate(chosen, unseal=unseal), as_json)


@app.command()
def claim(
    sentence: Annotated[str, typer.Argument(help='Such as "vgg16 > mobilenetv2 on f1 in test by woman".')],
    study: StudyFolder,
    as_json: AsJson = False,
) -> None:
    """Whether the evaluation carries a sentence: supported, contradicted, equivalent, unresolved, or cannot be tested."""
    from dataclasses import asdict

    found = _study(study).claim(sentence)
    if as_json:
        _print_json(asdict(found))
        return
    _say(found.sentence)
    label = "the primary comparison" if found.family == "primary" else "a secondary comparison"
    _say(f"This is {label}, about {found.target} on women like these.")


@app.command()
def explain(
    study: StudyFolder,
    view: Annotated[
        list[str] | None,
        typer.Option("--view", help="A view_id, also several times. Default: hits, misses, false alarms."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="With --view: grad-cam++, grad-cam, integrated-gradients, occlusion.")
    ] = None,
    layer: Annotated[
        str | None, typer.Option("--layer", help="With --view: cam, stride-8 (the last step of that stride), or a step.")
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="One page for readers to rate the maps on, networks hidden; see --ratings.")
    ] = False,
    views: Annotated[int, typer.Option("--views", min=1, max=500, help="With --blind: up to how many views are shown.")] = 12,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="With --blind: of the shuffling; default: drawn, and kept in the key.")
    ] = None,
    ratings: Annotated[
        list[Path] | None, typer.Option("--ratings", help="A reader's CSV from the blind page; once for each file.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Heat maps, the same views under every network: hits, misses and false alarms, or the views that are named.

    A view that is named is drawn on its original image at full resolution, with its score and, where it has a mask, how well
    the map lies on it. --blind makes the page of a blind reading, --ratings takes what its readers rated.
    """
    if (bool(view or method or layer), blind, bool(ratings)).count(True) > 1:
        raise UsageError("explain: expected one of --view (with --method, --layer), --blind and --ratings, received several")
    if blind:
        make_page(_study(study, device=device), views, seed, as_json)
        return
    if ratings:
        take_ratings(_study(study), ratings, as_json)
        return
    if not view:
        if method or layer:
            raise UsageError("--method and --layer: expected with --view; the protocol's explain section holds for the study")
        folder = _study(study, device=device).explain()
        _print_json({"folder": str(folder)}) if as_json else _say(f"heat maps are in {folder}")
        return
    rows = json.loads(_study(study, device=device).explain_views(view, method, layer).to_json(orient="records"))
    if as_json:
        _print_json(rows)
        return
    names = [name for name in rows[0] if name not in ("seed", "scale")]
    texts = [{name: _short(row[name]) for name in names if any(other[name] is not None for other in rows)} for row in rows]
    _table(texts, f"Maps, drawn in {study / 'heatmaps' / 'views'}")


@app.command()
def trust(
    study: StudyFolder,
    permuted: Annotated[
        bool, typer.Option("--permuted", help="Also train each network once on permuted labels, and compare its maps.")
    ] = False,
    weights_dir: WeightsDir = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Whether heat maps can be trusted: random weights, permuted labels, seeds, mirror images, less calcification."""
    rows = json.loads(_study(study, device=device).trust(permuted, weights_dir).to_json(orient="records"))
    if as_json:
        _print_json(rows)
        return
    judged = [row for row in rows if row["verdict"] != "information"]
    names = ("map", "test", "stage", "estimate", "low", "high", "bound", "limit", "verdict")
    _table([{name: _short(row[name]) for name in names} for row in judged], "Rank correlations, against the protocol's limits")


@app.command()
def report(
    study: StudyFolder,
    export: Annotated[
        bool, typer.Option("--export", help="Also write its tables (CSV, LaTeX, HTML) and figures (SVG, PDF).")
    ] = False,
) -> None:
    """Write the report: one HTML file that opens without a network."""
    page = _study(study).report(export)
    _say(f"the report is {page}")
    if export:
        _say(f"its tables are in {page.parent / 'tables'}, its figures in {page.parent / 'figures'}")


@app.command()
def run(
    study: StudyFolder,
    protocol: ProtocolName = None,
    networks: NetworkNames = None,
    weights: Weights = "pretrained",
    weights_dir: WeightsDir = None,
    cache: Cache = "auto",
    device: Device = "auto",
    engine: EngineName = "local",
    cpus_per_run: CpusPerRun = 2,
    gpus_per_run: GpusPerRun = None,
    factors: FactorLevels = None,
    repeats: Repeats = None,
    as_json: AsJson = False,
) -> None:
    """Split, prepare, train, evaluate, explain and report; goes on where it stopped."""
    chosen = _spread_study(study, protocol, device, engine, cpus_per_run, gpus_per_run, factors, repeats)
    found = chosen.run(_names(networks), weights=weights, weights_dir=weights_dir, cache=cache)
    _show_results(found, as_json)
    if not as_json:
        _say(f"the report is {study / 'report' / 'index.html'}")


@app.command()
def status(study: StudyFolder, as_json: AsJson = False) -> None:
    """How far each stage of a study is."""
    rows = _study(study).status()
    _print_json(rows) if as_json else _table(rows, str(study))


_OF_MAPS = (segment, burden, associate)
_OF_NEW_EXAMS = (predict, calibrate, listen, queue, pull, serve)
_OF_OTHER_SITES = (export, card, validate, pool)
_OF_FACTS = (plan, networks, policies, protocol)
for verb in (*_OF_MAPS, *_OF_NEW_EXAMS, *_OF_OTHER_SITES, *_OF_FACTS):
    app.command()(verb)


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


def _study(
    folder: Path,
    protocol: str | None = None,
    device: str = "auto",
    engine: Any = None,
    factors: list[str] | None = None,
    repeats: int | None = None,
) -> Any:
    from tramtrack.protocol import Factors
    from tramtrack.study import Study

    crossed = Factors.from_texts(factors) if factors else None
    return Study(folder, protocol, device=device, engine=engine, factors=crossed, repeats=repeats)


def _spread_study(
    folder: Path,
    protocol: str | None,
    device: str,
    engine: str,
    cpus_per_run: int,
    gpus_per_run: float | None,
    factors: list[str] | None,
    repeats: int | None = None,
) -> Any:
    """A study on an engine. With Ray the device is the cluster's; this machine, which only evaluates, may have another."""
    if engine == "local":
        return _study(folder, protocol, device, None, factors, repeats)
    from tramtrack.engine.ray import Ray

    cluster = Ray(device, cpus_per_run, gpus_per_run)
    return _study(folder, protocol, "cpu" if device == "cpu" else "auto", cluster, factors, repeats)


def _warnings(study: Path) -> None:
    """How many warnings of each kind the split wrote down, with the first of each."""
    import csv

    path = study / "cohort" / "warnings.csv"
    found: dict[str, list[str]] = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                found.setdefault(row["kind"], []).append(row["what"])
    for kind, what in found.items():
        _say(f"warning: {kind}: {what[0]}{f' and {len(what) - 1} more in {path}' if len(what) > 1 else ''}")


def _names(text: str | None) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()] if text is not None else list(NETWORKS)
    if not names:
        raise UsageError("--networks: expected names with commas between, received none")
    return [known_name(name) for name in names]


def _short(value: Any) -> str:
    """A cell of a table: numbers with three digits, nothing for what is not known."""
    return "" if value is None else f"{value:.3f}" if isinstance(value, float) else str(value)


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
    further = [name for name in table if name in ("partial_auc", "average_precision", "ppv", "npv", "brier")]  # in the report
    _table(table.drop(columns=[*alike, *further]).to_dict("records"), f"By woman, {fold} fold, with intervals")
    _say(found.verdict)


if __name__ == "__main__":
    main()
