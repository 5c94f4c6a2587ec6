"""The node as a storage SCP: C-ECHO and C-STORE of mammograms from known application entities, each image on disk before
the peer hears that it was taken."""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
import shutil
import sqlite3
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from tramtrack.cohort import privacy
from tramtrack.cohort.header import absent_breast, read_header
from tramtrack.cohort.inspect import HEADER_ERRORS
from tramtrack.cohort.projection import Refusal
from tramtrack.errors import TramtrackError
from tramtrack.node.guard import MOST_PDU, GuardedServer, whole_message
from tramtrack.node.queue import Queue
from tramtrack.node.rows import Image
from tramtrack.node.settings import Settings

LOG = logging.getLogger(__name__)
DISK = "disk"
TAKEN = (
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)
"""What a mammogram may be stored as; everything else, the node's own results among it, is refused when the peer asks."""
SYNTAXES = (
    "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91",
)  # fmt: skip
"""The transfer syntaxes that the intake decodes, but deflated: there a header is read only after all has been inflated, and a
few kilobytes may hold gigabytes."""
SUCCESS, OUT_OF_RESOURCES, MISMATCH, DUPLICATE, NOT_UNDERSTOOD = 0x0000, 0xA700, 0xA900, 0x0111, 0xC000
"""Statuses of a C-STORE (PS3.4 B.2.3, PS3.7 C)."""
WHOLE_UID = re.compile(r"(?=.{1,64}$)[0-2](\.(0|[1-9]\d*))+")


class Refused(Exception):
    """An image that is not taken: the status for the peer, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Receiver:
    """Takes images into a queue; ``tally`` counts, since the start, what was taken, refused and dropped.

    ``alone`` is held from when an image is looked up until it is recorded.
    """

    def __init__(self, settings: Settings, queue: Queue) -> None:
        self.settings, self.queue = settings, queue
        self.tally: Counter[str] = Counter()
        self._allowances: dict[str, tuple[float, float]] = {}
        self._allowing = threading.Lock()  # associations of one title may be several, each a thread
        self.alone = threading.Lock()
        self._known = [(caller.title, caller.addresses()) for caller in settings.callers]
        self._server: Any = None

    def start(self) -> int:
        """Take in what a kill left without its row, and listen. Returns the port."""
        for path in self.queue.unrecorded():
            self._recover(path)
        ae = AE(ae_title=self.settings.title)
        for uid in (Verification, *TAKEN):
            ae.add_supported_context(uid, list(SYNTAXES))
        limits = self.settings.limits
        ae.maximum_pdu_size = MOST_PDU
        ae.maximum_associations = limits.associations
        ae.require_called_aet = True
        ae.network_timeout = ae.acse_timeout = limits.idle_seconds
        ae.dimse_timeout = limits.message_seconds
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_DIMSE_RECV, lambda event: whole_message(event.assoc)),
            (evt.EVT_C_ECHO, lambda event: SUCCESS),
            (evt.EVT_C_STORE, self._store),
        ]
        place = (self.settings.address, self.settings.port)
        hosts = frozenset().union(*(addresses for _, addresses in self._known))
        try:
            self._server = ae.make_server(
                place, evt_handlers=handlers, server_class=GuardedServer, limits=limits, hosts=hosts, dropped=self._dropped
            )
        except OSError as error:
            raise TramtrackError(
                f"{place[0]}:{place[1]}: cannot listen here ({error.strerror}); another program may, choose a --port"
            ) from error
        return int(self._server.server_address[1])

    def serve(self) -> None:
        """Answer peers until `stop`."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Take no more; associations that are open end."""
        for association in self._server.active_associations:
            association.abort()
        self._server.shutdown()

    def _dropped(self, host: str, why: str) -> None:
        self.tally["peers dropped"] += 1
        LOG.warning("dropped %s: %s", host, why)

    def _requested(self, event: Any) -> None:
        """Reject a title that is not known, or that calls from another host than its own (PS3.8 9.3.4)."""
        whole_message(event.assoc)
        asked, host = event.assoc.requestor.primitive, event.assoc.requestor.address
        title = asked.calling_ae_title
        if asked.called_ae_title != self.settings.title:  # pynetdicom rejects it
            self.tally["associations rejected"] += 1
            LOG.warning("rejected an association from %s: it calls another AE title than %s", host, self.settings.title)
            return
        if any(title == known and host in addresses for known, addresses in self._known):
            return
        self.tally["associations rejected"] += 1
        LOG.warning("rejected an association from %s: its AE title is not known there", host)
        event.assoc.acse.send_reject(0x01, 0x01, 0x03)
        time.sleep(0.1)  # for the peer to hear it before the connection is closed

    def _store(self, event: Any) -> int:
        try:
            self._take(event)
        except Refused as refusal:
            self.tally["images refused"] += 1
            LOG.warning("refused an image from %s: %s", event.assoc.requestor.address, refusal.why)
            return refusal.status
        except (OSError, sqlite3.Error) as error:
            self.tally["images refused"] += 1
            LOG.error("an image could not be kept: %s", reason_of(error))
            return OUT_OF_RESOURCES
        return SUCCESS

    def _take(self, event: Any) -> None:
        self._keep_rate(event.assoc.requestor.ae_title)
        content: bytes = event.encoded_dataset()
        if len(content) > self.settings.limits.instance_bytes:
            raise Refused(OUT_OF_RESOURCES, f"{len(content)} bytes, the most is {self.settings.limits.instance_bytes}")
        image, name = self._look(content, hashlib.sha256(event.request.DataSet.getvalue()).hexdigest())
        if image.sop != str(event.request.AffectedSOPInstanceUID):
            raise Refused(MISMATCH, "its SOP Instance UID is not the one that was announced")
        with self.alone:  # what is known of an image must still hold when it is recorded
            self._take_new(image, name, content)

    def _take_new(self, image: Image, name: str, content: bytes) -> None:
        known = self.queue.sha256_of(image.sop)
        if known == image.sha256:
            self.tally["images known already"] += 1
            return
        if known is not None:
            raise Refused(DUPLICATE, "another image of this SOP Instance UID was taken before")
        if self.queue.images_of(image.study) >= self.settings.limits.images_an_exam:
            raise Refused(OUT_OF_RESOURCES, f"its exam has {self.settings.limits.images_an_exam} images, no more are taken")
        full = self.full()
        if full:
            raise Refused(OUT_OF_RESOURCES, full)
        self.queue.expect(image)
        self._keep(content, self.queue.folder / self.queue.place_of(image))
        self._record(image, name)

    def full(self) -> str:
        """Why there is no room on the disk, or "" where there is; trouble is recorded, and its end."""
        free = shutil.disk_usage(self.queue.folder).free
        if free >= self.settings.limits.free_bytes:
            if self.queue.over(DISK):
                LOG.info("there is room on the disk again")
            return ""
        reason = f"{free >> 20} MiB left on the disk, {self.settings.limits.free_bytes >> 20} are kept free"
        self.queue.trouble(DISK, reason, self.settings.retries)
        return reason

    def _keep_rate(self, title: str) -> None:
        """Each title has an allowance of a minute's images, which fills up again at that rate."""
        most = float(self.settings.limits.images_a_minute)
        with self._allowing:
            now = time.monotonic()
            left, then = self._allowances.get(title, (most, now))
            left = min(most, left + (now - then) * most / 60)
            self._allowances[title] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            raise Refused(OUT_OF_RESOURCES, f"more than {most:.0f} images a minute")

    def _look(self, content: bytes, sha256: str) -> tuple[Image, str]:
        """What the queue must know of an image, and its exam's name."""
        try:
            header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
            return _image(header, sha256), exam_name(self.settings.key, header)
        except HEADER_ERRORS as error:
            raise Refused(NOT_UNDERSTOOD, f"its header is malformed ({type(error).__name__})") from None

    def _keep(self, content: bytes, place: Path) -> None:
        """The whole file on disk at its place, or nothing."""
        part = self.queue.folder / "incoming" / place.name
        try:
            with part.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            place.parent.mkdir(parents=True, exist_ok=True)
            part.replace(place)
            flush_folder(place.parent)
        except OSError:
            part.unlink(missing_ok=True)
            raise

    def _record(self, image: Image, name: str) -> None:
        exam, missing = self.queue.add(image, name, self.settings.quiet_seconds, self.settings.settle_seconds)
        self.tally["images taken"] += 1
        state = "complete" if not missing else f"{len(missing)} standard views are not there yet"
        LOG.info("%s: image %d (%s); %s", exam.name, exam.revision, image.view or "no standard view", state)

    def _recover(self, path: Path) -> None:
        """An image whose peer never heard that it was taken, or was: it is whole, so it counts."""
        content = path.read_bytes()
        stream = io.BytesIO(content)
        pydicom.filereader.read_preamble(stream, force=False)
        pydicom.filereader._read_file_meta_info(stream)
        try:
            image, name = self._look(content, hashlib.sha256(content[stream.tell() :]).hexdigest())
        except Refused as refusal:
            LOG.warning("a file that a kill left cannot be read and is removed: %s", refusal.why)
            path.unlink()
            return
        self._record(image, name)


def exam_name(key: bytes, header: Dataset) -> str:
    """What an exam is called in logs and lists: its pseudonym, the same as in its answer; its own UID without a key."""
    study = str(header.StudyInstanceUID)
    return privacy.exam_pseudonym(key, str(header.get("PatientID", "")), study) if key else study


def reason_of(error: BaseException) -> str:
    """An error in words that quote no header: the system's own, the project's own, or only its kind."""
    if isinstance(error, TramtrackError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, sqlite3.Error):
        return f"the queue's file: {error}"
    return type(error).__name__


def flush_folder(folder: Path) -> None:
    """Names in a folder are on disk when this returns."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _image(header: Dataset, sha256: str) -> Image:
    sop, study = str(header.get("SOPInstanceUID", "")), str(header.get("StudyInstanceUID", ""))
    if not WHOLE_UID.fullmatch(sop) or not WHOLE_UID.fullmatch(study):
        raise Refused(NOT_UNDERSTOOD, "its header has no SOP Instance UID or no Study Instance UID")
    found = read_header(header)
    view = "" if isinstance(found, Refusal) else f"{found.side} {found.position}"
    return Image(sop, study, sha256, view, str(absent_breast(header) or ""))
