"""How much the service takes, and what it says when that is too little."""

from __future__ import annotations

from dataclasses import dataclass

from tramtrack.errors import TramtrackError

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one upload, one prediction and the queue may take. Sizes in bytes, times in seconds.

    ``ratio`` bounds unpacked over packed bytes, of a zip and of each entry in it: deflate reaches 1032, mammograms about 5.
    ``files`` bounds the files of an upload, and the entries of a zip, folders included. ``uploads`` may be received at a time.
    ``keep`` is how long a finished job stays, ``tries`` how often an exam may end the process that predicts it.
    """

    upload_bytes: int = 512 * MIB
    unpacked_bytes: int = 2048 * MIB
    ratio: int = 100
    files: int = 500
    upload_seconds: float = 300.0
    prediction_seconds: float = 300.0
    waiting: int = 20
    uploads: int = 4
    keep: float = 24 * 3600.0
    tries: int = 2


class Refused(TramtrackError):
    """A request that is not served: the HTTP status, one sentence, and after how many seconds it may be tried again."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
