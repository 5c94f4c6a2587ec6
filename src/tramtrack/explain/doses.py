"""A view with more and less calcification: its own taken out in parts, or an artery's put in. Needs no torch.

Taking out leaves traces and putting in adds a vessel, so each dose has a control that differs by calcification alone: the same
filling elsewhere in the breast, and the same tube without mineral.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.signal import fftconvolve
from skimage.measure import label

from tramtrack.errors import TramtrackError
from tramtrack.phantom.grey_domain import picture_domain
from tramtrack.phantom.insertion import Insertion, insert
from tramtrack.phantom.vessel_paths import find_path, survey

DOSES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of the calcified pixels that are left in the view, and of the mineral that is put into it."""
MARGIN = 2
"""Prepared pixels around the mask that are filled in with it, because its edge is blurred."""
SEVERITY = 1.0
"""Of the artery that is put in: dense and complete, so that its whole dose is as visible as the phantom's can be."""


@dataclass(frozen=True)
class Series:
    """One view at every one of DOSES.

    ``view`` (rows, columns) uint16; ``changes`` the flat places and values that make each dose of it. ``controls``: the same
    without calcification, or empty where dose 0 is that already. ``mask``: where the calcification is, bool (rows, columns).
    """

    view: np.ndarray
    changes: tuple[tuple[np.ndarray, np.ndarray], ...]
    controls: tuple[tuple[np.ndarray, np.ndarray], ...]
    mask: np.ndarray

    def pictures(self) -> np.ndarray:
        """The view at each dose: uint16 (doses, rows, columns)."""
        return self._made(self.changes)

    def control_pictures(self) -> np.ndarray | None:
        """The control at each dose, or None."""
        return self._made(self.controls) if self.controls else None

    def _made(self, changes: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
        found = np.repeat(self.view[None], len(changes), axis=0)
        for picture, (places, values) in zip(found, changes, strict=True):
            picture.flat[places] = values
        return found


def removal_series(prepared: np.ndarray, mask: np.ndarray, breast: np.ndarray, seed: int) -> Series:
    """The view (rows, columns) uint16 with less and less of the calcification that ``mask`` marks, filled in from around it.

    The control fills as much in the same way where ``breast`` (bool) has no mask, at a place that ``seed`` draws. Raises
    TramtrackError where the breast has no room for that.
    """
    moved = _elsewhere(mask, breast, np.random.default_rng(seed))
    taken, filled = (_changes(prepared, dose_series(prepared, each)) for each in (mask, moved))
    return Series(prepared, taken, filled, mask)


def insertion_series(prepared: np.ndarray, spacing_mm: float | None, seed: int) -> Series:
    """The view (rows, columns) uint16, dense bright, with an artery along one of its vessels, its mineral in every dose.

    Dose 0 is the tube without mineral; between, attenuation rises with the dose (`tramtrack.phantom.insertion`). ``seed`` draws
    vessel and artery; ``spacing_mm`` is the prepared view's. Raises TramtrackError where no vessel is found, or where the
    calcification would not be visible.
    """
    picture = (prepared / np.float32(65535)).astype(np.float32)
    seen = survey(picture)
    interior = seen.enlarged_interior((prepared.shape[0], prepared.shape[1]))
    path = find_path(seen, np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,))))
    domain = picture_domain(prepared, interior, (0, 65535))
    empty, full = (
        insert(prepared, domain, path, Insertion(seed, SEVERITY, is_control=bare), interior, spacing_mm)
        for bare in (True, False)
    )
    if not full.mask.any():
        raise TramtrackError("the calcification would not be visible at the size of the prepared view")
    none, whole = domain.attenuation(empty.stored), domain.attenuation(full.stored)
    touched = (empty.stored != prepared) | (full.stored != prepared)
    made = []
    for dose in DOSES:
        mixed = domain.stored(none + dose * (whole - none))
        made.append(np.where(touched, np.clip(np.rint(mixed), 0, 65535), prepared).astype(np.uint16))
    return Series(prepared, _changes(prepared, made), (), full.mask)


def dose_series(prepared: np.ndarray, mask: np.ndarray, doses: tuple[float, ...] = DOSES) -> Iterator[np.ndarray]:
    """The view (rows, columns) uint16 with each share of the calcification left that ``mask`` (bool) marks.

    With 1 it is the view as it is. What goes first lies lowest, so that a smaller dose is always a part of a larger one. The
    tissue put in its place is the blurred surroundings with grain of their own strength.
    """
    whole = _grown(mask)
    empty = _filled(prepared, whole)
    order = np.flatnonzero(mask.ravel())
    for dose in doses:
        left = np.zeros(mask.size, dtype=bool)
        left[order[: round(dose * len(order))]] = True
        gone = _grown(mask & ~left.reshape(mask.shape)) & ~left.reshape(mask.shape)
        yield np.where(gone, empty, prepared)


def _changes(view: np.ndarray, pictures: Iterator[np.ndarray] | list[np.ndarray]) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    found = []
    for picture in pictures:
        places = np.flatnonzero(picture != view)
        found.append((places, picture.ravel()[places]))
    return tuple(found)


def _elsewhere(mask: np.ndarray, breast: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mask moved to where the breast is without it: as a whole, or else each of its groups by itself."""
    near = np.asarray(ndimage.binary_dilation(mask, iterations=4 * MARGIN))
    inside = np.asarray(ndimage.binary_erosion(np.pad(breast, 1, mode="edge"), iterations=MARGIN))[1:-1, 1:-1] & ~near
    groups = label(near, connectivity=2) * mask
    for parts in (mask[None], [groups == number for number in range(1, groups.max() + 1)]):
        moved, free = np.zeros_like(mask), inside.copy()
        for part in parts:
            place = _room(part, free, rng)
            if place is None:
                break
            moved |= place
            free &= ~ndimage.binary_dilation(place, iterations=2 * MARGIN)
        else:
            return moved
    raise TramtrackError("the breast has no room for the same filling beside its calcifications")


def _room(part: np.ndarray, free: np.ndarray, rng: np.random.Generator) -> np.ndarray | None:
    """The part moved to a place that lies wholly in ``free``, or None."""
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    shape = part[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    fits = fftconvolve(free.astype(np.float64), shape[::-1, ::-1].astype(np.float64), mode="valid") > shape.sum() - 0.5
    places = np.argwhere(fits)
    if not len(places):
        return None
    top, left = places[rng.integers(len(places))]
    moved = np.zeros_like(part)
    moved[top : top + shape.shape[0], left : left + shape.shape[1]] = shape
    return moved


def _grown(mask: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.binary_dilation(mask, iterations=MARGIN)) if mask.any() else mask


def _filled(prepared: np.ndarray, gone: np.ndarray) -> np.ndarray:
    """The view with the pixels ``gone`` replaced: a Gaussian mean of the others, as wide as the gap, plus their grain."""
    values, known = prepared.astype(np.float64), (~gone & (prepared > 0)).astype(np.float64)
    width = max(2.0, float(ndimage.distance_transform_edt(gone).max()) + MARGIN)
    weight = ndimage.gaussian_filter(known, width)
    mean = ndimage.gaussian_filter(values * known, width) / np.maximum(weight, 1e-9)
    around = np.asarray(ndimage.binary_dilation(gone, iterations=4 * MARGIN)) & (known > 0)
    grain = (values - ndimage.gaussian_filter(values, 1.0))[around]
    drawn = np.random.default_rng(int(gone.sum())).choice(grain, size=values.shape) if grain.size else np.zeros_like(values)
    return np.where(gone, np.clip(mean + drawn, 0, 65535), values).astype(np.uint16)
