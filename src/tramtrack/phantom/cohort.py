"""A cohort of synthetic women on disk: DICOM files, exact masks, the label table and the truth table.

Layout: ``dicom/<woman>/<side><view>.dcm``, ``masks/<woman>_<side>_<view>.png`` (8 bit, 255 where BAC is visible; only for
views labelled 1), ``labels.csv`` (what a study is given), ``truth.csv`` (what nobody has for real women),
``women/<woman>.json`` (the same truth for one woman, written after her files: it marks her as complete), ``manifest.json``.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.dicom import ViewHeader, encode
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.woman import SyntheticWoman, ViewTruth
from tramtrack.progress import track
from tramtrack.store import (
    read_json,
    require_same_identity,
    text_sha256,
    write_bytes,
    write_csv,
    write_json,
    write_manifest,
)
from tramtrack.workers import Failure, run_each

GENERATOR_VERSION = 1
"""Raised whenever the same seed and settings would give other bits."""

SECONDS_A_WOMAN = 600.0
"""A woman who takes longer than this is given up; she takes about a second at the default matrix."""

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
    identity: str
    settings: PhantomSettings


def write_cohort(
    out: Path,
    *,
    women: int = 144,
    prevalence: float = 1 / 3,
    seed: int,
    workers: int = 2,
    settings: PhantomSettings | None = None,
) -> CohortSummary:
    """Write ``women`` four-view exams to ``out``, exactly ``round(women * prevalence)`` of them of women with BAC.

    The files are the same, bit for bit, for the same seed and settings, whatever ``workers`` (processes; 1 stays in this
    one). Women whose files are complete are kept; a woman with a missing or cut-off file is made again.

    Raises UsageError naming a parameter out of its range, and IdentityMismatch naming the field where ``out`` differs.
    """
    settings = settings or PhantomSettings()
    out = Path(out)
    _check(women, prevalence, seed, workers)
    identity = {
        "stage": "phantom", "generator": GENERATOR_VERSION, "women": women, "prevalence": prevalence, "seed": seed,
        **{f"settings.{name}": list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()},
    }  # fmt: skip
    manifest = out / "manifest.json"
    if not require_same_identity(manifest, identity, "choose another folder, or remove this one"):
        if (out / "dicom").exists():
            raise UsageError(
                f"{out}: expected an empty folder or a synthetic cohort, found a dicom folder without manifest.json"
            )
        write_manifest(manifest, identity, {"what": "synthetic mammograms; no patient was imaged"})
    tasks = _tasks(out, women, prevalence, seed, settings)
    missing = [task for task in tasks if not _complete(task)]
    for _ in track(_make_all(missing, workers), "synthetic women", total=women, done=women - len(missing)):
        pass
    return _write_tables(out, tasks, len(missing))


def _check(women: int, prevalence: float, seed: int, workers: int) -> None:
    for name, value, least in (("women", women, 1), ("workers", workers, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UsageError(f"phantom cohort: {name}: expected a whole number of at least {least}, received {value!r}")
    if not 0 <= prevalence <= 1:
        raise UsageError(f"phantom cohort: prevalence: expected a share in 0..1, received {prevalence!r}")


def draw_women(rng: np.random.Generator, women: int, positive: int, settings: PhantomSettings) -> list[tuple[int, bool]]:
    """Age in whole years and BAC of each woman, exactly ``positive`` of them with BAC.

    Which women have it is drawn from the logistic model given their ages and the total (conditional Bernoulli sampling), so
    the odds ratio per decade is the settings' own, whatever the prevalence.
    """
    low, high = settings.age_range
    ages = np.clip(np.rint(rng.normal(settings.age_mean, settings.age_sd, women)), low, high).astype(int)
    odds = np.log(settings.odds_ratio_per_decade) * (ages - settings.age_mean) / 10
    bac = conditional_bernoulli(rng, odds, positive)
    return [(int(age), bool(has)) for age, has in zip(ages, bac, strict=True)]


def conditional_bernoulli(rng: np.random.Generator, log_odds: NDArray[np.float64], total: int) -> NDArray[np.bool_]:
    """Independent coin flips with ``log_odds`` (n,), given that exactly ``total`` of them come up; (n,) bool.

    ``ways[i, k]`` is the logarithm of the summed weights of all choices of k among the flips from i on.
    """
    count = len(log_odds)
    ways = np.full((count + 1, total + 1), -np.inf)
    ways[count, 0] = 0.0
    for i in range(count - 1, -1, -1):
        ways[i] = ways[i + 1]
        ways[i, 1:] = np.logaddexp(ways[i, 1:], log_odds[i] + ways[i + 1, :-1])
    chosen = np.zeros(count, bool)
    left = total
    for i in range(count):
        if left and np.log(rng.random()) < log_odds[i] + ways[i + 1, left - 1] - ways[i, left]:
            chosen[i] = True
            left -= 1
    return chosen


def _tasks(out: Path, women: int, prevalence: float, seed: int, settings: PhantomSettings) -> list[_Task]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    drawn = draw_women(rng, women, round(women * prevalence), settings)
    cohort = f"{GENERATOR_VERSION}|{seed}|{women}|{prevalence!r}|{settings.sha256}"
    prefix = text_sha256(cohort)[:6].upper()
    width = max(4, len(str(women)))
    return [
        _Task(out, f"SYN-{prefix}-{number + 1:0{width}d}", number, seed, age, bac, cohort, settings)
        for number, (age, bac) in enumerate(drawn)
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


def _make_all(tasks: list[_Task], workers: int) -> Iterator[None]:
    if workers == 1 or len(tasks) < 2:
        yield from map(_make, tasks)
        return
    for task, outcome in run_each(_make, tasks, processes=workers, seconds=SECONDS_A_WOMAN):
        if isinstance(outcome, Failure):
            raise TramtrackError(f"{task.out}: woman {task.woman} could not be made ({outcome.detail}); the others are kept")
        yield


def _make(task: _Task) -> None:
    """Make one woman: her DICOM files and masks, then her record."""
    seed = np.random.SeedSequence(task.seed, spawn_key=(1, task.number))
    files: dict[str, int] = {}
    views = []
    age = task.age
    woman = SyntheticWoman(seed, age, task.bac, task.settings)
    for number, view in enumerate(woman.views(), start=1):
        truth = view.truth
        header = ViewHeader(
            task.identity, task.woman, age, truth.side, truth.position, number, task.settings.pitch_mm, truth.thickness_mm
        )
        name = f"dicom/{task.woman}/{truth.side}{truth.position}.dcm"
        content = encode(view.pixels, header)
        write_bytes(task.out / name, content)
        files[name] = len(content)
        mask = ""
        if truth.bac:
            mask = f"masks/{task.woman}_{truth.side}_{truth.position}.png"
            content = _png(view.mask)
            write_bytes(task.out / mask, content)
            files[mask] = len(content)
        views.append({"woman": task.woman, "exam": header.study_uid, **_row(truth), "mask": mask})
    write_json(_record_path(task), {"files": files, "age": age, "density": woman.look.density, "views": views})


def _row(truth: ViewTruth) -> dict[str, Any]:
    row = asdict(truth)
    distractors = row.pop("distractors")
    row["view"] = row.pop("position")
    rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}
    return {**rounded, "bac": int(truth.bac), **distractors}


def _png(mask: NDArray[np.bool_]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    return buffer.getvalue()


def _write_tables(out: Path, tasks: list[_Task], made: int) -> CohortSummary:
    """Write labels.csv and truth.csv from the women's records, in the order of the women."""
    rows = []
    for task in tasks:
        record = read_json(_record_path(task))
        rows += [{"age": record["age"], "density": record["density"], **view} for view in record["views"]]
    table = pd.DataFrame(rows)
    write_csv(out / "labels.csv", table[LABEL_COLUMNS])
    first = ["woman", "exam", "side", "view", "age", "density", "bac", "calcium"]
    rest = [column for column in table.columns if column not in (*first, "mask")]
    write_csv(out / "truth.csv", table[first + rest])
    return CohortSummary(
        folder=out,
        women=len(tasks),
        positive_women=int(table.groupby("woman")["bac"].max().sum()),
        views=len(table),
        positive_views=int(table["bac"].sum()),
        below_visibility_views=int((table["calcium"] == "below-visibility").sum()),
        made=made,
    )
