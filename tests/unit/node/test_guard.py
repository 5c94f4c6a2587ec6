"""A peer that lies about lengths, never finishes, or speaks nonsense is dropped after its time, and the node lives on."""

from __future__ import annotations

import socket
import struct
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest

pytest.importorskip("pynetdicom", reason="the extra pacs is not installed")

from pynetdicom import AE
from pynetdicom.pdu import A_ASSOCIATE_RQ

from node_peers import SMALL, Pacs, answer, exam, send, settings, until
from tramtrack.node.listen import Node
from tramtrack.node.receive import TAKEN
from tramtrack.node.rows import DONE

TIME = 0.6
LIMITS = replace(SMALL, message_seconds=TIME, idle_seconds=TIME, instance_bytes=200_000)


def association_request():
    """The bytes of an association request of the modality."""
    sent = []
    ae = AE(ae_title="MODALITY")
    ae.add_requested_context(TAKEN[0])
    original = A_ASSOCIATE_RQ.encode
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.MonkeyPatch.context() as patch:
        patch.setattr(A_ASSOCIATE_RQ, "encode", lambda pdu: sent.append(original(pdu)) or sent[0])
        ae.acse_timeout = 0.1
        ae.associate("127.0.0.1", listening.getsockname()[1], ae_title="TRAMTRACK")
    return sent[0]


def pdata(content, control=0):
    """A P-DATA-TF PDU with one fragment; control 0: of a data set, and not the last."""
    return struct.pack(">BBLLBB", 4, 0, len(content) + 6, len(content) + 2, 1, control) + content


def store_command():
    """The command set of a C-STORE request (PS3.7 9.3.1.1), implicit little endian."""
    sop_class, sop = f"{TAKEN[0]}\0".encode(), b"1.2.3.4\0"
    elements = [
        (0x0002, sop_class + b"\0" * (len(sop_class) % 2)), (0x0100, struct.pack("<H", 1)), (0x0110, struct.pack("<H", 7)),
        (0x0700, struct.pack("<H", 0)), (0x0800, struct.pack("<H", 1)), (0x1000, sop),
    ]  # fmt: skip
    body = b"".join(struct.pack("<HHL", 0, element, len(value)) + value for element, value in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


@pytest.fixture(scope="module")
def request_bytes():
    return association_request()


@pytest.fixture
def node(tmp_path):
    with Pacs().running() as pacs, Node(settings(tmp_path, pacs, limits=LIMITS), answer) as running:
        yield running


@contextmanager
def connected(node, request=None):
    """A connection to the node, with an association where a request for one is given. A peer that a busy machine held up
    longer than this node's patience of 0.6 s is dropped as it should be, and asks again as any peer does."""
    ends = time.monotonic() + 20
    while True:
        with socket.create_connection(("127.0.0.1", node.port), timeout=10) as connection:
            if request is None or accepted(connection, request):
                yield connection
                return
        assert time.monotonic() < ends, "the association was to be accepted"


def accepted(connection, request):
    try:
        connection.sendall(request)
        return connection.recv(4096)[:1] == b"\x02"
    except ConnectionError:
        return False


def dropped_after(connection, *parts, pause=0.0):
    """Seconds until the node closes the connection on which it was sent these parts."""
    started = time.monotonic()
    try:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - started


def lives_on(node, number):
    """The node takes and answers an exam as ever. A sender that a busy machine held up longer than this node's patience of
    0.6 s is dropped as it should be, and sends again as a modality does."""
    until(lambda: send(node.port, exam(number)) == [0, 0, 0, 0], seconds=TIME + 20)
    until(lambda: any(row["study"].endswith(f".{number}") and row["state"] == DONE for row in node.queue.exams(finished=True)))


def test_silence_and_nonsense(node, request_bytes):
    for parts, seconds in [
        ((), TIME + 3),
        ((b"GET / HTTP/1.1\r\n\r\n",), 2),
        ((b"\x01\x00\x00\x00\x00\x04\xff\xff\xff\xff",), 2),
        ((request_bytes[:40],), TIME + 3),
    ]:
        with connected(node) as connection:
            assert dropped_after(connection, *parts) < seconds, parts
    with connected(node, request_bytes) as connection:
        assert dropped_after(connection) < TIME + 3, "an association on which nothing is said"
    lives_on(node, 1)


@pytest.mark.parametrize("associated", [False, True])
def test_a_length_of_gigabytes_costs_no_memory_and_no_time(node, request_bytes, associated, caplog):
    lie = (b"\x04" if associated else b"\x01") + b"\x00" + struct.pack(">L", 0xFFFFFFF0)
    with connected(node, request_bytes if associated else None) as connection:
        before = node.receiver.tally["peers dropped"]
        assert dropped_after(connection, lie, b"x" * 1000) < 2
    assert node.receiver.tally["peers dropped"] == before + 1
    assert "a PDU said to be 4294967280 bytes long" in caplog.text, "dropped for what it said, not after its time"
    lives_on(node, 2)


def test_an_image_that_never_ends(node, request_bytes):
    endless = [pdata(b"\0" * 100)] * 200
    with connected(node, request_bytes) as connection:
        before = node.receiver.tally["peers dropped"]
        assert TIME * 0.9 < dropped_after(connection, pdata(store_command(), 3), *endless, pause=0.02) < TIME + 3
    assert node.receiver.tally["peers dropped"] == before + 1
    more = [pdata(b"\0" * 100_000)] * 14
    with connected(node, request_bytes) as connection:
        before = node.receiver.tally["peers dropped"]
        assert dropped_after(connection, pdata(store_command(), 3), *more) < 3, "more bytes than an image may have"
    assert node.receiver.tally["peers dropped"] == before + 1
    lives_on(node, 3)


def test_a_pdu_that_trickles(node, request_bytes):
    parts = [bytes([byte]) for byte in pdata(store_command(), 3)]
    with connected(node, request_bytes) as connection:
        assert dropped_after(connection, *parts, pause=0.02) < TIME + 3
    lives_on(node, 4)


def test_a_data_set_that_is_none_is_refused_on_its_own(node, request_bytes):
    """A whole message with a data set of nonsense: the peer hears so (C000), and the association goes on."""
    with connected(node, request_bytes) as connection:
        for _ in range(2):
            connection.sendall(pdata(store_command(), 3) + pdata(b"\x08\x00\x18\x00\xff\xff\xff\xff" * 4, 2))
            assert b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\xc0" in connection.recv(4096)
    lives_on(node, 5)


def test_messages_that_pile_up(node, request_bytes, monkeypatch):
    whole = node.receiver._look
    monkeypatch.setattr(node.receiver, "_look", lambda *arguments: time.sleep(0.3) or whole(*arguments))
    message = pdata(store_command(), 3) + pdata(b"\x08\x00\x18\x00\xff\xff\xff\xff" * 4, 2)
    with connected(node, request_bytes) as connection:
        before = node.receiver.tally["peers dropped"]
        assert dropped_after(connection, *[message] * 8) < 3
    assert node.receiver.tally["peers dropped"] == before + 1
    monkeypatch.undo()
    lives_on(node, 7)


def test_many_silent_peers_do_not_keep_others_out(node):
    silent = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(12)]
    try:
        time.sleep(0.2)
        until(lambda: send(node.port, exam(6)) == [0, 0, 0, 0], seconds=TIME + 10)
    finally:
        for connection in silent:
            connection.close()
