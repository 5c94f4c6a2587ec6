"""Who may speak to the node and where results go: application entities as TITLE@host, addresses of DICOMweb."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.loopback import is_loopback

TITLE = re.compile(r"[\x21-\x5b\x5d-\x7e]{1,16}")
"""An AE title (PS3.5 6.2): 1 to 16 printable ASCII characters without backslash; spaces within one are not taken."""


@dataclass(frozen=True)
class Entity:
    """An application entity: its title, the host it is on and, where it is called, its port."""

    title: str
    host: str
    port: int | None = None

    def __str__(self) -> str:
        return f"{self.title}@{self.host}" + ("" if self.port is None else f":{self.port}")

    def addresses(self) -> frozenset[str]:
        """The IP addresses of its host, as connections show them. Raises TramtrackError where the name is not known."""
        try:
            found = socket.getaddrinfo(self.host, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise TramtrackError(f"{self}: the host cannot be found ({error.strerror}); give its address") from error
        return frozenset(str(entry[4][0]) for entry in found)


def caller(text: str) -> Entity:
    """TITLE@host: one that may call. Raises UsageError."""
    return _entity(text, "TITLE@host", with_port=False)


def called(text: str) -> Entity:
    """TITLE@host:port: one to be called. Raises UsageError."""
    return _entity(text, "TITLE@host:port", with_port=True)


def title(text: str) -> str:
    """An AE title. Raises UsageError."""
    if not TITLE.fullmatch(text) or "@" in text:
        raise UsageError(f"AE title {text!r}: expected 1 to 16 printable characters without a space, @ or backslash")
    return text


def is_web(text: str) -> bool:
    """Whether a destination is an address of DICOMweb rather than an application entity."""
    return re.match(r"[A-Za-z]+://", text) is not None


def web(text: str, secret: bool) -> str:
    """An http or https address without a last slash; ``secret``: an authorization goes with it, which plain http would show.

    Raises UsageError.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{text}: expected the address of a DICOMweb service, such as https://pacs.example/dicom-web")
    if parts.username or parts.password:
        raise UsageError(
            f"{parts.scheme}://{parts.hostname}: a name and password in an address end in logs; use --authorization"
        )
    if secret and parts.scheme == "http" and not is_loopback(parts.hostname):
        raise UsageError(f"{text}: expected https where an authorization is sent, received http")
    return text.rstrip("/")


def _entity(text: str, form: str, *, with_port: bool) -> Entity:
    pattern = r"([^@]+)@(\[[0-9A-Fa-f:.]+\]|[^@:\[\]\s/]+)" + (r":(\d{1,5})" if with_port else "")
    match = re.fullmatch(pattern, text)
    if not match or not TITLE.fullmatch(match[1]) or (with_port and not 0 < int(match[3]) < 65536):
        raise UsageError(f"{text!r}: expected an application entity as {form}, such as {form.replace('TITLE', 'PACS')}")
    return Entity(match[1], match[2].strip("[]"), int(match[3]) if with_port else None)
