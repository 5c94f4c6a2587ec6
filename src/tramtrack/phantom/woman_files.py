"""One synthetic woman on disk: her images and masks, and her record, which is written last and marks her as complete."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tramtrack.phantom.dicom import ViewHeader, encode
from tramtrack.phantom.planning import seed_of
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.woman import SyntheticView, SyntheticWoman, ViewTruth
from tramtrack.store import read_json, write_bytes, write_json

GENERATOR_VERSION = 2
"""Raised whenever the same seed and settings would give other pixels or masks."""

FILES_VERSION = 3
"""Raised whenever the same woman would be written with other headers, columns or truth; it enters no identifier."""


@dataclass(frozen=True)
class WomanTask:
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


def record_path(task: WomanTask) -> Path:
    """Where the woman's record is, whether written yet or not."""
    return task.out / "women" / f"{task.woman}.json"


def is_complete(task: WomanTask) -> bool:
    """True if the woman's record is there and every file it lists has the size it had when it was written."""
    record = record_path(task)
    if not record.exists():
        return False
    files = read_json(record)["files"]
    return all((task.out / name).is_file() and (task.out / name).stat().st_size == size for name, size in files.items())


def make_woman(task: WomanTask) -> None:
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
    write_json(record_path(task), {"files": files, **woman.truth(), "views": views})


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
