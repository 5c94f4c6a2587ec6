"""An exam from a DICOMweb service into a folder: QIDO-RS finds it, WADO-RS brings its mammograms."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import requests

from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.node.addresses import web
from tramtrack.node.dicomweb import UNREADABLE, client, failure
from tramtrack.progress import track
from tramtrack.store import text_sha256

MODALITIES = ("MG", "CR", "DX")
"""What a mammogram may be stored as; series of other modalities are not fetched."""


@dataclass(frozen=True)
class Pulled:
    """What lies in the folder now: images fetched by this call, and those that an earlier one had fetched."""

    folder: Path
    fetched: int
    there: int


def pull(
    address: str,
    out: str | Path,
    *,
    study: str = "",
    accession: str = "",
    patient: str = "",
    date: str = "",
    authorization: str | None = None,
    seconds: float = 60.0,
) -> Pulled:
    """Fetch the one exam that ``study`` (Study Instance UID), or ``accession``, ``patient`` and ``date`` (YYYYMMDD) name.

    Files get names made of hashes; what an earlier call fetched is not fetched again. Raises UsageError for a question that
    names nothing, TramtrackError where the service has no such exam, several, or does not answer within ``seconds``.
    """
    place = web(address, authorization is not None)
    asked = {"StudyInstanceUID": study, "AccessionNumber": accession, "PatientID": patient, "StudyDate": date}
    filters = {name: value for name, value in asked.items() if value}
    if not filters.keys() - {"StudyDate"}:
        raise UsageError("expected --study, --accession or --patient, so that one exam is meant; received none")
    if any(character in value for value in filters.values() for character in "*?\\"):
        raise UsageError("expected one exam, received a pattern; give UID, numbers and date as they are")
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: expected a folder, received a file")
    service = client(place, authorization, seconds)
    try:
        uid = _only_study(service.search_for_studies(search_filters=filters), place)
        instances = [
            (_text(series, "0020000E"), _text(instance, "00080018"))
            for series in service.search_for_series(uid)
            if _text(series, "00080060") in MODALITIES
            for instance in service.search_for_instances(uid, _text(series, "0020000E"))
        ]
        if not instances:
            raise TramtrackError(f"{place}: this exam has no mammogram (no series of {', '.join(MODALITIES)})")
        there = 0
        for series_uid, instance_uid in track(instances, "images"):
            file = folder / f"{text_sha256(instance_uid)[:24]}.dcm"
            if file.exists():
                there += 1
                continue
            _fetch(service, (uid, series_uid, instance_uid), file)
    except (requests.RequestException, *UNREADABLE) as error:
        raise TramtrackError(f"{failure(error, place)}; what was fetched is kept, and the same command goes on") from error
    return Pulled(folder, len(instances) - there, there)


def _fetch(service: Any, uids: tuple[str, str, str], file: Path) -> None:
    """One instance as it is stored, without a change of its transfer syntax."""
    dataset = service.retrieve_instance(*uids, media_types=(("application/dicom", "*"),))
    if (str(dataset.StudyInstanceUID), str(dataset.SOPInstanceUID)) != (uids[0], uids[2]):
        raise TramtrackError(
            f"{service.base_url}: expected the instance that was asked for, received another; nothing of it is kept"
        )
    content = io.BytesIO()
    pydicom.dcmwrite(content, dataset)
    store.write_bytes(file, content.getvalue())


def _only_study(found: list[dict[str, Any]], place: str) -> str:
    uids = sorted({_text(study, "0020000D") for study in found} - {""})
    if len(uids) == 1:
        return uids[0]
    if not uids:
        raise TramtrackError(f"{place}: has no such exam")
    raise TramtrackError(f"{place}: expected one exam, {len(uids)} are meant; add --date, or name it by --study")


def _text(item: dict[str, Any], tag: str) -> str:
    """An attribute of DICOM JSON (PS3.18 F) as text, "" where it is absent."""
    return str((item.get(tag, {}).get("Value") or [""])[0])
