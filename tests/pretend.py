"""A picture that stands for a real mammogram in tests: a half-round breast of power-law texture with one vessel in it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

ROWS, COLUMNS = 640, 480
BREAST = (300.0, 400.0)
"""Half the height and the width of the half ellipse, pixels."""


def vessel_points() -> np.ndarray:
    """(column, row) of the vessel's middle: a bow from the chest wall towards the nipple."""
    t = np.linspace(0, 1, 400)
    return np.stack([40 + 230 * t, 420 - 90 * t + 35 * np.sin(np.pi * t)], 1)


def mammogram(seed: int = 9110, noise: float = 0.004, vessel: float = 0.12) -> np.ndarray:
    """A picture (rows, columns), float32 in [0, 1]; the chest wall is on the left, air is 0."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:ROWS, :COLUMNS]
    inside = ((row - ROWS / 2) / BREAST[0]) ** 2 + (column / BREAST[1]) ** 2 < 1
    depth = distance_transform_edt(np.pad(inside, ((0, 0), (1, 0)), mode="edge"))[:, 1:]
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(ROWS), np.fft.fftfreq(COLUMNS), indexing="ij"))
    frequency[0, 0] = 1
    texture = np.fft.ifft2(np.fft.fft2(rng.normal(size=(ROWS, COLUMNS))) / (frequency + 0.01) ** 1.5).real
    picture = 0.4 + 0.08 * texture / texture.std()
    middle = np.zeros((ROWS, COLUMNS))
    places = np.rint(vessel_points()).astype(int)
    middle[places[:, 1], places[:, 0]] = 1
    line = gaussian_filter(middle, 2.2)
    picture = picture + vessel * np.minimum(line / line.max(), 1)
    picture = gaussian_filter(picture, 0.8) + rng.normal(0, noise, (ROWS, COLUMNS))
    return (np.clip(picture, 0.02, 0.95) * np.clip(depth / 15, 0, 1) * inside).astype(np.float32)
