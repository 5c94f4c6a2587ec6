"""How stages meet on disk: atomic writes, journals that survive a kill, and manifests that tell identity from information.

Every file is written to a temporary name in the same folder and renamed, so a reader sees the old file or the new one and
never a half. A journal is the exception: it grows a line at a time while a long stage works, and its reader drops a last
line that was cut off.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack.errors import TramtrackError

SCHEMA_VERSION = 1


class IdentityMismatch(TramtrackError):
    """What lies on disk was made under other settings than the ones now asked for."""


def write_bytes(path: Path, content: bytes) -> Path:
    """Write ``content`` to ``path`` atomically (temporary name, flush to disk, rename)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _naming(path, error) from error
        raise
    return path


def _naming(path: Path, error: OSError) -> OSError:
    """The error with the file's name, which the system does not give where a write fails (a full disk)."""
    return error if error.errno is None else OSError(error.errno, error.strerror, str(path))


def write_text(path: Path, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> Path:
    """Write JSON atomically, keys in the order given, NaN refused."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as CSV atomically."""
    return write_text(path, csv_text(table))


def csv_text(table: pd.DataFrame) -> str:
    """A table as CSV; floats keep every digit that tells them apart, a carriage return becomes a space."""
    buffer = io.StringIO()
    table.to_csv(buffer, index=False, lineterminator="\n")
    return buffer.getvalue().replace("\r", " ")


def read_json(path: Path) -> Any:
    """Read JSON; a broken file is named."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # no JSON, or no UTF-8
        raise TramtrackError(f"{path}: expected JSON, found something else ({error}); restore the file or remove it") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hex digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def bytes_sha256(content: bytes) -> str:
    """SHA-256 of some bytes, as 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def text_sha256(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as 64 hex digits."""
    return bytes_sha256(text.encode("utf-8"))


class Journal:
    """One JSON object a line, appended as a long stage finishes its units; what a kill cut off is dropped on reading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def entries(self) -> list[dict[str, Any]]:
        """All complete lines, oldest first."""
        return list(self._complete_lines())

    def _complete_lines(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        for line in self.path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                try:
                    yield json.loads(line)
                except ValueError:  # no JSON, or no UTF-8: what a power cut left
                    continue

    @contextmanager
    def appending(self) -> Iterator[Any]:
        """A function that appends one entry and flushes it; the cut-off end of an earlier run is removed first."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            content = self.path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            if whole != content:
                write_bytes(self.path, whole)
        with self.path.open("ab", buffering=0) as stream:  # nothing is left in a buffer that could fail once more

            def append(entry: Mapping[str, Any]) -> None:
                line = _line(entry)
                try:
                    while line:
                        line = line[stream.write(line) :]
                except OSError as error:
                    raise _naming(self.path, error) from error

            yield append

    def rewrite(self, entries: Iterable[Mapping[str, Any]]) -> None:
        """Have ``entries`` in place of what is there, all or none of them."""
        write_bytes(self.path, b"".join(_line(entry) for entry in entries))


def _line(entry: Mapping[str, Any]) -> bytes:
    return (json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_manifest(path: Path, identity: Mapping[str, Any], information: Mapping[str, Any]) -> Path:
    """Write a stage's manifest: ``identity`` is compared on resume, ``information`` never is."""
    return write_json(path, {"identity": {"schema": SCHEMA_VERSION, **identity}, "information": dict(information)})


def read_identity(path: Path) -> dict[str, Any] | None:
    """The identity that a manifest holds, or None where there is no manifest yet. Raises TramtrackError for another's file."""
    if not path.exists():
        return None
    found = read_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("identity"), dict):
        raise TramtrackError(f"{path}: expected a manifest that tramtrack wrote, found something else; choose another folder")
    return dict(found["identity"])


def require_same_identity(path: Path, wanted: Mapping[str, Any], what_to_do: str) -> bool:
    """True if ``path`` holds exactly the identity ``wanted``, False if there is no manifest yet.

    Raises IdentityMismatch naming each field that differs, with both values.
    """
    found = read_identity(path)
    if found is None:
        return False
    expected = {"schema": SCHEMA_VERSION, **wanted}
    differing = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
    if differing:
        detail = "; ".join(f"{key}: on disk {found.get(key)!r}, now {expected.get(key)!r}" for key in differing)
        raise IdentityMismatch(f"{path.parent}: made under other settings ({detail}); {what_to_do}")
    return True
