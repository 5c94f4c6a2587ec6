"""Exams go in, results come out: grouping, time, failures with back-off, and who may send."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")

from pydicom.uid import DeflatedExplicitVRLittleEndian, DigitalMammographyXRayImageStorageForPresentation, JPEG2000Lossless
from pynetdicom import AE, build_context
from pynetdicom.sop_class import Verification

from node_peers import NAME, SMALL, Pacs, answer, exam, send, settings, until
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.node.addresses import Entity
from tramtrack.node.listen import Node
from tramtrack.node.queue import Queue
from tramtrack.node.receive import Refused
from tramtrack.node.rows import DONE, FAILED, REFUSED


@pytest.fixture
def pacs():
    with Pacs().running() as running:
        yield running


def repeated():
    """The first view of the exam once more, as another instance."""
    return exam(views=1, SOPInstanceUID="1.2.826.0.1.3680043.10.1.0.77")


def states(node):
    return {row["study"].rsplit(".", 1)[1]: row["state"] for row in node.queue.exams(finished=True)}


def test_a_complete_exam_is_answered_and_its_results_arrive_once(tmp_path, pacs):
    with Node(settings(tmp_path, pacs), answer) as node:
        assert send(node.port, exam(views=4)) == [0, 0, 0, 0]
        until(lambda: states(node) == {"0": DONE})
        assert send(node.port, exam(views=4)) == [0, 0, 0, 0]  # again: nothing is new
        assert node.receiver.tally["images known already"] == 4
        assert node.queue.counts()["images"] == 4
    assert pacs.once_each() and set(pacs.study_of.values()) == {exam()[0].StudyInstanceUID}
    assert not pacs.asked, "nothing was in doubt"


def test_an_incomplete_exam_waits_for_its_quiet_time(tmp_path, pacs, monkeypatch):
    with Node(settings(tmp_path, pacs, quiet_seconds=600), answer) as node:
        send(node.port, exam(0, views=3))
        send(node.port, exam(1, views=4))
        until(lambda: states(node) == {"0": "receiving", "1": DONE})
        (waiting,) = node.queue.exams(finished=False)
        assert waiting["due_at"] == waiting["last_at"] + 600
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 300)
        time.sleep(0.3)
        assert states(node)["0"] == "receiving"
        monkeypatch.setattr(time, "time", lambda: clock() + 600)
        until(lambda: states(node)["0"] == DONE)
    assert pacs.once_each(2)


def test_a_breast_that_was_removed_is_not_waited_for(tmp_path, pacs):
    images = exam(views=2, PatientComments="mastectomy right 2015")
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, images)
        until(lambda: states(node) == {"0": DONE})


def test_a_late_image_has_the_exam_answered_anew(tmp_path, pacs):
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam())
        until(lambda: pacs.once_each(1))
        send(node.port, repeated())
        until(lambda: pacs.once_each(2))
        until(lambda: states(node) == {"0": DONE})
        assert [row["images"] for row in node.queue.exams(finished=True)] == [5]


def test_an_image_that_comes_while_its_exam_is_answered_counts(tmp_path, pacs):
    seen = []

    def slow(images, out):
        seen.append(len(list(images.iterdir())))
        if len(seen) == 1:
            assert send(node.port, repeated()) == [0]
        return answer(images, out)

    with Node(settings(tmp_path, pacs), slow) as node:
        send(node.port, exam())
        until(lambda: states(node) == {"0": DONE})
    assert seen == [4, 5] and pacs.once_each(), "the answer to four images was never sent"


def test_an_image_that_comes_while_results_are_sent_counts_afterwards(tmp_path, pacs):
    pacs.status = 0xA700
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam())
        until(lambda: any(row["reason"] for row in node.queue.exams(finished=False)))
        send(node.port, repeated())
        assert states(node) == {"0": "sending"}
        pacs.status = 0x0000
        until(lambda: pacs.once_each(2))


def test_no_answer_is_said_and_other_failures_are_tried_again(tmp_path, pacs):
    calls = []

    def answers(images, out):
        calls.append(images)
        if len(calls) < 3:
            raise ValueError(NAME)
        return answer(images, out)

    with Node(settings(tmp_path, pacs), answers) as node:
        send(node.port, exam(0))
        until(lambda: states(node)["0"] == DONE)
        send(node.port, exam(1, StudyDescription="no answer"))
        until(lambda: states(node)["1"] == REFUSED)
        (row,) = node.queue.exams(finished=False)
        assert row["reason"] == "none of these images is a standard view"
    assert len(calls) == 4 and pacs.once_each()


def test_an_exam_that_never_works_is_set_aside_and_can_be_tried_again(tmp_path, pacs):
    broken = [True]

    def answers(images, out):
        if broken[0]:
            raise OSError(28, "No space left on device")
        return answer(images, out)

    with Node(settings(tmp_path, pacs), answers) as node:
        send(node.port, exam())
        until(lambda: states(node) == {"0": FAILED})
        (row,) = node.queue.exams(finished=False)
        assert row["reason"] == "No space left on device"
        broken[0] = False
        watching = Queue(tmp_path, must_exist=True)  # as `tramtrack queue --retry` does, beside the node
        assert watching.retry(row["name"]) == 1
        until(lambda: states(node) == {"0": DONE})
    assert pacs.once_each()


@pytest.mark.parametrize("result", ["of another study", "outside the folder", "twice"])
def test_a_result_that_is_not_what_was_promised_is_not_sent(tmp_path, pacs, result):
    import pydicom

    def answers(images, out):
        files = answer(images, out)
        if result == "of another study":
            wrong = pydicom.dcmread(files[0])
            wrong.StudyInstanceUID = "1.2.3.4.5.6.7"
            wrong.save_as(files[0])
        if result == "outside the folder":
            files[0] = files[0].replace(tmp_path / "elsewhere.dcm")
        return files + files[: result == "twice"]

    with Node(settings(tmp_path / "queue", pacs), answers) as node:
        send(node.port, exam())
        until(lambda: states(node) == {"0": FAILED})
        (row,) = node.queue.exams(finished=False)
    assert "expected a" in row["reason"] and not pacs.stored


def test_a_dead_destination_is_tried_again_with_longer_and_longer_waits(tmp_path):
    pacs = Pacs()
    with pacs.running():
        pass  # it has a port, and nobody listens there
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam())
        until(lambda: node.queue.troubles() and node.queue.troubles()[0].attempts > 2)
        (trouble,) = node.queue.troubles()
        assert trouble.what == "destination" and "no association" in trouble.reason
        with pacs.running():
            until(lambda: states(node) == {"0": DONE})
            assert pacs.once_each() and node.queue.troubles() == []


def test_a_refused_association_is_named_and_tried_again(tmp_path, pacs):
    pacs.know("SOMEBODY")
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam())
        until(node.queue.troubles)
        assert "refused; does it know TRAMTRACK" in node.queue.troubles()[0].reason
        pacs.know()
        until(lambda: states(node) == {"0": DONE})
    assert pacs.once_each()


def test_a_result_that_is_not_taken_does_not_hold_up_the_others(tmp_path, pacs):
    pacs.status = 0xA700
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam(0))
        until(lambda: any("A700" in row["reason"] for row in node.queue.exams(finished=False)))
        assert node.queue.troubles() == [], "the destination itself answers"
        pacs.status = 0x0000
        send(node.port, exam(1))
        until(lambda: states(node) == {"0": DONE, "1": DONE})
    assert pacs.once_each(2)


def test_a_result_whose_file_is_gone_does_not_hold_up_the_others(tmp_path, pacs):
    pacs.status = 0xA700
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam(0))
        until(lambda: any(row["reason"] for row in node.queue.exams(finished=False)))
        next(tmp_path.glob("exams/*/results-*/0.dcm")).unlink()
        pacs.status = 0x0000
        send(node.port, exam(1))
        until(lambda: states(node) == {"0": "sending", "1": DONE})
        until(lambda: "No such file" in node.queue.exams(finished=False)[0]["reason"])
    assert len(pacs.stored) == 3, "the other result of the exam was sent"


@pytest.mark.parametrize("status", [0xB000, 0x0111])
def test_a_warning_and_a_duplicate_are_the_receivers_word(tmp_path, pacs, status):
    pacs.status = status
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam())
        until(lambda: states(node) == {"0": DONE})


def test_a_receiver_that_falls_silent_is_asked_before_anything_is_sent_again(tmp_path, pacs):
    limits = replace(SMALL, answer_seconds=0.4)
    slow = [True]

    def hang():
        if slow[0]:
            slow[0] = False
            time.sleep(0.8)

    pacs.on_store = hang
    with Node(settings(tmp_path, pacs, limits=limits), answer) as node:
        send(node.port, exam())
        until(lambda: states(node) == {"0": DONE})
    assert pacs.once_each() and pacs.asked == 1


def test_only_known_entities_may_send(tmp_path, pacs):
    with Node(settings(tmp_path, pacs), answer) as node:
        assert send(node.port, exam(), title="STRANGER") == []
        assert send(node.port, exam(), node="ANOTHER") == []
        assert node.receiver.tally["associations rejected"] == 2
        assert send(node.port, exam()) == [0, 0, 0, 0]
    other = settings(tmp_path / "other", pacs, callers=(Entity("MODALITY", "127.0.0.2"),))
    with Node(other, answer) as node:
        assert send(node.port, exam()) == []
        assert node.receiver.tally["peers dropped"] == 1


def test_an_association_for_another_title_is_rejected_and_told_of(tmp_path, pacs, caplog):
    with caplog.at_level("WARNING", "tramtrack.node"), Node(settings(tmp_path / "q", pacs), answer) as node:
        assert send(node.port, exam(), node="SOMEBODY") == []
        assert node.receiver.tally["associations rejected"] == 1 and "another AE title than TRAMTRACK" in caplog.text


def test_a_queue_in_a_folder_that_was_open_to_others_is_not(tmp_path):
    tmp_path.chmod(0o755)
    queue = Queue(tmp_path)
    queue.leave_doubts(1)
    open_to_others = [path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077]
    queue.close()
    assert not open_to_others


def test_echo_is_answered(tmp_path, pacs):
    ae = AE(ae_title="MODALITY")
    ae.add_requested_context(Verification)
    with Node(settings(tmp_path, pacs), answer) as node:
        association = ae.associate("127.0.0.1", node.port, ae_title="TRAMTRACK")
        assert association.send_c_echo().Status == 0
        association.release()


def test_limits_on_size_number_and_rate(tmp_path, pacs):
    limits = replace(SMALL, images_an_exam=2, images_a_minute=6, instance_bytes=60_000)
    with Node(settings(tmp_path, pacs, limits=limits), answer) as node:
        assert send(node.port, exam(0)) == [0, 0, 0xA700, 0xA700]
        large = exam(1, views=1)
        large[0].PixelData *= 2
        assert send(node.port, large) == [0xA700]
        assert send(node.port, exam(2)) == [0, 0xA700, 0xA700, 0xA700]  # the seventh in one minute
        assert node.receiver.tally["images taken"] == 3 and node.receiver.tally["images refused"] == 6


def test_no_image_is_inflated_for_a_peer(tmp_path, pacs):
    with Node(settings(tmp_path, pacs), answer) as node:
        ae = AE(ae_title="MODALITY")
        for number, syntax in enumerate((DeflatedExplicitVRLittleEndian, JPEG2000Lossless)):
            ae.requested_contexts = [build_context(DigitalMammographyXRayImageStorageForPresentation, syntax)]
            association = ae.associate("127.0.0.1", node.port, ae_title="TRAMTRACK")
            assert len(association.accepted_contexts) == number
            association.abort()


def test_associations_at_once_share_one_allowance(tmp_path, pacs):
    """Eight threads look at what is left at the same time; five images a minute stay five."""

    class Slow(dict):
        def get(self, *arguments):
            found = super().get(*arguments)
            time.sleep(0.02)
            return found

    node = Node(settings(tmp_path, pacs, limits=replace(SMALL, images_a_minute=5)), answer)
    node.receiver._allowances = Slow()

    def ask(_):
        try:
            node.receiver._keep_rate("MODALITY")
        except Refused:
            return "refused"
        return "taken"

    with ThreadPoolExecutor(8) as threads:
        assert Counter(threads.map(ask, range(8))) == {"taken": 5, "refused": 3}


def test_what_is_wrong_with_an_image_is_told_to_the_peer(tmp_path, pacs):
    first, second, third = exam(views=3)
    with Node(settings(tmp_path, pacs), answer) as node:
        assert send(node.port, [first]) == [0]
        first.PixelData = bytes(len(first.PixelData))
        del second.StudyInstanceUID
        with warnings.catch_warnings(action="ignore"):
            third.StudyInstanceUID = "../../etc/1.2"
        assert send(node.port, [first, second, third]) == [0x0111, 0xC000, 0xC000]
    assert [path.name for path in tmp_path.rglob("*.dcm")] == [node.queue.place_of(_image(exam()[0])).name]


def _image(dataset):
    from tramtrack.node.rows import Image

    return Image(str(dataset.SOPInstanceUID), str(dataset.StudyInstanceUID), "", "", "")


def test_the_log_and_the_status_page_name_no_patient(tmp_path, pacs, caplog):
    caplog.set_level(logging.INFO, logger="tramtrack.node")
    pacs.status = 0xA700
    with Node(settings(tmp_path, pacs, key=b"k" * 32), answer) as node:
        send(node.port, exam())
        until(lambda: any(row["reason"] for row in node.queue.exams(finished=False)))
        address = f"http://127.0.0.1:{node.status_port}/"
        page = urllib.request.urlopen(address).read().decode()
        found = json.loads(urllib.request.urlopen(address + "status.json").read())
        (name,) = (row["name"] for row in node.queue.exams(finished=False))
        foreign = urllib.request.Request(address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(foreign)
    assert found["exams_and_results"]["sending"] == 1 and found["since_the_start"] == {"images taken": 4}
    assert "<td>4</td>" in page
    written = caplog.text + page + json.dumps(found)
    assert name.startswith("E-") and name in caplog.text
    for secret in ("Confidential", "Carla", "W0", str(exam()[0].StudyInstanceUID)):
        assert secret not in written, secret


def test_finished_exams_leave_the_disk_and_are_not_forgotten(tmp_path, pacs):
    with Node(settings(tmp_path, pacs), answer) as node:
        send(node.port, exam())
        until(lambda: states(node) == {"0": DONE})
        assert list(tmp_path.rglob("*.dcm"))
        node.queue.remove_old(before=9e9)
        assert not list(tmp_path.rglob("*.dcm"))
        assert send(node.port, exam()) == [0, 0, 0, 0]
        assert states(node) == {"0": DONE} and not list(tmp_path.rglob("*.dcm"))
    assert pacs.once_each()


def test_one_node_a_queue_and_one_a_port(tmp_path, pacs):
    with Node(settings(tmp_path / "a", pacs), answer) as node:
        with pytest.raises(UsageError, match="another node works on this queue"):
            Node(settings(tmp_path / "a", pacs), answer).__enter__()
        with pytest.raises(TramtrackError, match="cannot listen here"):
            Node(settings(tmp_path / "b", pacs, port=node.port), answer).__enter__()
        with pytest.raises(TramtrackError, match="no status page"):
            Node(settings(tmp_path / "c", pacs, status_port=node.status_port), answer).__enter__()


def test_a_receiver_that_ends_the_association_on_a_query_is_sent_the_same_again(tmp_path, pacs):
    """Orthanc does so with whom it does not know: a doubt must not last for ever."""
    limits, slow = replace(SMALL, answer_seconds=0.4), [True]

    def hang():
        if slow.pop() if slow else False:
            time.sleep(0.8)

    pacs.on_store, pacs.ends_queries = hang, True
    with Node(settings(tmp_path, pacs, limits=limits), answer) as node:
        send(node.port, exam())
        until(lambda: states(node) == {"0": DONE})
    assert pacs.asked == 3 and sorted(pacs.stored.values()) == [1, 2]
