"""The audit as one HTML file that opens offline, with contact sheets of excluded images and doubtful crops."""

from __future__ import annotations

import base64
import io
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from PIL import Image, ImageDraw

from tramtrack import store
from tramtrack.cohort.audit import audit
from tramtrack.cohort.cohort import load_cohort
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.privacy import telling_paths
from tramtrack.imaging.breast import NoBreast, find_breast
from tramtrack.imaging.pixels import read_picture
from tramtrack.progress import track
from tramtrack.workers import Failure, run_each

TILE = (240, 200)
"""Rows and columns of a picture in a contact sheet."""
COLUMNS = 6
MOST_TILES = 120
"""So many pictures a person skims in about a minute; of more, evenly spread ones of each kind are shown, and it is said."""
WITHOUT_PICTURE = (
    Reason.NOT_AN_IMAGE, Reason.UNREADABLE, Reason.TRUNCATED_PIXELS, Reason.NO_DECODER, Reason.NO_PIXELS, Reason.MULTI_FRAME,
    Reason.TOMOSYNTHESIS, Reason.TIME_LIMIT, Reason.MEMORY_LIMIT, Reason.WORKER_DIED,
)  # fmt: skip
"""Whose files show none, or would hold a worker up once more."""


def write_audit(study: Path, processes: int = 2) -> Path:
    """Write cohort/audit.json and cohort/audit.html of a study's folder; returns the page's path. Raises TramtrackError."""
    folder = study / "cohort"
    found = audit(folder)
    store.write_json(folder / "audit.json", found)
    sheets = {
        "Doubtful crops": _sheet(_doubtful(folder), processes, "views"),
        "Excluded images": _sheet(_excluded(folder), processes, "files"),
    }
    page = Environment(autoescape=True).from_string((resources.files("tramtrack.cohort") / "audit.html").read_text("utf-8"))
    text = page.render(a=found, name=study.resolve().name, sheets=sheets, shown=_shown)
    return store.write_text(folder / "audit.html", text)


@dataclass(frozen=True)
class _Item:
    """A picture to show: why it is here, what stands below it, and whether its file can have a picture at all."""

    file: str
    why: str
    name: str
    shows: bool = True


def _doubtful(folder: Path) -> list[_Item]:
    views = load_cohort(folder).views.query("doubts != ''")
    return [_Item(row["file"], row["doubts"], row["view_id"]) for row in views.to_dict("records")]


def _excluded(folder: Path) -> list[_Item]:
    """A path that repeats a patient's name or number is not shown: its line in exclusions.csv stands for it."""
    telling = telling_paths(folder)
    return [
        _Item(
            item.file,
            str(item.reason),
            f"exclusions.csv, line {line}" if item.file in telling else "/".join(Path(item.file).parts[-2:]),
            item.reason not in WITHOUT_PICTURE,
        )
        for line, item in enumerate(load_cohort(folder).exclusions, 2)
    ]


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return str(value) if not np.isfinite(number) or number == int(number) else f"{number:.3f}"


def _sheet(items: list[_Item], processes: int, what: str) -> dict[str, str]:
    """A contact sheet as base64 of a JPEG; and in words what is and is not on it."""
    possible = [item for item in items if item.shows]
    chosen = _chosen(possible)
    tiles: dict[str, Image.Image] = {}
    files = [item.file for item in chosen]
    for file, result in track(run_each(tile, files, processes=processes, memory_bytes=2 << 30), "Contact sheet", len(files)):
        if not isinstance(result, Failure) and result is not None:
            tiles[file] = Image.fromarray(result)
    shown = [item for item in chosen if item.file in tiles]
    more = len(possible) - len(chosen)
    without = len(items) - len(shown) - more
    said = f"{len(items)} {what}; {len(shown)} are shown"
    said += f", {without} show no picture" if without else ""
    said += f"; {more} more of the same kinds" if more else ""
    return {"said": said + ".", "picture": _joined([(tiles[item.file], item.why, item.name) for item in shown])}


def _chosen(items: list[_Item]) -> list[_Item]:
    """At most MOST_TILES, by kind: of a rare kind all, of the others evenly spread ones."""
    kinds: dict[str, list[_Item]] = defaultdict(list)
    for item in items:
        kinds[item.why].append(item)
    chosen: list[_Item] = []
    for left, of_kind in zip(range(len(kinds), 0, -1), sorted(kinds.values(), key=len), strict=True):
        share = min(len(of_kind), -(-(MOST_TILES - len(chosen)) // left))
        chosen += [of_kind[index] for index in np.unique(np.linspace(0, len(of_kind) - 1, share).astype(int))]
    return chosen


def tile(file: str) -> np.ndarray | None:
    """A small picture of a file, uint8 (rows, columns, 3), the crop that was found outlined; None where there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what they warn of stands in its exclusion, and they may quote a value
            values = read_picture(Path(file)).values
    except Exception:  # what could not be read was excluded for it, with its reason
        return None
    low, high = np.percentile(values, (0.5, 99.5))
    grey = np.rint(np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    image = Image.fromarray(grey).convert("RGB")
    image.thumbnail((TILE[1], TILE[0]))
    try:
        top, left, bottom, right = find_breast(values).crop
    except NoBreast:
        return np.asarray(image)
    scale = image.width / values.shape[1]
    box = [round(side * scale) for side in (left, top, right, bottom)]
    ImageDraw.Draw(image).rectangle([box[0], box[1], max(box[2] - 1, box[0]), max(box[3] - 1, box[1])], outline=(255, 200, 0))
    return np.asarray(image)


def _joined(tiles: Iterable[tuple[Image.Image, str, str]]) -> str:
    """Pictures side by side, each with its text and its name below, as base64 of a JPEG; none is empty."""
    placed = list(tiles)
    if not placed:
        return ""
    height, width = TILE[0] + 34, TILE[1] + 8
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(placed) // COLUMNS) * height), "black")
    draw = ImageDraw.Draw(sheet)
    for index, (image, text, name) in enumerate(placed):
        left, top = index % COLUMNS * width, index // COLUMNS * height
        sheet.paste(image, (left + 4, top + 2))
        draw.text((left + 4, top + TILE[0] + 4), text[:34], fill="white")
        draw.text((left + 4, top + TILE[0] + 18), name[-34:], fill="grey")
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode()
