"""The codes that results carry: the standard's where it has one, the project's own scheme where it has none."""

from __future__ import annotations

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

VASCULAR_CALCIFICATION = Code("129759000", "SCT", "Vascular calcification")
AREA = Code("112196", "DCM", "Area of Vascular Calcification")
PERCENTAGE = Code("112198", "DCM", "Percentage of Vascular Calcification")
LENGTH = Code("410668003", "SCT", "Length")
PRESENT = Code("52101004", "SCT", "Present")
ABSENT = Code("2667000", "SCT", "Absent")

PIXELS = Code("{pixels}", "UCUM", "pixels")
MICROMETRE = Code("um", "UCUM", "micrometer")

BREASTS = {"L": Code("80248007", "SCT", "Left breast"), "R": Code("73056007", "SCT", "Right breast")}
"""PS3.16 CID 6022."""
BREAST = Code("76752008", "SCT", "Breast")
LATERALITIES = {"L": Code("7771000", "SCT", "Left"), "R": Code("24028007", "SCT", "Right")}
"""PS3.16 CID 244."""
VIEWS = {"CC": Code("399162004", "SCT", "cranio-caudal"), "MLO": Code("399368009", "SCT", "medio-lateral oblique")}
"""PS3.16 CID 4014."""

EXPLANATIONS = {
    "grad-cam++": codes.DCM.GradientWeightedClassActivation,
    "grad-cam": codes.DCM.GradientWeightedClassActivation,
    "integrated-gradients": codes.DCM.Saliency,
    "occlusion": codes.DCM.Saliency,
}
"""What a heat map's values are (PS3.16 CID 7180), by the name of its method."""

OWN_SCHEME = "99TRAMTRACK"
OWN_SCHEME_NAME = "tramtrack: scores of networks"
SCORE = Code("score", OWN_SCHEME, "Network score, which ranks and is no probability")
THRESHOLD = Code("threshold", OWN_SCHEME, "Score from which the call is positive")
PROBABILITY = Code("probability", OWN_SCHEME, "Probability at the stated prevalence")
PREVALENCE = Code("prevalence", OWN_SCHEME, "Share of women with BAC for which the probability holds")
CONFORMAL = Code("conformal", OWN_SCHEME, "BAC likely or unlikely, by conformal prediction")
ALPHA = Code("alpha", OWN_SCHEME, "Error rate that is kept in each class")
AREA_LOW = Code("area-low", OWN_SCHEME, "Low end of the interval of the area")
AREA_HIGH = Code("area-high", OWN_SCHEME, "High end of the interval of the area")
FINDINGS = {
    "BAC likely": Code("likely", OWN_SCHEME, "BAC likely"),
    "BAC unlikely": Code("unlikely", OWN_SCHEME, "BAC unlikely"),
    "indeterminate": Code("82334004", "SCT", "Indeterminate"),
}
"""The standard has no codes for a score that ranks and for these findings; a private scheme (99...) is what it provides for
that (PS3.16 8.2)."""
