"""From what a breast is made of to the signal at the detector: primary, scatter, automatic exposure, blur, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import correlate1d, gaussian_filter, gaussian_filter1d

from tramtrack.phantom.anatomy import (
    Field,
    Look,
    Outline,
    compressed_thickness,
    inside_distance,
    pectoral_muscle,
    project,
    resized,
)
from tramtrack.phantom.beam import Beam
from tramtrack.phantom.distractors import ViewEffects, add_view_effects
from tramtrack.phantom.projection import across, course, deposit
from tramtrack.phantom.settings import Grid
from tramtrack.phantom.stations import Station
from tramtrack.phantom.strands import Strands, render_strands
from tramtrack.phantom.tissue import SoftTissue, soft_tissue_path
from tramtrack.phantom.vessels import Kind, Vessel

SCATTER_PER_CM = 0.11
"""Scatter over primary for each cm of a large breast without a grid: a straight line through about .2 at 2 cm and .9 at 8 cm,
the range that Boone et al. (Med Phys 2000;27:2408) report for mammography."""

GRID_PASSES = 0.24
"""Share of scatter over share of primary that an anti-scatter grid passes: about .17 over .72."""

SCATTER_MM = ((0.5, 7.0), (0.5, 25.0))
"""The scatter's kernel: (share, standard deviation in mm) of its Gaussians."""

FADE_MM = 5.0
"""Length over which a vessel or a duct fades in and out, mm: it goes on in branches that are not drawn."""

QUANTA_MM = 0.2
"""Side of the square of the detector to which the settings' ``quanta`` and ``visible_cnr`` refer, mm."""


@dataclass(frozen=True)
class Paths:
    """What one view's rays meet; all (rows, columns) float32.

    ``thickness_mm``: compressed thickness. ``inside_mm``: distance from the skin, positive inside. ``paths_mm``: path through
    each material; what they leave of the thickness is fat. ``muscle``: share of the thickness that is pectoral muscle.
    """

    thickness_mm: Field
    inside_mm: Field
    paths_mm: dict[str, Field]
    muscle: Field


@dataclass(frozen=True)
class Anatomy:
    """One breast without its calcium: what ``body_paths`` projects."""

    vessels: tuple[Vessel, ...]
    strands: Strands
    tissue: SoftTissue
    implant_mm: float


def body_paths(
    rng: np.random.Generator, look: Look, anatomy: Anatomy, outline: Outline, effects: ViewEffects, grid: Grid
) -> Paths:
    """Project one breast's fat, gland, ligaments, skin, muscle, blood and ducts, and what happens to this view alone."""
    inside = inside_distance(outline, grid)
    thickness, skin = compressed_thickness(inside, outline.thickness_mm)
    muscle = pectoral_muscle(outline, grid)
    inner = thickness - skin
    gland = soft_tissue_path(rng, anatomy.tissue, look, outline, inner, inside, grid)
    gland += render_strands(anatomy.strands, look, outline, grid)
    gland *= 1 - np.float32(0.9) * muscle
    blood = _tubes(anatomy.vessels, (Kind.ARTERY, Kind.VEIN), outline, grid)
    gland += _tubes(anatomy.vessels, (Kind.DUCT,), outline, grid)
    add_view_effects(gland, effects, grid)
    flesh = inner * muscle
    paths = {"glandular": gland, "skin": skin, "muscle": flesh, "blood": np.minimum(blood, 6.0)}
    if anatomy.implant_mm > 0:
        paths["saline"] = _implant(anatomy.implant_mm, outline, grid)
        free = np.clip(1 - paths["saline"] / np.maximum(inner, 1e-3), 0, 1)
        paths["glandular"], paths["muscle"] = gland * free, flesh * free
    for name in ("glandular", "blood", "saline"):
        if name in paths:
            np.minimum(paths[name], inner, out=paths[name])
    return Paths(thickness, inside, paths, muscle)


def _tubes(vessels: tuple[Vessel, ...], kinds: tuple[Kind, ...], outline: Outline, grid: Grid) -> Field:
    """Path in mm through full tubes of some kinds, faded at their ends, (rows, columns) float32."""
    image = np.zeros(grid.shape, np.float32)
    step = max(grid.pitch_mm, 0.08)
    for vessel in vessels:
        line = course(project(vessel.points, outline), vessel.radius_mm, step) if vessel.kind in kinds else None
        if line is not None:
            fractions = across(line, 1.5 * step)
            ends = np.minimum(line.along_mm, line.along_mm[-1] - line.along_mm)[:, None] / FADE_MM
            path = 2 * line.radius_mm[:, None] * np.sqrt(1 - fractions[None, :] ** 2) / line.sine[:, None] * np.minimum(ends, 1)
            deposit(image, line, fractions, path, grid.pitch_mm)
    return image


def _implant(height_mm: float, outline: Outline, grid: Grid) -> Field:
    """Path in mm through a bag of saline at the chest wall, ``height_mm`` high: half an ellipsoid, as thick as the breast."""
    factor = max(1, round(1.0 / grid.pitch_mm))
    shape = (-(-grid.rows // factor), -(-grid.columns // factor))
    y = (np.arange(shape[0], dtype=np.float32) + 0.5)[:, None] * np.float32(grid.field_mm[0] / shape[0])
    x = (np.arange(shape[1], dtype=np.float32) + 0.5)[None, :] * np.float32(grid.field_mm[1] / shape[1])
    depth = 0.62 * float(outline.skin_at(np.array([outline.nipple_mm]))[0])
    away = (x / depth) ** 2 + ((y - outline.nipple_mm) / (height_mm / 2)) ** 2
    return resized((0.8 * outline.thickness_mm * np.sqrt(np.maximum(1 - away, 0))).astype(np.float32), grid.shape)


def scatter_ratio(thickness_mm: float | Field) -> float | Field:
    """Scatter over primary behind the grid in the middle of a large breast of this thickness."""
    return thickness_mm * (SCATTER_PER_CM / 10 * GRID_PASSES)


def with_scatter(primary: Field, thickness_mm: Field, pitch_mm: float) -> Field:
    """Primary and scatter together, (rows, columns): what scatters at a place is spread by a kernel centimetres wide."""
    factor = max(1, round(3.0 / pitch_mm))
    source = np.asarray(Image.fromarray((scatter_ratio(thickness_mm) * primary).astype(np.float32)).reduce(factor))
    # Beyond the chest wall the body goes on; beyond the other edges there is air.
    reach = int(4 * SCATTER_MM[-1][1] / pitch_mm / factor)
    padded = np.pad(source, ((0, 0), (reach, 0)), mode="edge")
    sigmas = [(share, sigma / pitch_mm / factor) for share, sigma in SCATTER_MM]
    spread = sum(np.float32(share) * gaussian_filter(padded, sigma, mode="constant", truncate=3.0) for share, sigma in sigmas)
    return primary + resized(np.asarray(spread, np.float32)[:, reach:], primary.shape)


@dataclass(frozen=True)
class Exposed:
    """What the detector saw. ``signal`` (rows, columns) float32: minus the logarithm of the signal over that in air.
    ``entrance``: quanta a pixel in air that automatic exposure chose."""

    signal: Field
    entrance: float


def automatic_exposure(signal: Field, body: Paths, quanta: float, pitch_mm: float) -> float:
    """Quanta a pixel in air that make the mean behind the breast ``quanta`` for each 0.2 x 0.2 mm; ``signal`` over air's."""
    behind = body.thickness_mm[::4, ::4] > 0.8 * body.thickness_mm.max()
    return float(quanta * (pitch_mm / QUANTA_MM) ** 2 / signal[::4, ::4][behind].mean())


def expose(
    rng: np.random.Generator, station: Station, body: Paths, added_mm: dict[str, Field], quanta: float, motion_mm: float,
    pitch_mm: float,
) -> Exposed:  # fmt: skip
    """Expose the breast with what was added to it (calcium, masses, clips; path in mm by material)."""
    paths = dict(body.paths_mm)
    for name, path in added_mm.items():
        paths[name] = paths[name] + path if name in paths else path
    primary = station.beam.transmission(paths, body.thickness_mm)
    if motion_mm > 0:
        primary = gaussian_filter1d(primary, motion_mm / pitch_mm, axis=0, truncate=2.5)
    seen = with_scatter(blurred(primary, station.blur_mm, pitch_mm), body.thickness_mm, pitch_mm)
    entrance = automatic_exposure(seen, body, quanta, pitch_mm)
    noisy = seen + noise_deviation(seen, entrance, station.electronic) * rng.standard_normal(seen.shape, dtype=np.float32)
    return Exposed(-np.log(np.maximum(noisy, np.float32(1e-4))), entrance)


def blurred(image: Field, blur_mm: float, pitch_mm: float) -> Field:
    """``image`` after the blur of focal spot and detector, a Gaussian of standard deviation ``blur_mm``."""
    sigma = blur_mm / pitch_mm
    if sigma < 0.2:
        return image
    reach = max(1, int(3 * sigma + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    return correlate1d(correlate1d(image, kernel, axis=0, mode="nearest"), kernel, axis=1, mode="nearest")


def noise_deviation(signal: Field, entrance: float, electronic: float) -> Field:
    """Standard deviation of the noise in each pixel, of the signal relative to air: quanta (Poisson) and electronics."""
    return (np.sqrt(signal * np.float32(entrance) + np.float32(electronic**2)) / np.float32(entrance)).astype(np.float32)


def calcium_contrast(beam: Beam, thickness_mm: float) -> float:
    """What a mm of solid hydroxyapatite adds to the logarithmic signal behind a breast, scatter included, per mm."""
    return beam.effective("hydroxyapatite", thickness_mm) / (1 + float(scatter_ratio(thickness_mm)))
