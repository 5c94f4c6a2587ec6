"""The soft tissue of one breast in three dimensions, and its projection in one view.

Random fields in the breast's own frame say where glandular islands lie, where fat lobules end (Cooper's ligaments run along
the zero surfaces of smooth fields) and how tissue varies down to about 1 mm. A view cuts them in slabs between its paddles
and adds the slabs up, so CC and MLO show the same islands and sheets. What is finer than about 1 mm is drawn for each view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from tramtrack.phantom.anatomy import SPREAD, Field, Look, Outline, centres, resized, view_axes
from tramtrack.phantom.projection import FloatArray
from tramtrack.phantom.settings import Grid

SLABS = 6
"""Slabs between the paddles."""

FINE_MM = 0.5
"""Grid on which a slab is worked out, mm; no finer than the pixels."""

COMMON = 0.75
"""Share of the variance of the islands' field that a woman's two breasts have in common."""

REACH = (1.12, 1.5)
"""How far the slabs reach in depth and, either way, across the breast, in the frame's units."""


@dataclass(frozen=True)
class Block:
    """A periodic Gaussian field of zero mean and unit variance; ``values`` (lateral, cranial, depth), ``cell_mm`` apart."""

    values: Field
    cell_mm: float

    def cut(self, lateral_mm: FloatArray, cranial_mm: FloatArray, depths: int) -> Field:
        """The field on a plane: at each (lateral, cranial) (n,), a row of ``depths`` cells of depth; (n, depths)."""
        size = self.values.shape
        planes = []
        for position, number in ((lateral_mm, size[0]), (cranial_mm, size[1])):
            at = position / self.cell_mm
            low = np.floor(at).astype(np.int64)
            planes.append((low % number, (low + 1) % number, (at - low).astype(np.float32)[:, None]))
        (i, i1, u), (j, j1, v) = planes
        rows = (self.values[i, j] * (1 - v) + self.values[i, j1] * v) * (1 - u)
        rows += (self.values[i1, j] * (1 - v) + self.values[i1, j1] * v) * u
        return np.take(rows, np.arange(depths), axis=1, mode="wrap")


@dataclass(frozen=True)
class SoftTissue:
    """One breast's fields: ``islands`` of gland, two ``sheets`` whose zeros are ligaments, ``lobules`` and ``grain``."""

    islands: Block
    sheets: tuple[Block, Block, Block]
    grain: Block


def power_law_block(
    rng: np.random.Generator, cells: tuple[int, int, int], cell_mm: float, exponent: float, longest_mm: float,
    shortest_mm: float = 0.0, stretch: float = 1.0,
) -> Block:  # fmt: skip
    """A Gaussian field whose power falls as frequency to the minus ``exponent``, and so does that of its projections.

    Mammographic texture has an exponent of about 3 (Burgess et al., Med Phys 2001;28:419). Wavelengths above ``longest_mm``
    are levelled off and those below ``shortest_mm`` damped; ``stretch`` above 1 draws the structure out along depth.
    """
    axes = [scipy.fft.fftfreq(cells[0], cell_mm), scipy.fft.fftfreq(cells[1], cell_mm), scipy.fft.rfftfreq(cells[2], cell_mm)]
    x, y, z = (axis.astype(np.float32) for axis in axes)
    squared = x[:, None, None] ** 2 + y[None, :, None] ** 2 + (z * np.float32(stretch))[None, None, :] ** 2
    amplitude = (squared + np.float32(longest_mm**-2)) ** np.float32(-exponent / 4)
    if shortest_mm > 0:
        amplitude *= np.exp(-squared * np.float32(shortest_mm**2))
    amplitude[0, 0, 0] = 0
    white = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field = scipy.fft.irfftn(white * amplitude, s=cells, workers=1, overwrite_x=True)
    return Block((field / field.std()).astype(np.float32), cell_mm)


def draw_soft_tissue(common: np.random.Generator, own: np.random.Generator) -> SoftTissue:
    """Draw one breast's fields; ``common`` is the woman's stream, in the same state for both breasts, ``own`` the breast's."""
    shared, single = (power_law_block(rng, (64, 64, 48), 4.0, 3.2, 70.0, 9.0) for rng in (common, own))
    islands = np.float32(np.sqrt(COMMON)) * shared.values + np.float32(np.sqrt(1 - COMMON)) * single.values
    sheets = tuple(
        power_law_block(own, cells, cell, 6.0, scale, scale / 5, stretch)
        for cells, cell, scale, stretch in (
            ((64, 64, 48), 3.0, 26.0, 0.75),
            ((72, 72, 54), 2.2, 16.0, 0.75),
            ((64, 64, 48), 1.7, 10.0, 0.8),
        )
    )
    grain = power_law_block(own, (64, 64, 60), 1.5, 3.0, 16.0, 0.8, 0.85)
    return SoftTissue(Block(islands, 4.0), (sheets[0], sheets[1], sheets[2]), grain)


def soft_tissue_path(
    rng: np.random.Generator, tissue: SoftTissue, look: Look, outline: Outline, inner_mm: Field, inside_mm: Field, grid: Grid
) -> Field:
    """Path in mm through gland and ligaments that one view's rays meet, (rows, columns) float32.

    ``inner_mm``: thickness without skin, ``inside_mm``: distance from the skin line. ``rng`` draws only what is finer than the
    fields. All is worked out on a grid of about 0.5 mm.
    """
    size, fine = look.size_mm, max(FINE_MM, grid.pitch_mm)
    shape = (int(2 * REACH[1] * size[1] / fine), int(REACH[0] * size[0] / fine))
    across = np.linspace(-REACH[1], REACH[1], shape[0])
    depth = (np.arange(shape[1]) + 0.5) * (REACH[0] / shape[1])
    gland, ligament = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for number in range(SLABS):
        beam = ((number + 0.5) * 2 / SLABS - 1) * SPREAD
        share, sheet = _slab(tissue, look, outline, beam, across, depth, fine)
        gland += share
        ligament += sheet
    factor = max(1, round(FINE_MM / grid.pitch_mm))
    coarse = Grid(-(-grid.rows // factor), -(-grid.columns // factor), grid.pitch_mm * factor)
    gland, ligament = _carried((gland / np.float32(SLABS), ligament / np.float32(SLABS)), outline, coarse, across, depth)
    ligament *= np.clip((outline.reach_of(outline.across_of(_heights(coarse))) - 12) / 30, 0, 1).astype(np.float32)[:, None]
    texture = _texture(rng, coarse)
    share = np.clip(gland * (1 + np.float32(0.09) * texture) + np.float32(0.012) * texture + np.float32(0.035), 0, 0.95)
    inner, inside = (_sampled(field, coarse.shape) for field in (inner_mm, inside_mm))
    under = np.clip((inside - 2) / 12, 0, 1)  # the fat below the skin
    path = inner * share * (0.12 + 0.88 * under)
    path += ligament * np.float32(look.fibres * look.thickness_mm * 0.22) * np.clip(inside / 3, 0, 1)
    whole = resized(path, (coarse.rows * factor, coarse.columns * factor))
    return np.maximum(whole[: grid.rows, : grid.columns], 0)


def _heights(grid: Grid) -> NDArray[np.float64]:
    return (np.arange(grid.rows, dtype=np.float64) + 0.5) * grid.pitch_mm


def _sampled(field: Field, shape: tuple[int, int]) -> Field:
    """A smooth field at every few pixels."""
    factor = -(-field.shape[0] // shape[0])
    start = factor // 2
    found = field[start::factor, start::factor]
    return np.pad(found, [(0, n - m) for n, m in zip(shape, found.shape, strict=True)], mode="edge")


def _slab(
    tissue: SoftTissue, look: Look, outline: Outline, beam: float, across: FloatArray, depth: FloatArray, fine_mm: float
) -> tuple[Field, Field]:
    """Share of gland and strength of ligaments in one slab, both (across, depth)."""
    shape = (across.size, depth.size)
    axes, size = view_axes(outline.position), look.size_mm
    extent = depth[-1] + depth[0]

    def cut(block: Block) -> Field:
        rows = max(8, int((across[-1] - across[0]) * size[1] / block.cell_mm))
        depths = max(4, int(extent * size[0] / block.cell_mm))
        place = np.outer(-np.linspace(across[0], across[-1], rows), axes[0]) + beam * axes[1]
        return resized(block.cut(place[:, 0] * size[1], place[:, 1] * size[2], depths), shape)

    islands, grain = cut(tissue.islands), cut(tissue.grain)
    lines = [_line(cut(block), width, fine_mm) for block, width in zip(tissue.sheets, (0.55, 0.5, 0.45), strict=True)]
    lateral, cranial = np.outer(-across, axes[0]).T + (beam * axes[1])[:, None]
    aside = ((lateral - 0.10) ** 2 + (cranial - 0.05) ** 2) / 0.62**2
    behind = (np.exp(-aside)[:, None] * np.exp(-(((depth - 0.60) / 0.36) ** 2))[None, :]).astype(np.float32)
    level = (
        1.25 * behind
        + 0.42 * islands
        + 0.06 * grain
        + 0.12 * np.maximum(lines[0], lines[1])
        - np.float32(1.45 - 1.15 * look.gland)
    )
    island = 1 / (1 + np.exp(np.clip(level * np.float32(-1 / 0.13), -30, 30)))
    edge = np.maximum(lines[0], 0.8 * lines[1])
    share = island * np.clip(0.42 + 0.09 * grain + 0.15 * edge, 0.05, 1.0)
    near = 1 / (1 + np.exp(np.clip(-4 * (islands + 0.5 * grain - 0.2), -30, 30)))
    sheet = lines[0] * (0.25 + 0.75 * near) + lines[1] * near + 0.5 * lines[2] * near
    return share, sheet * (1 - 0.5 * island)


def _line(field: Field, width_mm: float, fine_mm: float) -> Field:
    """1 on the zeros of ``field``, falling off within about ``width_mm`` to either side: distance is value over slope."""
    down, right = np.gradient(field, np.float32(fine_mm))
    squared = field * field / ((down * down + right * right + np.float32(1e-4)) * np.float32(width_mm**2))
    return np.exp(-np.minimum(squared, 20))


def _carried(
    fields: tuple[Field, ...], outline: Outline, grid: Grid, across: FloatArray, depth: FloatArray
) -> tuple[Field, ...]:
    """Fields (across, depth) of the breast's frame on the view's pixels, by the map of ``anatomy.project``."""
    x, y = centres(grid.shape, grid)
    place = outline.across_of(y[:, 0].astype(np.float64))
    row = (place - across[0]) / (across[1] - across[0])
    column = x / outline.reach_of(place)[:, None] / (depth[1] - depth[0]) - 0.5
    at = np.stack([np.broadcast_to(row[:, None], grid.shape), column]).astype(np.float32)
    return tuple(map_coordinates(field, at, order=1, mode="nearest", output=np.float32) for field in fields)


def _texture(rng: np.random.Generator, grid: Grid) -> Field:
    """Power-law texture below about 4 mm, (rows, columns), zero mean and unit variance."""
    rows, columns = (scipy.fft.next_fast_len(n, real=True) for n in grid.shape)
    fy = scipy.fft.fftfreq(rows, grid.pitch_mm).astype(np.float32)[:, None]
    fx = scipy.fft.rfftfreq(columns, grid.pitch_mm).astype(np.float32)[None, :]
    amplitude = (fx * fx + fy * fy + np.float32(4.0**-2)) ** np.float32(-3 / 4)
    amplitude[0, 0] = 0
    white = rng.standard_normal((*amplitude.shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    field = scipy.fft.irfft2(white * amplitude, s=(rows, columns), workers=1)
    return (field / field.std()).astype(np.float32)[: grid.rows, : grid.columns]
