"""A disk that fills up: images are refused, the sender keeps them, and all goes on when there is room again."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")

from node_peers import SMALL, Pacs, answer, exam, send, settings, until
from tramtrack.node.listen import Node
from tramtrack.node.rows import DONE


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("no file system can be mounted here (root with CAP_SYS_ADMIN is needed)")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_is_really_full(tiny_disk):
    """Without the floor that is kept free: writes fail, and nothing that was confirmed is lost."""
    with Pacs().running() as pacs, Node(settings(tiny_disk / "queue", pacs), answer) as node:
        (tiny_disk / "ballast").write_bytes(bytes(max(0, shutil.disk_usage(tiny_disk).free - 120_000)))
        statuses = send(node.port, exam())
        assert statuses[0] == 0 and 0xA700 in statuses, "there was room for some"
        assert not list((tiny_disk / "queue" / "incoming").iterdir()), "nothing half written takes up room"
        (tiny_disk / "ballast").unlink()
        unheard = [image for image, status in zip(exam(), statuses, strict=True) if status]
        assert send(node.port, unheard) == [0] * len(unheard)
        until(lambda: [row["state"] for row in node.queue.exams(finished=True)] == [DONE])
    assert pacs.once_each()


def test_a_floor_is_kept_free_and_said(tmp_path, monkeypatch):
    free = [10 << 20]
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free[0]))
    limits = replace(SMALL, free_bytes=20 << 20)
    with Pacs().running() as pacs, Node(settings(tmp_path, pacs, limits=limits), answer) as node:
        assert send(node.port, exam()) == [0xA700] * 4
        (trouble,) = node.queue.troubles()
        assert (trouble.what, trouble.reason) == ("disk", "10 MiB left on the disk, 20 are kept free")
        free[0] = 30 << 20
        assert send(node.port, exam()) == [0] * 4
        assert node.queue.troubles() == []
        until(lambda: [row["state"] for row in node.queue.exams(finished=True)] == [DONE])


def test_an_answer_for_which_there_is_no_room_is_tried_again(tmp_path):
    full = [True]

    def answers(images, out):
        if full.pop() if full else False:
            raise OSError(28, "No space left on device")
        return answer(images, out)

    with Pacs().running() as pacs, Node(settings(tmp_path, pacs), answers) as node:
        send(node.port, exam())
        until(lambda: [row["state"] for row in node.queue.exams(finished=True)] == [DONE])
    assert pacs.once_each() and not list(tmp_path.glob("exams/*/*.part"))
