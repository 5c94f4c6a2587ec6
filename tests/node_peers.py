"""A node's neighbours, for tests: a modality, a PACS that keeps count, an answerer; and a node that can be killed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from mammogram import mammogram
from tramtrack.node import deliver, listen
from tramtrack.node.addresses import Entity
from tramtrack.node.queue import Queue
from tramtrack.node.seam import NoAnswer
from tramtrack.node.settings import Limits, Retries, Settings

NAME = "Confidential^Carla"
RESULTS = (BasicTextSRStorage, SecondaryCaptureImageStorage)
SMALL = Limits(free_bytes=1, message_seconds=20, idle_seconds=20, answer_seconds=20)
SOON = Retries(first=0.05, longest=0.1, answers=3)


def exam(number: int = 0, views: int = 4, **tags: Any) -> list[Dataset]:
    """The views of one woman, with UIDs that depend on ``number`` alone."""
    study = f"1.2.826.0.1.3680043.10.1.{number}"
    found = []
    for place, (side, view) in enumerate((("L", "CC"), ("L", "MLO"), ("R", "CC"), ("R", "MLO"))[:views]):
        sop = f"{study}.{place}"
        more = {"SOPInstanceUID": sop, "PatientName": NAME, **tags}
        found.append(mammogram(woman=f"W{number}", exam=study, side=side, view=view, SeriesInstanceUID=f"{study}.9", **more))
    return found


def send(port: int, images: Sequence[Dataset], title: str = "MODALITY", node: str = "TRAMTRACK") -> list[int | None]:
    """C-STORE images to the node: the status of each, None where no word came; empty where it took no association."""
    if not images:
        return []
    ae = AE(ae_title=title)
    ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
    for sop_class, syntax in {(image.SOPClassUID, image.file_meta.TransferSyntaxUID) for image in images}:
        ae.add_requested_context(sop_class, syntax)
    # A connection that is gone is an answer, as to any modality; pynetdicom would wait for the rest of its time.
    gone = [(evt.EVT_CONN_CLOSE, lambda event: event.assoc.dimse.msg_queue.put((None, None)))]
    association = ae.associate("127.0.0.1", port, ae_title=node, evt_handlers=gone)
    if not association.is_established:
        return []
    found: list[int | None] = []
    for image in images:
        if None in found:
            found.append(None)
            continue
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        try:
            found.append(association.send_c_store(image).get("Status"))
        except RuntimeError:  # the association ended
            found.append(None)
    if association.is_established:
        association.release()
    return found


def answer(images: Path, out: Path) -> list[Path]:
    """Two small results whose UIDs and text follow from the images; no answer for an exam that says so."""
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(images.glob("*.dcm"))]
    if any(header.get("StudyDescription") == "no answer" for header in headers):
        raise NoAnswer("none of these images is a standard view")
    seen = sorted(str(header.SOPInstanceUID) for header in headers)
    files = []
    for number, sop_class in enumerate(RESULTS):
        result = Dataset()
        result.file_meta = FileMetaDataset()
        result.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        result.file_meta.MediaStorageSOPClassUID = result.SOPClassUID = sop_class
        uid = generate_uid(entropy_srcs=[*seen, str(number)])
        result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID = uid
        result.StudyInstanceUID = headers[0].StudyInstanceUID
        result.SeriesInstanceUID = generate_uid(entropy_srcs=[*seen, "series", str(number)])
        result.PatientID, result.PatientName = headers[0].PatientID, headers[0].PatientName
        result.Modality = ("SR", "OT")[number]
        result.StudyDate, result.StudyTime, result.StudyID, result.AccessionNumber = "20240102", "", "", ""
        result.SeriesNumber, result.InstanceNumber = str(900 + number), "1"
        result.ImageComments = f"{len(seen)} views"
        files.append(out / f"{number}.dcm")
        result.save_as(files[-1], enforce_file_format=True)
    return files


@dataclass
class Pacs:
    """A storage SCP on loopback that counts each instance; what it answers can be changed while it runs."""

    stored: Counter[str] = field(default_factory=Counter)
    study_of: dict[str, str] = field(default_factory=dict)
    class_of: dict[str, str] = field(default_factory=dict)
    asked: int = 0
    status: int = 0x0000
    answers_queries: bool = True
    ends_queries: bool = False
    port: int = 0
    on_store: Callable[[], None] = field(default=lambda: None)
    _server: Any = None
    _ae: Any = None

    @contextmanager
    def running(self) -> Iterator[Pacs]:
        """Listening, on the same port each time."""
        self._ae = ae = AE(ae_title="PACS")
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        ae.add_supported_context(Verification)
        if self.answers_queries:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers: list[Any] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self._server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        self.port = self._server.server_address[1]
        try:
            yield self
        finally:
            ae.shutdown()

    def know(self, *titles: str) -> None:
        """Take associations of these titles alone; of everybody where there is none."""
        self._ae.require_calling_aet = list(titles)

    def _store(self, event: Any) -> int:
        if self.status == 0x0000:
            sop = str(event.request.AffectedSOPInstanceUID)
            self.class_of[sop] = str(event.request.AffectedSOPClassUID)
            self.study_of[sop] = str(event.dataset.StudyInstanceUID)
            self.stored[sop] += 1
            self.on_store()
        return self.status

    def _find(self, event: Any) -> Iterator[tuple[int, Dataset | None]]:
        self.asked += 1
        if self.ends_queries:
            event.assoc.abort()
            return
        if event.identifier.SOPInstanceUID in self.stored:
            yield 0xFF00, event.identifier

    def once_each(self, studies: int = 1) -> bool:
        """Whether it has every result of so many studies, each stored once."""
        return len(self.stored) == studies * len(RESULTS) and set(self.stored.values()) <= {1}


def settings(queue: Path, pacs: Pacs | str, **changes: Any) -> Settings:
    """A node on free loopback ports that waits for nothing longer than it must."""
    destination = pacs if isinstance(pacs, str) else Entity("PACS", "127.0.0.1", pacs.port)
    usual = {
        "queue": queue, "callers": (Entity("MODALITY", "127.0.0.1"),), "destination": destination, "port": 0, "status_port": 0,
        "quiet_seconds": 600, "settle_seconds": 0, "doubt_seconds": 0, "limits": SMALL, "retries": SOON,
    }  # fmt: skip
    return Settings(**{**usual, **changes})


def until(what: Callable[[], object], seconds: float = 15) -> None:
    """Wait until something holds; fails where it does not in time."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to hold in time"
        time.sleep(0.02)


MOMENTS = {
    "an image expected and not there yet": (Queue, "expect", "after"),
    "an image before its row": (Queue, "add", "before"),
    "an image after its row": (Queue, "add", "after"),
    "an answer begun": (Queue, "next_to_answer", "after"),
    "an answer before its row": (Queue, "answered", "before"),
    "an answer after its row": (Queue, "answered", "after"),
    "a result before it leaves": (deliver._Association, "send", "before"),
    "a result that arrived, unrecorded": (deliver._Association, "send", "after"),
    "a result recorded": (Queue, "mark", "after"),
    "an exam before it is done": (Queue, "sent", "before"),
}
"""Where a node can be made to die, each between two things that must not come apart."""


def run_node(chosen: Settings, ready: Any, die_at: str = "", answerer: Callable[..., Any] = answer) -> None:
    """A node in a process of its own; it writes its port to the pipe, and kills itself the first time it is at ``die_at``."""
    if die_at:
        owner, name, when = MOMENTS[die_at]
        whole = getattr(owner, name)

        def cut(*arguments: Any, **options: Any) -> Any:
            if when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            found = whole(*arguments, **options)
            if found is not None or name != "next_to_answer":
                os.kill(os.getpid(), signal.SIGKILL)
            return found

        setattr(owner, name, cut)
    with contextlib.suppress(KeyboardInterrupt), listen.Node(chosen, answerer) as node:
        ready.send(node.port)
        threading.Event().wait()


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["node_peers"])


def start(chosen: Settings, die_at: str = "", answerer: Callable[..., Any] = answer, daemon: bool = True) -> tuple[Any, int]:
    """A node in a process of its own, forked from one that has everything imported, and its port (0: it died before).

    A ``daemon`` ends with this process, and can have no processes of its own.
    """
    with patch.dict(os.environ, {"PYTHONPATH": os.pathsep.join(sys.path)}):
        forkserver.ensure_running()
    here, there = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=run_node, args=(chosen, there, die_at, answerer), daemon=daemon)
    process.start()
    there.close()
    assert here.poll(60), "the node did not start"
    try:
        return process, here.recv()
    except EOFError:
        return process, 0
