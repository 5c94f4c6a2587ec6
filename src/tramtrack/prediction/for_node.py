"""Trained runs as what a node asks: images in a folder become an answer, and DICOM results of the same study.

They predict in a process of their own, with a time limit for each exam: an exam that hangs or kills it costs an attempt, and
neither the node nor the exams behind it.
"""

from __future__ import annotations

import logging
import shutil
import threading
from collections import Counter
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from tramtrack.dicomout.names import KINDS
from tramtrack.errors import TramtrackError
from tramtrack.node.seam import NoAnswer
from tramtrack.prediction.worker import SCRATCH, Load, Predict, Unanswerable, Worker

LOG = logging.getLogger("tramtrack.node.answer")  # the node's


class AnsweringProcess:
    """An `Answerer`; used with ``with``, which ends its process and, within a moment, a prediction on its way."""

    def __init__(self, load: Load, seconds: float) -> None:
        """Start the process and wait until its networks are loaded; an exam has ``seconds``. Raises what ``load`` raises."""
        self._load, self._seconds = load, seconds
        self._stopping, self._busy = threading.Event(), threading.Lock()
        self._worker: Worker | None = Worker(load, self._stopping.is_set)

    def __call__(self, images: Path, out: Path) -> Sequence[Path]:
        """See `Answerer`. Raises NoAnswer for an exam that is Unanswerable, TramtrackError for what may go better later."""
        with self._busy:
            if self._worker is None:
                self._worker = Worker(self._load, self._stopping.is_set)
            try:
                ended = self._worker.predict(images, out, self._seconds, self._stopping.is_set)
            finally:
                shutil.rmtree(images.with_name(SCRATCH), ignore_errors=True)
            if not ended.alive:
                self._worker = None
        if ended.how == "unanswerable":
            raise NoAnswer(ended.message)
        if ended.how == "stopped":
            raise TramtrackError("the node was stopped while it answered")
        if ended.how != "answered":
            raise TramtrackError(f"the prediction {ended.message}" if ended.how == "late" else ended.message)
        if ended.message:
            LOG.warning("exams/%s: %s", images.parent.name, ended.message)
        return sorted(out.glob("*.dcm"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopping.set()
        with self._busy:
            if self._worker is not None:
                self._worker.kill()
            self._worker = None


def answerer(
    runs: Sequence[Path],
    *,
    prevalence: float | None,
    alpha: float | None,
    key: str | None,
    device: str,
    seconds: float,
    kinds: Collection[str] = KINDS,
) -> AnsweringProcess:
    """The runs, loaded once in a process of their own; see `Predictor` for what these are and what is raised.

    ``kinds`` of DICOM results are made, see `Case.save_dicom`. Raises UsageError for a prevalence or an alpha that the runs
    cannot hold.
    """
    return AnsweringProcess(partial(load, tuple(map(str, runs)), prevalence, alpha, key, device, tuple(kinds)), seconds)


def load(
    runs: tuple[str, ...],
    prevalence: float | None,
    alpha: float | None,
    key: str | None,
    device: str,
    kinds: tuple[str, ...] = KINDS,
) -> Predict:
    """Load the runs, in the process that predicts with them.

    Why an exam is Unanswerable counts what the intake says of the files, and repeats no text of a header.
    """
    from tramtrack.prediction.case import NoView, Sealed, SeveralExams
    from tramtrack.prediction.predictor import Predictor

    ready = Predictor(list(runs), device=device, processes=1)
    ready.stated(prevalence, alpha)

    def predict(images: Path, out: Path) -> str:
        try:
            case = ready.predict(images, prevalence=prevalence, alpha=alpha, key=key)
        except NoView as error:
            reasons = Counter(file.reason for file in error.answer.excluded)
            found = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            raise Unanswerable(f"none of its images is a standard view ({found})") from error
        except SeveralExams as error:
            raise Unanswerable("expected the images of one woman, received those of several under one study") from error
        except Sealed as error:
            raise Unanswerable("it is of the study's test fold, which is sealed") from error
        case.save(out)
        try:
            return case.save_dicom(out, kinds).told()
        except TramtrackError as error:
            raise Unanswerable("the headers of its images cannot carry DICOM results") from error

    return predict
