"""Exams whose time has come are answered one after the other; what they get lies whole on disk before it counts."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import pydicom

from tramtrack.errors import TramtrackError
from tramtrack.node.queue import Queue
from tramtrack.node.receive import flush_folder, reason_of
from tramtrack.node.rows import Exam, Result
from tramtrack.node.seam import Answerer, NoAnswer
from tramtrack.node.settings import Retries

LOG = logging.getLogger(__name__)


class Answers:
    """Answers the exams of a queue by ``answerer``."""

    def __init__(self, queue: Queue, answerer: Answerer, retries: Retries) -> None:
        self.queue, self.answerer, self.retries = queue, answerer, retries

    def once(self) -> bool:
        """Answer one exam, if one is due. Whether there was one.

        An error of the queue's own file is the caller's; every other is the exam's, and is tried again with back-off.
        """
        exam = self.queue.next_to_answer(self.retries.answers)
        if exam is None:
            return False
        try:
            results = self._answer(exam)
        except NoAnswer as error:
            self.queue.refuse(exam, str(error))
            LOG.warning("%s: no answer: %s", exam.name, error)
            return True
        except Exception as error:
            delay = self.retries.delay(exam.attempts)
            self.queue.put_off(exam, reason_of(error), delay)
            LOG.error("%s: attempt %d failed: %s; tried again in %.0f s", exam.name, exam.attempts, reason_of(error), delay)
            return True
        if self.queue.answered(exam, results):
            LOG.info("%s: answered, %d results to send", exam.name, len(results))
        else:
            LOG.info("%s: an image came while it was answered, so it is answered anew", exam.name)
        return True

    def _answer(self, exam: Exam) -> list[Result]:
        """Have the exam answered in a folder that gets its name when everything in it is on disk."""
        folder = self.queue.folder / exam.folder
        done, part = (folder / f"results-{exam.revision}{ending}" for ending in ("", ".part"))
        for left in (done, part):  # of an attempt that was cut off
            if left.exists():
                shutil.rmtree(left)
        part.mkdir()
        try:
            files = [Path(file) for file in self.answerer(folder / "images", part)]
            results = _results(files, part, done.relative_to(self.queue.folder), exam)
            for file in part.rglob("*"):
                _flush(file)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        part.rename(done)
        flush_folder(folder)
        return results


def _results(files: Sequence[Path], part: Path, done: Path, exam: Exam) -> list[Result]:
    """What the queue must know of each file. Raises TramtrackError where one is not what the answerer promised."""
    found: dict[str, Result] = {}
    for file in files:
        if not file.resolve().is_relative_to(part.resolve()):
            raise TramtrackError(f"{file.name}: expected a result in the folder that was given, it lies elsewhere")
        header = pydicom.dcmread(file, stop_before_pixels=True)
        if str(header.StudyInstanceUID) != exam.study:
            raise TramtrackError(f"{file.name}: expected a result of the exam's own study, it is of another")
        result = Result(
            str(header.SOPInstanceUID),
            exam.study,
            str(header.SeriesInstanceUID),
            str(header.SOPClassUID),
            str(header.file_meta.TransferSyntaxUID),
            str(done / file.resolve().relative_to(part.resolve())),
        )
        if result.sop in found:
            raise TramtrackError(f"{file.name}: expected a SOP Instance UID of its own, another result has the same")
        found[result.sop] = result
    return list(found.values())


def _flush(path: Path) -> None:
    if path.is_dir():
        flush_folder(path)
        return
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
