"""Results on their way back: each leaves once, by C-STORE or STOW-RS, and what a kill or a silence left in doubt is asked for.

Before a result leaves, its row says ``in doubt``; when the receiver's word has come, ``sent``. Only a result in doubt can have
arrived without being recorded. It is looked for at the receiver (C-FIND or QIDO-RS at the level of instances): what is there
is recorded, what is not is sent. A receiver that cannot be asked gets the same file under the same SOP Instance UID again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind  # type: ignore[attr-defined]

from tramtrack.errors import TramtrackError
from tramtrack.node.addresses import Entity
from tramtrack.node.queue import Queue
from tramtrack.node.receive import reason_of
from tramtrack.node.rows import IN_DOUBT, SENT, TO_SEND, Exam, Result
from tramtrack.node.settings import Retries, Settings

LOG = logging.getLogger(__name__)
DESTINATION = "destination"
DUPLICATE = 0x0111
MOST_UNHEARD = 3
"""After so many queries in a row without a word the receiver counts as one that cannot be asked, until the node starts anew."""


class Unreachable(TramtrackError):
    """The receiver cannot be spoken to, or fell silent; the words of what was sent last did not come."""


class NotTaken(TramtrackError):
    """The receiver answered, and did not take this result."""


class Link(Protocol):
    """An open way to the receiver."""

    def holds(self, result: Result) -> bool | None:
        """Whether the receiver has a result; None where it cannot be asked. Raises Unreachable."""

    def send(self, result: Result, file: Path) -> None:
        """Send one; when this returns the receiver has it. Raises NotTaken, or Unreachable where that is not known."""


Connect = Callable[[list[Result]], AbstractContextManager[Link]]
"""Opens a link over which these results can go. Raises Unreachable."""


class Deliverer:
    """Sends what the queue has to send."""

    def __init__(self, settings: Settings, queue: Queue, connect: Connect) -> None:
        self.retries: Retries = settings.retries
        self.queue, self.connect = queue, connect

    def once(self) -> bool:
        """Send one exam's results, if there is one and the receiver is not being left alone. Whether there was."""
        if any(trouble.what == DESTINATION and trouble.next_at > time.time() for trouble in self.queue.troubles()):
            return False
        exam = self.queue.next_to_send()
        if exam is None:
            return False
        try:
            refused = self._deliver(exam)
        except Unreachable as error:
            trouble = self.queue.trouble(DESTINATION, str(error), self.retries)
            LOG.warning(
                "the destination: %s; attempt %d, the next in %.0f s", error, trouble.attempts, trouble.next_at - time.time()
            )
            # One that makes the receiver fall silent must not stand in the others' way.
            self.queue.put_off(exam, str(error), self.retries.delay(trouble.attempts))
            return True
        if self.queue.over(DESTINATION):
            LOG.info("the destination takes results again")
        if refused:
            delay = self.retries.delay(exam.attempts + 1)
            self.queue.attempt(exam, refused, delay)
            LOG.warning("%s: not all results were taken (%s); the next attempt in %.0f s", exam.name, refused, delay)
        else:
            self.queue.sent(exam)
            LOG.info("%s: every result is sent", exam.name)
        return True

    def _deliver(self, exam: Exam) -> str:
        """Why some result was not taken, or ""."""
        results = self.queue.unsent(exam)
        refused = ""
        if not results:
            return refused
        with self.connect(results) as link:
            for result in results:
                if result.state == IN_DOUBT and link.holds(result):
                    self.queue.mark(result, SENT, "it was found at the receiver")
                    continue
                self.queue.mark(result, IN_DOUBT)
                try:
                    link.send(result, self.queue.folder / result.file)
                except NotTaken as error:
                    refused = str(error)
                    self.queue.mark(result, TO_SEND, refused)
                except OSError as error:  # its file cannot be read
                    refused = f"a result's file: {reason_of(error)}"
                    self.queue.mark(result, TO_SEND, refused)
                else:
                    self.queue.mark(result, SENT)
        return refused


def by_c_store(settings: Settings, entity: Entity) -> Connect:
    """C-STORE to an application entity, which is asked by C-FIND (study root) where it answers that."""

    unheard = [0]  # queries in a row that got no word: an archive may end the association of whom it does not let query

    @contextmanager
    def connect(results: list[Result]) -> Iterator[Link]:
        ae = AE(ae_title=settings.title)
        seconds = settings.limits.answer_seconds
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = seconds
        ae.connection_timeout = seconds / 4
        for sop_class, syntax in dict.fromkeys((result.sop_class, result.syntax) for result in results):
            ae.add_requested_context(sop_class, syntax)
        if any(result.state == IN_DOUBT for result in results) and unheard[0] < MOST_UNHEARD:
            ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
        association = ae.associate(entity.host, entity.port or 0, ae_title=entity.title)
        try:
            if not association.is_established:
                if association.is_rejected:
                    raise Unreachable(f"{entity}: the association was refused; does it know {settings.title} at this host?")
                raise Unreachable(f"{entity}: no association; is it running, and reachable from here?")
            yield _Association(association, str(entity), unheard)
        finally:
            if association.is_established:
                association.release()

    return connect


class _Association:
    """A link over an association."""

    def __init__(self, association: Any, name: str, unheard: list[int]) -> None:
        self._association, self._name, self._unheard = association, name, unheard
        self._accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
        self._syntaxes = {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}

    def holds(self, result: Result) -> bool | None:
        """By C-FIND at the level IMAGE (PS3.4 C.6.2.1)."""
        if str(StudyRootQueryRetrieveInformationModelFind) not in self._accepted:
            return None
        question = Dataset()
        question.QueryRetrieveLevel = "IMAGE"
        question.StudyInstanceUID = result.study
        question.SeriesInstanceUID = result.series
        question.SOPInstanceUID = result.sop
        found = False
        for status, answer in self._association.send_c_find(question, StudyRootQueryRetrieveInformationModelFind):
            if "Status" not in status:
                self._unheard[0] += 1
                raise Unreachable(f"{self._name}: no answer to a query; may {self._association.ae.ae_title} query there?")
            self._unheard[0] = 0
            if status.Status in (0xFF00, 0xFF01):
                found |= answer is not None and str(answer.get("SOPInstanceUID", "")) == result.sop
            elif status.Status >> 8 == 0xA7:
                raise Unreachable(f"{self._name} is too busy for a query ({status.Status:04X})")
            elif status.Status != 0x0000:
                return None
        return found

    def send(self, result: Result, file: Path) -> None:
        """One C-STORE; a warning, and that the receiver has this instance already, are its word that it is there."""
        if (result.sop_class, result.syntax) not in self._syntaxes:
            raise NotTaken(f"{self._name} takes no {UID(result.sop_class).name}")
        if not self._association.is_established:
            raise Unreachable(f"{self._name}: the association ended")
        try:
            status = self._association.send_c_store(file)
        except RuntimeError as error:  # it ended between the two lines
            raise Unreachable(f"{self._name}: the association ended") from error
        if "Status" not in status:
            raise Unreachable(f"{self._name}: no answer to a result, or the association ended")
        code = int(status.Status)
        if code not in (0x0000, DUPLICATE) and code >> 12 != 0xB:
            raise NotTaken(f"{self._name} answered {code:04X} to a {UID(result.sop_class).name}")
