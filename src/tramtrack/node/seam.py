"""What the node needs of whoever answers an exam: one function, and one way to say that an exam has no answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from tramtrack.errors import TramtrackError

Answerer = Callable[[Path, Path], Sequence[Path]]
"""``answer(images, out)``: look at the DICOM files in the folder ``images``, write into the empty folder ``out``, and return
the DICOM files there that are to be sent, each of the exam's own study. The same images give the same SOP Instance UIDs.
Raises NoAnswer where this exam can have none; whatever else it raises is tried again later."""


class NoAnswer(TramtrackError):
    """An exam that gets no answer however often it is asked (no standard view, two women in one study); says why."""
