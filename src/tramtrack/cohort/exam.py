"""The nouns of the intake: a View, an Exam, an Exclusion. Nothing here reads a file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """The laterality of a breast: left or right."""

    L = "L"
    R = "R"


class Position(StrEnum):
    """The projection of a standard screening view."""

    CC = "CC"
    MLO = "MLO"


class Reason(StrEnum):
    """Why a file is not a View."""

    NOT_AN_IMAGE = "not an image file"
    UNREADABLE = "unreadable"
    TRUNCATED_PIXELS = "truncated pixel data"
    NO_DECODER = "no decoder for the transfer syntax"
    NO_PIXELS = "no pixel data"
    NOT_MAMMOGRAPHY = "not mammography"
    TOMOSYNTHESIS = "tomosynthesis"
    MULTI_FRAME = "multi-frame"
    NOT_A_BREAST = "not a breast"
    FOR_PROCESSING = "for processing"
    SYNTHESISED_2D = "synthesised 2D"
    MAGNIFICATION = "magnification"
    SPOT_COMPRESSION = "spot compression"
    IMPLANT_DISPLACED = "implant displaced"
    TANGENTIAL = "tangential"
    SPECIMEN = "specimen"
    PARTIAL_VIEW = "partial view"
    TEST_PATTERN = "test pattern"
    PHOTOGRAPH = "photograph"
    REPORT_SCREEN = "report screen"
    ULTRASOUND = "ultrasound"
    DERIVED_CROP = "crop or mask of another image"
    UNKNOWN_SIDE = "laterality unknown"
    UNKNOWN_POSITION = "not a standard view"
    NO_WOMAN = "woman unknown"
    NOT_IN_TABLE = "not in the table"
    DUPLICATE = "duplicate SOP instance"
    SAME_PIXELS = "same pixels under another UID"
    REPEATED_VIEW = "repeated view"
    INCOMPLETE_EXAM = "incomplete exam"
    TIME_LIMIT = "time limit"
    MEMORY_LIMIT = "memory limit"
    WORKER_DIED = "worker died"


STANDARD_VIEWS: tuple[tuple[Side, Position], ...] = (
    (Side.L, Position.CC),
    (Side.L, Position.MLO),
    (Side.R, Position.CC),
    (Side.R, Position.MLO),
)


@dataclass(frozen=True)
class View:
    """One image of one breast in one projection.

    ``file`` is the path as found, ``sha256`` the hash of its bytes and ``pixels_sha256`` the hash of its decoded pixels.
    ``spacing_mm`` is the distance between pixel centres in the breast's plane (detector spacing over magnification), or
    None where the file does not say. ``age_years`` is in whole years or None. ``kind`` is presentation, processing (raw
    data) or synthesised; ``steps`` what was applied to the stored values; ``contradictions`` attributes of the header that
    differ from those believed; ``implant`` YES, NO or empty for not known; ``absent_breast`` the side that the file calls
    removed, or empty; ``doubts`` why a person should look at the crop; ``burned_in`` "header", "seen" or both where text is
    burned in; ``site`` the institution's pseudonym; ``density`` as the file writes it; ``thickness_mm`` of the compressed
    breast; ``perceptual_hash`` 256 bits as hex; ``accession`` the pseudonym of the exam's number in its hospital, by which a
    label table may name it.
    """

    woman: str
    exam: str
    side: Side
    view: Position
    file: str
    sha256: str
    pixels_sha256: str = ""
    rows: int = 0
    columns: int = 0
    bits: int = 0
    photometric: str = ""
    spacing_mm: float | None = None
    source: str = ""
    view_source: str = ""
    side_source: str = ""
    sop_instance_uid: str = ""
    acquired: str = ""
    manufacturer: str = ""
    age_years: int | None = None
    synthetic: bool = False
    kind: str = "presentation"
    steps: str = ""
    contradictions: str = ""
    implant: str = ""
    absent_breast: str = ""
    doubts: str = ""
    burned_in: str = ""
    site: str = ""
    model: str = ""
    density: str = ""
    thickness_mm: float | None = None
    exposure_mas: float | None = None
    kvp: float | None = None
    perceptual_hash: str = ""
    accession: str = ""

    @property
    def view_id(self) -> str:
        """A name for this view that is unique in a cohort and safe as a file name."""
        return "_".join((safe_name(self.woman), safe_name(self.exam), self.side, self.view))


@dataclass(frozen=True)
class Exclusion:
    """A file that was seen and not taken, and why."""

    file: str
    reason: Reason
    detail: str


@dataclass(frozen=True)
class Exam:
    """The views of one woman from one visit; at least one."""

    woman: str
    exam: str
    views: tuple[View, ...]

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError(f"exam {self.exam} of woman {self.woman}: expected at least one view, received none")

    @property
    def missing(self) -> tuple[tuple[Side, Position], ...]:
        """The standard views that this exam lacks; a breast that was removed lacks none. Empty for a complete exam."""
        present = {(view.side, view.view) for view in self.views}
        absent = {view.absent_breast for view in self.views}
        return tuple(wanted for wanted in STANDARD_VIEWS if wanted not in present and wanted[0] not in absent)

    @property
    def acquired(self) -> str:
        """When its first view was acquired, as the header writes it, or empty."""
        return min((view.acquired for view in self.views if view.acquired), default="")


def safe_name(text: str) -> str:
    """``text`` with everything that is unsafe in a file name replaced by ``-``; a long one (a UID), or one in
    another alphabet, becomes a short hash."""
    if len(text) > 24 or not text.isascii():
        return hashlib.sha256(text.encode()).hexdigest()[:8]
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text).strip("-.") or "unnamed"
