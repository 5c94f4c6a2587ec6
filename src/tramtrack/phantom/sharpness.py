"""How sharp and how grainy an image is, measured on its own breast: what is put into it must be neither sharper nor cleaner."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.optimize import curve_fit

TILE = 256
"""Pixels along a tile whose spectrum is taken."""

LEAST_SIGMA, MOST_SIGMA = 0.3, 4.0
"""Standard deviations of the blur, pixels, that are believed: a pixel's own width is the least."""

SHARPEST_MM = 0.05
"""Standard deviation of the blur of focal spot and screen or detector, mm, at its least (ours)."""

LAPLACIAN = np.array([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
"""Immerkær's operator (Comput Vis Image Underst 1996;64:300): blind to planes, so that what it leaves is mostly noise."""


def radial_spectrum(
    values: NDArray[np.float64], where: NDArray[np.bool_], tile: int = TILE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Frequencies (n,) in cycles a pixel, 0 to .5, and the mean power (n,) there, over tiles that lie wholly in ``where``.

    Tiles overlap by half; each has its plane taken out and a Hann window put on. The tile is halved until one fits, down to 32;
    then both arrays are empty.
    """
    while tile >= 32:
        tiles = list(_tiles(values, where, tile))
        if tiles:
            break
        tile //= 2
    else:
        return np.empty(0), np.empty(0)
    hann = np.outer(np.hanning(tile), np.hanning(tile))
    power = np.mean([np.abs(np.fft.fft2((patch - _plane(patch)) * hann)) ** 2 for patch in tiles], axis=0) / (hann**2).sum()
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(tile), np.fft.fftfreq(tile), indexing="ij"))
    ring = np.rint(frequency * tile).astype(int).ravel()
    count = tile // 2
    counts = np.bincount(ring, minlength=count + 1)
    total = np.bincount(ring, power.ravel(), minlength=count + 1)
    return np.arange(1, count + 1) / tile, total[1 : count + 1] / counts[1 : count + 1]


def _tiles(values: NDArray[np.float64], where: NDArray[np.bool_], tile: int) -> list[NDArray[np.float64]]:
    found = []
    for top in range(0, values.shape[0] - tile + 1, tile // 2):
        for left in range(0, values.shape[1] - tile + 1, tile // 2):
            if where[top : top + tile, left : left + tile].all():
                found.append(values[top : top + tile, left : left + tile])
    return found


def _plane(patch: NDArray[np.float64]) -> NDArray[np.float64]:
    """The plane that fits a square patch best."""
    t = np.arange(len(patch)) - (len(patch) - 1) / 2
    scale = (t**2).sum() * len(patch)
    return patch.mean() + np.add.outer(t * ((t @ patch).sum() / scale), t * ((patch @ t).sum() / scale))


def resolution(attenuation: NDArray[np.float64], interior: NDArray[np.bool_], pitch_mm: float) -> float:
    """Standard deviation in pixels of the Gaussian blur that an image carries, at most MOST_SIGMA.

    Tissue's spectrum is a power law; noise from before the blur (quanta) lies on it, blur bends both down, and noise from after
    it (grain, electronics, rounding) is a floor: (A f^-b + N) exp(-(2 pi s f)^2) + M is fitted to the logarithm of the radial
    spectrum of the breast's interior. A floor can hide the blur, so it is never taken as less than SHARPEST_MM at
    ``pitch_mm``, which no focal spot and screen or detector undercuts.
    """
    least = min(max(SHARPEST_MM / pitch_mm, LEAST_SIGMA), MOST_SIGMA)
    frequency, power = radial_spectrum(attenuation, interior)
    used = frequency > 0.02
    if used.sum() < 10 or not (power > 0).all():
        return least
    f, logs = frequency[used], np.log(power[used])

    def model(f: NDArray[np.float64], a: float, b: float, s: float, n: float, m: float) -> NDArray[np.float64]:
        return np.logaddexp(np.logaddexp(a - b * np.log(f), n) - (2 * np.pi * s * f) ** 2, m)

    start = [logs[0] + 3 * np.log(f[0]), 3.0, 0.5, float(logs.min()), float(logs.min()) - 1]
    limits = ([-np.inf, 2.0, 0.0, -np.inf, -np.inf], [np.inf, 4.0, MOST_SIGMA, np.inf, np.inf])
    try:
        fitted, _ = curve_fit(model, f, logs, p0=start, bounds=limits, max_nfev=4000)
    except RuntimeError:  # no fit: the spectrum is no power law
        return least
    return float(max(fitted[2], least))


def grain(values: NDArray[np.float64], aperture: int = 1) -> float:
    """Standard deviation of the noise in ``values`` (rows, columns), each averaged over squares of ``aperture`` pixels."""
    rows, columns = (size // aperture * aperture for size in values.shape)
    if min(rows, columns) < 3 * aperture:
        return float(values.std())
    coarse = values[:rows, :columns].reshape(rows // aperture, aperture, columns // aperture, aperture).mean(axis=(1, 3))
    left = convolve(coarse, LAPLACIAN, mode="nearest")[1:-1, 1:-1] if min(coarse.shape) > 2 else coarse - coarse.mean()
    return float(1.4826 * np.median(np.abs(left)) / 6)
