"""Where the breast is: on digital images with a black surround, and on film scans with borders, markers and strips."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from tramtrack.errors import TramtrackError
from tramtrack.imaging.reduce import reduced

WORKING_ROWS = 400
"""Rows of the reduced image in which the breast is looked for."""

RIM_ROWS = 28
"""How far, in the reduced image, the faint rim of a breast may reach beyond its bright core."""

LEAST_RANGE = 0.01
"""A picture whose grey values differ by less, as a share of what its file can hold, shows nothing."""


class NoBreast(TramtrackError):
    """No region of the image looks like a breast."""


@dataclass(frozen=True)
class Breast:
    """The breast found in an image of ``shape`` (rows, columns).

    ``crop`` is (top, left, bottom, right) in its pixels, bottom and right exclusive; ``chest_wall`` is the edge of the image
    that the breast hangs from, "left" or "right". ``doubts`` says in words why a person should look at this crop; mostly it
    is empty. ``region`` is the breast in the reduced image in which it was looked for, bool.
    """

    shape: tuple[int, int]
    crop: tuple[int, int, int, int]
    chest_wall: str
    doubts: tuple[str, ...] = ()
    region: np.ndarray = field(repr=False, kw_only=True)

    @property
    def mask(self) -> np.ndarray:
        """Where the breast is, bool of the image's shape."""
        return self._part((0, 0, *self.shape))

    @property
    def mask_of_crop(self) -> np.ndarray:
        """Where the breast is within ``crop``, bool of the crop's shape."""
        return self._part(self.crop)

    def _part(self, part: tuple[int, int, int, int]) -> np.ndarray:
        top, left, bottom, right = part
        rows, columns = (_nearest(*sizes) for sizes in zip(self.region.shape, self.shape, strict=True))
        return self.region.take(columns[left:right], axis=1).take(rows[top:bottom], axis=0)


def find_breast(picture: np.ndarray) -> Breast:
    """Find the breast in a picture (rows, columns), float32 in [0, 1], dense bright; a picture's scale does not matter.

    The breast is the largest bright region that is no strip along an edge. On a digital image everything above the black
    surround belongs to it; on a film, or with noise in the air, its bright core is found first and then grown to where it
    meets the surround's own grey. Raises NoBreast.
    """
    rows, columns = picture.shape
    factor = min(1.0, WORKING_ROWS / max(rows, columns))
    size = (max(8, round(columns * factor)), max(8, round(rows * factor)))
    small = reduced(np.asarray(picture, dtype=np.float32), size[1], size[0])
    darkest, brightest = float(small.min()), float(small.max())
    if brightest - darkest < LEAST_RANGE:
        raise NoBreast("expected a breast, found a picture of one grey")
    # 12 bits kept in 16 fill a sixteenth of the range: everything below is a share of the picture's own.
    small = (small - darkest) / (brightest - darkest)
    found = _region(_without_edge_strips(small), is_digital=float(np.mean(small < 1e-6)) > 0.1)
    if found is None:
        raise NoBreast("expected a breast, found no large bright region")
    region, doubts = found
    tops, lefts = np.nonzero(region)
    back = (rows / region.shape[0], columns / region.shape[1])
    crop = (
        int(np.floor(tops.min() * back[0])),
        int(np.floor(lefts.min() * back[1])),
        min(rows, int(np.ceil((tops.max() + 1) * back[0]))),
        min(columns, int(np.ceil((lefts.max() + 1) * back[1]))),
    )
    wall, clear = _chest_wall(region)
    return Breast((rows, columns), crop, wall, doubts if clear else (*doubts, "chest wall unclear"), region=region)


def _nearest(small: int, large: int) -> np.ndarray:
    """For each of ``large`` pixels in a line the nearest of ``small`` ones, int32, by Pillow's rule."""
    line = Image.fromarray(np.arange(small, dtype=np.int32)[None])
    return np.asarray(line.resize((large, 1), Image.Resampling.NEAREST))[0]


def _without_edge_strips(small: np.ndarray) -> np.ndarray:
    """Film borders and white strips: rows or columns at an edge that are bright and flat are made black."""
    cleaned = small.copy()
    for axis in (0, 1):
        lines, found = (cleaned, small) if axis == 0 else (cleaned.T, small.T)
        limit = max(1, len(lines) // 12)
        for indices in (range(limit), range(len(lines) - 1, len(lines) - 1 - limit, -1)):
            strip = [index for index in indices if _is_strip(found[index])]
            beyond = indices[-1] + indices.step * (limit // 2 + 1)
            if strip and _ends_straight(found[strip[0] : beyond : indices.step]):
                edge = max(strip) if indices.step > 0 else min(strip)
                lines[slice(0, edge + 2) if indices.step > 0 else slice(max(edge - 1, 0), None)] = 0.0
    return cleaned


def _ends_straight(lines: np.ndarray) -> bool:
    """Whether a flat band ends within ``lines``, given from the outermost inwards, and is as deep here as there.

    An implant goes on further in, and its edge is round.
    """
    flat = (np.abs(lines - float(np.median(lines[0]))) < 0.02).astype(int)
    depths = np.cumprod(flat[:, flat[0] == 1], axis=0).sum(axis=0)
    low, middle, high = np.percentile(depths, (10, 50, 90))
    return bool(middle < len(lines) and high - low <= max(4.0, 0.4 * middle))


def _is_strip(line: np.ndarray) -> bool:
    """Whether a line is bright and flat over a good part of its length, up to both ends of it, or over most of it up to one.

    A dense breast at the chest wall is bright only; an implant there is flat as well, but ends before the corners.
    """
    end = max(1, line.size // 40)
    greys = [float(np.median(corner)) for corner in (line[:end], line[-end:])] if max(line[0], line[-1]) > 0.2 else []
    for grey in greys:
        flat = np.abs(line - grey) < 0.01
        enough = 0.4 if abs(greys[0] - greys[1]) < 0.02 else 0.7
        if grey > 0.4 and flat.mean() > enough and float(line[flat].std()) < 0.005:
            return True
    return False


def _region(small: np.ndarray, is_digital: bool) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """The breast in the reduced image, bool (rows, columns), and the doubts about it; None where nothing looks like one."""
    smooth = ndimage.gaussian_filter(small, 1.0)
    bright = smooth[smooth > 0.02]
    if bright.size < 0.01 * smooth.size or float(np.ptp(smooth)) < 0.05:
        return None
    binary = ndimage.binary_opening(smooth > _threshold(smooth, is_digital), iterations=5)
    regions = label(binary)
    largest = sorted(regionprops(regions), key=lambda found: found.area, reverse=True)
    if not largest or largest[0].area < 0.04 * small.size:
        return None
    core = _without_film_edge(_filled(regions == largest[0].label))
    grown = core if is_digital else _joined(core, np.where(regions == largest[0].label, 0, regions), smooth)
    region = np.asarray(ndimage.binary_dilation(grown, iterations=1))
    rival = len(largest) > 1 and largest[1].area > 0.2 * largest[0].area
    return region, _doubts(core, region, rival)


def _joined(core: np.ndarray, regions: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """``core`` with its faint rim, with all other bright ``regions`` (labels) that the rim reaches, and their rims.

    Where fat parts the pectoral muscle from the gland, the core is only one of them. The rim itself goes no further than that
    of what is bright, since the fog of a film may brighten towards the breast.
    """
    while True:
        grown = _grown(core, smooth)
        reached = np.unique(regions[grown & ~core])
        joined = core | np.isin(regions, reached[reached > 0])
        if not (joined & ~core).any():
            return grown
        core = joined


def _grown(core: np.ndarray, smooth: np.ndarray) -> np.ndarray:
    """``core`` with its faint rim: what lies near it and is brighter than the surround around and its noise allow."""
    near = ndimage.distance_transform_edt(~core) <= RIM_ROWS
    air = smooth[~near & (smooth > 0)]
    if air.size < 0.02 * smooth.size:
        return core
    grey = float(np.percentile(air, 30))  # markers and labels are brighter than most of it
    below = air[air <= grey]
    noise = 1.4826 * float(np.median(np.abs(below - grey)))
    faint = near & (smooth > grey + max(4 * noise, 0.008))
    opened = ndimage.binary_opening(faint | core, iterations=3) | core
    joined = label(opened)
    inside = np.unique(joined[core])
    return _without_film_edge(_filled(np.isin(joined, inside[inside > 0])))


def _filled(region: np.ndarray) -> np.ndarray:
    """``region`` with its holes: what is not joined, side by side, to the image's edge."""
    around = ndimage.label(~np.pad(region, 1))[0]
    return np.asarray(around != around[0, 0])[1:-1, 1:-1]


def _doubts(core: np.ndarray, region: np.ndarray, rival: bool) -> tuple[str, ...]:
    """Why a person should look: the outline is ragged, faint or touches the wrong edges, or something else is as large."""
    area, rows = float(region.sum()), np.asarray(region.any(axis=1))
    shape = max(regionprops(region[::3, ::3].astype(np.uint8)), key=lambda found: found.area)
    facts = {
        "fills the picture": area > 0.85 * region.size,
        "small": area < 0.07 * region.size,
        "ragged outline": shape.solidity < 0.8,
        "faint outline": area > 1.35 * max(float(core.sum()), 1.0),
        "touches neither side": not (region[:, :2].any() or region[:, -2:].any()),
        "touches both sides": bool(region[:, :2].any(axis=1).mean() > 0.1 and region[:, -2:].any(axis=1).mean() > 0.1),
        "ends at the lower edge": bool(rows[-1] and region[-1].mean() > 0.15),
        "another large bright region": rival,
    }
    return tuple(doubt for doubt, holds in facts.items() if holds)


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


def _chest_wall(region: np.ndarray) -> tuple[str, bool]:
    """The side on which the region is thickest from top to bottom, and whether it clearly is: the breast is cut straight
    there and round opposite."""
    profile = region.sum(axis=0).astype(float)
    columns = np.nonzero(profile)[0]
    quarter = max(1, (columns[-1] - columns[0] + 1) // 4)
    left = profile[columns[0] : columns[0] + quarter].mean()
    right = profile[columns[-1] - quarter + 1 : columns[-1] + 1].mean()
    return ("left" if left >= right else "right"), abs(left - right) > 0.15 * max(left, right)
