"""Predictions for tests of `tramtrack.prediction.for_node`: the process that predicts does what the exam's only file says."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.prediction.worker import Predict, Unanswerable


def load(journal: str) -> Predict:
    """Each start of the process is a line in the file ``journal``."""
    with Path(journal).open("a") as stream:
        stream.write(f"{os.getpid()}\n")

    def predict(images: Path, out: Path) -> str:
        said = (images / "image").read_text()
        if said == "hang":
            time.sleep(600)
        if said == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if said == "key":
            raise UsageError("--key: found none")
        if said == "several":
            raise Unanswerable("images of several women")
        (out / "b.dcm").write_text(said)
        (out / "a.dcm").write_text(said)
        (out / "prediction.json").write_text("{}")
        return "a map was left out" if said == "partly" else ""

    return predict


def refuse_to_load() -> Predict:
    """A run that was changed."""
    raise TramtrackError("runs/a: not the weights that this run wrote")
