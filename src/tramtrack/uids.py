"""Unique identifiers that are always the same for the same things, under the UUID root 2.25 (PS3.5 B.2)."""

from __future__ import annotations

from tramtrack.store import text_sha256


def uid(*parts: object) -> str:
    """A unique identifier that is always the same for the same ``parts``: 2.25 and a 128-bit hash (at most 44 characters)."""
    return f"2.25.{int(text_sha256('|'.join(map(str, parts)))[:32], 16)}"
