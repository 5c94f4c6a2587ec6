"""A cohort of synthetic women on disk: images, exact masks, the label table and the truth table.

Layout: ``dicom/<woman>/<side><view>.dcm`` (or ``png/<woman>/<side><view>.png``, 16 bit, and ``views.csv``, which ``ingest``
reads), ``masks/<woman>_<side>_<view>.png`` (8 bit, 255 where BAC is visible; only for views labelled 1), ``labels.csv`` (what a
study is given), ``truth.csv`` and ``women.csv`` (what nobody has for real views and women), ``women/<woman>.json`` (the same
truth for one woman, with her segments and where every object lies; written after her files: it marks her as complete),
``plan.json`` (only where the positive views are counted: each woman's draw) and ``manifest.json``.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.dicom import ViewHeader, encode
from tramtrack.phantom.planning import Drawn, draw_women, intercept, plan_draws, require_possible, seed_of, shown_views
from tramtrack.phantom.settings import PhantomSettings, require_folder, require_whole
from tramtrack.phantom.stations import require_room_at_stations
from tramtrack.phantom.woman import SyntheticView, SyntheticWoman, ViewTruth
from tramtrack.progress import track
from tramtrack.store import read_json, require_same_identity, text_sha256, write_bytes, write_json, write_manifest
from tramtrack.workers import Failure, run_each

GENERATOR_VERSION = 2
"""Raised whenever the same seed and settings would give other pixels or masks."""

FILES_VERSION = 2
"""Raised whenever the same woman would be written with other headers, columns or truth; it enters no identifier."""

SECONDS_A_WOMAN = 600.0
"""A woman who takes longer than this is given up; she takes one to three seconds at the default matrix."""

FORMATS = ("dicom", "png")

LABEL_COLUMNS = ["woman", "exam", "side", "view", "bac", "mask"]


@dataclass(frozen=True)
class CohortSummary:
    """What ``write_cohort`` left on disk. ``made``: women written by this call; the others were there already."""

    folder: Path
    women: int
    positive_women: int
    views: int
    positive_views: int
    below_visibility_views: int
    made: int

    def __str__(self) -> str:
        return (
            f"{self.women} synthetic women, {self.positive_women} with BAC; {self.views} views, {self.positive_views} with "
            f"visible BAC and {self.below_visibility_views} with calcium below visibility"
        )


@dataclass(frozen=True)
class _Task:
    """One woman to make: everything a worker process needs."""

    out: Path
    woman: str
    number: int
    seed: int
    age: int
    bac: bool
    draw: int | None
    identity: str
    format: str
    settings: PhantomSettings


def write_cohort(
    out: Path | str,
    *,
    women: int = 144,
    prevalence: float = 1 / 3,
    seed: int,
    workers: int = 2,
    settings: PhantomSettings | None = None,
    positive_views: int | None = None,
    format: str = "dicom",
) -> CohortSummary:
    """Write ``women`` four-view exams to ``out``, exactly ``round(women * prevalence)`` of them of women with BAC.

    ``positive_views``: exactly so many views are labelled 1 (see ``planning.plan_draws``); None leaves it to the draws.
    ``format``: ``dicom`` or ``png``. The files are the same, bit for bit, for the same seed and settings, whatever ``workers``
    (processes; 1 stays in this one). Women whose files are complete are kept; a woman with a missing or cut-off file is made
    again.

    Raises UsageError naming a parameter out of its range, and IdentityMismatch naming the field where ``out`` differs.
    """
    settings = settings or PhantomSettings()
    out = Path(out)
    require_folder("phantom cohort", out)
    _check(women, prevalence, seed, workers, positive_views, format)
    require_room_at_stations(settings)
    if positive_views is not None:
        require_possible(round(women * prevalence), positive_views)
    drawn = draw_women(_cohort_stream(seed), women, round(women * prevalence), settings)
    identity = {
        "stage": "phantom", "generator": GENERATOR_VERSION, "files": FILES_VERSION, "women": women, "prevalence": prevalence,
        "seed": seed, "positive_views": positive_views, "format": format,
        **{f"settings.{name}": list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()},
    }  # fmt: skip
    manifest = out / "manifest.json"
    if not require_same_identity(manifest, identity, "choose another folder, or remove this one"):
        if any((out / folder).exists() for folder in FORMATS):
            raise UsageError(f"{out}: expected an empty folder or a synthetic cohort, found images without manifest.json")
        at_mean = intercept((age for age, _ in drawn), prevalence, settings)
        about = {"what": "synthetic mammograms; no patient was imaged", "log_odds_at_mean_age": at_mean}
        write_manifest(manifest, identity, about)
    draws = _plan(out, drawn, seed, positive_views, settings, workers)
    tasks = _tasks(out, drawn, prevalence, seed, settings, draws, format)
    _remove_cut_off(out)
    missing = [task for task in tasks if not _complete(task)]
    for _ in track(_make_all(missing, workers), "synthetic women", total=women, done=women - len(missing)):
        pass
    return _write_tables(out, tasks, len(missing))


def _check(women: int, prevalence: float, seed: int, workers: int, positive_views: int | None, format: str) -> None:
    for name, value, least in (("women", women, 1), ("workers", workers, 1), ("seed", seed, 0)):
        require_whole(f"phantom cohort: {name}", value, least)
    if positive_views is not None:
        require_whole("phantom cohort: positive_views", positive_views, 0)
    if isinstance(prevalence, bool) or not isinstance(prevalence, int | float) or not 0 <= prevalence <= 1:
        raise UsageError(f"phantom cohort: prevalence: expected a share in 0..1, received {prevalence!r}")
    if format not in FORMATS:
        raise UsageError(f"phantom cohort: format: expected {' or '.join(FORMATS)}, received {format!r}")


def _cohort_stream(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))


def _plan(
    out: Path, drawn: Sequence[tuple[int, bool]], seed: int, positive_views: int | None, settings: PhantomSettings, workers: int
) -> dict[int, int]:
    """Each woman's draw of calcium by her number where the positive views are counted; it is worked out once and kept."""
    if positive_views is None:
        return {}
    path = out / "plan.json"
    if not path.exists():
        women = [(number, age) for number, (age, bac) in enumerate(drawn) if bac]

        def look(units: Sequence[Drawn]) -> Iterator[tuple[Drawn, list[int]]]:
            found = _each(shown_views, units, workers, lambda unit: f"woman {unit.number + 1}")
            return track(found, "looking at calcium", total=len(units))

        draws = plan_draws(women, seed, positive_views, settings, look)
        write_json(path, {"draws": {str(number): draw for number, draw in sorted(draws.items())}})
    return {int(number): draw for number, draw in read_json(path)["draws"].items()}


def _tasks(
    out: Path, drawn: Sequence[tuple[int, bool]], prevalence: float, seed: int, settings: PhantomSettings,
    draws: dict[int, int], format: str,
) -> list[_Task]:  # fmt: skip
    cohort = f"{GENERATOR_VERSION}|{seed}|{len(drawn)}|{prevalence!r}|{settings.sha256}"
    prefix = text_sha256(cohort)[:6].upper()
    width = max(4, len(str(len(drawn))))
    return [
        _Task(out, f"SYN-{prefix}-{n + 1:0{width}d}", n, seed, age, bac, draws.get(n), cohort, format, settings)
        for n, (age, bac) in enumerate(drawn)
    ]


def _record_path(task: _Task) -> Path:
    return task.out / "women" / f"{task.woman}.json"


def _complete(task: _Task) -> bool:
    """True if the woman's record is there and every file it lists has the size it had when it was written."""
    record = _record_path(task)
    if not record.exists():
        return False
    files = read_json(record)["files"]
    return all((task.out / name).is_file() and (task.out / name).stat().st_size == size for name, size in files.items())


def _remove_cut_off(out: Path) -> None:
    """Remove the temporary files that a killed run left: they are no part of the cohort, and ``ingest`` would count them."""
    for folder in (*FORMATS, "masks", "women"):
        for left in (out / folder).rglob(".*.part"):
            left.unlink(missing_ok=True)


def _make_all(tasks: list[_Task], workers: int) -> Iterator[None]:
    for _ in _each(_make, tasks, workers, lambda task: f"woman {task.woman}"):
        yield


def _each(task: Any, units: Sequence[Any], workers: int, named: Any) -> Iterator[tuple[Any, Any]]:
    """(unit, result) for each unit, in this process or in others. Raises TramtrackError for the first that fails."""
    if workers == 1 or len(units) < 2:
        yield from ((unit, task(unit)) for unit in units)
        return
    for unit, outcome in run_each(task, units, processes=workers, seconds=SECONDS_A_WOMAN):
        if isinstance(outcome, Failure):
            raise TramtrackError(f"phantom cohort: {named(unit)} could not be made ({outcome.detail}); the others are kept")
        yield unit, outcome


def _make(task: _Task) -> None:
    """Make one woman: her images and masks, then her record."""
    woman = SyntheticWoman(seed_of(task.seed, task.number), task.age, task.bac, task.settings, task.draw)
    files: dict[str, int] = {}
    views = []
    for number, view in enumerate(woman.views(), start=1):
        truth = view.truth
        header = header_of(woman, truth, task.identity, task.woman, number)
        name, content = _image(view, header, task.format)
        write_bytes(task.out / name, content)
        files[name] = len(content)
        mask = ""
        if truth.bac:
            mask = f"masks/{task.woman}_{truth.side}_{truth.position}.png"
            content = png(view.mask.astype(np.uint8) * 255)
            write_bytes(task.out / mask, content)
            files[mask] = len(content)
        spacing = woman.grid.pitch_mm
        row = {
            "woman": task.woman,
            "exam": header.study_uid,
            **view_row(truth),
            "spacing_mm": spacing,
            "file": name,
            "mask": mask,
        }
        views.append({**row, "segments": list(truth.segments), "objects": _objects(truth, woman)})
    write_json(_record_path(task), {"files": files, **woman.truth(), "views": views})


def header_of(woman: SyntheticWoman, truth: ViewTruth, identity: str, name: str, number: int) -> ViewHeader:
    """What one view's file says beside its pixels."""
    return ViewHeader(
        identity, name, woman.look.age, truth.side, truth.position, number, woman.matrix.pitch_mm, truth.thickness_mm,
        woman.station, woman.settings.magnification, woman.implant, woman.look.density,
    )  # fmt: skip


def _image(view: SyntheticView, header: ViewHeader, format: str) -> tuple[str, bytes]:
    """Relative path and content of a view's file."""
    name = f"{header.woman}/{header.side}{header.position}"
    if format == "dicom":
        return f"dicom/{name}.dcm", encode(view.pixels, header)
    return f"png/{name}.png", png((view.pixels << 4).astype(np.uint16))


def view_row(truth: ViewTruth) -> dict[str, Any]:
    """A view's truth as one row of plain values."""
    row = asdict(truth)
    for name in ("seen", "segments"):
        row.pop(name)
    distractors = row.pop("distractors")
    row["side"], row["view"] = str(row["side"]), str(row.pop("position"))
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
    faint = int(truth.calcium == "below-visibility")
    return {**rounded, "bac": int(truth.bac), "faint_calcium": faint, **distractors}


def _objects(truth: ViewTruth, woman: SyntheticWoman) -> list[dict[str, Any]]:
    """What else the view holds: number in its breast, type, and box in pixels as displayed (top, left, bottom, right)."""
    pitch, columns = woman.grid.pitch_mm, woman.grid.columns
    found = []
    for item in truth.seen:
        top, left, bottom, right = (value / pitch for value in item.box_mm)
        if str(truth.side) == "R":
            left, right = columns - right, columns - left
        box = [int(np.floor(top)), int(np.floor(left)), int(np.ceil(bottom)), int(np.ceil(right))]
        found.append({"object": f"{truth.side}{item.number}", "type": str(item.kind), "box": box})
    return found


def png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """A grey PNG of 8 or 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


WOMAN_FIELDS = (
    "age", "density", "station", "burden", "draw", "bac_woman", "calcium_woman", "calcified_vessels", "csbi", "area_band",
    "calcium_mg", "implant",
)  # fmt: skip


def _write_tables(out: Path, tasks: list[_Task], made: int) -> CohortSummary:
    """Write the tables from the women's records, a woman at a time, in the order of the women."""
    counts = {"positive_women": 0, "views": 0, "positive_views": 0, "below_visibility_views": 0}

    def rows() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
        for task in tasks:
            record = read_json(_record_path(task))
            yield {"woman": task.woman, **{name: record[name] for name in WOMAN_FIELDS}}, record

    def views() -> Iterator[dict[str, Any]]:
        for woman, record in rows():
            for view in record["views"]:
                first = {name: view[name] for name in ("woman", "exam", "side", "view")}
                plain = {name: value for name, value in view.items() if not isinstance(value, list) and name != "file"}
                yield {**first, **{k: v for k, v in woman.items() if k != "woman"}, **plain}

    _stream_csv(out / "labels.csv", ({name: view[name] for name in LABEL_COLUMNS} for view in views()))
    _stream_csv(out / "women.csv", (woman for woman, _ in rows()))

    def counted() -> Iterator[dict[str, Any]]:
        for view in views():
            counts["views"] += 1
            counts["positive_views"] += view["bac"]
            counts["below_visibility_views"] += view["calcium"] == "below-visibility"
            yield {name: value for name, value in view.items() if name != "mask"}

    _stream_csv(out / "truth.csv", counted())
    if tasks and tasks[0].format == "png":
        _stream_csv(out / "views.csv", _file_rows(rows()))
    counts["positive_women"] = sum(woman["bac_woman"] for woman, _ in rows())
    return CohortSummary(folder=out, women=len(tasks), made=made, **counts)


def _file_rows(rows: Iterable[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The table that ``ingest`` reads in place of headers; files relative to it."""
    for woman, record in rows:
        for view in record["views"]:
            named = {name: view[name] for name in ("woman", "exam", "side", "view", "file", "spacing_mm")}
            yield {**named, "age_years": woman["age"], "synthetic": "yes"}


def _stream_csv(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows of equal keys as CSV, one at a time, to a temporary name that is renamed at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = None
            for row in rows:
                if writer is None:
                    writer = csv.DictWriter(stream, list(row), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(row)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
