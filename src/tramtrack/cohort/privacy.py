"""Pseudonyms by a keyed hash, and what of a person's identity a header still carries. Values never leave this module."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from pydicom.dataset import Dataset

from tramtrack.errors import TramtrackError, UsageError

KEY_BYTES = 32

IDENTIFYING = (
    "PatientBirthDate",
    "PatientBirthTime",
    "OtherPatientIDs",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientInsurancePlanCodeSequence",
    "MilitaryRank",
    "EthnicGroup",
    "Occupation",
    "PatientReligiousPreference",
    "AdditionalPatientHistory",
    "PatientComments",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "DeviceSerialNumber",
    "AccessionNumber",
    "IssuerOfPatientID",
    "RequestingService",
    "ImageComments",
    "CurrentPatientLocation",
)
"""Attributes of PS3.15 Table E.1-1 that name or describe a person or a place; persons' names are found by their VR, PN."""


def read_key(path: Path, study: Path) -> bytes:
    """The key in ``path``, which is made where there is none (readable by its owner alone); it lies outside ``study``.

    Raises UsageError for a key inside the study's folder, TramtrackError for a file that holds no key.
    """
    if path.absolute().resolve().is_relative_to(study.absolute().resolve()):
        raise UsageError(f"{path}: the key undoes the pseudonyms, so it must lie outside the study's folder {study}")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_hex(KEY_BYTES) + "\n")
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise TramtrackError(f"{path}: expected a key of 64 hex digits; name a file that does not exist, and one is made")
    return bytes.fromhex(text)


def fingerprint(key: bytes) -> str:
    """A name for a key that does not give it away: 12 hex digits of its hash."""
    return hashlib.sha256(b"tramtrack key" + key).hexdigest()[:12]


def pseudonym(key: bytes, kind: str, text: str) -> str:
    """``text`` as a name of 12 hex digits: HMAC-SHA-256 with ``key``; ``kind`` (W, E, U, S) stands before it.

    The same text gives the same name under one key, and nobody without the key can tell whose it is.
    """
    return f"{kind}-{hmac.new(key, f'{kind}|{text}'.encode(), hashlib.sha256).hexdigest()[:12]}"


def identifying(dataset: Dataset, file: str) -> list[str]:
    """The names of the attributes of a header that still identify a person or a place; never their values.

    Private attributes and a path that repeats the patient's name or number count as well.
    """
    found = {
        element.keyword or str(element.tag) for element in dataset.iterall() if element.VR == "PN" and _filled(element.value)
    }
    found |= {key for key in IDENTIFYING if _filled(dataset.get(key))}
    if any(element.tag.is_private for element in dataset):
        found.add("private attributes")
    if str(dataset.get("PatientIdentityRemoved", "")) != "YES" and _filled(dataset.get("PatientID")):
        found.add("PatientID")
    words = {word for word in re.split(r"[\^\s=,]+", str(dataset.get("PatientName", "") or "")) if len(word) > 2}
    number = str(dataset.get("PatientID", "") or "").strip()
    if any(word.lower() in file.lower() for word in (*words, *([number] if len(number) > 3 else []))):
        found.add("file path")
    return sorted(found)


def _filled(value: object) -> bool:
    text = str(value if value is not None else "").strip().strip("^").strip()
    return text not in ("", "[]", "ANONYMOUS", "ANONYMIZED", "ANONYMISED", "REMOVED")
