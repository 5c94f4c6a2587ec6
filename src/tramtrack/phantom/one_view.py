"""One view of one synthetic woman on disk, for a look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tramtrack.cohort.exam import Position, Side
from tramtrack.errors import UsageError
from tramtrack.phantom.dicom import encode
from tramtrack.phantom.planning import seed_of
from tramtrack.phantom.settings import PhantomSettings, require_folder, require_settings, require_whole
from tramtrack.phantom.stations import require_room_at_stations
from tramtrack.phantom.woman import SyntheticWoman
from tramtrack.phantom.woman_files import GENERATOR_VERSION, header_of, png, view_row
from tramtrack.store import write_bytes, write_json


def write_view(
    out: Path | str, *, side: str = "L", view: str = "CC", age: int = 60, bac: bool = True, seed: int,
    settings: PhantomSettings | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write ``<side><view>.dcm``, ``.png`` (8 bit), ``_mask.png`` and ``_truth.json`` to ``out``; returns the truth.

    Files of an earlier call are written over. Raises UsageError naming a parameter out of its range, or a file of that name
    that no earlier call wrote.
    """
    settings = PhantomSettings() if settings is None else settings
    require_settings("phantom view", settings)
    out = Path(out)
    require_folder("phantom view", out)
    require_whole("phantom view: seed", seed, 0)
    require_whole("phantom view: age", age, 18, 120)
    if not isinstance(bac, bool):
        raise UsageError(f"phantom view: bac: expected True or False, received {bac!r}")
    for name, word, known in (("side", side, list(Side)), ("view", view, list(Position))):
        if word not in known:
            raise UsageError(f"phantom view: {name}: expected {' or '.join(known)}, received {word!r}")
    require_room_at_stations(settings)
    name = f"{side}{view}"
    _require_none_of_others(out, name)
    woman = SyntheticWoman(seed_of(seed, 0), age, bac, settings)
    made = woman.view(Side(side), Position(view))
    identity = f"{GENERATOR_VERSION}|view|{seed}|{age}|{bac}|{settings.sha256}"
    header = header_of(woman, made.truth, identity, f"SYN-VIEW-{seed}", 1)
    truth = {**woman.truth(), **view_row(made.truth), "segments": list(made.truth.segments)}
    write_json(out / f"{name}_truth.json", truth)  # the first, so that a call that is broken off may be made again
    write_bytes(out / f"{name}.dcm", encode(made.pixels, header))
    write_bytes(out / f"{name}.png", png((made.pixels >> 4).astype(np.uint8)))
    write_bytes(out / f"{name}_mask.png", png(made.mask.astype(np.uint8) * 255))
    return truth


def _require_none_of_others(out: Path, name: str) -> None:
    """Raise UsageError where an image of that name stands there without a view's truth: it may be somebody's mammogram."""
    for file in (out / f"{name}.dcm", out / f"{name}.png", out / f"{name}_mask.png"):
        if file.exists() and not (out / f"{name}_truth.json").exists():
            raise UsageError(f"phantom view: {file}: expected no file, or that of an earlier call; choose another folder")
