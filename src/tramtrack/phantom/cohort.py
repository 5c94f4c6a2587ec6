"""A cohort of synthetic women on disk: images, exact masks, the label table and the truth table.

Layout: ``dicom/<woman>/<side><view>.dcm`` (or ``png/<woman>/<side><view>.png``, 16 bit, and ``views.csv``, which ``ingest``
reads), ``masks/<woman>_<side>_<view>.png`` (8 bit, 255 where BAC is visible; only for views labelled 1), ``labels.csv`` (what a
study is given), ``truth.csv`` and ``women.csv`` (what nobody has for real views and women), ``women/<woman>.json`` (the same
truth for one woman, with her segments and where every object lies; written after her files: it marks her as complete),
``plan.json`` (only where the positive views are counted: each woman's draw) and ``manifest.json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.cohort_tables import CohortSummary, write_tables
from tramtrack.phantom.planning import Drawn, draw_women, intercept, plan_draws, require_possible, shown_views
from tramtrack.phantom.settings import PhantomSettings, require_folder, require_settings, require_whole
from tramtrack.phantom.stations import require_room_at_stations
from tramtrack.phantom.woman_files import FILES_VERSION, GENERATOR_VERSION, WomanTask, is_complete, make_woman
from tramtrack.progress import track
from tramtrack.store import read_json, require_same_identity, text_sha256, write_json, write_manifest
from tramtrack.workers import Failure, run_each

SECONDS_A_WOMAN = 600.0
"""A woman who takes longer than this is given up; she takes one to three seconds at the default matrix."""

FORMATS = ("dicom", "png")

OWN = (*FORMATS, "masks", "women", "labels.csv", "truth.csv", "women.csv", "views.csv", "plan.json")
"""What a cohort writes beside its manifest; where one of these stands without a manifest, it is somebody else's."""


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
    settings = PhantomSettings() if settings is None else settings
    require_settings("phantom cohort", settings)
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
        found = next((name for name in OWN if (out / name).exists()), None)
        if found is not None:
            raise UsageError(f"{out}: expected an empty folder or a synthetic cohort, found {found} without manifest.json")
        at_mean = intercept((age for age, _ in drawn), prevalence, settings)
        about = {"what": "synthetic mammograms; no patient was imaged", "log_odds_at_mean_age": at_mean}
        write_manifest(manifest, identity, about)
    draws = _plan(out, drawn, seed, positive_views, settings, workers)
    tasks = _tasks(out, drawn, prevalence, seed, positive_views, settings, draws, format)
    _remove_cut_off(out)
    missing = [task for task in tasks if not is_complete(task)]
    for _ in track(_make_all(missing, workers), "synthetic women", total=women, done=women - len(missing)):
        pass
    return write_tables(out, tasks, len(missing))


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
    out: Path, drawn: Sequence[tuple[int, bool]], prevalence: float, seed: int, positive_views: int | None,
    settings: PhantomSettings, draws: dict[int, int], format: str,
) -> list[WomanTask]:  # fmt: skip
    counted = "" if positive_views is None else f"|{positive_views}"  # other pixels, so other UIDs
    cohort = f"{GENERATOR_VERSION}|{seed}|{len(drawn)}|{prevalence!r}|{settings.sha256}{counted}"
    prefix = text_sha256(cohort)[:6].upper()
    width = max(4, len(str(len(drawn))))
    return [
        WomanTask(out, f"SYN-{prefix}-{n + 1:0{width}d}", n, seed, age, bac, draws.get(n), cohort, format, settings)
        for n, (age, bac) in enumerate(drawn)
    ]


def _remove_cut_off(out: Path) -> None:
    """Remove the temporary files that a killed run left: they are no part of the cohort, and ``ingest`` would count them."""
    for left in (*out.glob(".*.part"), *(left for name in OWN for left in (out / name).rglob(".*.part"))):
        left.unlink(missing_ok=True)


def _make_all(tasks: list[WomanTask], workers: int) -> Iterator[None]:
    for _ in _each(make_woman, tasks, workers, lambda task: f"woman {task.woman}"):
        yield


def _each(task: Any, units: Sequence[Any], workers: int, named: Any) -> Iterator[tuple[Any, Any]]:
    """(unit, result) for each unit, in this process or in others. Raises TramtrackError for the first that fails."""
    alone = workers == 1 or len(units) < 2
    for unit, outcome in _here(task, units) if alone else run_each(task, units, processes=workers, seconds=SECONDS_A_WOMAN):
        if isinstance(outcome, Failure):
            detail = outcome.detail.removeprefix("TramtrackError: ")
            raise TramtrackError(f"phantom cohort: {named(unit)} could not be made ({detail}); the others are kept")
        yield unit, outcome


def _here(task: Any, units: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """``run_each`` in this process; what tramtrack itself refuses comes back as a Failure, as from another process."""
    for unit in units:
        try:
            outcome = task(unit)
        except TramtrackError as error:
            outcome = Failure("error", str(error))
        yield unit, outcome
