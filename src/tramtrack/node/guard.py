"""A connection that keeps a peer to its word: bounded lengths, and one bounded time from a message's first byte to its last.

pynetdicom reads as many bytes as a PDU's header announces, 4 GiB if it says so, and waits for each as long as the socket
does. Here the socket itself counts: what goes beyond a limit ends the connection, whatever the reader was waiting for.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import struct
import time
from collections.abc import Callable
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

from tramtrack.node.settings import Limits

MOST_PDU = 128 * 1024
"""The largest P-DATA-TF that the node announces to take (PS3.8 D.1), bytes; no other PDU needs as much."""
OVERHEAD = 1 << 20
"""What may come with an image beside its bytes: the command, and the headers of its fragments at the usual sizes."""


class PeerDropped(ConnectionAbortedError):
    """A peer went beyond a limit; the connection is of no more use."""


class GuardedSocket(socket.socket):
    """An accepted connection under limits. pynetdicom asks for a PDU's 6 bytes of header, then for its body, and no further."""

    def __init__(self, accepted: socket.socket, limits: Limits, dropped: Callable[[str], None]) -> None:
        super().__init__(accepted.family, accepted.type, accepted.proto, fileno=accepted.detach())
        self._limits, self._dropped = limits, dropped
        self._header, self._body_left = bytearray(), 0
        self._began: float | None = time.monotonic()
        self._received = 0
        self._ended = False

    def whole_message(self) -> None:
        """A message has arrived whole: time and bytes count anew with the next one's first byte."""
        self._began, self._received = None, 0

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As of any socket. Raises PeerDropped beyond a limit."""
        if self._ended:
            return b""
        if self._began is None:
            self._began = time.monotonic()
        self.settimeout(self._left())
        try:
            data = super().recv(size, flags)
        except TimeoutError:
            self._left()
            raise
        self._count(data)
        return data

    def send(self, data: Any, flags: int = 0) -> int:
        """As of any socket; a peer that does not read what it asked for is dropped as well."""
        self.settimeout(self._limits.message_seconds)
        return super().send(data, flags)

    def _left(self) -> float:
        assert self._began is not None
        left = self._began + self._limits.message_seconds - time.monotonic()
        if left <= 0:
            self.drop(f"a message was not whole after {self._limits.message_seconds:g} s")
        return left

    def _count(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > self._limits.instance_bytes + OVERHEAD:
            self.drop(f"a message of more than {self._limits.instance_bytes} bytes")
        if self._body_left:
            self._body_left -= len(data)
            return
        self._header += data
        if len(self._header) >= 6:
            _, _, length = struct.unpack(">BBL", self._header[:6])
            self._header.clear()
            if length > MOST_PDU + 6:
                self.drop(f"a PDU said to be {length} bytes long, the most is {MOST_PDU}")
            self._body_left = length

    def drop(self, why: str) -> None:
        """End the connection. Raises PeerDropped."""
        self._dropped(why)
        self._ended = True  # pynetdicom goes on reading in some of its states
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
        raise PeerDropped(why)


class GuardedServer(ThreadedAssociationServer):
    """pynetdicom's server with guarded connections, and none from a host that is not known."""

    daemon_threads = True

    def __init__(
        self, *arguments: Any, limits: Limits, hosts: frozenset[str], dropped: Callable[[str, str], None], **options: Any
    ) -> None:
        self._limits, self._hosts, self._dropped = limits, hosts, dropped
        super().__init__(*arguments, **options)

    def get_request(self) -> Any:
        """The next connection, under guard."""
        accepted, address = super().get_request()
        return GuardedSocket(accepted, self._limits, lambda why: self._dropped(address[0], why)), address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether to speak to this host at all: known ones, and not with twice as many connections as associations."""
        if client_address[0] not in self._hosts:
            self._dropped(client_address[0], "its host is not known")
            return False
        if len(self.active_associations) >= 2 * self._limits.associations:
            self._dropped(client_address[0], "too many connections at a time")
            return False
        return True

    def shutdown(self) -> None:
        """Take no further connection, and close."""
        socketserver.BaseServer.shutdown(self)
        self.server_close()


def whole_message(association: Any) -> None:
    """Tell the connection of an association that a message, or its request, has arrived whole.

    A peer waits for the word on one message before it sends the next (PS3.7 D.3.3.3: one at a time is what was agreed);
    messages that pile up would fill the memory.
    """
    connection = association.dul.socket.socket if association.dul.socket else None
    if isinstance(connection, GuardedSocket):
        connection.whole_message()
        if association.dimse.msg_queue.qsize() > 1:
            connection.drop("it does not wait for the word on what it sent")
