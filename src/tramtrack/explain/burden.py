"""How much calcification a map amounts to: area, length and share of the breast of one view, in mm where there is a spacing.

Needs no torch. A map is binarised at a threshold and its area multiplied by a factor, both fitted on validation
(`tramtrack.explain.burden_fit`) and kept as `Calibration` in results/burden/<source>/calibration.json, where a new exam
finds them too::

    calibration = load_calibration(study / "results", "vgg16/last-conv/seed-0")
    burden = burden_of(map_of_the_view, prepared, geometry, calibration, score)

A map may be of any size that covers the prepared view: cells of a heat map, or the pixels of a segmentation's probabilities.
A class activation map cannot count vessels, so what is made of it is a proxy by area.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy import ndimage
from skimage.measure import block_reduce
from skimage.morphology import skeletonize

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.explain.localisation import breast_of
from tramtrack.explain.place import to_prepared
from tramtrack.imaging.geometry import Geometry

BRIGHT = 100 / 255
"""The grey value X of SCU-Net's two thresholded measures, as a share of white; their code has 100 of 255."""
TRACK_MM = 1.5
TRACK_PIXELS = 15.0
"""Half the widest gap between two lines of a mask that count as the two walls of one artery; the original's pixels where there
is no spacing."""

CORNER = 0.7
"""A line ends where the mask is narrower than this share of its width close by: beyond, it runs into a corner."""

Kind = Literal["heat map", "segmentation"]


class NoBurden(TramtrackError):
    """A view whose burden cannot be measured."""


@dataclass(frozen=True)
class PixelSize:
    """Height and width of a prepared pixel in ``unit``: mm in the breast's plane, or the original's pixels where its file has
    no spacing."""

    height: float
    width: float
    unit: Literal["mm", "pixels"]

    @property
    def area(self) -> float:
        """Of one prepared pixel, in the unit squared."""
        return self.height * self.width

    @property
    def gap(self) -> float:
        """Half the widest gap between the walls of one artery, in the unit."""
        return TRACK_MM if self.unit == "mm" else TRACK_PIXELS


def pixel_size(geometry: Geometry) -> PixelSize:
    """The size of a pixel of a prepared view."""
    spacing, unit = (1.0, "pixels") if geometry.spacing_mm is None else (geometry.spacing_mm, "mm")
    return PixelSize(spacing / geometry.scale_rows, spacing / geometry.scale_columns, "mm" if unit == "mm" else "pixels")


@dataclass(frozen=True)
class Calibration:
    """How the maps of one source become areas and lengths; fitted on validation, never on test.

    ``threshold`` > 0: map values from here on count. ``strongest`` > 0: the value that stands for a probability of 1.
    ``least_score`` in [0, 1]: a view that scores lower shows none, whatever its map; None where every view counts.
    ``area_factor`` and ``length_factor`` >= 0 take what the binarised map measures to what it stands for; the latter is None
    where no length was known. ``squared_error`` (half-width of an interval, on the square-root scale of a woman's area in
    mm2) and ``repeatability`` (the same of a change) are None where validation has too few women.
    """

    source: str
    kind: Kind
    threshold: float
    strongest: float
    least_score: float | None
    area_factor: float
    length_factor: float | None
    squared_error: float | None = None
    repeatability: float | None = None


@dataclass(frozen=True)
class Burden:
    """The burden of one view; ``unit`` is mm or pixels (of the original image), areas are in its square.

    ``area`` and ``length`` are calibrated, ``share`` is the area's in the breast, ``length`` None where no length was known.
    ``empty``: the map is zero all over the breast. The five measures of SCU-Net are those of the map itself, not calibrated
    (Guo et al., Medical Physics 2021;48:5851, by the names of their abstract and the definitions of their code, in physical
    units): ``pm`` sum of mask probability, ``am`` of mask area, ``sim`` of mask intensity, ``tam`` and ``tsim`` area and
    intensity where the grey value is at least 100/255. Intensity is the prepared view's, 1 for white; their median filter of
    5 x 5 pixels, which depends on the pixel size, is left out.
    """

    unit: Literal["mm", "pixels"]
    area: float
    length: float | None
    share: float
    breast_area: float
    empty: bool
    pm: float
    am: float
    sim: float
    tam: float
    tsim: float


def burden_of(
    values: np.ndarray, prepared: np.ndarray, geometry: Geometry, calibration: Calibration, score: float | None = None
) -> Burden:
    """The burden that a map (h, w) >= 0 of a prepared view (rows, columns) uint16 amounts to.

    ``score`` in [0, 1] is the view's under the run that made the map; it must be given where the calibration has a least
    one. Raises NoBurden for an image without breast and for a map with values that are no numbers.
    """
    breast, size = _breast(prepared), pixel_size(geometry)
    enlarged = on_breast(values, breast)
    if calibration.least_score is not None:
        if score is None:
            raise NoBurden(f"{calibration.source}: expected the view's score, since its calibration has a least one")
        if score < calibration.least_score:
            enlarged = np.zeros_like(enlarged)
    mask = enlarged >= calibration.threshold
    grey = prepared.astype(np.float64) / 65535
    bright = mask & (grey >= BRIGHT)
    area = calibration.area_factor * float(mask.sum()) * size.area
    length = None
    if calibration.length_factor is not None:
        length = calibration.length_factor * centreline_length(mask, size)
    breast_area = float(breast.sum()) * size.area
    return Burden(
        unit=size.unit,
        area=area,
        length=length,
        share=min(1.0, area / breast_area),
        breast_area=breast_area,
        empty=not np.asarray(values).any(),
        pm=float(np.minimum(enlarged / calibration.strongest, 1).sum(dtype=np.float64)) * size.area,
        am=float(mask.sum()) * size.area,
        sim=float(grey[mask].sum()) * size.area,
        tam=float(bright.sum()) * size.area,
        tsim=float(grey[bright].sum()) * size.area,
    )


def on_breast(values: np.ndarray, breast: np.ndarray) -> np.ndarray:
    """A map (h, w) on the prepared grid, 0 outside the breast: float32 of the breast's shape. Raises NoBurden."""
    values = np.asarray(values)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise NoBurden(f"expected a map of finite numbers (rows, columns), received one of shape {values.shape}")
    return to_prepared(values, *breast.shape) * breast


def _breast(prepared: np.ndarray) -> np.ndarray:
    breast = breast_of(prepared)
    if not breast.any():
        raise NoBurden("expected a breast, found an image without one")
    return breast


def centreline_length(mask: np.ndarray, size: PixelSize) -> float:
    """Length of the centre lines of a boolean mask (rows, columns), in the unit of ``size``.

    Gaps of up to twice ``size.gap`` are closed first, so that the two walls of an artery make one line; then the mask is
    thinned to lines one pixel wide, without the branches into corners, where it is much narrower than close by. The steps
    along the lines are added up, and a pixel for each, since a speck is as long as one. Pixels finer than a quarter of the gap
    are joined first, which costs nothing in length and saves most of the time.
    """
    if not mask.any():
        return 0.0
    factor = max(1, int(size.gap / 4 / max(size.height, size.width)))
    height, width = size.height * factor, size.width * factor
    small = block_reduce(mask, (factor, factor), np.max)
    rows, columns = np.nonzero(small.any(axis=1))[0], np.nonzero(small.any(axis=0))[0]
    reach = int(np.ceil(size.gap / min(height, width))) + 1
    window = np.pad(small[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], reach)
    grown = ndimage.distance_transform_edt(~window, sampling=(height, width)) <= size.gap
    closed = window | (ndimage.distance_transform_edt(np.pad(grown, 1), sampling=(height, width))[1:-1, 1:-1] > size.gap)
    depth = ndimage.distance_transform_edt(closed, sampling=(height, width))
    close_by = ndimage.maximum_filter(depth, size=2 * reach - 1)
    line = skeletonize(closed) & (depth + height / 2 >= CORNER * close_by)  # half a pixel, for what the grid rounds
    down, across = line[1:] & line[:-1], line[:, 1:] & line[:, :-1]
    falling = line[1:, 1:] & line[:-1, :-1] & ~line[1:, :-1] & ~line[:-1, 1:]
    rising = line[1:, :-1] & line[:-1, 1:] & ~line[1:, 1:] & ~line[:-1, :-1]
    steps = down.sum() * height + across.sum() * width + (falling.sum() + rising.sum()) * np.hypot(height, width)
    lines = ndimage.label(line, structure=np.ones((3, 3)))[1]
    return float(steps + lines * np.sqrt(height * width))


def calibration_file(results: Path, source: str) -> Path:
    """Where the calibration of a source lies: results/burden/<source>/calibration.json."""
    return results / "burden" / source / "calibration.json"


def save_calibration(results: Path, calibration: Calibration, identity: dict[str, Any], information: dict[str, Any]) -> Path:
    """Keep a calibration, with what it was fitted on; ``identity`` is compared on resume."""
    path = calibration_file(results, calibration.source)
    return store.write_manifest(path, identity, {"calibration": asdict(calibration), **information})


def load_calibration(results: Path, source: str) -> Calibration | None:
    """The calibration of a source, or None where none was fitted; ``source`` is a run's network/variant/seed-k, or
    "segmentation"."""
    path = calibration_file(results, source)
    if not path.exists():
        return None
    content = store.read_json(path)["information"]["calibration"]
    if set(content) != {field.name for field in fields(Calibration)}:
        raise TramtrackError(f"{path}: expected a calibration, found other fields; remove it and run `tramtrack burden` again")
    return Calibration(**content)
