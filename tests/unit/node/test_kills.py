"""kill -9 between any two things that must not come apart: no exam is lost, and no result arrives twice."""

from __future__ import annotations

import pytest

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")

from node_peers import MOMENTS, Pacs, answer, exam, send, settings, start, until
from tramtrack.node.listen import Node
from tramtrack.node.queue import Queue
from tramtrack.node.rows import DONE, FAILED


def finish(chosen):
    """A node, in this process, that goes on until nothing waits."""
    with Node(chosen, answer) as node:
        until(lambda: not node.queue.exams(finished=False))
        return [row["state"] for row in node.queue.exams(finished=True)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_loses_nothing_and_sends_nothing_twice(tmp_path, moment):
    images = exam()
    with Pacs().running() as pacs:
        chosen = settings(tmp_path, pacs)
        process, port = start(chosen, moment)
        statuses = send(port, images)
        process.join(20)
        assert process.exitcode == -9, "the node was to die here"
        with Node(chosen, answer) as node:
            # As a modality does: what it has no word of, it sends again.
            unheard = [image for place, image in enumerate(images) if statuses[place : place + 1] != [0]]
            assert send(node.port, unheard) == [0] * len(unheard)
            until(lambda: not node.queue.exams(finished=False))
            assert [row["state"] for row in node.queue.exams(finished=True)] == [DONE]
            assert node.queue.counts()["images"] == 4
    assert pacs.once_each(), pacs.stored


def test_an_image_without_its_row_counts_even_if_nobody_sends_it_again(tmp_path):
    with Pacs().running() as pacs:
        chosen = settings(tmp_path, pacs, quiet_seconds=0)
        process, port = start(chosen, "an image before its row")
        assert send(port, exam(views=1)) in ([None], [])
        process.join(20)
        (tmp_path / "incoming" / "half").write_bytes(b"half an image")
        assert finish(chosen) == [DONE]
    assert pacs.once_each() and not list((tmp_path / "incoming").iterdir())


def test_a_start_looks_at_what_was_arriving_and_never_through_all_that_ever_came(tmp_path):
    with Pacs().running() as pacs:
        chosen = settings(tmp_path, pacs)
        with Node(chosen, answer) as node:
            assert send(node.port, exam()) == [0] * 4
            until(lambda: not node.queue.exams(finished=False))
            (done,) = node.queue.exams(finished=True)
        stray = tmp_path / done["folder"] / "images" / "stray.dcm"
        stray.write_bytes(b"nobody sent this")
        queue = Queue(tmp_path)
        assert queue.unrecorded() == [], "no exam's folder was read"
        process, port = start(chosen, "an image before its row")
        assert send(port, exam(1, views=1)) in ([None], [])
        process.join(20)
        assert queue.unrecorded() == queue.unrecorded() != [], "it stays on the list until it has its row"


def test_a_receiver_that_cannot_be_asked_gets_the_same_instance_again(tmp_path):
    with Pacs(answers_queries=False).running() as pacs:
        chosen = settings(tmp_path, pacs)
        process, port = start(chosen, "a result that arrived, unrecorded")
        send(port, exam())
        process.join(20)
        assert finish(chosen) == [DONE]
    assert len(pacs.stored) == 2, "under the same SOP Instance UID, so a receiver keeps one"
    assert sorted(pacs.stored.values()) == [1, 2]


def test_an_exam_that_kills_the_node_is_set_aside(tmp_path):
    with Pacs().running() as pacs:
        chosen = settings(tmp_path, pacs)
        process, port = start(chosen, "an answer begun")
        send(port, exam())
        for _ in range(chosen.retries.answers - 1):
            process.join(20)
            process, _ = start(chosen, "an answer begun")
        process.join(20)
        with Node(chosen, answer) as node:
            until(lambda: [row["state"] for row in node.queue.exams(finished=False)] == [FAILED])
            assert "the node ended 3 times" in node.queue.exams(finished=False)[0]["reason"]
            assert Queue(tmp_path).retry(None) == 1
            until(lambda: [row["state"] for row in node.queue.exams(finished=True)] == [DONE])
    assert pacs.once_each()
