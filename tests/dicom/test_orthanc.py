"""The PACS loop with a real Orthanc (Debian: orthanc, orthanc-dicomweb), started here on loopback."""

from __future__ import annotations

import io
import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")

from answers import RUN, burden
from answers import answer as made_up
from debian_packages import DICOMWEB
from mammogram import write_exam
from node_peers import RESULTS, answer, exam, send, settings, start, until
from tramtrack.dicomout.write import ViewResult, write_results
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.node import deliver, dicomweb
from tramtrack.node.addresses import Entity
from tramtrack.node.listen import Node
from tramtrack.node.pull import pull
from tramtrack.node.queue import Queue
from tramtrack.node.rows import DONE, IN_DOUBT, Result

KINDS = ["C-STORE", "STOW-RS"]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


class Orthanc:
    """An Orthanc in a folder of its own; it can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dicom, self.http, self.node = folder, free_port(), free_port(), free_port()
        self.title, self.knows = "ORTHANC", "TRAMTRACK"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def web(self) -> str:
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def settings(self) -> dict[str, object]:
        return {
            "Name": "tests", "StorageDirectory": str(self.folder / "storage"), "IndexDirectory": str(self.folder / "storage"),
            "Plugins": [DICOMWEB], "HttpPort": self.http, "DicomPort": self.dicom, "DicomAet": self.title,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAlwaysAllowStore": False,
            "DicomModalities": {"node": [self.knows, "127.0.0.1", self.node], "m": ["MODALITY", "127.0.0.1", 1]},
            "DicomCheckCalledAet": True,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"}, "OverwriteInstances": False,
        }  # fmt: skip

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "orthanc.json").write_text(json.dumps(self.settings()))
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(["Orthanc", self.folder / "orthanc.json"], stdout=log, stderr=log)
        until(self.answers, 40)

    def answers(self) -> bool:
        assert self.process and self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            return bool(self.ask("/system"))
        except OSError:
            return False

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(20)

    def ask(self, path: str, body: object = None):
        data = None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
        with urllib.request.urlopen(
            urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=data), timeout=20
        ) as got:
            return json.loads(got.read())

    def keep(self, *images) -> list[str]:
        """Put images into it; its names of them."""
        names = []
        for image in images:
            path = self.folder / "in.dcm"
            image.file_meta.MediaStorageSOPClassUID, image.file_meta.MediaStorageSOPInstanceUID = (
                image.SOPClassUID,
                image.SOPInstanceUID,
            )
            image.save_as(path, enforce_file_format=True)
            names.append(self.ask("/instances", path.read_bytes())["ID"])
        return names

    def classes(self, study: str) -> list[str]:
        """The SOP classes of what it has of a study."""
        found = self.ask("/tools/find", {"Level": "Instance", "Query": {"StudyInstanceUID": study}})
        return sorted(self.ask(f"/instances/{name}/tags?short")["0008,0016"] for name in found)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    if shutil.which("Orthanc") is None or not Path(DICOMWEB).exists():
        pytest.skip("no Orthanc with DICOMweb here: install the Debian packages orthanc and orthanc-dicomweb")
    running = Orthanc(tmp_path_factory.mktemp("orthanc"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def chosen(orthanc, tmp_path):
    """``chosen(kind)``: the settings of a node beside it that sends by C-STORE or STOW-RS."""

    def choose(kind):
        place = Entity("ORTHANC", "127.0.0.1", orthanc.dicom) if kind == "C-STORE" else orthanc.web
        callers = (Entity("ORTHANC", "127.0.0.1"), Entity("MODALITY", "127.0.0.1"))
        return settings(tmp_path / "queue", "", destination=place, callers=callers, port=orthanc.node)

    return choose


def finished(node, count=1):
    return [row["state"] for row in node.queue.exams(finished=True)] == [DONE] * count


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back(orthanc, chosen, kind):
    """Orthanc sends an exam and gets the results into the same study; sent again, and it gets nothing more."""
    images = exam(100 + KINDS.index(kind))
    study = images[0].StudyInstanceUID
    names = orthanc.keep(*images)
    with Node(chosen(kind), answer) as node:
        orthanc.ask("/modalities/node/store", {"Resources": names, "Synchronous": True})
        until(lambda: finished(node))
        orthanc.ask("/modalities/node/store", {"Resources": names, "Synchronous": True})
        assert finished(node) and node.receiver.tally["images known already"] == 4
    assert orthanc.classes(study) == sorted([*RESULTS, *[image.SOPClassUID for image in images]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_in_doubt_is_asked_for(orthanc, chosen, kind, monkeypatch):
    """The word on the first result is lost: it is found at the receiver, and not sent again."""
    link = deliver._Association if kind == "C-STORE" else dicomweb._Service
    sent, whole = [], link.send

    def lossy(self, result, file):
        sent.append(result.sop)
        whole(self, result, file)
        if len(sent) == 1:
            raise deliver.Unreachable("the line went dead")

    monkeypatch.setattr(link, "send", lossy)
    with Node(chosen(kind), answer) as node:
        assert send(node.port, exam(110 + KINDS.index(kind))) == [0, 0, 0, 0]
        until(lambda: finished(node))
        rows = node.queue._rows.execute("SELECT sop, reason FROM results ORDER BY rowid").fetchall()
    assert [tuple(row) for row in rows] == [(sent[0], "it was found at the receiver"), (sent[1], "")]
    assert len(sent) == 2 and len(orthanc.classes(exam(110 + KINDS.index(kind))[0].StudyInstanceUID)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_in_doubt_that_did_not_arrive_is_sent(orthanc, chosen, kind, monkeypatch):
    link = deliver._Association if kind == "C-STORE" else dicomweb._Service
    tries, whole = [], link.send

    def lost(self, result, file):
        tries.append(result.sop)
        if len(tries) == 1:
            raise deliver.Unreachable("the line went dead")
        whole(self, result, file)

    monkeypatch.setattr(link, "send", lost)
    with Node(chosen(kind), answer) as node:
        send(node.port, exam(120 + KINDS.index(kind)))
        until(lambda: finished(node))
    assert len(tries) == 3 and len(orthanc.classes(exam(120 + KINDS.index(kind))[0].StudyInstanceUID)) == 2


def test_an_instance_that_orthanc_has_already_is_its_word(orthanc, chosen, tmp_path):
    """Both ways of sending take "already stored" for an answer."""
    images = exam(130)
    with Node(chosen("C-STORE"), answer) as node:
        send(node.port, images)
        until(lambda: finished(node))
        (row,) = node.queue.exams(finished=True)
        (folder,) = (tmp_path / "queue" / row["folder"]).glob("results-*")
        results = [(path, pydicom.dcmread(path)) for path in sorted(folder.glob("*.dcm"))]
    for kind, connect in (("C-STORE", deliver.by_c_store), ("STOW-RS", dicomweb.by_stow)):
        configured = chosen(kind)
        asked = [
            Result(d.SOPInstanceUID, d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPClassUID, d.file_meta.TransferSyntaxUID, "")
            for _, d in results
        ]
        with connect(configured, configured.destination)(asked) as link:
            for result, (path, _) in zip(asked, results, strict=True):
                link.send(result, path)
    assert len(orthanc.classes(images[0].StudyInstanceUID)) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_result_comes_back_as_it_was_sent(orthanc, chosen, tmp_path, kind):
    """Reports, secondary capture, parametric map, segmentation and presentation state of an exam with a burden."""
    study = f"1.2.826.0.1.3680043.10.1.18{KINDS.index(kind)}"
    tags = {"SeriesInstanceUID": f"{study}.1", "PatientOrientation": ["A", "R"], "ImagerPixelSpacing": [0.1, 0.1]}
    heatmap = np.zeros((160, 120), np.float32)
    heatmap[60:80, 30:50] = 1
    view = ViewResult(write_exam(tmp_path / "exam", exam=study, **tags)[0], heatmap, 1.0, {RUN: heatmap > 0.5})
    made = made_up({("L", "CC"): 0.9}, burden=(burden({("L", "CC"): 4.0}),))
    files = write_results(tmp_path / "results", made, {("L", "CC"): view}, "grad-cam++").files
    results = []
    for file in files:
        found = pydicom.dcmread(file)
        about = (found.SOPInstanceUID, study, found.SeriesInstanceUID, found.SOPClassUID, found.file_meta.TransferSyntaxUID)
        results.append(Result(*about, "", IN_DOUBT))
    configured = chosen(kind)
    connect = deliver.by_c_store if kind == "C-STORE" else dicomweb.by_stow
    with connect(configured, configured.destination)(results) as link:
        for result, file in zip(results, files, strict=True):
            assert not link.holds(result)
            link.send(result, file)
            assert link.holds(result)
    assert len(set(orthanc.classes(study))) == len(files) == 6
    for result, file in zip(results, files, strict=True):
        ((named,),) = [orthanc.ask("/tools/lookup", str(result.sop).encode())]
        with urllib.request.urlopen(f"http://127.0.0.1:{orthanc.http}/instances/{named['ID']}/file", timeout=20) as got:
            assert pydicom.dcmread(io.BytesIO(got.read())) == pydicom.dcmread(file), file.name


def test_an_orthanc_that_is_down_or_knows_nobody(orthanc, chosen):
    orthanc.stop()
    with Node(chosen("C-STORE"), answer) as node:
        send(node.port, exam(140))
        until(node.queue.troubles)
        assert "no association" in node.queue.troubles()[0].reason
        orthanc.title = "ANOTHER"
        orthanc.start()
        until(lambda: "refused; does it know TRAMTRACK" in node.queue.troubles()[0].reason)
        orthanc.stop()
        orthanc.title = "ORTHANC"
        orthanc.start()
        until(lambda: finished(node))
    assert len(orthanc.classes(exam(140)[0].StudyInstanceUID)) == 2


def test_a_web_service_that_is_down(orthanc, chosen):
    from dataclasses import replace

    with Node(replace(chosen("STOW-RS"), destination=f"http://127.0.0.1:{free_port()}/dicom-web"), answer) as node:
        send(node.port, exam(141))
        until(node.queue.troubles)
        assert "no connection" in node.queue.troubles()[0].reason
    with Node(replace(chosen("STOW-RS"), destination=f"http://127.0.0.1:{orthanc.http}/nowhere"), answer) as node:
        until(lambda: "answered 404" in node.queue.troubles()[0].reason)


def test_pull_fetches_an_exam_as_it_is_stored(orthanc, tmp_path):
    images = exam(150, AccessionNumber="A150")
    images[0].compress("1.2.840.10008.1.2.5", generate_instance_uid=False)  # RLE stays RLE
    other = exam(151, AccessionNumber="B151")
    orthanc.keep(*images, *other)
    done = pull(orthanc.web, tmp_path / "out", accession="A150")
    assert (done.fetched, done.there) == (4, 0)
    fetched = {found.SOPInstanceUID: found for found in map(pydicom.dcmread, (tmp_path / "out").iterdir())}
    for image in images:
        found = fetched[image.SOPInstanceUID]
        assert found.PixelData == image.PixelData and found.PatientName == image.PatientName
        assert found.file_meta.TransferSyntaxUID == image.file_meta.TransferSyntaxUID
    next((tmp_path / "out").iterdir()).unlink()
    done = pull(orthanc.web, tmp_path / "out", study=images[0].StudyInstanceUID)
    assert (done.fetched, done.there) == (1, 3)
    assert pull(orthanc.web, tmp_path / "w", patient="W151", date="20240102").fetched == 4


def test_pull_refuses_what_is_not_one_exam(orthanc, tmp_path):
    orthanc.keep(*exam(160, views=1), *exam(161, views=1, PatientID="W160"))
    for question, said in (({"patient": "W160"}, "2 are meant"), ({"accession": "nobody"}, "has no such exam")):
        with pytest.raises(TramtrackError, match=said):
            pull(orthanc.web, tmp_path, **question)
    for question in ({}, {"date": "20240102"}, {"patient": "W*"}):
        with pytest.raises(UsageError, match="one exam"):
            pull(orthanc.web, tmp_path, **question)
    for address, said in (
        (orthanc.web.replace("dicom-web", "x"), "answered 404"),
        (f"http://127.0.0.1:{free_port()}", "no connection"),
    ):
        with pytest.raises(TramtrackError, match=said):
            pull(address, tmp_path, patient="W160")
    with pytest.raises(TramtrackError, match=r"neither DICOM JSON nor XML|answered 40"):
        pull(f"http://127.0.0.1:{orthanc.http}/app", tmp_path, patient="W160")


def test_a_node_that_is_killed_goes_on_with_orthanc(orthanc, chosen, tmp_path):
    """The whole loop in processes of their own, the node killed twice while six exams pass through."""
    exams = [exam(170 + number) for number in range(6)]
    waiting = [image for images in exams for image in images]
    configured = chosen("C-STORE")
    watching = Queue(configured.queue)
    for most in (10, 20, len(waiting)):
        process, port = start(configured)
        for _ in range(most):
            if waiting and send(port, waiting[:1]) == [0]:
                waiting.pop(0)
        if most > 20:
            until(lambda: not watching.exams(finished=False), 30)
        process.kill()
        process.join(20)
    assert not waiting
    for images in exams:
        assert orthanc.classes(images[0].StudyInstanceUID) == sorted(RESULTS)
