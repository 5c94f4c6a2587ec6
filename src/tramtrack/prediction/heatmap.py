"""A heat map of a new exam's view, on the original image at its own resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from tramtrack.explain.overlay import overlay_original
from tramtrack.explain.place import to_original, to_prepared
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.pixels import read_picture
from tramtrack.prediction.reader import Map


@dataclass(frozen=True, repr=False)
class Heatmap:
    """What speaks for BAC in one view, and where.

    ``cells`` (h, w) float32 >= 0 is the map as it was made, or the mean of several runs' maps (see `together`); ``scale`` the
    value that is shown brightest, the same for every exam; ``file`` the image that it lies on, ``geometry`` how.
    """

    side: str
    view: str
    cells: np.ndarray
    scale: float
    method: str
    layer: str
    file: Path
    geometry: Geometry

    def __repr__(self) -> str:
        rows, columns = self.geometry.source_rows, self.geometry.source_columns
        return f"Heatmap({self.side} {self.view}, {self.method} on {self.layer}; {rows} x {columns} pixels)"

    @cached_property
    def values(self) -> np.ndarray:
        """The map on the original grid: float32 (source_rows, source_columns) >= 0, raw, 0 outside the crop."""
        return to_original(self.cells, self.geometry)

    def overlay(self) -> Image.Image:
        """The original image (rows, columns) in grey with the map over it, on its scale, and the breast's outline in green.

        An RGB picture of PIL; ``overlay().save("l_mlo.png")`` writes it. Raises PixelError where the image is no longer there.
        """
        picture = read_picture(self.file).values
        breast = find_breast(picture).mask
        return Image.fromarray(overlay_original(picture, self.cells, self.scale, self.geometry, breast, None))


def together(maps: Sequence[Map], geometry: Geometry) -> Map:
    """The map of several runs of one view: that of a single run as it is; else the mean of theirs, each over its own scale.

    So no run outshouts the others, and the mean is shown brightest at 1. Maps of several strides meet on the prepared grid.
    """
    if len(maps) == 1:
        return maps[0]
    alike = len({one.values.shape for one in maps}) == 1
    placed = [one.values if alike else to_prepared(one.values, geometry.rows, geometry.columns) for one in maps]
    shown = [values / one.scale if one.scale > 0 else np.zeros_like(values) for values, one in zip(placed, maps, strict=True)]
    layer = " and ".join(dict.fromkeys(one.layer for one in maps))
    return Map(np.asarray(np.mean(shown, axis=0, dtype=np.float32)), 1.0, maps[0].method, layer)
