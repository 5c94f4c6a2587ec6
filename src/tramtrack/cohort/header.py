"""What a DICOM header says a file is: a mammographic view of a known side and position, or why not. Reads no pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from tramtrack.cohort.exam import Position, Reason, Side

VIEW_CODES: dict[tuple[str, str], Position] = {
    ("SCT", "399162004"): Position.CC,
    ("SCT", "399368009"): Position.MLO,
    ("SNM3", "R-10242"): Position.CC,
    ("SRT", "R-10242"): Position.CC,
    ("SNM3", "R-10226"): Position.MLO,
    ("SRT", "R-10226"): Position.MLO,
}
"""View codes of PS3.16 CID 4014, in the scheme of today and the two before it."""

MAMMOGRAPHY_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.1.2": "presentation",
    "1.2.840.10008.5.1.4.1.1.1.2.1": "processing",
    "1.2.840.10008.5.1.4.1.1.13.1.3": "tomosynthesis",
}
CBIS_NAME = re.compile(r"^(?:Calc|Mass)-(?:Training|Test)_(P_\d+)_(LEFT|RIGHT)_(CC|MLO)(_\d+)?$")
"""CBIS-DDSM writes woman, side and view into PatientID, and the number of a lesion behind it for crops and masks."""


@dataclass(frozen=True)
class Header:
    """The facts of one header that the intake needs."""

    woman: str
    exam: str
    side: Side
    side_source: str
    position: Position
    view_source: str


@dataclass(frozen=True)
class Refusal:
    """Why a header is not that of a standard mammographic view."""

    reason: Reason
    detail: str


def read_header(dataset: Dataset) -> Header | Refusal:
    """Decide from a header (pixels need not be loaded) whether this is a standard view.

    The view comes from ViewCodeSequence, then ViewPosition, then PatientOrientation (where film collections put it);
    the side from ImageLaterality, then Laterality, then the CBIS-DDSM name.
    """
    cbis = CBIS_NAME.match(str(dataset.get("PatientID", "")).strip())
    refusal = _not_a_mammogram(dataset) or _is_derived(dataset, cbis)
    if refusal:
        return refusal
    side, side_source = _side(dataset, cbis)
    if side is None:
        return Refusal(Reason.UNKNOWN_SIDE, f"expected L or R in ImageLaterality or Laterality, found {side_source}")
    position, view_source = _position(dataset)
    if position is None:
        return Refusal(Reason.UNKNOWN_POSITION, f"expected CC or MLO, found {view_source}")
    woman = cbis.group(1) if cbis else str(dataset.get("PatientID", "") or "").strip()
    if not woman:
        return Refusal(Reason.NO_WOMAN, "PatientID is empty: it is not known whose view this is")
    exam = f"cbis-{dataset.get('StudyDate', '') or 'exam'}" if cbis else str(dataset.get("StudyInstanceUID", "") or "exam")
    return Header(woman, exam, side, side_source, position, view_source)


def spacing_mm(dataset: Dataset) -> float | None:
    """Millimetres between pixels in the breast's plane: ImagerPixelSpacing over the magnification, else PixelSpacing."""
    imager = dataset.get("ImagerPixelSpacing")
    if imager:
        magnification = float(dataset.get("EstimatedRadiographicMagnificationFactor", 1) or 1)
        return float(imager[0]) / magnification
    spacing = dataset.get("PixelSpacing")
    return float(spacing[0]) if spacing else None


def age_years(dataset: Dataset) -> int | None:
    """PatientAge in whole years, or None; the birth date is never read."""
    match = re.fullmatch(r"(\d{3})Y", str(dataset.get("PatientAge", "")))
    return int(match.group(1)) if match else None


def _not_a_mammogram(dataset: Dataset) -> Refusal | None:
    kind = MAMMOGRAPHY_CLASSES.get(str(dataset.get("SOPClassUID", "")))
    modality = str(dataset.get("Modality", ""))
    if kind is None and modality != "MG":
        return Refusal(Reason.NOT_MAMMOGRAPHY, f"modality is {modality or 'absent'}, expected MG")
    return not_a_view(dataset)


def not_a_view(dataset: Dataset) -> Refusal | None:
    """What no table can put right: a header of several frames, or of raw detector data. None for any other."""
    kind = MAMMOGRAPHY_CLASSES.get(str(dataset.get("SOPClassUID", "")))
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if kind == "tomosynthesis" or frames > 1:
        return Refusal(Reason.MULTI_FRAME, f"{frames} frames: tomosynthesis or a series, not a 2D view")
    intent = str(dataset.get("PresentationIntentType", ""))
    if kind == "processing" or intent == "FOR PROCESSING":
        return Refusal(Reason.FOR_PROCESSING, "raw detector data (For Processing), not an image for reading")
    return None


def _is_derived(dataset: Dataset, cbis: Any) -> Refusal | None:
    if cbis and cbis.group(4):
        return Refusal(Reason.DERIVED_CROP, "PatientID is that of a lesion's crop or mask")
    series = str(dataset.get("SeriesDescription", ""))
    if "cropped image" in series.lower() or "roi mask" in series.lower():
        return Refusal(Reason.DERIVED_CROP, f"series {series!r}")
    return None


def _side(dataset: Dataset, cbis: Any) -> tuple[Side | None, str]:
    found = []
    for key in ("ImageLaterality", "Laterality"):
        value = str(dataset.get(key, "") or "").strip().upper()
        if value in ("L", "R"):
            return Side(value), key
        if value:
            found.append(f"{key} {value}")
    if cbis:
        return Side(cbis.group(2)[0]), "PatientID"
    return None, ", ".join(found) or "neither"


def _position(dataset: Dataset) -> tuple[Position | None, str]:
    sequence = dataset.get("ViewCodeSequence")
    if sequence:
        item = sequence[0]
        code = (str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", "")))
        modifiers = [str(modifier.get("CodeMeaning", "")) for modifier in item.get("ViewModifierCodeSequence", None) or []]
        if modifiers:
            return None, f"view modifiers: {', '.join(modifiers)}"
        if code in VIEW_CODES:
            return VIEW_CODES[code], "ViewCodeSequence"
        return None, f"view code {code[1]} ({item.get('CodeMeaning', '')})"
    value = str(dataset.get("ViewPosition", "") or "").strip().upper()
    if value:
        return (Position(value), "ViewPosition") if value in ("CC", "MLO") else (None, f"ViewPosition {value}")
    orientation = dataset.get("PatientOrientation")
    words = [orientation] if isinstance(orientation, str) else list(orientation or [])
    for word in words:
        if str(word).strip().upper() in ("CC", "MLO"):
            return Position(str(word).strip().upper()), "PatientOrientation"
    return None, "no view code, no ViewPosition and no view in PatientOrientation"
