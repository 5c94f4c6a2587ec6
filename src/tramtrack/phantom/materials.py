"""Linear attenuation coefficients of what a synthetic breast is made of, from the elements up.

A mixture's mass attenuation coefficient is the mean of its elements' by mass; times its density it is a linear coefficient.
The elements' coefficients are those that NIST tabulates (Hubbell and Seltzer, NISTIR 5632, the values of XCOM), read between
its energies along straight lines in log-log; no element here has an edge above 8 keV. Compositions: fat, fibroglandular
tissue and skin from Hammerstein et al. (Radiology 1979;130:485), blood and muscle from ICRU Report 44 (1989).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ENERGIES_KEV = (10.0, 15.0, 20.0, 30.0, 40.0)
"""Where the elements' coefficients are given."""

ELEMENTS = {
    "H": (0.3854, 0.3764, 0.3695, 0.3570, 0.3458),
    "C": (2.373, 0.8071, 0.4420, 0.2562, 0.2076),
    "N": (3.879, 1.236, 0.6178, 0.3066, 0.2288),
    "O": (5.952, 1.836, 0.8651, 0.3779, 0.2585),
    "Na": (15.57, 4.694, 2.057, 0.7197, 0.3969),
    "P": (40.35, 12.39, 5.352, 1.700, 0.8096),
    "S": (50.12, 15.50, 6.708, 2.113, 0.9872),
    "Cl": (57.25, 17.84, 7.739, 2.425, 1.117),
    "K": (79.07, 25.03, 10.93, 3.413, 1.541),
    "Ca": (93.41, 29.79, 13.06, 4.080, 1.830),
    "Ti": (110.7, 35.87, 15.85, 4.972, 2.214),
    "Fe": (170.6, 57.08, 25.68, 8.176, 3.629),
}
"""Mass attenuation coefficients in cm2/g at ``ENERGIES_KEV`` (NISTIR 5632)."""


@dataclass(frozen=True)
class Material:
    """A mixture: ``density`` in g/cm3 and ``shares`` by mass of its elements."""

    density: float
    shares: dict[str, float]

    def mass_attenuation(self, energy_kev: ArrayLike) -> NDArray[np.float64]:
        """Mass attenuation coefficient in cm2/g at each energy, of the energies' shape; 10 to 40 keV."""
        at = np.log(np.asarray(energy_kev, dtype=np.float64))
        known = np.log(ENERGIES_KEV)
        total = sum(self.shares.values())
        of = {name: np.exp(np.interp(at, known, np.log(ELEMENTS[name]))) for name in self.shares}
        return np.asarray(sum(share / total * of[name] for name, share in self.shares.items()))

    def attenuation(self, energy_kev: ArrayLike) -> NDArray[np.float64]:
        """Linear attenuation coefficient per mm at each energy, of the energies' shape."""
        return self.mass_attenuation(energy_kev) * self.density / 10


_ASH = {"P": 0.25, "S": 0.25, "K": 0.25, "Ca": 0.25}


def _tissue(density: float, h: float, c: float, n: float, o: float, ash: float) -> Material:
    """A tissue of Hammerstein's table; its ash is P, S, K and Ca in equal parts by mass (our choice: the table lumps them)."""
    return Material(density, {"H": h, "C": c, "N": n, "O": o, **{name: ash * share for name, share in _ASH.items()}})


MATERIALS = {
    "adipose": _tissue(0.93, 0.112, 0.619, 0.017, 0.251, 0.001),
    "glandular": _tissue(1.04, 0.102, 0.184, 0.032, 0.677, 0.005),
    "skin": _tissue(1.09, 0.098, 0.178, 0.050, 0.667, 0.007),
    "muscle": Material(
        1.05,
        {"H": 0.102, "C": 0.143, "N": 0.034, "O": 0.710, "Na": 0.001, "P": 0.002, "S": 0.003, "Cl": 0.001, "K": 0.004},
    ),
    "blood": Material(
        1.06,
        {
            **{"H": 0.102, "C": 0.110, "N": 0.033, "O": 0.745, "Na": 0.001},
            **{"P": 0.001, "S": 0.002, "Cl": 0.003, "K": 0.002, "Fe": 0.001},
        },
    ),
    "hydroxyapatite": Material(3.16, {"Ca": 0.3989, "P": 0.1850, "O": 0.4141, "H": 0.0020}),
    "titanium": Material(4.51, {"Ti": 1.0}),
    "saline": Material(1.006, {"H": 0.1109, "O": 0.8800, "Na": 0.0036, "Cl": 0.0055}),
}  # fmt: skip
"""What a breast may hold. A vessel's wall is taken as muscle; real calcifications hold a fraction of hydroxyapatite
(Ca10(PO4)6(OH)2, 3.16 g/cm3) in it; clips are titanium; an implant is a bag of saline."""

REFERENCE_KEV = 20.0
"""The one energy at which the constants below are worked out, for whatever needs a single number."""

ADIPOSE = float(MATERIALS["adipose"].attenuation(REFERENCE_KEV))
"""Fat at 20 keV, per mm."""

GLANDULAR = float(MATERIALS["glandular"].attenuation(REFERENCE_KEV))
"""Fibroglandular tissue at 20 keV, per mm."""

HYDROXYAPATITE = float(MATERIALS["hydroxyapatite"].attenuation(REFERENCE_KEV))
"""Solid calcium hydroxyapatite at 20 keV, per mm."""

SOFT_CONTRAST = GLANDULAR - ADIPOSE
"""What a millimetre of glandular tissue adds where it replaces fat at 20 keV, per mm."""

CALCIUM_CONTRAST = HYDROXYAPATITE - float(MATERIALS["muscle"].attenuation(REFERENCE_KEV))
"""What a millimetre of solid hydroxyapatite adds where it replaces a vessel's wall at 20 keV, per mm."""

HYDROXYAPATITE_MG_PER_MM3 = MATERIALS["hydroxyapatite"].density
"""Mass of solid hydroxyapatite, mg/mm3 (g/cm3 is the same number)."""
