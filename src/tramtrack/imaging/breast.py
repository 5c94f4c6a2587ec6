"""Where the breast is: on digital images with a black surround, and on film scans with borders, markers and strips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from tramtrack.errors import TramtrackError

WORKING_ROWS = 400
"""Rows of the reduced image in which the breast is looked for."""

LEAST_RANGE = 0.01
"""A picture whose grey values differ by less, as a share of what its file can hold, shows nothing."""


class NoBreast(TramtrackError):
    """No region of the image looks like a breast."""


@dataclass(frozen=True)
class Breast:
    """The breast found in an image.

    ``mask`` is boolean, of the image's shape; ``crop`` is (top, left, bottom, right) in its pixels, bottom and right
    exclusive; ``chest_wall`` is the edge of the image that the breast hangs from, "left" or "right".
    """

    mask: np.ndarray
    crop: tuple[int, int, int, int]
    chest_wall: str


def find_breast(picture: np.ndarray) -> Breast:
    """Find the breast in a picture (rows, columns), float32 in [0, 1], dense bright; a picture's scale does not matter.

    The breast is the largest bright region that is neither a strip along an edge nor saturated throughout. Raises
    NoBreast.
    """
    rows, columns = picture.shape
    factor = min(1.0, WORKING_ROWS / max(rows, columns))
    size = (max(8, round(columns * factor)), max(8, round(rows * factor)))
    small = np.asarray(Image.fromarray(np.asarray(picture, dtype=np.float32)).resize(size, Image.Resampling.BOX))
    darkest, brightest = float(small.min()), float(small.max())
    if brightest - darkest < LEAST_RANGE:
        raise NoBreast("expected a breast, found a picture of one grey")
    # 12 bits kept in 16 fill a sixteenth of the range: everything below is a share of the picture's own.
    small = (small - darkest) / (brightest - darkest)
    region = _region(_without_edge_strips(small), is_digital=float(np.mean(small < 1e-6)) > 0.1)
    if region is None:
        raise NoBreast("expected a breast, found no large bright region")
    tops, lefts = np.nonzero(region)
    back = (rows / region.shape[0], columns / region.shape[1])
    crop = (
        int(np.floor(tops.min() * back[0])),
        int(np.floor(lefts.min() * back[1])),
        min(rows, int(np.ceil((tops.max() + 1) * back[0]))),
        min(columns, int(np.ceil((lefts.max() + 1) * back[1]))),
    )
    mask = np.asarray(Image.fromarray(region).resize((columns, rows), Image.Resampling.NEAREST), dtype=bool)
    return Breast(mask, crop, _chest_wall(region))


def _without_edge_strips(small: np.ndarray) -> np.ndarray:
    """Film borders and white strips: rows or columns at an edge that are bright and flat are made black."""
    cleaned = small.copy()
    for axis in (0, 1):
        lines = cleaned if axis == 0 else cleaned.T
        limit = max(1, len(lines) // 12)
        for indices in (range(limit), range(len(lines) - 1, len(lines) - 1 - limit, -1)):
            strip = [index for index in indices if _is_strip(lines[index])]
            if strip:
                edge = max(strip) if indices.step > 0 else min(strip)
                lines[slice(0, edge + 1) if indices.step > 0 else slice(edge, None)] = 0.0
    return cleaned


def _is_strip(line: np.ndarray) -> bool:
    """Whether a line is bright and flat over a good part of its length; a dense breast at the chest wall is bright only."""
    bright = line[line > 0.85]
    return bool(bright.size > 0.4 * line.size and float(bright.std()) < 0.005)


def _region(small: np.ndarray, is_digital: bool) -> np.ndarray | None:
    smooth = ndimage.gaussian_filter(small, 1.0)
    bright = smooth[smooth > 0.02]
    if bright.size < 0.01 * smooth.size or float(np.ptp(smooth)) < 0.05:
        return None
    binary = ndimage.binary_opening(smooth > _threshold(smooth, is_digital), iterations=5)
    regions = label(binary)
    best = max(regionprops(regions), key=lambda found: found.area, default=None)
    if best is None or best.area < 0.04 * small.size:
        return None
    chosen = np.asarray(ndimage.binary_fill_holes(regions == best.label))
    return np.asarray(ndimage.binary_dilation(_without_film_edge(chosen), iterations=1))


def _without_film_edge(region: np.ndarray) -> np.ndarray:
    """The light edge of a film runs on above and below the breast as a narrow strip of one width: it is cut off.

    A breast's own tip is as narrow, but widens from row to row, and stays.
    """
    thickness = region.sum(axis=1)
    rows = np.nonzero(thickness)[0]
    thick = np.nonzero(thickness >= 0.2 * thickness.max())[0]
    cut = region.copy()
    for end in (np.arange(rows[0], thick[0]), np.arange(rows[-1], thick[-1], -1)):
        widths = thickness[end]
        if len(end) > 0.06 * len(region) and np.median(widths) < 1.4 * widths[len(widths) // 4]:
            cut[end] = False
    return cut


def _threshold(smooth: np.ndarray, is_digital: bool) -> float:
    """A digital image's surround is one and the same value; a film's is grey and noisy, and asks for more distance."""
    if is_digital:
        return 0.02
    surround = float(np.percentile(smooth, 5))
    # Skin is far darker than dense tissue: half of the way to Otsu's threshold keeps it.
    return surround + 0.45 * max(float(threshold_otsu(smooth)) - surround, 0.02)


def _chest_wall(region: np.ndarray) -> str:
    """The side on which the region is thickest from top to bottom: the breast is cut straight there and round opposite."""
    profile = region.sum(axis=0).astype(float)
    columns = np.nonzero(profile)[0]
    quarter = max(1, (columns[-1] - columns[0] + 1) // 4)
    left = profile[columns[0] : columns[0] + quarter].mean()
    right = profile[columns[-1] - quarter + 1 : columns[-1] + 1].mean()
    return "left" if left >= right else "right"
