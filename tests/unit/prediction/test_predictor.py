"""What a predictor makes of its networks' maps: an empty one is flagged, and no map is asked for where none is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mammogram import write_exam
from tramtrack.evaluation.aggregate import UNITS
from tramtrack.evaluation.scores import Undefined
from tramtrack.judgement.scoring import Chosen
from tramtrack.prediction.panel import Panel, Seen
from tramtrack.prediction.predictor import Predictor
from tramtrack.prediction.reader import Map
from tramtrack.protocol import Prepare, Protocol
from tramtrack.workers import Crew


class OneHot:
    """A network whose map is empty but for one view."""

    def scores(self, files: Sequence[Path]) -> np.ndarray:
        return np.full(len(files), 0.5)

    def look(self, files: Sequence[Path]) -> tuple[np.ndarray, list[Map]]:
        maps = [Map(np.full((2, 2), float("L_CC" in file.name), np.float32), 1.0, "grad-cam++", "relu") for file in files]
        return self.scores(files), maps


@pytest.fixture
def ready() -> Predictor:
    protocol = Protocol(prepare=Prepare(height=64, width=48))
    none = Undefined("threshold", "no woman with BAC", 4, 0, 4)
    chosen = Chosen({(unit, protocol.evaluation.threshold): none for unit in UNITS}, dict.fromkeys(UNITS, none))
    seen = Seen(frozenset(), None, False, {}, {})
    counts = {"women": 4, "positives": 0}
    made = object.__new__(Predictor)
    made.panel = Panel((), (protocol,), None, protocol, "maximum", chosen, counts, seen, "none", None, (), (), ())
    made.processes, made.readers, made._crew = 1, [OneHot()], Crew()  # type: ignore[list-item]
    return made


def test_empty_maps_are_flagged_by_their_views(ready: Predictor, tmp_path: Path) -> None:
    exam = tmp_path / "exam"
    write_exam(exam, ImagerPixelSpacing=[0.1, 0.1])
    case = ready.predict(exam, key="none")
    found = [flag for flag in case.answer.flags if "heat map is empty" in flag]
    assert [flag.split(":")[0] for flag in found] == ["L MLO", "R CC", "R MLO"] and len(case.maps) == 4
    bare = ready.predict(exam, key="none", heatmaps=False)
    assert bare.maps == {} and not [flag for flag in bare.answer.flags if "heat map" in flag]
