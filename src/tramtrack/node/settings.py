"""What a node is told: who may call, where results go, how long it waits, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

from tramtrack.errors import UsageError
from tramtrack.node.addresses import Entity

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a peer may ask of the node; beyond it an image is refused (A700), or the peer is dropped."""

    instance_bytes: int = 256 * MIB
    images_an_exam: int = 100
    images_a_minute: int = 600
    """From one application entity; a burst of as many is taken at once."""
    associations: int = 4
    """At a time; each may hold one image in memory."""
    message_seconds: float = 120.0
    """From the first byte of an image to its last, however slowly they come."""
    idle_seconds: float = 60.0
    answer_seconds: float = 60.0
    """How long the receiver of results may take for a word on what it was sent or asked."""
    free_bytes: int = 1024 * MIB
    """Left on the disk: below it no image is taken, so that what is queued can still be worked off and recorded."""


@dataclass(frozen=True)
class Retries:
    """When something that failed is tried again: after ``first`` seconds, then twice as long each time, up to ``longest``."""

    first: float = 10.0
    longest: float = 900.0
    answers: int = 5
    """How often an exam is asked before it is set aside; sending is never given up."""

    def delay(self, attempts: int) -> float:
        """Seconds to wait after so many failed attempts (1 or more)."""
        return float(min(self.longest, self.first * 2 ** min(attempts - 1, 30)))


@dataclass(frozen=True)
class Settings:
    """A node. ``destination`` is an application entity (C-STORE) or the address of a DICOMweb service (STOW-RS)."""

    queue: Path
    callers: tuple[Entity, ...]
    destination: Entity | str
    title: str = "TRAMTRACK"
    address: str = "127.0.0.1"
    port: int = 11112
    status_port: int | None = 11180
    quiet_seconds: float = 600.0
    settle_seconds: float = 15.0
    """A complete exam (four views) waits as long for a repeated view."""
    doubt_seconds: float = 5.0
    """After a start, how long a send that a kill interrupted is left to the receiver before it is asked."""
    keep_hours: float = 24.0
    authorization: str | None = None
    key: bytes = b""
    limits: Limits = Limits()
    retries: Retries = Retries()

    def __post_init__(self) -> None:
        if not self.callers:
            raise UsageError("--from: expected at least one application entity that may send, as TITLE@host; received none")
        for name in ("quiet_seconds", "settle_seconds", "doubt_seconds", "keep_hours"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UsageError(f"{name}: expected a time of 0 or more, received {getattr(self, name)}")
        for part in (self.limits, self.retries):
            for field in fields(part):
                if not 0 < getattr(part, field.name) < float("inf"):
                    raise UsageError(f"{field.name}: expected a number above 0, received {getattr(part, field.name)}")
