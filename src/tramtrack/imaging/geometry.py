"""Where each pixel of a prepared view lies in the original image: one crop, one flip, one scale, one offset, invertible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Geometry:
    """The mapping between an original image and its prepared view.

    Coordinates are (row, column) with pixel centres at whole numbers. ``top``, ``left``, ``bottom``, ``right`` bound the
    crop in original pixels (bottom and right exclusive); ``flipped`` says that the crop was mirrored left to right;
    ``scale_rows`` and ``scale_columns`` are prepared pixels for each original one, equal but for the rounding of the crop
    to whole prepared pixels; the scaled crop of ``placed_rows`` x ``placed_columns`` lies at row ``offset_rows`` and
    column ``offset_columns`` of the ``rows`` x ``columns`` prepared view. ``spacing_mm`` is the original's pixel spacing,
    or None where the file does not carry one.
    """

    source_rows: int
    source_columns: int
    top: int
    left: int
    bottom: int
    right: int
    flipped: bool
    rows: int
    columns: int
    placed_rows: int
    placed_columns: int
    offset_rows: int
    offset_columns: int
    spacing_mm: float | None = None

    @property
    def scale_rows(self) -> float:
        """Prepared rows for each original row."""
        return self.placed_rows / (self.bottom - self.top)

    @property
    def scale_columns(self) -> float:
        """Prepared columns for each original column."""
        return self.placed_columns / (self.right - self.left)

    @property
    def prepared_spacing_mm(self) -> float | None:
        """Millimetres between rows of the prepared view, or None without a spacing."""
        return None if self.spacing_mm is None else self.spacing_mm / self.scale_rows

    def to_original(self, points: np.ndarray) -> np.ndarray:
        """Prepared (row, column) points, shape (..., 2), to original ones, float64."""
        points = np.asarray(points, dtype=np.float64)
        rows = (points[..., 0] - self.offset_rows + 0.5) / self.scale_rows - 0.5
        columns = (points[..., 1] - self.offset_columns + 0.5) / self.scale_columns - 0.5
        if self.flipped:
            columns = (self.right - self.left - 1) - columns
        return np.stack((rows + self.top, columns + self.left), axis=-1)

    def to_prepared(self, points: np.ndarray) -> np.ndarray:
        """Original (row, column) points, shape (..., 2), to prepared ones, float64."""
        points = np.asarray(points, dtype=np.float64)
        rows, columns = points[..., 0] - self.top, points[..., 1] - self.left
        if self.flipped:
            columns = (self.right - self.left - 1) - columns
        return np.stack(
            (
                (rows + 0.5) * self.scale_rows - 0.5 + self.offset_rows,
                (columns + 0.5) * self.scale_columns - 0.5 + self.offset_columns,
            ),
            axis=-1,
        )


def fit(
    source: tuple[int, int],
    crop: tuple[int, int, int, int],
    flipped: bool,
    canvas: tuple[int, int],
    spacing_mm: float | None = None,
) -> Geometry:
    """The geometry that puts ``crop`` (top, left, bottom, right) of a source into a canvas (rows, columns).

    The aspect ratio is kept; the chest wall stays at the canvas's left edge and the crop is centred from top to bottom.
    """
    top, left, bottom, right = crop
    scale = min(canvas[0] / (bottom - top), canvas[1] / (right - left))
    placed_rows = min(canvas[0], max(1, round((bottom - top) * scale)))
    placed_columns = min(canvas[1], max(1, round((right - left) * scale)))
    return Geometry(
        source_rows=source[0],
        source_columns=source[1],
        top=top,
        left=left,
        bottom=bottom,
        right=right,
        flipped=flipped,
        rows=canvas[0],
        columns=canvas[1],
        placed_rows=placed_rows,
        placed_columns=placed_columns,
        offset_rows=(canvas[0] - placed_rows) // 2,
        offset_columns=0,
        spacing_mm=spacing_mm,
    )
