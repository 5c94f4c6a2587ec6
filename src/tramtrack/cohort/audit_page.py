"""The audit as one HTML file that opens offline, with contact sheets of excluded images and doubtful crops."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from PIL import Image, ImageDraw

from tramtrack import store
from tramtrack.cohort.audit import audit
from tramtrack.cohort.cohort import load_cohort
from tramtrack.imaging.breast import NoBreast, find_breast
from tramtrack.imaging.pixels import read_picture
from tramtrack.progress import track
from tramtrack.workers import Failure, run_each

TILE = (240, 200)
"""Rows and columns of a picture in a contact sheet."""
COLUMNS = 6
MOST_TILES = 120
"""So many pictures a person skims in about a minute; of more, evenly spread ones are shown, and it is said."""


def write_audit(study: Path, processes: int = 2) -> Path:
    """Write cohort/audit.json and cohort/audit.html of a study's folder; returns the page's path. Raises TramtrackError."""
    folder = study / "cohort"
    found = audit(folder)
    store.write_json(folder / "audit.json", found)
    cohort = load_cohort(folder)
    doubtful = cohort.views[cohort.views["doubts"] != ""]
    sheets = {
        "Doubtful crops": _sheet(list(zip(doubtful["file"], doubtful["doubts"], strict=True)), processes, "views"),
        "Excluded images": _sheet([(item.file, str(item.reason)) for item in cohort.exclusions], processes, "files"),
    }
    page = Environment(autoescape=True).from_string((resources.files("tramtrack.cohort") / "audit.html").read_text("utf-8"))
    text = page.render(a=found, name=study.resolve().name, sheets=sheets, shown=_shown)
    return store.write_text(folder / "audit.html", text)


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return str(value) if number == int(number) else f"{number:.3f}"


def _sheet(items: list[tuple[str, str]], processes: int, what: str) -> dict[str, str]:
    """A contact sheet of files with what is said of each, as base64 of a JPEG; and in words what is and is not on it."""
    chosen = [items[index] for index in np.unique(np.linspace(0, len(items) - 1, min(len(items), MOST_TILES)).astype(int))]
    tiles: dict[str, Image.Image] = {}
    files = [file for file, _ in chosen]
    for file, result in track(run_each(tile, files, processes=processes, memory_bytes=2 << 30), "Contact sheet", len(files)):
        if not isinstance(result, Failure) and result is not None:
            tiles[file] = Image.fromarray(result)
    shown = [(file, text) for file, text in chosen if file in tiles]
    said = f"{len(items)} {what}; {len(shown)} are shown"
    said += f", {len(chosen) - len(shown)} show no picture" if len(shown) < len(chosen) else ""
    said += f"; {len(items) - len(chosen)} more of the same kinds" if len(chosen) < len(items) else ""
    picture = _joined([(tiles[file], text, file) for file, text in shown])
    return {"said": said + ".", "picture": picture}


def tile(file: str) -> np.ndarray | None:
    """A small picture of a file, uint8 (rows, columns, 3), the crop that was found outlined; None where there is none."""
    try:
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
    """Pictures side by side, each with its text and the end of its path below, as base64 of a JPEG; none is empty."""
    placed = list(tiles)
    if not placed:
        return ""
    height, width = TILE[0] + 34, TILE[1] + 8
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(placed) // COLUMNS) * height), "black")
    draw = ImageDraw.Draw(sheet)
    for index, (image, text, file) in enumerate(placed):
        left, top = index % COLUMNS * width, index // COLUMNS * height
        sheet.paste(image, (left + 4, top + 2))
        draw.text((left + 4, top + TILE[0] + 4), text[:34], fill="white")
        draw.text((left + 4, top + TILE[0] + 18), "/".join(Path(file).parts[-2:])[-34:], fill="grey")
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=80)
    return base64.b64encode(stream.getvalue()).decode()
