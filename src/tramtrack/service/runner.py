"""Who works the queue off: one exam after the other, in one process that is started anew when it dies."""

from __future__ import annotations

import logging
import threading
import time
from typing import Literal

from tramtrack.errors import TramtrackError
from tramtrack.prediction.worker import Ended, Load, Worker
from tramtrack.service.jobs import Jobs, Taken
from tramtrack.service.limits import Limits

LOG = logging.getLogger("tramtrack.service")
IDLE_SECONDS = 1.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


class Runner:
    """A thread that predicts the jobs that wait, and deletes those whose time is over."""

    def __init__(self, jobs: Jobs, load: Load, limits: Limits) -> None:
        """Loads the networks. Raises TramtrackError where they cannot be loaded."""
        self._jobs, self._load, self._limits = jobs, load, limits
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)
        self._worker: Worker | None = Worker(load, self._stopping.is_set)
        self.problem = ""
        """Why nothing is predicted at the moment, or empty."""

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop. A prediction on its way is dropped; its job waits for the next start."""
        self._stopping.set()
        self._jobs.wake()
        if self._thread.is_alive():
            self._thread.join()
        if self._worker:
            self._worker.kill()
            self._worker = None

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._stopping.is_set():
            try:
                self._step()
                self.problem, pause = "", FIRST_PAUSE_SECONDS
            except (TramtrackError, OSError) as error:
                self.problem = str(error) if isinstance(error, TramtrackError) else f"the disk failed: {error.strerror}"
                LOG.error("nothing is predicted: %s; tried again in %g s", self.problem, pause)
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _step(self) -> None:
        for name in self._jobs.expire():
            LOG.info("job %s: deleted, its time is over", name)
        if self._worker is None:
            self._worker = Worker(self._load, self._stopping.is_set)
        job = self._jobs.take(IDLE_SECONDS)
        if job is None:
            return
        LOG.info("job %s: running", job.name)
        started = time.monotonic()
        ended = self._worker.predict(job.exam, job.results, self._limits.prediction_seconds, lambda: self._not_wanted(job.name))
        if not ended.alive:
            self._worker = None
        if not self._stopping.is_set():
            self._keep(job, ended, time.monotonic() - started)

    def _not_wanted(self, name: str) -> bool:
        return self._stopping.is_set() or not self._jobs.exists(name)

    def _keep(self, job: Taken, ended: Ended, seconds: float) -> None:
        if ended.how in ("died", "broke") and self._jobs.put_back(job):
            LOG.error("job %s: tried again: %s", job.name, ended.message)
            return
        state: Literal["done", "failed"] = "done" if ended.how == "answered" else "failed"
        self._jobs.finish(job, state, ended.message, seconds)
        LOG.info("job %s: %s after %.1f s", job.name, state, seconds)
