"""A prediction for tests of the service: it does what the first file says, in the process that the service starts."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

from answers import answer
from tramtrack.errors import TramtrackError
from tramtrack.prediction.answer import Answer, Refused
from tramtrack.prediction.worker import Predict
from tramtrack.service.predictor import pack

NAME = "DOE^JANE"


def said(what: str) -> bytes:
    """A file with the prefix of DICOM that tells `load` what to do."""
    return bytes(128) + b"DICM" + what.encode()


def answer_about(exam: Path) -> Answer:
    """A valid answer that lists an exam's files."""
    listed = (Refused(file=path.name, reason="-", detail=str(path.stat().st_size)) for path in sorted(exam.iterdir()))
    return answer({("L", "CC"): 0.25, ("R", "MLO"): 0.75}, excluded=tuple(listed))


def load(journal: str = "") -> Predict:
    """Predict by what the first file says; each exam begun is a line in the file ``journal``."""

    def predict(exam: Path, results: Path) -> str:
        first = sorted(exam.iterdir())[0].read_bytes()[132:]
        if journal:
            with Path(journal).open("a") as stream:
                stream.write(f"{exam.parent.name}\n")
        for stream in (sys.stdout, sys.stderr):
            print(f"a library quotes {NAME}", file=stream, flush=True)
        warnings.warn(f"invalid value for VR PN: {NAME}", stacklevel=1)
        made = Path(tempfile.mkdtemp())
        assert exam.parent in made.parents, "a killed process would leave this behind"
        (made / "prepared.png").write_bytes(b"an image")
        again = Path(journal).read_text().split().count(exam.parent.name) > 1 if journal else False
        if first == b"hang" or (first == b"hang once" and not again):
            time.sleep(600)
        if first == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        if first == b"break":
            raise OSError(28, "No space left on device", str(exam))
        if first == b"surprise":
            raise ValueError(f"invalid value {NAME}")
        (results / "prediction.json").write_text(answer_about(exam).model_dump_json())
        if first == b"unanswered":
            raise TramtrackError(f"{exam}: none of 1 files is a standard view; the run is in {Path.cwd()}/runs/a")
        (results / "prediction.html").write_text("<!doctype html><title>an exam</title>")
        for name in ("heatmaps", "dicom"):
            (results / "result.dcm").write_bytes(said("a result"))
            pack([results / "result.dcm"], results / f"{name}.zip")
        return f"a map was left out: {exam}/0001.dcm has no axes" if first == b"partly" else ""

    return predict


def refuse_to_load() -> Predict:
    """A run that was changed."""
    raise TramtrackError("runs/a: not the weights that this run wrote")


def die_while_loading() -> Predict:
    """A process that does not come up."""
    os._exit(3)
