"""Trained runs as what a node asks: images in a folder become an answer, and DICOM results of the same study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tramtrack.errors import TramtrackError
from tramtrack.node.seam import Answerer, NoAnswer
from tramtrack.prediction.case import NoView, SeveralExams
from tramtrack.prediction.predictor import Predictor


def answerer(runs: Sequence[Path], *, prevalence: float | None, alpha: float | None, key: str | None, device: str) -> Answerer:
    """The runs, loaded once; see `Predictor` for what these are and what is raised, and `Answerer` for what is returned.

    Raises UsageError for a prevalence or an alpha that they cannot hold.

    Reasons for no answer count what the intake says of the files, and repeat no text of a header.
    """
    ready = Predictor(list(runs), device=device, processes=1)
    ready.stated(prevalence, alpha)

    def answer(images: Path, out: Path) -> Sequence[Path]:
        try:
            case = ready.predict(images, prevalence=prevalence, alpha=alpha, key=key)
        except NoView as error:
            reasons = Counter(file.reason for file in error.answer.excluded)
            found = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            raise NoAnswer(f"none of its images is a standard view ({found})") from error
        except SeveralExams as error:
            raise NoAnswer("expected the images of one woman, received those of several under one study") from error
        case.save(out)
        try:
            return case.save_dicom(out).files
        except TramtrackError as error:  # its message may quote a header
            raise NoAnswer("the headers of its images cannot carry DICOM results") from error

    return answer
