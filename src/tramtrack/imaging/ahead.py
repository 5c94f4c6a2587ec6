"""Views prepared ahead: while the intake has a file's pixels decoded, so that no file need be decoded twice.

What is kept here is a spare copy of nothing: `prepare` takes it over where it is there and whole, and works from the original
file where it is not (another protocol, an intake elsewhere, a disk that was full).
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tramtrack import store
from tramtrack.imaging.prepare import Prepared, png_bytes
from tramtrack.protocol import Prepare

PREPARATION = 3
"""Raised whenever the same file would be prepared to other pixels: what an older version kept is then left alone."""


def row_of(prepared: Prepared, content: bytes) -> dict[str, Any]:
    """What geometry.csv says of a view beside its name: the fields of Geometry, sha256 of the PNG, and the steps."""
    return {**asdict(prepared.geometry), "sha256": store.bytes_sha256(content), "steps": "; ".join(prepared.steps)}


def keep(folder: Path, sha256: str, settings: Prepare, spacing_mm: float | None, prepared: Prepared) -> None:
    """Keep what the file with the hash ``sha256`` was prepared to. On a full disk nothing is kept."""
    picture, row = _files(folder, sha256, settings, spacing_mm)
    content = png_bytes(prepared.pixels)
    part = picture.with_suffix(f".{os.getpid()}.part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for target, written in ((picture, content), (row, json.dumps(row_of(prepared, content)).encode())):
            part.write_bytes(written)
            part.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def take(folder: Path, sha256: str, settings: Prepare, spacing_mm: float | None, target: Path) -> dict[str, Any] | None:
    """Move what was kept to ``target`` and return its row as in `row_of`; None where nothing whole was kept."""
    picture, row = _files(folder, sha256, settings, spacing_mm)
    try:
        found: dict[str, Any] = json.loads(row.read_bytes())
        if store.file_sha256(picture) != found["sha256"]:
            return None
        with picture.open("rb") as stream:
            os.fsync(stream.fileno())
        picture.replace(target)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    row.unlink()
    return {**found, "spacing_mm": spacing_mm}


def _files(folder: Path, sha256: str, settings: Prepare, spacing_mm: float | None) -> tuple[Path, Path]:
    """The PNG and its row, named by all that decides them."""
    spacing = "" if spacing_mm is None else f"{spacing_mm:.9g}"
    name = store.text_sha256(json.dumps([PREPARATION, sha256, spacing, settings.model_dump(mode="json")]))[:32]
    return folder / f"{name}.png", folder / f"{name}.json"
