"""How much calcification a view truly shows: from a table, else from its mask, else from the label that it shows none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack.explain.burden import centreline_length, pixel_size
from tramtrack.explain.masks import MaskError, read_mask
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import place_mask
from tramtrack.progress import announce, track

COLUMNS = ["view_id", "unit", "true_area", "true_length", "true_from"]


@dataclass(frozen=True)
class Truth:
    """``area`` and ``length`` in ``unit`` (mm or pixels of the original) and its square, None where not known; ``source``:
    table, mask, label, or empty."""

    unit: str
    area: float | None
    length: float | None
    source: str


def truths(views: pd.DataFrame, geometry: Mapping[str, Geometry]) -> pd.DataFrame:
    """The truth of each view, with the columns COLUMNS.

    ``views`` has view_id, bac_view, mask, and where a table of findings was given burden_mm2 and length_mm. A mask that
    cannot be read or is of another size is told of, and its view has no truth.
    """
    rows = []
    for row in track(views.to_dict("records"), "Reading what is true"):
        view_id = str(row["view_id"])
        try:
            found = truth_of(row, geometry[view_id])
        except MaskError as error:
            announce(f"{error}; the view goes without its mask")
            found = Truth(pixel_size(geometry[view_id]).unit, None, None, "")
        rows.append((view_id, found.unit, found.area, found.length, found.source))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"true_area": "float64", "true_length": "float64"})


def truth_of(row: Mapping[Any, Any], geometry: Geometry) -> Truth:
    """The truth of one view, ``row`` as in `truths`.

    A mask's area is that of its pixels in the original image, its length that of its centre lines on the prepared grid. Boxes
    say where, not how much. Raises MaskError.
    """
    size = pixel_size(geometry)
    area, length = (_number(row.get(name)) if size.unit == "mm" else None for name in ("burden_mm2", "length_mm"))
    if area is not None:
        return Truth(size.unit, area, length, "table")
    path = str(row["mask"] or "")
    if path and Path(path).suffix.lower() != ".csv":
        mask = read_mask(Path(path), geometry)
        pixel = 1.0 if geometry.spacing_mm is None else geometry.spacing_mm**2
        measured = centreline_length(place_mask(mask, geometry), size)
        return Truth(size.unit, float(mask.sum()) * pixel, measured if length is None else length, "mask")
    if row["bac_view"] is not pd.NA and row["bac_view"] == 0:
        return Truth(size.unit, 0.0, 0.0, "label")
    return Truth(size.unit, None, None, "")


def _number(value: Any) -> float | None:
    return None if value is None or value is pd.NA or not np.isfinite(float(value)) else float(value)
