"""The node: a receiver, an answerer and a deliverer around one queue, until it is stopped. It may be killed at any moment."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout

from tramtrack.errors import UsageError
from tramtrack.node.addresses import Entity
from tramtrack.node.answer import Answers
from tramtrack.node.deliver import Connect, Deliverer, by_c_store
from tramtrack.node.queue import Queue
from tramtrack.node.receive import Receiver, reason_of
from tramtrack.node.seam import Answerer
from tramtrack.node.settings import Settings
from tramtrack.node.status import StatusPage

LOG = logging.getLogger(__name__)
HOUSEKEEPING_SECONDS = 60.0
LOOK_SECONDS = 0.5
"""How often the queue is looked at where nothing has come: for what is due by now, and for what `tramtrack queue` asked."""


class Node:
    """A running node; used with ``with``. ``port`` and ``status_port`` are those that it got."""

    def __init__(self, settings: Settings, answerer: Answerer) -> None:
        self.settings = settings
        self.queue = Queue(settings.queue)
        self._lock = FileLock(settings.queue / "node.lock")
        self._stopping = threading.Event()
        self.receiver = Receiver(settings, self.queue)
        self.answers = Answers(self.queue, answerer, settings.retries)
        self.deliverer = Deliverer(settings, self.queue, connect_to(settings))
        self.port, self.status_port = 0, 0
        self._page: StatusPage | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"{self.settings.queue}: another node works on this queue; stop it, or name another folder"
            ) from None
        try:
            doubts = self.queue.leave_doubts(self.settings.doubt_seconds)
            self.port = self.receiver.start()
            if self.settings.status_port is not None:
                self._page = StatusPage(self.queue, self.receiver, self.settings)
                self.status_port = self._page.port
        except BaseException:
            self._lock.release()
            raise
        if doubts:
            LOG.info("%d exams have results of which it is not known whether they arrived; the receiver is asked", doubts)
        self._begin("receive", self.receiver.serve)
        self._begin("answer", self._work, self.answers.once)
        self._begin("deliver", self._work, self.deliverer.once)
        self._begin("housekeeping", self._keep_house)
        if self._page is not None:
            self._begin("status", self._page.serve)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        self.queue.wake()
        self.receiver.stop()
        if self._page is not None:
            self._page.stop()
        for thread in self._threads:
            thread.join(timeout=5)
        self._lock.release()

    def wait(self) -> None:
        """Until somebody stops the node."""
        self._stopping.wait()

    def _begin(self, name: str, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=f"node-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self, once: Callable[[], bool]) -> None:
        """``once`` over and over while there is something to do, and again as soon as there is."""
        while not self._stopping.is_set():
            try:
                if once():
                    continue
            except Exception as error:  # the disk, the queue's file: nothing that one exam could be blamed for
                self._troubled(error)
                self._stopping.wait(self.settings.retries.first)
                continue
            with self.queue.changed:
                self.queue.changed.wait(min(LOOK_SECONDS, self.settings.retries.first))

    def _keep_house(self) -> None:
        """Look at the disk, and remove the images of exams that were done long ago."""
        while True:
            try:
                self.receiver.full()
                with self.receiver.alone:  # an image that has no row yet must not go with an old exam's files
                    self.queue.remove_old(time.time() - self.settings.keep_hours * 3600)
            except Exception as error:
                self._troubled(error)
            if self._stopping.wait(HOUSEKEEPING_SECONDS):
                return

    def _troubled(self, error: BaseException) -> None:
        """The queue cannot be written: said in the log, and in the queue as soon as it can be written again."""
        LOG.error("the queue: %s; tried again", reason_of(error))
        self.receiver.tally["queue errors"] += 1


def connect_to(settings: Settings) -> Connect:
    """How results reach the destination."""
    if isinstance(settings.destination, Entity):
        return by_c_store(settings, settings.destination)
    from tramtrack.node.dicomweb import by_stow

    return by_stow(settings, settings.destination)
