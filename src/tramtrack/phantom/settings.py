"""Every number that a person may want to turn when making a synthetic cohort, with its unit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from tramtrack.errors import UsageError
from tramtrack.store import text_sha256

SMALLEST_FIELD_MM = (240.0, 150.0)
"""Height and width in mm that the largest drawn breast needs."""


@dataclass(frozen=True)
class Grid:
    """A matrix of ``rows`` x ``columns`` pixels, ``pitch_mm`` apart, whose upper left corner lies at the chest wall's top."""

    rows: int
    columns: int
    pitch_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def field_mm(self) -> tuple[float, float]:
        """Height and width, mm."""
        return self.rows * self.pitch_mm, self.columns * self.pitch_mm

    def cropped(self, width_mm: float) -> Grid:
        """The left part of this grid that holds ``width_mm``, in whole blocks of 32 columns, so that air costs nothing."""
        columns = min(self.columns, 32 * (int(width_mm / self.pitch_mm) // 32 + 1))
        return Grid(self.rows, columns, self.pitch_mm)


@dataclass(frozen=True)
class PhantomSettings:
    """How a synthetic cohort looks and how hard it is. Frozen; the same settings and seed give the same bits.

    A pair is a range (lowest, highest) from which a value is drawn. Raises UsageError naming the field that is out of range.

    The matrix
        rows, columns: pixels. pitch_mm: distance between pixel centres at the detector, mm (magnification is 1).
    The women
        age_mean, age_sd, age_range: years. odds_ratio_per_decade: of having BAC, for ten years more of age.
    The acquisition
        photons_per_pixel: mean number of quanta detected in a pixel of 0.2 mm behind fat; noise is its square root.
        blur_mm: standard deviation of the detector's blur, mm.
    The calcified arteries (the hardness)
        breast_share: probability that a breast of a woman with BAC has calcified arteries (at least one breast has).
        burden_shape: the two parameters of the Beta distribution of a woman's burden in 0..1; a higher burden means more,
        longer, denser and more complete segments.
        segment_length_mm: length of a calcified segment at burden 0 and 1, mm.
        segments: mean number of calcified segments in an affected breast at burden 0 and 1.
        hydroxyapatite: volume fraction of solid mineral in the calcified wall at burden 0 and 1.
        coverage: share of the wall's surface that is calcified at burden 0 and 1.
        wall: calcified wall's thickness over the artery's outer radius, drawn for each segment.
    What counts as visible
        visible_cnr: contrast-to-noise ratio (calcium's attenuation over the quantum noise, in one pixel, after blur) from
        which calcium is visible. visible_area_mm2: area of visible calcium above which a view is labelled positive.
    The distractors, in women with and without BAC alike, means a breast (Poisson)
        round, clusters, rods, rings: isolated round calcifications, clusters of specks, secretory rods, lucent-centred rings.
        artery_trunks, vein_trunks: ranges of the number of trunks a breast; arteries branch.
    """

    rows: int = 1280
    columns: int = 960
    pitch_mm: float = 0.2
    age_mean: float = 59.0
    age_sd: float = 9.0
    age_range: tuple[int, int] = (40, 84)
    odds_ratio_per_decade: float = 2.2
    photons_per_pixel: float = 2500.0
    blur_mm: float = 0.12
    breast_share: float = 0.65
    burden_shape: tuple[float, float] = (1.2, 2.0)
    segment_length_mm: tuple[float, float] = (10.0, 60.0)
    segments: tuple[float, float] = (1.3, 4.0)
    hydroxyapatite: tuple[float, float] = (0.10, 0.50)
    coverage: tuple[float, float] = (0.45, 0.95)
    wall: tuple[float, float] = (0.15, 0.35)
    visible_cnr: float = 4.0
    visible_area_mm2: float = 2.0
    round: float = 2.0
    clusters: float = 0.5
    rods: float = 0.6
    rings: float = 0.5
    artery_trunks: tuple[int, int] = (2, 3)
    vein_trunks: tuple[int, int] = (2, 3)

    def __post_init__(self) -> None:
        for name in ("rows", "columns", "artery_trunks", "vein_trunks", "age_range"):
            _require(name, getattr(self, name), _every(getattr(self, name), lambda x: int(x) == x and x >= 1), "whole, >= 1")
        for name in ("pitch_mm", "age_mean", "odds_ratio_per_decade", "photons_per_pixel", "segment_length_mm", "segments"):
            _require(name, getattr(self, name), _every(getattr(self, name), lambda x: x > 0), "above 0")
        for name in ("burden_shape", "visible_cnr", "visible_area_mm2"):
            _require(name, getattr(self, name), _every(getattr(self, name), lambda x: x > 0), "above 0")
        for name in ("age_sd", "blur_mm", "round", "clusters", "rods", "rings"):
            _require(name, getattr(self, name), _every(getattr(self, name), lambda x: x >= 0), "0 or more")
        for name in ("breast_share", "hydroxyapatite", "coverage", "wall"):
            _require(name, getattr(self, name), _every(getattr(self, name), lambda x: 0 < x <= 1), "in (0, 1]")
        for name in ("age_range", "artery_trunks", "vein_trunks", "wall"):
            low, high = getattr(self, name)
            _require(name, (low, high), low <= high, "a range (lowest, highest)")
        for name, extent, needed in zip(("rows", "columns"), self.grid.field_mm, SMALLEST_FIELD_MM, strict=True):
            _require(
                name, getattr(self, name), extent >= needed,
                f"{name} x pitch_mm of at least {needed:g} mm, or the breast is larger than the matrix ({extent:g} mm)",
            )  # fmt: skip

    @property
    def grid(self) -> Grid:
        """The whole matrix."""
        return Grid(self.rows, self.columns, self.pitch_mm)

    @property
    def sha256(self) -> str:
        """Hash of every setting."""
        return text_sha256(json.dumps(asdict(self), sort_keys=True))


def _every(value: object, holds: Callable[[float], bool]) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    return all(isinstance(x, int | float) and math.isfinite(x) and holds(x) for x in values)


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"phantom setting {name}: expected {expected}, received {value!r}")
