"""Every number that a person may want to turn when making a synthetic cohort, with its unit."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from tramtrack.errors import UsageError
from tramtrack.store import text_sha256


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
        rows, columns: pixels. pitch_mm: distance between pixel centres at the detector, mm. own_matrix: True gives every
        woman her station's own matrix and pitch in their place. magnification: of the breast at the detector.
    The women
        age_mean, age_sd, age_range: years. odds_ratio_per_decade: of having BAC, for ten years more of age.
        depth_mm, half_height_mm: ranges of the compressed breast's reach from the chest wall and of half its height in CC, mm.
        film_share: share of women imaged on film; the others' stations are drawn evenly. implant_share: share of women with
        implants.
    The acquisition
        quanta: mean number of quanta that automatic exposure lets each 0.2 x 0.2 mm of the detector see behind the breast.
        motion_share: share of views blurred by motion. nipple_share: share of views whose nipple is out of profile.
    The calcified arteries (the hardness)
        breast_share: probability that a breast of a woman with BAC has calcified arteries (at least one breast has).
        burden_shape: the two parameters of the Beta distribution of a woman's burden in 0..1; a higher burden means more,
        longer, denser and more complete segments.
        segment_length_mm: length of a calcified segment at burden 0 and 1, mm.
        segments: mean number of calcified segments in an affected breast at burden 0 and 1.
        hydroxyapatite: volume fraction of solid mineral in the calcified wall at burden 0 and 1.
        coverage: share of the wall's surface that is calcified at burden 0 and 1.
        wall: a tram-track's calcified wall over the artery's outer radius, drawn for each segment.
        faint_share: share of the women without BAC who have arterial calcium below visibility.
    What counts as visible
        visible_cnr: contrast-to-noise ratio in 0.2 x 0.2 mm (calcium's signal after blur and scatter over the quantum noise
        behind the mean breast) from which calcium is visible. visible_area_mm2: area of visible calcium above which a view is
        labelled positive.
    The distractors, in women with and without BAC alike, means a breast (Poisson)
        round, clusters, rods, eggshells, skin_calcifications, masses, clips: objects of the breast, seen in both views.
        skin_folds: means a view. artery_trunks, vein_trunks, ducts, ligaments: ranges of their number a breast.
    """

    rows: int = 1536
    columns: int = 768
    pitch_mm: float = 0.15
    own_matrix: bool = False
    magnification: float = 1.0
    age_mean: float = 59.0
    age_sd: float = 9.0
    age_range: tuple[int, int] = (40, 84)
    odds_ratio_per_decade: float = 2.2
    depth_mm: tuple[float, float] = (60.0, 100.0)
    half_height_mm: tuple[float, float] = (64.0, 98.0)
    film_share: float = 0.15
    implant_share: float = 0.0
    quanta: float = 20000.0
    motion_share: float = 0.03
    nipple_share: float = 0.1
    breast_share: float = 0.65
    burden_shape: tuple[float, float] = (1.2, 2.0)
    segment_length_mm: tuple[float, float] = (10.0, 60.0)
    segments: tuple[float, float] = (1.3, 4.0)
    hydroxyapatite: tuple[float, float] = (0.08, 0.40)
    coverage: tuple[float, float] = (0.45, 0.95)
    wall: tuple[float, float] = (0.15, 0.35)
    faint_share: float = 0.05
    visible_cnr: float = 9.5
    visible_area_mm2: float = 2.0
    round: float = 2.0
    clusters: float = 0.4
    rods: float = 0.5
    eggshells: float = 0.4
    skin_calcifications: float = 0.5
    masses: float = 0.25
    clips: float = 0.05
    skin_folds: float = 0.1
    artery_trunks: tuple[int, int] = (2, 3)
    vein_trunks: tuple[int, int] = (2, 3)
    ducts: tuple[int, int] = (5, 9)
    ligaments: tuple[int, int] = (50, 110)

    def __post_init__(self) -> None:
        for field in fields(self):
            value, is_pair = getattr(self, field.name), isinstance(field.default, tuple)
            of_its_kind = isinstance(value, tuple) and len(value) == 2 if is_pair else not isinstance(value, tuple)
            _require(field.name, value, of_its_kind, "two numbers (first, second)" if is_pair else "one value")
        for name, expected, holds in _RULES:
            _require(name, getattr(self, name), _every(getattr(self, name), holds), expected)
        for name in ("own_matrix",):
            _require(name, getattr(self, name), isinstance(getattr(self, name), bool), "True or False")
        for name in _RANGES:
            value = getattr(self, name)
            _require(name, value, value[0] <= value[1], "a range (low, high)")
        for field in fields(self):  # 12 and 12.0 are the same cohort, with the same hash
            value = getattr(self, field.name)
            if isinstance(field.default, float):
                object.__setattr__(self, field.name, float(value))
            elif isinstance(field.default, tuple) and isinstance(field.default[0], float):
                object.__setattr__(self, field.name, tuple(map(float, value)))
        if not self.own_matrix:
            self.require_room(self.grid)

    def require_room(self, grid: Grid, whose: str = "") -> None:
        """Raise UsageError, naming rows or columns and ``whose`` station, where ``grid`` does not hold the largest breast."""
        # A CC view's breast reaches 1.03 * 1.06 of half_height from a nipple that lies up to 6 mm off the middle (anatomy).
        needed = (2.19 * self.half_height_mm[1] + 13, 1.08 * self.depth_mm[1] + 6)
        for name, extent, least in zip(("rows", "columns"), grid.field_mm, needed, strict=True):
            least *= self.magnification
            _require(
                f"{name}{whose and f' of station {whose}'}", getattr(grid, name), extent >= least,
                f"{name} x pitch_mm of at least {least:g} mm, or the breast is larger than the matrix ({extent:g} mm)",
            )  # fmt: skip

    def with_text(self, assignments: Iterable[str], **others: object) -> PhantomSettings:
        """These settings with each ``name=value`` taken over; a pair is ``name=first,second``, a whole number stays one.

        ``others``: what else is changed, at once, since a matrix may fit a breast only as both are changed. Raises UsageError
        naming an assignment that is none, a name that is no setting or comes twice, or a value out of its range.
        """
        known = {field.name: field.default for field in fields(self)}
        changed = dict(others)
        for text in assignments:
            name, equals, value = (part.strip() for part in text.partition("="))
            if not equals:
                raise UsageError(f"phantom setting: expected name=value, received {text!r}")
            if name not in known:
                near = difflib.get_close_matches(name, known, 3, 0.3)
                raise UsageError(
                    f"phantom setting {name}: no such setting; the nearest are {', '.join(near) or ', '.join(known)}"
                )
            if name in changed:
                raise UsageError(f"phantom setting {name}: expected one value, received {changed[name]!r} and then {value}")
            values = tuple(_value_of(part.strip(), text) for part in value.split(","))
            changed[name] = values if isinstance(known[name], tuple) else values[0] if len(values) == 1 else values
        return replace(self, **changed)  # type: ignore[arg-type]

    @property
    def grid(self) -> Grid:
        """The whole matrix at the detector."""
        return Grid(self.rows, self.columns, self.pitch_mm)

    @property
    def sha256(self) -> str:
        """Hash of every setting."""
        return text_sha256(json.dumps(asdict(self), sort_keys=True))


Rule = tuple[tuple[str, ...], str, Callable[[float], bool]]
_GROUPS: tuple[Rule, ...] = (
    (("rows", "columns", "artery_trunks", "vein_trunks"), "whole, >= 1", lambda x: isinstance(x, int) and x >= 1),
    (("ducts", "ligaments"), "whole, >= 0", lambda x: isinstance(x, int) and x >= 0),
    (("age_range",), "whole years, 18 to 120", lambda x: isinstance(x, int) and 18 <= x <= 120),
    (("depth_mm", "half_height_mm"), "at least 20 mm", lambda x: x >= 20),
    (
        (
            *("pitch_mm", "odds_ratio_per_decade", "burden_shape", "segment_length_mm", "segments"),
            *("visible_cnr", "visible_area_mm2"),
        ),
        "above 0",
        lambda x: x > 0,
    ),
    (("rows", "columns"), "at most 65535, as a DICOM file", lambda x: x <= 65535),
    (("pitch_mm",), "at most 10 mm", lambda x: x <= 10),
    (("magnification",), "1 to 2", lambda x: 1 <= x <= 2),
    (("age_mean",), "years, 18 to 120", lambda x: 18 <= x <= 120),
    (("quanta",), "1 to 1e12", lambda x: 1 <= x <= 1e12),
    (
        ("age_sd", "round", "clusters", "rods", "eggshells", "skin_calcifications", "masses", "clips", "skin_folds"),
        "0 or more",
        lambda x: x >= 0,
    ),
    (
        (
            *("segments", "round", "clusters", "rods", "eggshells", "skin_calcifications", "masses", "clips", "skin_folds"),
            *("artery_trunks", "vein_trunks", "ducts", "ligaments"),
        ),
        "at most 1000",
        lambda x: x <= 1000,
    ),
    (("breast_share", "hydroxyapatite", "coverage", "wall"), "in (0, 1]", lambda x: 0 < x <= 1),
    (("film_share", "implant_share", "motion_share", "nipple_share", "faint_share"), "in 0..1", lambda x: 0 <= x <= 1),
)
_RULES = tuple((name, expected, holds) for names, expected, holds in _GROUPS for name in names)
_RANGES = (
    "age_range", "depth_mm", "half_height_mm", "artery_trunks", "vein_trunks", "ducts", "ligaments", "wall",
)  # fmt: skip


def _value_of(word: str, text: str) -> float | int | bool:
    """What a word of an assignment ``text`` stands for. Raises UsageError where it is neither a number nor true or false."""
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    try:
        return float(word) if set(word.lower()) & set(".en") else int(word)
    except ValueError:
        raise UsageError(f"phantom setting {text}: expected a number, true or false, received {word!r}") from None


def _every(value: object, holds: Callable[[float], bool]) -> bool:
    values = value if isinstance(value, tuple) else (value,)
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in values)
    return numbers and all(holds(x) for x in values)


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise UsageError(f"phantom setting {name}: expected {expected}, received {value!r}")


def require_whole(what: str, value: object, least: int, most: int | None = None) -> None:
    """Raise UsageError, naming ``what``, where a value is no whole number from ``least`` on, or goes beyond ``most``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        expected = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{what}: expected a whole number {expected}, received {value!r}")


def require_settings(what: str, settings: object) -> None:
    """Raise UsageError, saying for ``what``, where settings are something else, as the preset that holds them."""
    if not isinstance(settings, PhantomSettings):
        hint = "; give its .settings" if hasattr(settings, "settings") else ""
        raise UsageError(f"{what}: settings: expected PhantomSettings, received {type(settings).__name__}{hint}")


def require_folder(what: str, out: Path) -> None:
    """Raise UsageError, saying for ``what``, where a file stands in the place of the folder ``out``."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{what}: expected a folder to write into, received the file {out}")
