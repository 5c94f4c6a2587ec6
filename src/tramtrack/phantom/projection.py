"""Adding the projection of tubes and balls to an attenuation image, by exact path lengths spread over the pixels they cover."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tramtrack.errors import UsageError

FloatArray = NDArray[np.floating]


@dataclass(frozen=True)
class Course:
    """A vessel's projected centre line, resampled at equal steps of its projected length.

    ``xy_mm`` (n, 2): position, x from the chest wall, y from the top. ``normal`` (n, 2): unit vector across.
    ``along_mm`` (n,): three-dimensional arc length. ``radius_mm`` (n,). ``sine`` (n,): sine of the angle between the axis and
    the beam, at least ``smallest_sine``. ``step_mm``: the projected step.
    """

    xy_mm: FloatArray
    normal: FloatArray
    along_mm: FloatArray
    radius_mm: FloatArray
    sine: FloatArray
    step_mm: float


def course(xyz_mm: FloatArray, radius_mm: FloatArray, step_mm: float, smallest_sine: float = 0.35) -> Course | None:
    """Resample a 3D centre line ``xyz_mm`` (n, 3; z along the beam) at ``step_mm`` in projection; None if it has no length.

    A vessel seen nearly end-on would have an endless path: the sine is kept above ``smallest_sine``.
    """
    steps = np.diff(xyz_mm, axis=0)
    projected = np.concatenate([[0.0], np.cumsum(np.hypot(steps[:, 0], steps[:, 1]))])
    if projected[-1] < step_mm:
        return None
    along = np.concatenate([[0.0], np.cumsum(np.sqrt((steps**2).sum(1)))])
    count = int(projected[-1] / step_mm) + 1
    at = (np.arange(count) + 0.5) * (projected[-1] / count)
    x, y = (np.interp(at, projected, xyz_mm[:, axis]) for axis in (0, 1))
    arc = np.interp(at, projected, along)
    tangent = np.stack([np.gradient(x), np.gradient(y)], 1) if count > 1 else np.array([[1.0, 0.0]])
    length = np.hypot(tangent[:, 0], tangent[:, 1]) + 1e-12
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1) / length[:, None]
    rise = np.gradient(arc, at) if count > 1 else np.ones(1)
    sine = np.clip(1.0 / np.maximum(rise, 1.0), smallest_sine, 1.0)
    radius = np.interp(at, projected, radius_mm)
    return Course(np.stack([x, y], 1), normal, arc, radius, sine, float(projected[-1] / count))


def across(line: Course, step_mm: float) -> FloatArray:
    """Midpoints across a tube as fractions of its radius, (m,), in (-1, 1): fine enough for ``step_mm`` at its widest."""
    count = max(6, int(np.ceil(2 * float(line.radius_mm.max()) / step_mm)))
    return (np.arange(count) + 0.5) * (2 / count) - 1


def deposit(image: NDArray[np.float32], line: Course, fractions: FloatArray, path_mm: FloatArray, pitch_mm: float) -> None:
    """Add to ``image`` (rows, columns) the tube's path lengths ``path_mm`` (n, m), given at ``fractions`` (m,) of its radius.

    Each sample stands for its area on the detector and is shared between the four nearest pixels, so the sum over the image
    times the pixel's area is the tube's volume, whatever the pitch. What falls outside the matrix is lost.
    """
    offset = fractions[None, :] * line.radius_mm[:, None]  # (n, m)
    x = line.xy_mm[:, :1] + line.normal[:, :1] * offset
    y = line.xy_mm[:, 1:] + line.normal[:, 1:] * offset
    area = line.step_mm * line.radius_mm[:, None] * (2 / fractions.size) / pitch_mm**2
    splat(image, x.ravel(), y.ravel(), (path_mm * area).ravel(), pitch_mm)


def splat(image: NDArray[np.float32], x_mm: FloatArray, y_mm: FloatArray, amount: FloatArray, pitch_mm: float) -> None:
    """Add ``amount`` at the points (x, y) in mm to ``image``, each shared bilinearly between the four nearest pixels."""
    kept = amount > 0
    if not kept.any():
        return
    column, row = x_mm[kept] / pitch_mm - 0.5, y_mm[kept] / pitch_mm - 0.5
    weight = amount[kept]
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    low_row, low_column = max(int(top.min()), 0), max(int(left.min()), 0)
    high_row, high_column = min(int(top.max()) + 2, image.shape[0]), min(int(left.max()) + 2, image.shape[1])
    if low_row >= high_row or low_column >= high_column:
        return
    height, width = high_row - low_row, high_column - low_column
    right_share, down_share = column - left, row - top
    total = np.zeros(height * width)
    for down in (0, 1):
        for right in (0, 1):
            r, c = top + down - low_row, left + right - low_column
            inside = (r >= 0) & (r < height) & (c >= 0) & (c < width)
            share = (down_share if down else 1 - down_share) * (right_share if right else 1 - right_share)
            total += np.bincount((r * width + c)[inside], (weight * share)[inside], minlength=height * width)
    image[low_row:high_row, low_column:high_column] += total.reshape(height, width).astype(np.float32)


def ball(
    image: NDArray[np.float32],
    centre_mm: tuple[float, float],
    outer_mm: float,
    inner_mm: float,
    density: float,
    pitch_mm: float,
) -> None:
    """Add a ball (``inner_mm`` 0) or a hollow shell of ``outer_mm`` radius: ``density`` times its path length in mm.

    Raises UsageError naming the radius that is out of range.
    """
    if not 0 <= inner_mm < outer_mm:
        raise UsageError(f"outer_mm, inner_mm: expected 0 <= inner_mm < outer_mm, received {outer_mm:g} and {inner_mm:g}")
    count = max(8, int(np.ceil((8 if outer_mm < 5 * pitch_mm else 4) * outer_mm / pitch_mm)))
    grid = ((np.arange(count) + 0.5) * (2 / count) - 1) * outer_mm
    x, y = np.meshgrid(grid, grid)
    distance = np.hypot(x, y)
    path = 2 * (np.sqrt(np.maximum(outer_mm**2 - distance**2, 0)) - np.sqrt(np.maximum(inner_mm**2 - distance**2, 0)))
    area = (2 * outer_mm / count) ** 2 / pitch_mm**2
    splat(image, (centre_mm[0] + x).ravel(), (centre_mm[1] + y).ravel(), (density * path * area).ravel(), pitch_mm)
