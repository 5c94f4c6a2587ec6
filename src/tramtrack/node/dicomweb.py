"""DICOMweb by dicomweb-client: a session with a time limit and without a password in its address, and STOW-RS as a link."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.uid import UID

from tramtrack.errors import UsageError
from tramtrack.node.deliver import DUPLICATE, Connect, Link, NotTaken, Unreachable
from tramtrack.node.rows import Result
from tramtrack.node.settings import Settings

UNREADABLE = (ValueError, SyntaxError, KeyError, AttributeError)
"""What dicomweb-client and pydicom raise over an answer that is not what the standard says."""

PASSING = frozenset({401, 408, 429, *range(500, 600)}) - {501}
"""Statuses that say nothing of what was asked or sent, and may be over at the next attempt."""


def client(address: str, authorization: str | None, seconds: float) -> DICOMwebClient:
    """A client of the service at ``address`` that waits ``seconds`` for an answer; ``authorization`` is that header's value."""
    session = requests.Session()
    session.trust_env = False  # neither a proxy nor a password from elsewhere
    session.max_redirects = 0
    headers = {"Authorization": authorization} if authorization else None
    found = DICOMwebClient(address, session=session, headers=headers, timeout=seconds)
    found.set_http_retry_params(retry=False)
    return found


def read_authorization(path: Path | None) -> str | None:
    """The value of the header Authorization, such as "Bearer ...", from a file of one line. Raises UsageError."""
    if path is None:
        return None
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"--authorization {path}: expected a file of one line, it cannot be read") from error
    if not text or "\n" in text or not text.isprintable():
        raise UsageError(f"--authorization {path}: expected one line, such as: Bearer 0123abcd")
    return text


def failure(error: BaseException, address: str) -> str:
    """What went wrong, without what the service wrote: that may name a patient."""
    response = getattr(error, "response", None)
    if response is not None:
        return f"{address} answered {response.status_code} {response.reason}"
    if isinstance(error, UNREADABLE):
        return f"{address}: its answer is neither DICOM JSON nor XML; is this the address of a DICOMweb service?"
    if isinstance(error, requests.Timeout):
        return f"{address}: no answer in time"
    return f"{address}: no connection; is it running, and reachable from here?"


def by_stow(settings: Settings, address: str) -> Connect:
    """STOW-RS to a DICOMweb service, which is asked by QIDO-RS."""

    @contextmanager
    def connect(results: list[Result]) -> Iterator[Link]:
        yield _Service(client(address, settings.authorization, settings.limits.answer_seconds), address)

    return connect


class _Service:
    """A link to a DICOMweb service: each result is a request of its own."""

    def __init__(self, service: DICOMwebClient, address: str) -> None:
        self._service, self._address = service, address

    def holds(self, result: Result) -> bool | None:
        """By QIDO-RS for the instance (PS3.18 10.6)."""
        try:
            found = self._service.search_for_instances(
                result.study, result.series, search_filters={"SOPInstanceUID": result.sop}
            )
        except requests.HTTPError as error:
            status = error.response.status_code
            if status in PASSING:
                raise Unreachable(failure(error, self._address)) from error
            return False if status == 404 else None  # a series that it does not know; a question that it does not take
        except (requests.RequestException, *UNREADABLE) as error:
            raise Unreachable(failure(error, self._address)) from error
        return any(_value(item, "00080018") == result.sop for item in found)

    def send(self, result: Result, file: Path) -> None:
        """One STOW-RS request (PS3.18 10.5)."""
        try:
            answer = self._service.store_instances([pydicom.dcmread(file)], result.study)
        except requests.HTTPError as error:
            status = error.response.status_code
            if status in PASSING or status in (403, 404):
                raise Unreachable(failure(error, self._address)) from error
            if status != 409 or not _only_duplicate(error.response):
                raise NotTaken(f"{failure(error, self._address)} to a {UID(result.sop_class).name}") from error
            return
        except (requests.RequestException, *UNREADABLE) as error:
            raise Unreachable(failure(error, self._address)) from error
        failed = answer.get("FailedSOPSequence") or []
        reasons = {int(item.get("FailureReason", 0)) for item in failed}
        if reasons - {DUPLICATE}:
            raise NotTaken(f"{self._address} refused a {UID(result.sop_class).name} for reason {max(reasons):04X}")


def _value(item: Any, tag: str) -> str:
    return str((item.get(tag, {}).get("Value") or [""])[0])


def _only_duplicate(response: requests.Response) -> bool:
    """Whether a conflict is that the receiver has this instance already."""
    try:
        answer = pydicom.Dataset.from_json(response.json())
    except Exception:  # XML, or nothing that can be read
        return False
    failed = answer.get("FailedSOPSequence") or []
    return bool(failed) and all(int(item.get("FailureReason", 0)) == DUPLICATE for item in failed)
