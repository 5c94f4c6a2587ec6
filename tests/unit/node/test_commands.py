"""The verbs listen, queue and pull on the command line: what they print, and what they refuse."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")

from node_peers import Pacs, answer, exam, send, settings, until
from tramtrack.cli import app
from tramtrack.errors import UsageError
from tramtrack.loopback import is_loopback
from tramtrack.node import addresses
from tramtrack.node.dicomweb import read_authorization
from tramtrack.node.listen import Node
from tramtrack.node.queue import Queue
from tramtrack.node.settings import Limits, Retries


def ask(*words):
    """What a verb prints; its error where it fails."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


@pytest.fixture
def waiting(tmp_path):
    """A queue with one exam that the archive does not take, one that is not complete and one that is done."""
    with Pacs().running() as pacs, Node(settings(tmp_path / "queue", pacs, key=b"k" * 32), answer) as node:
        send(node.port, exam(0))
        until(lambda: [row["state"] for row in node.queue.exams(finished=True)] == ["done"])
        pacs.status = 0xA700
        send(node.port, exam(1))
        send(node.port, exam(2, views=1))
        until(lambda: any(row["reason"] for row in node.queue.exams(finished=False)))
    return tmp_path / "queue"


def test_queue_shows_what_waits_and_tries_it_again(waiting):
    found = json.loads(ask("queue", waiting, "--json"))
    assert found["counts"]["done"] == found["counts"]["sending"] == found["counts"]["receiving"] == 1
    sending, receiving = found["exams"]
    assert sending["study"] == exam(1)[0].StudyInstanceUID and (sending["sent"], sending["results"]) == (0, 2)
    assert "answered A700" in sending["reason"] and sending["attempts"] >= 1
    assert (receiving["state"], receiving["views"], receiving["reason"]) == ("receiving", 1, "")
    text = ask("queue", waiting)
    assert sending["name"] in text and "answered A700" in text and "1 of 4" in text and exam(1)[0].StudyInstanceUID not in text
    assert len(json.loads(ask("queue", waiting, "--json", "--all"))["exams"]) == 3
    again = json.loads(ask("queue", waiting, "--retry", "all", "--json"))
    assert again["retried"] == 1 and again["exams"][0]["attempts"] == 0 and again["exams"][0]["due_at"] == 0
    assert "1 exam is tried again" in ask("queue", waiting, "--retry", sending["name"])
    with pytest.raises(UsageError, match="no exam of this name"):
        ask("queue", waiting, "--retry", "E-000000000000")


def test_queue_shows_what_is_in_trouble_and_when_it_is_tried_again(tmp_path):
    queue = Queue(tmp_path)
    for _ in range(2):
        queue.trouble("destination", "PACS@127.0.0.1:104: no association", Retries(first=500, longest=9000))
    queue.trouble("disk", "10 MiB left", Retries(first=7, longest=7))
    text = ask("queue", tmp_path)
    destination, disk = (line for line in text.splitlines() if "in trouble" in line)
    assert destination.startswith("destination in trouble for 0 s, attempts: 2, the next in 17 min: PACS@127.0.0.1:104: no")
    assert re.match("disk in trouble for 0 s, attempts: 1, the next in [67] s: 10 MiB left", disk)
    told = json.loads(ask("queue", tmp_path, "--json"))["troubles"]
    assert [(trouble["what"], trouble["attempts"]) for trouble in told] == [("destination", 2), ("disk", 1)]
    queue.over("disk")
    assert "disk in trouble" not in ask("queue", tmp_path)


def test_queue_needs_a_queue(tmp_path):
    with pytest.raises(UsageError, match=r"expected the folder of a queue .* found none"):
        ask("queue", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("text", ["PACS", "PACS@", "@host", "P S@host", "PACS@ho st", "A" * 17 + "@host", "PACS@host:1"])
def test_callers_are_title_at_host(text):
    with pytest.raises(UsageError, match="expected an application entity as TITLE@host"):
        addresses.caller(text)


@pytest.mark.parametrize("text", ["PACS@host", "PACS@host:0", "PACS@host:65536", "PACS@host:x"])
def test_a_destination_has_a_port(text):
    with pytest.raises(UsageError, match="expected an application entity as TITLE@host:port"):
        addresses.called(text)


def test_addresses_that_are_taken():
    assert str(addresses.caller("PACS-1@10.0.0.1")) == "PACS-1@10.0.0.1"
    assert addresses.called("PACS@[::1]:104") == addresses.Entity("PACS", "::1", 104)
    assert addresses.caller("A@localhost").addresses() >= {"127.0.0.1"}
    assert addresses.web("https://pacs.example/dicom-web/", True) == "https://pacs.example/dicom-web"
    assert is_loopback("127.0.0.9") and is_loopback("[::1]") and not is_loopback("10.0.0.1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://pacs.example", "expected the address of a DICOMweb service"),
        ("https://pacs.example/?a=1", "expected the address of a DICOMweb service"),
        ("https://me:secret@pacs.example", "a name and password in an address end in logs"),
        ("http://pacs.example/dicom-web", "expected https where an authorization is sent"),
    ],
)
def test_web_addresses_that_are_not(text, said):
    with pytest.raises(UsageError, match=said) as error:
        addresses.web(text, True)
    assert "secret" not in str(error.value)


def test_an_authorization_is_one_line_of_a_file(tmp_path):
    file = tmp_path / "word"
    file.write_text("Bearer 0123\n")
    assert read_authorization(file) == "Bearer 0123"
    for text in ("", "a\nb", "x\0y"):
        file.write_text(text)
        with pytest.raises(UsageError, match="expected one line"):
            read_authorization(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_authorization(tmp_path / "nothing")


def test_settings_that_make_no_sense(tmp_path):
    pacs = Pacs(port=1)
    for changes, said in (
        ({"callers": ()}, "--from"),
        ({"quiet_seconds": -1}, "quiet_seconds"),
        ({"keep_hours": float("nan")}, "keep_hours"),
        ({"limits": Limits(message_seconds=0)}, "message_seconds"),
        ({"retries": Retries(first=0)}, "first"),
    ):
        with pytest.raises(UsageError, match=said):
            settings(tmp_path, pacs, **changes)


def test_waits_double_up_to_the_longest():
    retries = Retries(first=10, longest=60)
    assert [retries.delay(attempts) for attempts in (1, 2, 3, 4, 1000)] == [10, 20, 40, 60, 60]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--to": "PACS"}, "expected an application entity as TITLE@host:port"),
        ({"--to": "ftp://pacs.example"}, "expected the address of a DICOMweb service"),
        ({"--from": "MODALITY"}, "expected an application entity as TITLE@host"),
        ({"--title": "A B"}, "expected 1 to 16 printable characters"),
        ({"--authorization": "nothing"}, "cannot be read"),
        ({"--results": "sr,jpg"}, r"--results sr,jpg: expected one or more of sr, cad, sc, map, seg, pr .* received 'jpg'"),
        ({"--results": ""}, "received 'nothing'"),
        ({"--quiet": "-1"}, "quiet_seconds"),
        ({"--prevalence": "2"}, "prevalence 2.0: expected a share between 0 and 1"),
        ({"--key": "nothing"}, "expected the file of the key under which the study's women go, found none"),
    ],
)
def test_listen_refuses_before_anything_is_loaded(tmp_path, changes, said):
    options = {"--queue": tmp_path / "queue", "--from": "MODALITY@127.0.0.1", "--to": "PACS@127.0.0.1:104", "--key": "none"}
    with pytest.raises(UsageError, match=said):
        ask("listen", tmp_path / "run", *(word for pair in {**options, **changes}.items() for word in pair))
    assert not (tmp_path / "queue").exists()


def test_an_authorization_goes_to_no_application_entity(tmp_path):
    (tmp_path / "word").write_text("Bearer 0123\n")
    words = ("--queue", tmp_path / "queue", "--from", "MODALITY@127.0.0.1", "--to", "PACS@127.0.0.1:104", "--key", "none")
    with pytest.raises(UsageError, match="expected a DICOMweb address behind --to, received PACS@127"):
        ask("listen", tmp_path / "run", *words, "--authorization", tmp_path / "word")


def test_the_log_has_no_words_of_libraries():
    """pydicom warns of a malformed name by quoting it, here and in the processes that look at images."""
    script = (
        "import subprocess, sys; from tramtrack.node import log; log.to_standard_error()\n"
        "import logging, pydicom.valuerep, warnings; warnings.warn('Carla')\n"
        "logging.getLogger('tramtrack.node.x').info('said')\n"
        "pydicom.valuerep.validate_value('DA', 'Carla', 1)\n"
        "subprocess.run([sys.executable, '-c', 'import warnings; warnings.warn(\"Carla\")'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "INFO said" in done.stderr and "Carla" not in done.stderr
