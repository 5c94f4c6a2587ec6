"""Pseudonyms by a keyed hash, and what of a person's identity a header still carries. Values never leave this module."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import platformdirs
from PIL import Image, TiffTags
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from tramtrack.errors import TramtrackError, UsageError

KEY_BYTES = 32
CONFIG = "TRAMTRACK_CONFIG"
UID = re.compile(r"[0-2](?:\.\d+){5,}")
PLAIN = "none"
"""Given in place of a key file: women keep the names that their files give them."""

IDENTIFYING = (
    "PatientBirthDate", "PatientBirthTime", "OtherPatientIDs", "OtherPatientIDsSequence", "PatientAddress",
    "PatientTelephoneNumbers", "PatientTelecomInformation", "PatientInsurancePlanCodeSequence", "CountryOfResidence",
    "RegionOfResidence", "MilitaryRank", "EthnicGroup", "Occupation", "PatientReligiousPreference", "MedicalRecordLocator",
    "AdmissionID", "ServiceEpisodeID", "AdditionalPatientHistory", "PatientComments", "PersonAddress",
    "PersonTelephoneNumbers", "InstitutionName", "InstitutionAddress", "InstitutionCodeSequence",
    "InstitutionalDepartmentName", "ResponsibleOrganization", "StationName", "PerformedStationName", "PerformedLocation",
    "DeviceSerialNumber", "DeviceUID", "DetectorID", "AccessionNumber", "StudyID", "IssuerOfPatientID", "RequestingService",
    "RequestedProcedureComments", "ImageComments", "CurrentPatientLocation", "OriginalAttributesSequence",
    "EncryptedAttributesSequence",
)  # fmt: skip
"""Attributes of PS3.15 Table E.1-1 that name or describe a person or a place; persons' names are found by their VR, PN."""

TEXT_TAGS = (269, 270, 285, 315, 316, 33432)
"""Of a TIFF: DocumentName, ImageDescription, PageName, Artist, HostComputer, Copyright."""
EXIF_TAG = 34665


@dataclass(frozen=True)
class Secret:
    """What makes pseudonyms: ``key``, empty for plain names. ``spares_synthetic``: who was never born keeps her name."""

    key: bytes = field(default=b"", repr=False)
    spares_synthetic: bool = False

    @property
    def name(self) -> str:
        """The key's fingerprint, or empty without a key."""
        return fingerprint(self.key) if self.key else ""


NO_SECRET = Secret()


def own_key_file() -> Path:
    """Where this user's key is kept: ``key`` in TRAMTRACK_CONFIG, or in the platform's folder for settings."""
    return Path(os.environ.get(CONFIG) or platformdirs.user_config_dir("tramtrack")) / "key"


def choose(wanted: str | Path | None, study: Path, known_as: str | None) -> Secret:
    """What makes the pseudonyms of a study: a key file that is named, none where "none" is asked for, else the user's own.

    ``known_as`` is the fingerprint of the key under which the study's women are named by now ("" for plain names, None for a
    new study): they go on under it, since two names of one woman in one folder would undo the pseudonym. Raises UsageError, and
    TramtrackError where another key is asked for, that key is not the user's own or no key can be written.
    """
    if str(wanted) == PLAIN or (wanted is None and known_as == ""):
        if known_as:
            raise TramtrackError(
                f"{study}: its women are named under the key {known_as}; use another study folder for --key {PLAIN}"
            )
        return NO_SECRET
    if known_as == "":
        raise TramtrackError(
            f"{study}: its women keep the names of their files (--key none); use another study folder for --key {wanted}"
        )
    if known_as and wanted is not None and not Path(wanted).exists():  # none is made that is not theirs
        raise TramtrackError(f"{wanted}: expected the key {known_as}, under which the women of {study} are named, found none")
    path = own_key_file() if wanted is None else Path(wanted)
    try:
        found = Secret(read_key(path, study), spares_synthetic=wanted is None)
    except OSError as error:
        raise TramtrackError(
            f"{path}: the key of the pseudonyms cannot be kept here ({error.strerror}); name a file outside the study by "
            "--key, or keep the patients' own numbers by --key none"
        ) from error
    if known_as not in (None, found.name):
        raise TramtrackError(
            f"{study}: its women are named under the key {known_as}, the one in {path} is {found.name}; give theirs by --key"
        )
    return found


def require_key(wanted: str | Path | None) -> None:
    """Raise UsageError where a key is named for new exams that is not there: it is to be the study's, not one made now."""
    if wanted is not None and str(wanted) != PLAIN and not Path(wanted).exists():
        raise UsageError(f"--key {wanted}: expected the file of the key under which the study's women go, found none")


def read_key(path: Path, study: Path) -> bytes:
    """The key in ``path``, which is made where there is none (readable by its owner alone); it lies outside ``study``.

    Raises UsageError for a key inside the study's folder, TramtrackError for a file that holds no key.
    """
    if path.absolute().resolve().is_relative_to(study.absolute().resolve()):
        raise UsageError(f"{path}: the key undoes the pseudonyms, so it must lie outside the study's folder {study}")
    if not path.exists():
        _make_key(path)
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise TramtrackError(f"{path}: expected a key of 64 hex digits; name a file that does not exist, and one is made")
    return bytes.fromhex(text)


def _make_key(path: Path) -> None:
    """Whole from the first moment, and only once: of two that make it at a time, one finds the other's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    part.touch(mode=0o600)
    try:
        part.write_text(secrets.token_hex(KEY_BYTES) + "\n")
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(part)
    finally:
        part.unlink()


def fingerprint(key: bytes) -> str:
    """A name for a key that does not give it away: 12 hex digits of its hash."""
    return hashlib.sha256(b"tramtrack key" + key).hexdigest()[:12]


def pseudonym(key: bytes, kind: str, text: str) -> str:
    """``text`` as a name of 12 hex digits: HMAC-SHA-256 with ``key``; ``kind`` (W, E, U, S) stands before it.

    The same text gives the same name under one key, and nobody without the key can tell whose it is.
    """
    return f"{kind}-{hmac.new(key, f'{kind}|{text}'.encode(), hashlib.sha256).hexdigest()[:12]}"


def exam_pseudonym(key: bytes, woman: str, exam: str) -> str:
    """An exam's pseudonym; ``woman`` is hers. A UID's is the same whosever exam it is, so that a leak is still seen; any
    other name ("exam", a date) may be alike for two women, and becomes a name of this woman's."""
    return pseudonym(key, "E", exam if UID.fullmatch(exam) else f"{woman}|{exam}")


def identifying(dataset: Dataset, file: str) -> list[str]:
    """The names of the attributes of a header that still identify a person or a place; never their values.

    They count wherever they stand, in sequences too; so do private attributes, and a path that repeats the patient's name or
    number.
    """
    found: set[str] = set()
    for element in _elements(dataset):
        if element.tag.is_private:
            found.add("private attributes")
        elif (element.VR == "PN" or element.keyword in IDENTIFYING) and _filled(element.value):
            found.add(element.keyword or str(element.tag))
    if str(dataset.get("PatientIdentityRemoved", "")) != "YES" and _filled(dataset.get("PatientID")):
        found.add("PatientID")
    number = str(dataset.get("PatientID", "") or "").strip()
    return sorted(found | set(telling_path(file, number, _names(str(dataset.get("PatientName", "") or "")))))


def _names(person: str) -> set[str]:
    """The words of a person's name in all its scripts, of three letters at least; where a sign may be a syllable or a word, of
    two, and the name without gaps."""
    words = set(re.split(r"[\^\s=,]+", person))
    words |= {name for group in person.split("=") if not (name := re.sub(r"[\^\s,]+", "", group)).isascii()}
    return {word for word in words if len(word) > (2 if word.isascii() else 1)}


def telling_path(file: str, number: str, names: Iterable[str] = ()) -> list[str]:
    """The words file path where that repeats a name, or a number of at least four signs; else nothing."""
    words = {*names, *([number] if len(number) > 3 else [])}
    return ["file path"] if any(_folded(word) in _folded(file) for word in words) else []


def _folded(text: str) -> str:
    """A text whose letters compare whatever their case is, and whether their accents stand apart, as on some disks."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def _elements(dataset: Dataset) -> Iterator[DataElement]:
    """All elements of a header and of its sequences; a value that is none of its kind is passed over, and costs no image."""
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
        except (ValueError, TypeError, ArithmeticError):
            continue
        yield element
        if element.VR == "SQ":
            for item in element.value or []:
                yield from _elements(item)


def identifying_picture(path: Path) -> list[str]:
    """The names of what a PNG or TIFF file says in words beside its pixels. Raises what Pillow raises."""
    with Image.open(path) as image:
        image.load()  # a PNG may have texts behind its pixels
        texts = [key for key, value in image.info.items() if isinstance(value, str) and _filled(value)]
        tags = getattr(image, "tag_v2", {})
        named = [TiffTags.lookup(tag).name for tag in tags if tag in TEXT_TAGS and _filled(tags[tag])]
        found = {"text beside the pixels" for key in texts if key != "compression"} | set(named)
        found |= {"EXIF"} if image.info.get("exif") or tags.get(EXIF_TAG) else set()
    return sorted(found)


def telling_paths(folder: Path) -> set[str]:
    """The files of the cohort in ``folder`` whose path repeats a patient's name or number, and what was excluded beside them:
    the name may be their folder's. No page prints them."""
    path = folder / "identifying.csv"
    if not path.exists():
        return set()
    named = pd.read_csv(path, dtype=str, keep_default_na=False)
    telling = set(named["file"][named["attributes"].str.split("; ").map(lambda words: "file path" in words)])
    excluded = pd.read_csv(folder / "exclusions.csv", dtype=str, keep_default_na=False)["file"]
    beside = {Path(file).parent for file in telling}
    return telling | {file for file in excluded if Path(file).parent in beside}


def _filled(value: object) -> bool:
    text = str(value if value is not None else "").strip().strip("^").strip()
    return text not in ("", "[]", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "REMOVED")
