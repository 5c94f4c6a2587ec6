"""Who may ask: the token, where it comes from, and which addresses need none."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.loopback import is_loopback

VARIABLE = "TRAMTRACK_TOKEN"
SHORTEST = 32
FORM = re.compile(rf"[A-Za-z0-9._~+/=-]{{{SHORTEST},}}")
"""b64token of RFC 6750 section 2.1."""


@dataclass(frozen=True)
class Token:
    """A secret that a request must show; only its hash is kept."""

    digest: bytes = field(repr=False)

    @classmethod
    def of(cls, text: str, where: str) -> Token:
        """From its text. Raises UsageError naming ``where`` it stands unless it is long enough to withstand guessing."""
        if not FORM.fullmatch(text):
            raise UsageError(
                f"{where}: expected a token of {SHORTEST} or more letters and digits, such as `openssl rand -hex 32` prints"
            )
        return cls(hashlib.sha256(text.encode()).digest())

    def admits(self, text: str) -> bool:
        """Whether ``text`` is the token, in a time that tells nothing of it."""
        return hmac.compare_digest(self.digest, hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest())


def read_token(file: Path | None) -> Token | None:
    """The token in ``file``, or in the variable TRAMTRACK_TOKEN, which is removed so that no other process inherits it.

    None where there is neither. Raises UsageError where both are given, there is no such file or the token is too short,
    TramtrackError where others on this machine may read the file.
    """
    said = os.environ.pop(VARIABLE, None)
    if file is None:
        return None if said is None else Token.of(said, VARIABLE)
    if said is not None:
        raise UsageError(f"--token-file and {VARIABLE}: expected one of them, received both")
    if not file.is_file():
        raise UsageError(f"--token-file {file}: expected a file that holds the token, found none")
    if file.stat().st_mode & 0o007:
        raise TramtrackError(f"{file}: everybody on this machine may open the token; chmod o= it")
    return Token.of(file.read_text(encoding="utf-8", errors="replace").strip(), str(file))


def require_token(host: str, token: Token | None) -> None:
    """Raise UsageError where ``host`` can be reached from other machines and there is no token."""
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host}: other machines can reach it, so a token is required; put one into a file for --token-file, or "
            f"into {VARIABLE}, or stay on 127.0.0.1"
        )
