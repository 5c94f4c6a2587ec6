"""From attenuation to the image that a radiologist sees: quanta, blur, and a For Presentation rendering in 12 bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from tramtrack.phantom.anatomy import (
    Field,
    Look,
    Outline,
    compressed_thickness,
    fibres,
    fibroglandular,
    inside_distance,
    pectoral_muscle,
    resized,
)
from tramtrack.phantom.materials import ADIPOSE, SOFT_CONTRAST
from tramtrack.phantom.projection import across, course, deposit
from tramtrack.phantom.settings import Grid, PhantomSettings
from tramtrack.phantom.vessels import Vessel, project

WHITE = 4095
"""The brightest stored value: 12 bits."""


@dataclass(frozen=True)
class Tissue:
    """The attenuation of one view without calcium, and what is needed to render it; all (rows, columns) float32.

    ``attenuation``: the line integral of the attenuation coefficient, without unit. ``thickness_mm``: compressed thickness.
    ``inside_mm``: distance from the skin, positive inside.
    """

    attenuation: Field
    thickness_mm: Field
    inside_mm: Field


def tissue(rng: np.random.Generator, look: Look, outline: Outline, vessels: tuple[Vessel, ...], grid: Grid) -> Tissue:
    """Attenuation of fat, fibroglandular tissue, skin, pectoral muscle and blood along each ray (Beer and Lambert)."""
    inside = inside_distance(outline, grid)
    thickness, skin = compressed_thickness(inside, outline.thickness_mm)
    gland = fibroglandular(rng, look, outline, grid)
    muscle = pectoral_muscle(rng, outline, grid)
    soft_mm = (thickness - skin) * (gland * (1 - 0.6 * muscle) + muscle * 0.8) + skin * np.float32(0.6)
    soft_mm += fibres(rng, look, outline, grid) * (thickness > 8)
    blood_mm = np.zeros_like(thickness)
    step = max(grid.pitch_mm / 2, 0.1)
    for vessel in vessels:
        line = course(project(vessel.points, outline), vessel.radius_mm, step)
        if line is not None:
            fractions = across(line, step)
            path = 2 * line.radius_mm[:, None] * np.sqrt(1 - fractions[None, :] ** 2) / line.sine[:, None]
            deposit(blood_mm, line, fractions, path, grid.pitch_mm)
    soft_mm += np.minimum(blood_mm, 6.0) * (thickness > 8)
    return Tissue((ADIPOSE * thickness + SOFT_CONTRAST * soft_mm).astype(np.float32), thickness, inside)


def blurred(image: Field, settings: PhantomSettings) -> Field:
    """``image`` after the detector's blur."""
    sigma = settings.blur_mm / settings.pitch_mm
    return gaussian_filter(image, sigma, truncate=3.0) if sigma > 0.05 else image


def noise_deviation(attenuation: Field, thickness_mm: float, look: Look, settings: PhantomSettings) -> Field:
    """Standard deviation of the logarithm of the detected quanta in each pixel: one over the square root of their number.

    Automatic exposure holds the quanta behind ``thickness_mm`` of fat at ``photons_per_pixel`` (for a pixel of 0.2 mm).
    """
    mean = settings.photons_per_pixel * look.exposure * (settings.pitch_mm / 0.2) ** 2
    quanta = mean * np.exp(np.clip(ADIPOSE * thickness_mm - attenuation, -4, 3))
    return (1 / np.sqrt(quanta)).astype(np.float32)


def present(
    rng: np.random.Generator, look: Look, outline: Outline, view: Tissue, calcium: Field, settings: PhantomSettings
) -> NDArray[np.uint16]:
    """The For Presentation image, (rows, columns) uint16 in 0..4095, chest wall at the left.

    ``calcium``: attenuation that all calcifications add. The logarithmic signal gets its noise, the thickness of the breast
    is mostly taken out (as stations do, so that the edge can be seen), detail is raised a little, and a sigmoid maps it to
    grey. Air is black.
    """
    exact = view.attenuation + calcium
    signal = blurred(exact, settings)
    signal += noise_deviation(exact, outline.thickness_mm, look, settings) * rng.standard_normal(signal.shape, dtype=np.float32)
    flat = signal - np.float32(0.93 * ADIPOSE) * view.thickness_mm
    flat += look.sharpening * (flat - smoothed(flat, 1.5, settings))
    body = np.clip(view.inside_mm / 0.5, 0, 1)
    fade = 0.14 * np.exp(-np.maximum(view.inside_mm, 0) / 6)
    slope, middle = np.float32(3.0 * look.contrast), np.float32(0.50 - look.brightness)
    low, high = (1 / (1 + np.exp(-slope * (level - middle))) for level in (-0.05, 1.8))
    grey = 1 / (1 + np.exp(-slope * (flat - fade - middle)))
    return (np.clip((grey - low) / (high - low), 0, 1) * body * WHITE + 0.5).astype(np.uint16)


def smoothed(image: Field, sigma_mm: float, settings: PhantomSettings) -> Field:
    """``image`` smoothed by a Gaussian of ``sigma_mm``, worked out on a coarser grid."""
    factor = max(1, int(sigma_mm / settings.pitch_mm / 2))
    small = np.asarray(Image.fromarray(image).reduce(factor))
    return resized(gaussian_filter(small, sigma_mm / settings.pitch_mm / factor, truncate=3.0), image.shape)
