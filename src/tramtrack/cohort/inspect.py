"""One file, looked at once: its header first, then its pixels, to a View or an Exclusion. Runs in a worker process."""

from __future__ import annotations

import hashlib
import re
import struct
import warnings
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError

from tramtrack.cohort import privacy
from tramtrack.cohort.exam import Exclusion, Position, Reason, Side, View
from tramtrack.cohort.header import (
    Header,
    absent_breast,
    age_years,
    exposure_mas,
    kind_of,
    not_a_view,
    number,
    read_header,
    spacing_mm,
)
from tramtrack.cohort.privacy import NO_SECRET, Secret
from tramtrack.cohort.projection import Refusal, against
from tramtrack.imaging import ahead
from tramtrack.imaging.breast import Breast, NoBreast, find_breast
from tramtrack.imaging.burned_in import has_text
from tramtrack.imaging.pixels import (
    PICTURE_SUFFIXES,
    Picture,
    PixelError,
    decode,
    picture_of,
    present,
    read_dicom,
    read_stored,
)
from tramtrack.imaging.prepare import prepare_breast
from tramtrack.imaging.presentation import MALFORMED
from tramtrack.imaging.similarity import perceptual_hash, thumbnail
from tramtrack.protocol import Prepare
from tramtrack.store import bytes_sha256, file_sha256

PIXEL_REASONS = {
    "no-pixels": Reason.NO_PIXELS,
    "no-decoder": Reason.NO_DECODER,
    "truncated": Reason.TRUNCATED_PIXELS,
    "not-grey": Reason.PHOTOGRAPH,
    "multi-frame": Reason.MULTI_FRAME,
}


DENSITY_CODES = ("129715009", "F-01710", "111031")
"""Breast composition: SNOMED CT and SRT, and the image's own in DCM."""
HEADER_ERRORS = (*MALFORMED, EOFError, RecursionError, zlib.error, struct.error, BytesLengthException)
"""What pydicom and its callers raise over a header whose bytes are not what they should be. Their messages are not repeated:
they may quote a value, and so a name."""


@dataclass(frozen=True)
class Candidate:
    """A file to look at; where a table names woman, exam, side and view, the table is believed and not the header.

    ``for_processing`` and ``synthesised`` say whether such images are taken. ``secret`` makes pseudonyms of
    woman, exam, instance and institution; without a key they stay as they are, and no institution or accession number is kept.
    With ``prepare`` (a protocol's section) a view is also prepared, into the folder ``ahead``, while its pixels are at hand.
    """

    file: str
    woman: str = ""
    exam: str = ""
    side: str = ""
    view: str = ""
    spacing_mm: float | None = None
    age_years: int | None = None
    absent_breast: str = ""
    synthetic: bool = False
    for_processing: bool = False
    synthesised: bool = False
    secret: Secret = NO_SECRET
    prepare: Prepare | None = None
    ahead: str = ""

    @property
    def from_table(self) -> bool:
        """Whether a table said whose view this is."""
        return bool(self.woman)


def inspect_file(candidate: Candidate) -> dict[str, Any]:
    """Look at one file: {"view": fields of a View} or {"exclusion": fields of an Exclusion}. Never raises for bad input.

    ``identifying`` beside it names the attributes that still identify a person.
    """
    named: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's quote the values that they warn of, and so a name
            found = _inspect(candidate, named)
    except PixelError as error:
        found = Exclusion(candidate.file, PIXEL_REASONS.get(error.kind, Reason.UNREADABLE), _without_path(error, candidate))
    except NoBreast as error:
        found = Exclusion(candidate.file, Reason.NOT_A_BREAST, str(error))
    except OSError as error:
        found = Exclusion(candidate.file, Reason.UNREADABLE, error.strerror or type(error).__name__)
    except HEADER_ERRORS as error:
        found = Exclusion(candidate.file, Reason.UNREADABLE, f"the file is malformed ({_name(error)})")
    outcome = {"view": asdict(found)} if isinstance(found, View) else {"exclusion": asdict(found)}
    return {**outcome, "identifying": named}


def _inspect(candidate: Candidate, named: list[str]) -> View | Exclusion:
    path = Path(candidate.file)
    named += privacy.telling_path(candidate.file, candidate.woman)
    if not path.is_file():
        return _no_file(candidate.file, path)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return _inspect_picture(candidate, path, named)
    try:
        header = read_dicom(path, stop_before_pixels=True)
    except InvalidDicomError:
        return Exclusion(candidate.file, Reason.NOT_AN_IMAGE, "neither DICOM nor a PNG or TIFF picture")
    except HEADER_ERRORS as error:
        return Exclusion(candidate.file, Reason.UNREADABLE, f"the DICOM header breaks off or is malformed ({_name(error)})")
    taken = {"for_processing": candidate.for_processing, "synthesised": candidate.synthesised}
    facts: Header | Refusal | None
    try:
        named += [word for word in privacy.identifying(header, candidate.file) if word not in named]
        facts = not_a_view(header, **taken) if candidate.from_table else read_header(header, **taken)
    except HEADER_ERRORS as error:
        return Exclusion(candidate.file, Reason.UNREADABLE, f"the DICOM header is malformed ({_name(error)})")
    if isinstance(facts, Refusal):
        return Exclusion(candidate.file, facts.reason, facts.detail)
    content = path.read_bytes()
    try:
        dataset = read_dicom(path, content)
    except HEADER_ERRORS as error:
        return Exclusion(candidate.file, Reason.UNREADABLE, f"the pixel data's element is malformed ({_name(error)})")
    stored = decode(dataset, path)
    picture = present(stored, dataset)
    breast = find_breast(picture.values)
    view = View(
        woman=candidate.woman,
        exam=candidate.exam,
        side=Side(candidate.side or Side.L),
        view=Position(candidate.view or Position.CC),
        file=candidate.file,
        sha256=bytes_sha256(content),
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
        synthetic=candidate.synthetic or str(dataset.get("SyntheticData", "")) == "YES",
        kind=kind_of(dataset),
        steps="; ".join(picture.steps),
        implant=str(dataset.get("BreastImplantPresent", "") or ""),
        absent_breast=candidate.absent_breast or str(absent_breast(dataset) or ""),
        doubts="; ".join(breast.doubts),
        burned_in=_burned_in(dataset, picture.values, breast),
        site=str(dataset.get("InstitutionName", "") or "").strip() if candidate.secret.key else "",
        accession=str(dataset.get("AccessionNumber", "") or "").strip() if candidate.secret.key else "",
        model=str(dataset.get("ManufacturerModelName", "") or ""),
        density=_density(dataset),
        thickness_mm=number(dataset, "BodyPartThickness"),
        exposure_mas=exposure_mas(dataset),
        kvp=number(dataset, "KVP"),
        perceptual_hash=perceptual_hash(thumbnail(picture.values, breast)),
    )
    _prepare_ahead(candidate, view, picture, breast)
    told = _as_the_table_says(view, header) if facts is None else _as_the_header_says(view, facts)
    return _pseudonymous(told, candidate.secret)


def _no_file(file: str, path: Path) -> Exclusion:
    if path.is_dir():
        return Exclusion(file, Reason.UNREADABLE, "a folder: what lies in it was not looked at")
    if path.exists():
        return Exclusion(file, Reason.NOT_AN_IMAGE, "neither a file nor a folder: a pipe, a socket or a device")
    return Exclusion(file, Reason.UNREADABLE, "a link that leads to no file" if path.is_symlink() else "no such file")


def _prepare_ahead(candidate: Candidate, view: View, picture: Picture, breast: Breast) -> None:
    if candidate.prepare:
        prepared = prepare_breast(picture, breast, candidate.prepare, view.spacing_mm)
        ahead.keep(Path(candidate.ahead), view.sha256, candidate.prepare, view.spacing_mm, prepared)


def _pseudonymous(view: View, secret: Secret) -> View:
    """A view whose woman, exam, instance and site are named by keyed hashes; without a key, the view as it is."""
    key = secret.key
    if not key or (view.synthetic and secret.spares_synthetic):
        return view
    woman = privacy.pseudonym(key, "W", view.woman)
    return replace(
        view,
        woman=woman,
        exam=privacy.exam_pseudonym(key, woman, view.exam),
        sop_instance_uid=privacy.pseudonym(key, "U", view.sop_instance_uid) if view.sop_instance_uid else "",
        site=privacy.pseudonym(key, "S", view.site) if view.site else "",
        accession=privacy.exam_pseudonym(key, woman, view.accession) if view.accession else "",
    )


def _burned_in(dataset: pydicom.Dataset, picture: np.ndarray, breast: Breast) -> str:
    said = str(dataset.get("BurnedInAnnotation", "")) == "YES"
    return " and ".join((["header"] if said else []) + (["seen"] if has_text(picture, breast.mask) else []))


def _density(dataset: pydicom.Dataset) -> str:
    """The breast's composition as the acquisition context states it, in the words of its code, or empty."""
    for item in dataset.get("AcquisitionContextSequence") or []:
        for name in item.get("ConceptNameCodeSequence") or []:
            if str(name.get("CodeValue", "")) in DENSITY_CODES:
                for value in item.get("ConceptCodeSequence") or []:
                    return str(value.get("CodeMeaning", ""))
    return ""


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


def _as_the_table_says(view: View, header: pydicom.Dataset) -> View:
    """The view, with what its header says against the table; a header that is malformed in that says nothing."""
    try:
        return replace(view, contradictions="; ".join(against(header, view.side, view.view)))
    except HEADER_ERRORS:
        return view


def _inspect_picture(candidate: Candidate, path: Path, named: list[str]) -> View | Exclusion:
    if not candidate.from_table:
        return Exclusion(
            candidate.file, Reason.NOT_IN_TABLE, "a picture needs a table that names its woman, exam, side, view and file"
        )
    stored = read_stored(path)
    named += privacy.identifying_picture(path)
    picture = picture_of(stored)
    breast = find_breast(picture.values)
    view = View(
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
        synthetic=candidate.synthetic,
        steps="; ".join(picture.steps),
        absent_breast=candidate.absent_breast,
        doubts="; ".join(breast.doubts),
        burned_in="seen" if has_text(picture.values, breast.mask) else "",
        perceptual_hash=perceptual_hash(thumbnail(picture.values, breast)),
    )
    _prepare_ahead(candidate, view, picture, breast)
    return _pseudonymous(view, candidate.secret)


def pixels_sha256(stored: np.ndarray) -> str:
    """A hash of the pixel values and their arrangement, the same whatever file format or byte order carried them.

    Of the values as 16 bits without sign, or as 32 where one of them is negative.
    """
    hashed = hashlib.sha256(f"{stored.shape[0]}x{stored.shape[1]}".encode())
    hashed.update(np.ascontiguousarray(stored, dtype="<i4" if stored.min() < 0 else "<u2").data)
    return hashed.hexdigest()


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
    """Date and time of the acquisition, else of the content or study, as digits; what else may stand there is left out."""
    dates = {kind: str(dataset.get(f"{kind}Date", "") or "").replace(".", "") for kind in ("Acquisition", "Content", "Study")}
    date = next((kind for kind, text in dates.items() if re.fullmatch(r"\d{8}", text)), "")
    whole = re.match(r"\d{8}(\d{2,6}(\.\d+)?)?", str(dataset.get("AcquisitionDateTime", "") or ""))
    if whole and date != "Acquisition":
        return whole.group()
    times = (str(dataset.get(f"{kind}Time", "") or "").replace(":", "") for kind in ("Acquisition", "Content"))
    time = next((text for text in times if re.fullmatch(r"\d{2,6}(\.\d+)?", text)), "")
    return f"{dates[date]}{time}" if date else ""


def _name(error: Exception) -> str:
    """What kind of error it is; zlib's and struct's are both called error."""
    kind = type(error)
    return f"{kind.__module__}.{kind.__name__}" if kind.__name__ == "error" else kind.__name__


def _without_path(error: Exception, candidate: Candidate) -> str:
    return str(error).removeprefix(f"{candidate.file}: ")
