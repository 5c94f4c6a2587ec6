"""The X-ray beam of a station as a few energies with weights, and what a breast leaves of it (Beer and Lambert).

The spectra were worked out with SpekPy 2.5.4 (Poludniowski et al., Med Phys 2021;48:3630), target angle 16 degrees, window
0.63 mm Be (0.8 mm with a molybdenum target), 60 cm of air and the filter named, and put into bins: each has its mean energy
and its share of the photons. Their half-value layers were 0.31 (Mo/Mo) to 0.49 mm Al (W/Rh). An integrating detector weights
a photon by its energy; it is taken to stop every one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tramtrack.phantom.materials import MATERIALS

SPECTRA: dict[str, tuple[tuple[float, float], ...]] = {
    # W 29 kVp, 0.05 mm Rh; W 30 kVp, 0.7 mm Al; Mo 28 kVp, 0.03 mm Mo; Mo 29 kVp, 0.025 mm Rh; Rh 29 kVp, 0.025 mm Rh
    "W/Rh": ((12.64, 0.064), (15.70, 0.201), (18.03, 0.211), (20.01, 0.238), (22.12, 0.263), (26.19, 0.023)),
    "W/Al": ((12.38, 0.080), (15.64, 0.173), (18.02, 0.155), (20.00, 0.162), (22.44, 0.217), (26.14, 0.214)),
    "Mo/Mo": ((12.12, 0.201), (15.52, 0.223), (17.60, 0.395), (19.63, 0.132), (22.51, 0.027), (25.49, 0.022)),
    "Mo/Rh": ((12.29, 0.134), (15.55, 0.184), (17.59, 0.377), (19.86, 0.173), (22.16, 0.107), (25.93, 0.025)),
    "Rh/Rh": ((12.30, 0.157), (15.55, 0.217), (17.99, 0.154), (20.05, 0.274), (22.26, 0.168), (25.93, 0.030)),
}
"""Anode/filter -> (energy in keV, share of the photons) of each bin."""


KVP = {"W/Rh": 29, "W/Al": 30, "Mo/Mo": 28, "Mo/Rh": 29, "Rh/Rh": 29}
"""Tube voltage of each spectrum, kV."""


@dataclass(frozen=True)
class Beam:
    """One anode and filter of ``SPECTRA``."""

    name: str

    @property
    def kvp(self) -> int:
        """Tube voltage, kV."""
        return KVP[self.name]

    @cached_property
    def energies_kev(self) -> NDArray[np.float64]:
        """Mean energy of each bin, (n,)."""
        return np.array([energy for energy, _ in SPECTRA[self.name]])

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """Share of the detector's signal in air that each bin makes, (n,), summing to 1: photons times energy."""
        found = np.array([energy * share for energy, share in SPECTRA[self.name]])
        return found / found.sum()

    @cached_property
    def coefficients(self) -> dict[str, NDArray[np.float64]]:
        """Linear attenuation per mm of each material in each bin, (n,)."""
        return {name: material.attenuation(self.energies_kev) for name, material in MATERIALS.items()}

    def transmission(
        self, paths_mm: Mapping[str, NDArray[np.float32]], thickness_mm: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Share of the signal in air that passes, of the paths' shape, in (0, 1].

        ``paths_mm``: path through each material; what they leave of ``thickness_mm`` is fat. Calcium of a vessel or elsewhere
        replaces muscle or gland, so its path is not part of the thickness: give it under ``hydroxyapatite`` as it is.
        """
        fat = self.coefficients["adipose"]
        total = np.empty(thickness_mm.shape, np.float32)
        names = list(paths_mm)
        adds = np.stack([fat, *(self.coefficients[name] - self.replaced(name) for name in names)], 1).astype(np.float32)
        weights = self.weights.astype(np.float32)
        rows = max(1, 60_000 // thickness_mm.shape[1])  # a band stays in the processor's cache
        for top in range(0, thickness_mm.shape[0], rows):
            band = np.s_[top : top + rows]
            met = [thickness_mm[band], *(paths_mm[name][band] for name in names)]
            total[band] = 0
            # Sums in a fixed order, without a matrix product: its rounding may depend on the number of threads.
            for share, of in zip(weights, adds, strict=True):
                line = met[0] * -of[0]
                for path, add in zip(met[1:], of[1:], strict=True):
                    line -= path * add
                total[band] += share * np.exp(line, out=line)
        return total

    def replaced(self, name: str) -> NDArray[np.float64]:
        """Attenuation per mm in each bin of what a material stands in the place of: muscle for calcium, else fat."""
        return self.coefficients["muscle" if name == "hydroxyapatite" else "adipose"]

    def hardened(self, thickness_mm: float, gland: float) -> NDArray[np.float64]:
        """Weights of the bins, (n,), behind ``thickness_mm`` of which a share ``gland`` is fibroglandular and the rest fat."""
        mean = gland * self.coefficients["glandular"] + (1 - gland) * self.coefficients["adipose"]
        left = self.weights * np.exp(-mean * thickness_mm)
        return left / left.sum()

    def effective(self, name: str, thickness_mm: float, gland: float = 0.2) -> float:
        """What a thin layer of a material adds to the logarithmic signal behind a breast, per mm."""
        return float((self.hardened(thickness_mm, gland) * (self.coefficients[name] - self.replaced(name))).sum())
