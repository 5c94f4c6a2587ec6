"""Jobs on disk: one folder each, so that a server that was killed goes on where it stopped.

``incoming/<id>/`` is an upload on its way, dropped by a restart; ``jobs/<id>/`` a job that was accepted: ``job.json`` and
``exam/``, then ``results/`` with ``outcome.json``. Each of these appears by one rename. A job without results waits, also
after a restart; the images, and what its prediction left in ``scratch/``, go as soon as there are results. ``trash/`` is what
is being deleted.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.prediction.worker import SCRATCH
from tramtrack.service.limits import Limits, Refused

ID_BYTES = 16
RESULTS = ("prediction.json", "prediction.html", "heatmaps.zip", "dicom.zip")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Received(_Frozen):
    """A file of an exam, by the name that it goes by in the answer; the client's own name for it is not kept."""

    name: str
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class Accepted(_Frozen):
    """job.json: what came, when (Unix time in ns, which also orders the queue), and how often it ended its process."""

    received_ns: int
    files: tuple[Received, ...]
    tries: int = 0


class Outcome(_Frozen):
    """outcome.json: how a job ended."""

    state: Literal["done", "failed"]
    message: str
    seconds: float
    ended_ns: int


class Job(BaseModel):
    """A job as the service tells it."""

    id: str = Field(pattern="^[0-9a-f]{32}$")
    state: Literal["waiting", "running", "done", "failed"]
    message: str = Field(description="why it failed, or which result could not be made; or empty")
    ahead: int | None = Field(description="jobs before this one; null unless it waits")
    received: datetime
    ended: datetime | None
    seconds: float | None = Field(description="what the prediction took; null until it has ended")
    deleted: datetime | None = Field(description="when the job goes with its results; null until it has ended")
    files: tuple[Received, ...]
    results: tuple[str, ...] = Field(description="names that can be fetched below this job's address")


@dataclass(frozen=True)
class Taken:
    """A job on its way: the folder of its exam, and a new one that its results are written into."""

    name: str
    exam: Path
    results: Path


class Jobs:
    """All jobs of a folder. Every method may be called from any thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """Take the folder over. Raises TramtrackError where another server works on it, or a job's file is broken."""
        self._folder, self._limits = folder, limits
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise TramtrackError(f"{folder}: another server works here; stop it, or name another folder by --jobs") from error
        self._changed = threading.Condition()
        self._accepted: dict[str, Accepted] = {}
        self._outcomes: dict[str, Outcome] = {}
        self._running = ""
        self._uploads = 0
        for name in ("incoming", "trash"):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in ("incoming", "jobs", "trash"):
            (folder / name).mkdir(exist_ok=True, mode=0o700)
        for path in (folder / "jobs").iterdir():
            self._load(path)

    def _load(self, path: Path) -> None:
        accepted, outcome = path / "job.json", path / "results" / "outcome.json"
        try:
            self._accepted[path.name] = Accepted.model_validate_json(accepted.read_bytes())
            if outcome.exists():
                self._outcomes[path.name] = Outcome.model_validate_json(outcome.read_bytes())
        except (OSError, ValidationError) as error:
            raise TramtrackError(f"{path}: no job that can be read ({type(error).__name__}); move this folder away") from error
        for part in (path / SCRATCH, *path.glob("results-*")):
            shutil.rmtree(part, ignore_errors=True)
        if path.name in self._outcomes:
            shutil.rmtree(path / "exam", ignore_errors=True)

    def close(self) -> None:
        """Let another server have the folder."""
        self._lock.release()

    @contextlib.contextmanager
    def receiving(self) -> Iterator[Path]:
        """A new folder for an upload, which `accept` makes a job; else it is removed at the end.

        Raises Refused where the queue is full, too many uploads come at a time, or the disk has no room.
        """
        self._reserve()
        folder = self._folder / "incoming" / secrets.token_hex(ID_BYTES)
        try:
            folder.mkdir(mode=0o700)
            yield folder
        except OSError as error:
            raise Refused(503, f"the upload cannot be written ({error.strerror}); try again later", 60) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._changed:
                self._uploads -= 1

    def _reserve(self) -> None:
        limits = self._limits
        free = shutil.disk_usage(self._folder).free
        with self._changed:
            if len(self._waiting()) + self._uploads >= limits.waiting:
                raise Refused(429, f"the queue is full ({limits.waiting} exams): try again later", 30)
            if self._uploads >= limits.uploads:
                raise Refused(503, f"{limits.uploads} uploads are coming in, at most so many at a time: try again later", 5)
            if free < limits.upload_bytes + limits.unpacked_bytes:
                raise Refused(503, "the disk is full: nothing is taken until older jobs are gone", 600)
            self._uploads += 1

    def accept(self, folder: Path, files: list[Received]) -> Job:
        """Make an upload a job: from here on a restart keeps it."""
        accepted = Accepted(received_ns=time.time_ns(), files=tuple(files))
        _write(folder / "job.json", accepted)
        folder.rename(self._folder / "jobs" / folder.name)
        with self._changed:
            self._accepted[folder.name] = accepted
            self._changed.notify_all()
            return self._told(folder.name)

    def get(self, name: str) -> Job:
        """One job. Raises Refused (404) where there is none of that name."""
        with self._changed:
            self._require(name)
            return self._told(name)

    def newest(self, most: int) -> list[Job]:
        """Up to ``most`` jobs, the newest first."""
        with self._changed:
            names = sorted(self._accepted, key=self._order, reverse=True)[:most]
            return [self._told(name) for name in names]

    def result(self, name: str, result: str) -> Path:
        """The file of a result. Raises Refused: 404 where there is none of that name, 409 where it is not there yet."""
        job = self.get(name)
        if job.state in ("waiting", "running"):
            raise Refused(409, f"the job is {job.state}: ask for it until its state is done", 2)
        if result not in job.results:
            raise Refused(404, f"this job has no {result}: {job.message or 'its prediction wrote none'}")
        return self._folder / "jobs" / name / "results" / result

    def delete(self, name: str) -> None:
        """Remove a job with everything that is kept of it. Raises Refused (404) where there is none."""
        with self._changed:
            self._require(name)
            gone = self._folder / "trash" / f"{name}-{secrets.token_hex(4)}"
            (self._folder / "jobs" / name).rename(gone)
            del self._accepted[name]
            self._outcomes.pop(name, None)
            self._changed.notify_all()
        shutil.rmtree(gone, ignore_errors=True)

    def expire(self) -> list[str]:
        """Delete the jobs that ended longer ago than they are kept; returns their names."""
        before = time.time_ns() - int(self._limits.keep * 1e9)
        with self._changed:
            old = [name for name, outcome in self._outcomes.items() if outcome.ended_ns < before]
        for name in old:
            with contextlib.suppress(Refused):  # somebody deleted it meanwhile
                self.delete(name)
        return old

    def take(self, seconds: float) -> Taken | None:
        """The next job to predict, which then is running; None where none came; waits up to ``seconds``."""
        with self._changed:
            if not self._waiting():
                self._changed.wait(seconds)
            waiting = self._waiting()
            if not waiting:
                return None
            folder = self._folder / "jobs" / waiting[0]
            results = folder / f"results-{secrets.token_hex(4)}"
            results.mkdir()
            self._running = waiting[0]
            return Taken(waiting[0], folder / "exam", results)

    def wake(self) -> None:
        """End a `take` that waits."""
        with self._changed:
            self._changed.notify_all()

    def exists(self, name: str) -> bool:
        """Whether a job was not deleted."""
        with self._changed:
            return name in self._accepted

    def finish(self, job: Taken, state: Literal["done", "failed"], message: str, seconds: float) -> None:
        """Keep a job's results, and drop its images; nothing where the job was deleted meanwhile."""
        outcome = Outcome(state=state, message=message, seconds=round(seconds, 3), ended_ns=time.time_ns())
        with self._changed:
            self._running = ""
            if job.name not in self._accepted:
                return
            _write(job.results / "outcome.json", outcome)
            job.results.rename(job.results.with_name("results"))
            self._outcomes[job.name] = outcome
        for images in (job.exam, job.exam.with_name(SCRATCH)):
            shutil.rmtree(images, ignore_errors=True)

    def put_back(self, job: Taken) -> bool:
        """Let a job whose prediction broke wait again, in its old place; False where it was tried often enough."""
        with self._changed:
            accepted = self._accepted.get(job.name)
            if accepted is None or accepted.tries + 1 >= self._limits.tries:
                return False
            self._running = ""
            self._accepted[job.name] = accepted.model_copy(update={"tries": accepted.tries + 1})
            _write(job.exam.with_name("job.json"), self._accepted[job.name])
        for part in (job.results, job.exam.with_name(SCRATCH)):
            shutil.rmtree(part, ignore_errors=True)
        return True

    def _order(self, name: str) -> tuple[int, str]:
        return self._accepted[name].received_ns, name

    def _waiting(self) -> list[str]:
        names = (name for name in self._accepted if name not in self._outcomes and name != self._running)
        return sorted(names, key=self._order)

    def _require(self, name: str) -> None:
        if name not in self._accepted:
            raise Refused(404, "no such job: it was never there, was deleted, or its time is over")

    def _told(self, name: str) -> Job:
        accepted, outcome = self._accepted[name], self._outcomes.get(name)
        waits = outcome is None and name != self._running
        folder = self._folder / "jobs" / name / "results"
        return Job(
            id=name,
            state=outcome.state if outcome else "waiting" if waits else "running",
            message=outcome.message if outcome else "",
            ahead=self._waiting().index(name) + bool(self._running) if waits else None,
            received=_time(accepted.received_ns),
            ended=_time(outcome.ended_ns) if outcome else None,
            seconds=outcome.seconds if outcome else None,
            deleted=_time(outcome.ended_ns + int(self._limits.keep * 1e9)) if outcome else None,
            files=accepted.files,
            results=tuple(result for result in RESULTS if (folder / result).exists()) if outcome else (),
        )


def _write(path: Path, value: BaseModel) -> None:
    store.write_text(path, value.model_dump_json(indent=2) + "\n")


def _time(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
