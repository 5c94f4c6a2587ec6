"""One file, looked at once: its header first, then its pixels, to a View or an Exclusion. Runs in a worker process."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from tramtrack.cohort.exam import Exclusion, Position, Reason, Side, View
from tramtrack.cohort.header import Header, absent_breast, age_years, kind_of, not_a_view, read_header, spacing_mm
from tramtrack.cohort.projection import Refusal
from tramtrack.imaging.breast import NoBreast, find_breast
from tramtrack.imaging.pixels import PICTURE_SUFFIXES, PixelError, decode, picture_of, present, read_stored
from tramtrack.store import file_sha256

PIXEL_REASONS = {
    "no-pixels": Reason.NO_PIXELS,
    "no-decoder": Reason.NO_DECODER,
    "truncated": Reason.TRUNCATED_PIXELS,
    "not-grey": Reason.PHOTOGRAPH,
    "multi-frame": Reason.MULTI_FRAME,
}


HEADER_ERRORS = (ValueError, KeyError, AttributeError, EOFError, NotImplementedError, TypeError, IndexError, RecursionError)
"""What pydicom and its callers raise over a header whose bytes are not what they should be."""


@dataclass(frozen=True)
class Candidate:
    """A file to look at; where a table names woman, exam, side and view, the table is believed and not the header.

    ``for_processing`` and ``synthesised`` say whether such images are taken.
    """

    file: str
    woman: str = ""
    exam: str = ""
    side: str = ""
    view: str = ""
    spacing_mm: float | None = None
    age_years: int | None = None
    absent_breast: str = ""
    for_processing: bool = False
    synthesised: bool = False

    @property
    def from_table(self) -> bool:
        """Whether a table said whose view this is."""
        return bool(self.woman)


def inspect_file(candidate: Candidate) -> dict[str, Any]:
    """Look at one file: {"view": fields of a View} or {"exclusion": fields of an Exclusion}. Never raises for bad input."""
    try:
        found = _inspect(candidate)
    except PixelError as error:
        found = Exclusion(candidate.file, PIXEL_REASONS.get(error.kind, Reason.UNREADABLE), _without_path(error, candidate))
    except NoBreast as error:
        found = Exclusion(candidate.file, Reason.NOT_A_BREAST, str(error))
    except OSError as error:
        found = Exclusion(candidate.file, Reason.UNREADABLE, error.strerror or type(error).__name__)
    return {"view": asdict(found)} if isinstance(found, View) else {"exclusion": asdict(found)}


def _inspect(candidate: Candidate) -> View | Exclusion:
    path = Path(candidate.file)
    if not path.is_file():
        if path.exists():
            return Exclusion(candidate.file, Reason.NOT_AN_IMAGE, "neither a file nor a folder: a pipe, a socket or a device")
        return Exclusion(
            candidate.file, Reason.UNREADABLE, "a link that leads to no file" if path.is_symlink() else "no such file"
        )
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _inspect_picture(candidate, path)
    try:
        with path.open("rb") as stream:
            header = pydicom.dcmread(stream, stop_before_pixels=True)
    except InvalidDicomError:
        return Exclusion(candidate.file, Reason.NOT_AN_IMAGE, "neither DICOM nor a PNG or TIFF picture")
    except HEADER_ERRORS as error:
        return Exclusion(candidate.file, Reason.UNREADABLE, f"the DICOM header breaks off or is malformed ({_one_line(error)})")
    taken = {"for_processing": candidate.for_processing, "synthesised": candidate.synthesised}
    facts: Header | Refusal | None
    try:
        facts = not_a_view(header, **taken) if candidate.from_table else read_header(header, **taken)
    except HEADER_ERRORS as error:
        return Exclusion(candidate.file, Reason.UNREADABLE, f"the DICOM header is malformed ({_one_line(error)})")
    if isinstance(facts, Refusal):
        return Exclusion(candidate.file, facts.reason, facts.detail)
    dataset = pydicom.dcmread(path)
    stored = decode(dataset, path)
    picture = present(stored, dataset)
    breast = find_breast(picture.values)
    view = View(
        woman=candidate.woman,
        exam=candidate.exam,
        side=Side(candidate.side or Side.L),
        view=Position(candidate.view or Position.CC),
        file=candidate.file,
        sha256=file_sha256(path),
        pixels_sha256=pixels_sha256(stored),
        rows=stored.shape[0],
        columns=stored.shape[1],
        bits=int(dataset.get("BitsStored", 0)),
        photometric=str(dataset.get("PhotometricInterpretation", "")),
        spacing_mm=candidate.spacing_mm or spacing_mm(dataset),
        source=f"DICOM, {dataset.file_meta.TransferSyntaxUID.name}",
        view_source="table",
        side_source="table",
        sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
        acquired=_acquired(dataset),
        manufacturer=str(dataset.get("Manufacturer", "") or ""),
        age_years=candidate.age_years if candidate.age_years is not None else age_years(dataset),
        synthetic=str(dataset.get("SyntheticData", "")) == "YES",
        kind=kind_of(dataset),
        steps="; ".join(picture.steps),
        implant=str(dataset.get("BreastImplantPresent", "") or ""),
        absent_breast=candidate.absent_breast or str(absent_breast(dataset) or ""),
        doubts="; ".join(breast.doubts),
    )
    return view if facts is None else _as_the_header_says(view, facts)


def _as_the_header_says(view: View, facts: Header) -> View:
    return replace(
        view,
        woman=facts.woman,
        exam=facts.exam,
        side=facts.side,
        view=facts.position,
        side_source=facts.side_source,
        view_source=facts.view_source,
        contradictions="; ".join(facts.contradictions),
    )


def _inspect_picture(candidate: Candidate, path: Path) -> View | Exclusion:
    if not candidate.from_table:
        return Exclusion(
            candidate.file, Reason.NOT_IN_TABLE, "a picture needs a table that names its woman, exam, side, view and file"
        )
    stored = read_stored(path)
    picture = picture_of(stored)
    breast = find_breast(picture.values)
    return View(
        woman=candidate.woman,
        exam=candidate.exam,
        side=Side(candidate.side),
        view=Position(candidate.view),
        file=candidate.file,
        sha256=file_sha256(path),
        pixels_sha256=pixels_sha256(stored),
        rows=stored.shape[0],
        columns=stored.shape[1],
        bits=stored.dtype.itemsize * 8,
        photometric="MONOCHROME2",
        spacing_mm=candidate.spacing_mm,
        source=f"{path.suffix[1:].upper()}, {stored.dtype.itemsize * 8} bit",
        view_source="table",
        side_source="table",
        age_years=candidate.age_years,
        steps="; ".join(picture.steps),
        absent_breast=candidate.absent_breast,
        doubts="; ".join(breast.doubts),
    )


def pixels_sha256(stored: np.ndarray) -> str:
    """A hash of the pixel values and their arrangement, the same whatever file format or byte order carried them."""
    head = f"{stored.shape[0]}x{stored.shape[1]}".encode()
    return hashlib.sha256(head + np.ascontiguousarray(stored.astype("<i4")).tobytes()).hexdigest()


def as_exclusion(file: str, reason: Reason, detail: str) -> dict[str, Any]:
    """The record of a file that gave no answer at all."""
    return {"exclusion": asdict(Exclusion(file, reason, detail))}


def view_from(fields: dict[str, Any]) -> View:
    """A View back from its recorded fields."""
    view = View(**fields)
    return replace(view, side=Side(view.side), view=Position(view.view))


def exclusion_from(fields: dict[str, Any]) -> Exclusion:
    """An Exclusion back from its recorded fields."""
    return Exclusion(fields["file"], Reason(fields["reason"]), fields["detail"])


def _acquired(dataset: pydicom.Dataset) -> str:
    date = str(dataset.get("AcquisitionDate", "") or dataset.get("ContentDate", "") or dataset.get("StudyDate", "") or "")
    time = str(dataset.get("AcquisitionTime", "") or dataset.get("ContentTime", "") or "")
    return f"{date}{time}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _without_path(error: Exception, candidate: Candidate) -> str:
    return str(error).removeprefix(f"{candidate.file}: ")
