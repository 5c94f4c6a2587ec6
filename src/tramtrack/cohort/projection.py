"""Which breast and which projection a header speaks of: all attributes that say so, in order of belief, and contradictions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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

MODIFIERS: dict[str, Reason] = {
    "399163009": Reason.MAGNIFICATION,
    "R-102D6": Reason.MAGNIFICATION,
    "399055006": Reason.SPOT_COMPRESSION,
    "R-102D7": Reason.SPOT_COMPRESSION,
    "399209000": Reason.IMPLANT_DISPLACED,
    "R-102D5": Reason.IMPLANT_DISPLACED,
    "399110001": Reason.TANGENTIAL,
    "R-102C2": Reason.TANGENTIAL,
}
"""View modifiers of PS3.16 CID 4015 that have a reason of their own; any other one makes a view not a standard one, too."""

SPECIMEN_CODES = ("127457009", "G-8310")
SIDE_CODES = {"7771000": Side.L, "G-A101": Side.L, "24028007": Side.R, "G-A100": Side.R}
"""Left and right of PS3.16 CID 244, as modifiers of the anatomic region."""

CBIS_NAME = re.compile(r"^(?:Calc|Mass)-(?:Training|Test)_(P_\d+)_(LEFT|RIGHT)_(CC|MLO)(_\d+)?$")
"""CBIS-DDSM writes woman, side and view into PatientID, and the number of a lesion behind it for crops and masks."""

VIEW_POSITION = re.compile(r"^([LR]?)[ _-]?(CC|MLO)[ _-]?([LR]?)$")
DESCRIBED = re.compile(r"(?<![A-Z])(?:(L|R|LEFT|RIGHT)[ _-]*)?(CC|MLO)(?![A-Z])(?:[ _-]+(L|R|LEFT|RIGHT)(?![A-Z]))?")
OTHERS = re.compile(r"(?<![A-Z])[LR]?[ _-]*(ML|LM|LMO|XCC[LM]?|SIO)(?![A-Z])")
"""Projections that are none of the two, as descriptions write them; words of two letters that mean others are left out."""
DESCRIPTIONS = ("SeriesDescription", "ProtocolName")
LATERALITIES = ("ImageLaterality", "Laterality", "FrameLaterality")
NEITHER_SIDE = ("B", "U")
"""Both and unpaired (PS3.3 C.8.11.2), which a view of one breast is not."""

Value = TypeVar("Value", Side, Position)


@dataclass(frozen=True)
class Refusal:
    """Why a header is not that of a standard mammographic view."""

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Found(Generic[Value]):
    """What a header says, the attribute that was believed, and every other one that says something else."""

    value: Value
    source: str
    contradictions: tuple[str, ...]


def find_side(dataset: Dataset) -> Found[Side] | Refusal:
    """The side: ImageLaterality, Laterality, FrameLaterality, the region's modifier, ViewPosition, CBIS name, description."""
    statements = list(_sides(dataset))
    if not statements:
        values = [f"{key} {dataset.get(key)}" for key in ("ImageLaterality", "Laterality") if dataset.get(key)]
        return Refusal(
            Reason.UNKNOWN_SIDE,
            f"expected L or R in ImageLaterality or Laterality, found {', '.join(values) or 'neither'}",
        )
    oriented = _orientation(dataset)  # a consequence of how the image is shown: it can contradict, but decides nothing
    found = _believed(statements, [(oriented[0], "PatientOrientation")] if oriented else [])
    neither = [(_text(dataset, key), key) for key in LATERALITIES]
    against = tuple(f"{key} says {other}, {found.source} {found.value}" for other, key in neither if other in NEITHER_SIDE)
    return Found(found.value, found.source, found.contradictions + against)


def find_position(dataset: Dataset) -> Found[Position] | Refusal:
    """The position: ViewCodeSequence, ViewPosition, PatientOrientation, SeriesDescription; the first that speaks is believed.

    A first one that names another projection is not passed over for a later one.
    """
    refusal = _not_standard(dataset)
    if refusal:
        return refusal
    statements = list(_positions(dataset))
    if not statements:
        return Refusal(
            Reason.UNKNOWN_POSITION, "expected CC or MLO, found no view code, no ViewPosition and no view in PatientOrientation"
        )
    found = _believed(statements, [])
    against = tuple(f"{name} says {other}, {found.source} {found.value}" for other, name in _other_projections(dataset))
    return Found(found.value, found.source, found.contradictions + against)


def against(dataset: Dataset, side: Side, position: Position) -> tuple[str, ...]:
    """What a header says of the view that a table calls ``side`` and ``position`` and that differs from it."""
    found_side, found_position, refusal = find_side(dataset), find_position(dataset), _not_standard(dataset)
    told: list[str] = []
    if isinstance(found_side, Found) and found_side.value is not side:
        told.append(f"{found_side.source} says {found_side.value}, the table {side}")
    if refusal:
        told.append(f"{refusal.detail}, the table {position}")
    elif isinstance(found_position, Found) and found_position.value is not position:
        told.append(f"{found_position.source} says {found_position.value}, the table {position}")
    return tuple(told)


def _other_projections(dataset: Dataset) -> Iterator[tuple[str, str]]:
    """(projection, attribute) for what names neither CC nor MLO beside something that does."""
    named = _text(dataset, "ViewPosition")
    if named and not VIEW_POSITION.match(named):
        yield named, "ViewPosition"
    for key in DESCRIPTIONS:
        for other in OTHERS.findall(_text(dataset, key)):
            yield other, key


def _believed(statements: list[tuple[Value, str]], consequences: list[tuple[Value, str]]) -> Found[Value]:
    value, source = statements[0]
    others = [f"{name} says {other}, {source} {value}" for other, name in (*statements[1:], *consequences) if other != value]
    return Found(value, source, tuple(others))


def _sides(dataset: Dataset) -> Iterator[tuple[Side, str]]:
    for key in LATERALITIES:
        value = _text(dataset, key)
        if value in ("L", "R"):
            yield Side(value), key
    for region in dataset.get("AnatomicRegionSequence") or []:
        for modifier in region.get("AnatomicRegionModifierSequence") or []:
            if str(modifier.get("CodeValue", "")) in SIDE_CODES:
                yield SIDE_CODES[str(modifier.CodeValue)], "AnatomicRegionModifierSequence"
    position = VIEW_POSITION.match(_text(dataset, "ViewPosition"))
    if position and (position.group(1) or position.group(3)):
        yield Side(position.group(1) or position.group(3)), "ViewPosition"
    cbis = cbis_name(dataset)
    if cbis:
        yield Side(cbis.group(2)[0]), "PatientID"
    for key, side, _ in _described(dataset):
        if side:
            yield side, key


def _positions(dataset: Dataset) -> Iterator[tuple[Position, str]]:
    for item in dataset.get("ViewCodeSequence") or []:
        code = _code(item)
        if code in VIEW_CODES:
            yield VIEW_CODES[code], "ViewCodeSequence"
    named = VIEW_POSITION.match(_text(dataset, "ViewPosition"))
    if named:
        yield Position(named.group(2)), "ViewPosition"
    words = [str(word).strip().upper() for word in _values(dataset.get("PatientOrientation"))]
    said = next((Position(word) for word in words if word in set(Position)), None)
    oriented = _orientation(dataset)
    if said or oriented:
        yield said or oriented[1], "PatientOrientation"  # type: ignore[index]
    described = {position for _, _, position in _described(dataset)}
    if len(described) == 1:
        yield described.pop(), next(key for key, _, _ in _described(dataset))
    cbis = cbis_name(dataset)
    if cbis:
        yield Position(cbis.group(3)), "PatientID"


def _not_standard(dataset: Dataset) -> Refusal | None:
    """A view code, a modifier or a ViewPosition that names anything but a plain CC or MLO view."""
    items = list(dataset.get("ViewCodeSequence") or [])
    for item in items:
        value, meaning = str(item.get("CodeValue", "")), str(item.get("CodeMeaning", ""))
        if value in SPECIMEN_CODES:
            return Refusal(Reason.SPECIMEN, f"view code {value} ({meaning})")
        modified = _modified(item)
        if modified:
            return modified
        if _says(item) and _code(item) not in VIEW_CODES:
            return Refusal(Reason.UNKNOWN_POSITION, f"expected CC or MLO, found view code {value} ({meaning})")
    modified = _modified(dataset)  # misplaced, and said all the same
    if modified:
        return modified
    value = _text(dataset, "ViewPosition")
    if value and not any(_says(item) for item in items) and not VIEW_POSITION.match(value):
        reason = Reason.TANGENTIAL if value in ("TAN", "TANGENTIAL") else Reason.UNKNOWN_POSITION
        return Refusal(reason, f"expected CC or MLO, found ViewPosition {value}")
    return None


def _modified(item: Dataset) -> Refusal | None:
    """That a view is modified, by the codes in an item of ViewCodeSequence."""
    modifiers = [modifier for modifier in item.get("ViewModifierCodeSequence") or [] if _says(modifier)]
    if not modifiers:
        return None
    reasons = [MODIFIERS.get(str(modifier.get("CodeValue", ""))) for modifier in modifiers]
    known = next((reason for reason in reasons if reason), Reason.UNKNOWN_POSITION)
    return Refusal(known, "view modifiers: " + ", ".join(str(modifier.get("CodeMeaning", "")) for modifier in modifiers))


def _orientation(dataset: Dataset) -> tuple[Side, Position] | None:
    """Side and position that follow from the letters of PatientOrientation (PS3.3 C.7.6.1.1.1), or None.

    Columns run towards the other side of the body, in an oblique view towards the feet as well.
    """
    words = [str(word).strip().upper() for word in _values(dataset.get("PatientOrientation"))]
    if len(words) != 2 or words[0] not in ("A", "P"):
        return None
    letters = set(words[1])
    sides = letters & {"L", "R"}
    if len(sides) != 1 or not letters <= {"L", "R", "F", "H"}:
        return None
    side = Side.R if sides == {"L"} else Side.L
    if letters & {"H"}:
        side = Side.L if side is Side.R else Side.R  # shown upside down
    return side, Position.MLO if letters & {"F", "H"} else Position.CC


def _described(dataset: Dataset) -> list[tuple[str, Side | None, Position]]:
    """(attribute, side or None, position) of each view that a description names."""
    found = []
    for key in DESCRIPTIONS:
        for before, position, behind in DESCRIBED.findall(_text(dataset, key)):
            side = before or behind
            found.append((key, Side(side[0]) if side else None, Position(position)))
    return found


def cbis_name(dataset: Dataset) -> re.Match[str] | None:
    """PatientID as CBIS-DDSM writes it: woman, side, view and, for crops and masks, a lesion's number; or None."""
    return CBIS_NAME.match(str(dataset.get("PatientID", "") or "").strip())


def _says(item: Dataset) -> bool:
    """Whether an item of codes has one: what was emptied says nothing."""
    return any(item.get(key) for key in ("CodeValue", "LongCodeValue", "URNCodeValue", "CodeMeaning"))


def _code(item: Dataset) -> tuple[str, str]:
    return str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeValue", ""))


def _text(dataset: Dataset, key: str) -> str:
    return str(dataset.get(key, "") or "").strip().upper()


def _values(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) else list(value or [])
