"""One view of one synthetic woman on disk, for a look."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tramtrack.cohort.exam import Position, Side
from tramtrack.errors import UsageError
from tramtrack.phantom.cohort import GENERATOR_VERSION, header_of, png, view_row
from tramtrack.phantom.dicom import encode
from tramtrack.phantom.planning import seed_of
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.woman import SyntheticWoman
from tramtrack.store import write_bytes, write_json


def write_view(
    out: Path, *, side: str = "L", view: str = "CC", age: int = 60, bac: bool = True, seed: int,
    settings: PhantomSettings | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Write ``<side><view>.dcm``, ``.png`` (8 bit), ``_mask.png`` and ``_truth.json`` to ``out``; returns the truth.

    Files of an earlier call are written over. Raises UsageError naming a parameter out of its range.
    """
    settings = settings or PhantomSettings()
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise UsageError(f"phantom view: seed: expected a whole number of at least 0, received {seed!r}")
    if not 18 <= age <= 120:
        raise UsageError(f"phantom view: age: expected 18 to 120 years, received {age!r}")
    woman = SyntheticWoman(seed_of(seed, 0), age, bac, settings)
    made = woman.view(Side(side), Position(view))
    identity = f"{GENERATOR_VERSION}|view|{seed}|{age}|{bac}|{settings.sha256}"
    header = header_of(woman, made.truth, identity, f"SYN-VIEW-{seed}", 1)
    name = f"{side}{view}"
    write_bytes(out / f"{name}.dcm", encode(made.pixels, header))
    write_bytes(out / f"{name}.png", png((made.pixels >> 4).astype(np.uint8)))
    write_bytes(out / f"{name}_mask.png", png(made.mask.astype(np.uint8) * 255))
    truth = {**woman.truth(), **view_row(made.truth), "segments": list(made.truth.segments)}
    write_json(out / f"{name}_truth.json", truth)
    return truth
