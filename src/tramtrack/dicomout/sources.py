"""The images that results belong to: single DICOM images of one study, with headers that new objects can inherit from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom import config
from pydicom.datadict import dictionary_VM
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.valuerep import VR, validate_value

from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.cohort.inspect import HEADER_ERRORS
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.pixels import PICTURE_SUFFIXES, read_dicom

Place = tuple[str, str]
"""Side and view, such as ("L", "MLO")."""

NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "Rows", "Columns")
MAY_BE_EMPTY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Type 2 attributes of the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1): inherited, or empty."""

AS_THEY_ARE = frozenset(("SpecificCharacterSet", "PatientName", "PatientID", "AccessionNumber", "StudyID"))
"""By these an archive files a result with its exam, so they say what the images say, too long a number as well."""
GROUPS = (0x0008, 0x0010)
"""Where the other attributes are that a result inherits."""

WELL_FORMED = {
    "PatientBirthDate": re.compile(r"(\d{8})?"),
    "PatientSex": re.compile(r"[MFO]?"),
    "StudyDate": re.compile(r"(\d{8})?"),
    "StudyTime": re.compile(r"(\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?)?"),
    "ContentDate": re.compile(r"\d{8}"),
    "ContentTime": re.compile(r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?"),
}
"""What the standard allows in them (PS3.5 6.2); anything else is left out, since no conforming object may hold it."""

UTF_8 = "ISO_IR 192"
ONE_CHARACTER_SET = re.compile(r"ISO_IR (13|100|101|109|110|126|127|138|144|148|166|192|203)")
"""Character sets that a result keeps (PS3.3 C.12.1.1.2); several at once, as in Japan and Korea, and GB18030 become UTF-8,
which says the same: highdicom does not take them all."""

DIRECTION = re.compile(r"[LRAPHF]{1,3}")
"""A value of PatientOrientation (PS3.3 C.7.6.1.1.1); collections of film write the view there."""


@dataclass(frozen=True)
class SourceImage:
    """One view's file and its ``header``, which has no pixel data and no group of the file itself."""

    side: str
    view: str
    file: Path
    header: Dataset

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Millimetres between rows and between columns at the detector (ImagerPixelSpacing), or None where the file does not
        say."""
        spacing = self.header.get("ImagerPixelSpacing")
        return (float(spacing[0]), float(spacing[1])) if spacing and len(spacing) == 2 else None

    @property
    def orientation(self) -> list[str]:
        """PatientOrientation: where rows and columns point; empty where the file does not say, or says something else there."""
        found = self.header.get("PatientOrientation") or []
        ways = [] if isinstance(found, str) else [str(way) for way in found]
        return ways if len(set(ways)) == 2 and all(DIRECTION.fullmatch(way) for way in ways) else []


def read_sources(files: Mapping[Place, Path]) -> tuple[SourceImage, ...]:
    """The headers of an exam's views, in the order L CC, L MLO, R CC, R MLO.

    Raises UsageError where a file is a picture and no DICOM, TramtrackError where one says of no study or image that it is it,
    or the files are of several studies or women.
    """
    sources = [_read(*place, files[place]) for place in ((str(s), str(v)) for s, v in STANDARD_VIEWS) if place in files]
    for name in ("StudyInstanceUID", "PatientID"):
        found = sorted({str(source.header[name].value) for source in sources})
        if len(found) > 1:
            raise TramtrackError(
                f"{sources[0].file.parent}: expected images of one study of one woman, found {len(found)} values of {name}; "
                "results cannot be written into several studies, so predict each by itself"
            )
    return tuple(sources)


def _read(side: str, view: str, file: Path) -> SourceImage:
    if file.suffix.lower() in PICTURE_SUFFIXES:
        raise UsageError(
            f"{file.name}: DICOM results are written into the study of a DICOM image, and this is a picture without one; "
            "ask for no DICOM, or give the exam as DICOM"
        )
    try:
        header = read_dicom(file, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise TramtrackError(f"{file}: the image that results belong to can no longer be read ({error})") from error
    for name in NEEDED:
        if header.get(name) in (None, ""):
            raise TramtrackError(f"{file}: has no {name}, so that no result can refer to it; no DICOM results are written")
    _say_characters_plainly(header)
    _leave_out_the_malformed(header)
    for name in MAY_BE_EMPTY:
        if header.get(name) is None:
            setattr(header, name, "")
    return SourceImage(side, view, file, header)


def _leave_out_the_malformed(header: Dataset) -> None:
    """Of what results inherit, delete what no conforming object may hold."""
    for tag in [tag for tag in header.keys() if tag.group in GROUPS]:  # noqa: SIM118  a Dataset iterates over its elements
        try:
            element = header[tag]
            sound = element.keyword in AS_THEY_ARE or _is_well_formed(element)
        except HEADER_ERRORS:
            sound = False
        if not sound:
            del header[tag]


def _is_well_formed(element: DataElement) -> bool:
    """Whether a value, or each of several, is what its representation allows; raises one of HEADER_ERRORS where it is not."""
    if element.VR == VR.UI:  # identifiers are referred to as they are
        return True
    if element.VR == VR.SQ:
        return bool(element.value)
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    allowed = WELL_FORMED.get(element.keyword)
    if len(values) > 1 and element.keyword and dictionary_VM(element.tag) == "1":
        return False
    for value in values:
        validate_value(element.VR, value if isinstance(value, bytes | int | float) else str(value or ""), config.RAISE)
    return allowed is None or allowed.fullmatch(str(values[0] or "")) is not None


def _say_characters_plainly(header: Dataset) -> None:
    """One character set that every result can have, or none where the header names none."""
    found = header.get("SpecificCharacterSet")
    if not found:
        header.pop("SpecificCharacterSet", None)
    elif not ONE_CHARACTER_SET.fullmatch(str(found)):
        header.decode()
        header.SpecificCharacterSet = UTF_8
