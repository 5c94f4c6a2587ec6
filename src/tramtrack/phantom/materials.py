"""Linear attenuation coefficients of what a synthetic breast is made of, at one effective energy of 20 keV.

A mammographic beam is not monoenergetic; one effective energy keeps every image a sum of path lengths, which is what makes
the truth exact. The values are rounded: fat and hydroxyapatite from the mass attenuation coefficients that
NIST tabulates (Hubbell and Seltzer, NISTIR 5632) times the density, fibroglandular tissue from Johns and Yaffe (Phys Med
Biol 1987;32:675). They set the relative contrast of tissues here; nothing is claimed about dose.
"""

from __future__ import annotations

ADIPOSE = 0.054
"""Fat, per mm."""

GLANDULAR = 0.080
"""Fibroglandular tissue, per mm; skin, muscle and blood are taken as equal to it."""

HYDROXYAPATITE = 2.0
"""Solid calcium hydroxyapatite (3.16 g/cm3), per mm; real calcifications hold a fraction of it."""

SOFT_CONTRAST = GLANDULAR - ADIPOSE
"""What a millimetre of glandular tissue, blood, muscle or skin adds where it replaces fat, per mm."""

CALCIUM_CONTRAST = HYDROXYAPATITE - GLANDULAR
"""What a millimetre of solid hydroxyapatite adds where it replaces a vessel's wall, per mm."""
