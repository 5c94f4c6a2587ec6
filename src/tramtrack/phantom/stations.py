"""The stations that a synthetic woman may be imaged at: beam, detector, noise, and how the image is made for display.

Names of makers are not used: a station is like one of a kind that is or was common. Which one a woman is imaged at does not
depend on whether she has BAC.
"""

from __future__ import annotations

from dataclasses import dataclass

from tramtrack.errors import UsageError
from tramtrack.phantom.beam import Beam
from tramtrack.phantom.settings import Grid, PhantomSettings


@dataclass(frozen=True)
class Station:
    """One kind of mammography station.

    ``beam``: anode/filter. ``detector``: DetectorType (0018,7004). ``native``: its own matrix. ``blur_mm``: standard deviation
    of the Gaussian that stands for focal spot and detector; its MTF is exp(-2 (pi f blur)^2). ``electronic``: standard
    deviation of a pixel's electronic noise, in quanta. ``equalised``: share of the thickness that is taken out for display.
    ``fine`` and ``coarse``: gain of detail below about 0.5 and 3 mm. ``slope`` and ``middle``: of the sigmoid that makes grey.
    ``film``: a digitised film, with its grain, border, lead marker and scratches.
    """

    name: str
    beam: Beam
    detector: str
    native: Grid
    blur_mm: float
    electronic: float
    equalised: float
    fine: float
    coarse: float
    slope: float
    middle: float
    film: bool = False

    @property
    def maker(self) -> str:
        """What stands under Manufacturer (0008,0070)."""
        return f"SYNTHETIC {self.name}"


STATIONS = (
    Station("A", Beam("W/Rh"), "DIRECT", Grid(3328, 2560, 0.07), 0.07, 12.0, 0.95, 0.35, 0.4, 3.0, 0.55),
    Station("B", Beam("Rh/Rh"), "SCINTILLATOR", Grid(2294, 1914, 0.10), 0.11, 8.0, 0.97, 0.3, 0.35, 2.6, 0.48),
    Station("C", Beam("W/Al"), "DIRECT", Grid(2816, 2016, 0.085), 0.08, 10.0, 0.94, 0.4, 0.5, 3.2, 0.52),
    Station("D", Beam("Mo/Rh"), "STORAGE", Grid(4728, 3540, 0.05), 0.13, 15.0, 0.88, 0.2, 0.25, 2.4, 0.5),
)
"""Digital stations: two direct converters (amorphous selenium), a scintillator, and storage phosphor plates."""

FILM = Station("FILM", Beam("Mo/Mo"), "FILM", Grid(4800, 3600, 0.05), 0.09, 0.0, 0.60, 0.0, 0.0, 2.6, 0.55, film=True)
"""Film, digitised."""

DETECTORS: dict[str, Grid | None] = {
    "0.15": Grid(1536, 768, 0.15),
    "0.1": Grid(2400, 1800, 0.1),
    "0.2": Grid(1280, 960, 0.2),
    **{station.name: station.native for station in STATIONS},
    "own": None,
}
"""Names of matrices: three that are the same for all women, each station's own for all women, or to each her station's."""


def matrix_of(detector: str) -> Grid | None:
    """The matrix that a name stands for; None for "own". Raises UsageError for a name that is not known."""
    if detector not in DETECTORS:
        raise UsageError(f"phantom: detector: expected one of {', '.join(DETECTORS)}, received {detector!r}")
    return DETECTORS[detector]


def require_room_at_stations(settings: PhantomSettings) -> None:
    """Raise UsageError where women have their stations' own matrices and one of those does not hold the largest breast."""
    if settings.own_matrix:
        digital = STATIONS if settings.film_share < 1 else ()
        film = (FILM,) if settings.film_share > 0 else ()
        for station in (*digital, *film):
            settings.require_room(station.native, station.name)
