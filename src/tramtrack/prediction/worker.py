"""The process that predicts: it keeps the networks loaded, has a time limit for each exam, and is replaced when it dies.

It has a session of its own and is killed with everything that it started; and it kills itself so as soon as its parent is
gone. What its libraries print is dropped, since their warnings quote header values, and so names.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.workers import start_process

Predict = Callable[[Path, Path], str]
"""Predicts the exam in a folder (first) and writes what it gives into another (second).

Returns in one line which results could not be made, and why, or nothing. A TramtrackError says in one line why there is no
score, an Unanswerable that there never will be one; what was written by then is kept."""
Load = Callable[[], Predict]
"""Loads the networks, in the process that will predict; importable and picklable."""

START_SECONDS = 600.0
"""Networks that are not loaded after this long never will be."""
STEP_SECONDS = 0.05
READY = "ready"
SCRATCH = "scratch"
"""The folder beside an exam for temporary files."""


class Unanswerable(TramtrackError):
    """An exam that gets no score however often it is asked; says why."""


@dataclass(frozen=True)
class Ended:
    """How a prediction ended, and why, in a sentence; of one that was answered, which results could not be made.

    ``unanswered``: the exam gets no score; ``unanswerable``: it never will; ``broke``: the disk or the memory failed; ``died``:
    so did the process; ``late``: it outlasted its time; ``stopped``: nobody wants it any more.
    """

    how: Literal["answered", "unanswered", "unanswerable", "broke", "late", "died", "stopped"]
    message: str = ""

    @property
    def alive(self) -> bool:
        """Whether the process can predict another exam."""
        return self.how in ("answered", "unanswered", "unanswerable", "broke")


class Worker:
    """A process with loaded networks."""

    def __init__(self, load: Load, stopped: Callable[[], bool]) -> None:
        """Start it, and wait until it is ready; ``stopped`` is asked now and then. Raises what ``load`` raises, in words."""
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        life, self._life = context.Pipe(duplex=False)  # its other end is closed when this process is gone, however it went
        self._process = start_process(_serve, (load, there, life), daemon=False)
        there.close()
        life.close()
        answer = self._wait(START_SECONDS, stopped)
        if answer == READY:
            return
        self.kill()
        if isinstance(answer, Ended):
            raise TramtrackError(f"the process that predicts could not start: {answer.message or answer.how}")
        words, usage = answer
        raise UsageError(words) if usage else TramtrackError(words)

    def predict(self, exam: Path, results: Path, seconds: float, stopped: Callable[[], bool]) -> Ended:
        """Predict one exam; the process is killed unless the end is `alive`. ``stopped`` is asked now and then."""
        try:
            self._pipe.send((exam, results))
            answer = self._wait(seconds, stopped)
        except ConnectionError:
            answer = Ended("died", "the process ended while it waited")
        if isinstance(answer, Ended):
            self.kill()
            return answer
        return Ended(*answer)

    def _wait(self, seconds: float, stopped: Callable[[], bool]) -> Any | Ended:
        deadline = time.monotonic() + seconds
        while not self._pipe.poll(STEP_SECONDS):
            if stopped():
                return Ended("stopped")
            if time.monotonic() >= deadline:
                return Ended("late", f"took longer than {seconds:g} s")
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(5)
            return Ended("died", f"the process ended with code {self._process.exitcode}")

    def kill(self) -> None:
        """End the process, and whatever it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it is gone, or has no session yet
            self._process.kill()
        self._process.join()
        self._pipe.close()
        self._life.close()


def _serve(load: Load, pipe: Connection, life: Connection) -> None:
    os.setsid()
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()
    _be_silent()
    try:
        predict = load()
    except Exception as error:
        pipe.send((_words(error), isinstance(error, UsageError)))
        return
    pipe.send(READY)
    while True:
        try:
            exam, results = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(predict, exam, results))


def _answer(predict: Predict, exam: Path, results: Path) -> tuple[str, str]:
    scratch = exam.with_name(SCRATCH)  # prepared images lie here for a while: a process that is killed leaves them to its job
    try:
        scratch.mkdir(exist_ok=True, mode=0o700)
        os.environ["TMPDIR"], tempfile.tempdir = str(scratch), None
        note = predict(exam, results)
    except Exception as error:
        return _how(error), without_places(_words(error), exam)
    return "answered", without_places(note, exam)


def _how(error: Exception) -> str:
    if isinstance(error, OSError | MemoryError):
        return "broke"
    return "unanswerable" if isinstance(error, Unanswerable) else "unanswered"


def _words(error: Exception) -> str:
    """An expected error's own words; of any other its kind and place: its message may quote a value, and so a name."""
    if isinstance(error, TramtrackError):
        return str(error)
    if isinstance(error, OSError):
        return f"the disk or a file failed: {error.strerror or type(error).__name__}"
    if isinstance(error, MemoryError):
        return "the memory did not suffice"
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"an unexpected {type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"


def without_places(message: str, exam: Path) -> str:
    """A message without the paths of this machine: the exam's folder is "exam", of other paths the last part stays."""
    message = message.replace(f"{exam}/", "").replace(str(exam), "exam")
    return re.sub(r"(?<![\w.])/(?:[^\s/:;,]+/)*(?=[^\s/:;,])", "", message)


def _be_silent() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _end_with_parent(life: Connection) -> None:
    try:
        life.recv()
    except (EOFError, OSError):
        os.killpg(os.getpgid(0), signal.SIGKILL)
