"""One new exam, answered: the answer, its views, and where in them the networks looked."""

from __future__ import annotations

import io
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tramtrack import store
from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.dicomout.names import KINDS
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.explain.burden import Calibration
from tramtrack.imaging.geometry import Geometry
from tramtrack.prediction.answer import Answer
from tramtrack.prediction.burden import mask_of
from tramtrack.prediction.heatmap import Heatmap, together
from tramtrack.prediction.page import page
from tramtrack.prediction.reader import Map

if TYPE_CHECKING:
    from tramtrack.dicomout.write import Written

Place = tuple[str, str]
"""Side and view, such as ("L", "MLO")."""
WRITTEN = ("prediction.json", "prediction.html", *(f"heatmap_{side}_{view}.png" for side, view in STANDARD_VIEWS))
"""The names of the files that a Case may write."""


class SeveralExams(UsageError):
    """Where one exam is expected there are several."""


class Sealed(TramtrackError):
    """An exam of the study's test fold, at which nobody has looked yet."""


class NoView(TramtrackError):
    """No file of an exam is a view; ``answer`` says why of each."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


@dataclass(frozen=True, repr=False)
class Case:
    """An exam that was answered: the answer and, by side and view, its prepared views (uint16, as the networks saw them), the
    files that they come from, how each lies in its file, and its map under each run, in the order of ``answer.runs``; and by
    run, in that order too, how its maps were calibrated to a burden, or None."""

    answer: Answer
    pictures: dict[Place, np.ndarray]
    files: dict[Place, Path]
    geometry: dict[Place, Geometry]
    maps: dict[Place, tuple[Map, ...]]
    calibrations: dict[str, Calibration | None] = field(default_factory=dict)

    def __repr__(self) -> str:
        woman = self.answer.of("woman")
        call = f", {woman.call} at {woman.threshold:.3f}" if woman.call else ""
        return f"Case({self.answer.woman}, {len(self.pictures)} views; score {woman.score:.3f}{call})"

    def heatmap(self, side: str, view: str, run: int | None = None) -> Heatmap:
        """The heat map of a view, such as ("L", "MLO"), of all runs together, or of that at place ``run`` of ``answer.runs``.

        Raises UsageError where the exam has no such view or no maps were made, or there is no such run.
        """
        place = (side, view)
        if place not in self.maps:
            there = " ".join("-".join(known) for known in self.maps) or "none"
            raise UsageError(f"heat map of {side} {view}: this exam has maps of {there}")
        maps = self.maps[place]
        if run is not None and not 0 <= run < len(maps):
            raise UsageError(f"heat map of run {run}: expected 0 to {len(maps) - 1}, in the order of the answer's runs")
        shown = together(maps if run is None else [maps[run]], self.geometry[place])
        return Heatmap(
            side, view, shown.values, shown.scale, shown.method, shown.layer, self.files[place], self.geometry[place]
        )

    def save(self, folder: str | Path) -> Path:
        """Write prediction.json and prediction.html (one file, opens offline) into ``folder``; returns the page's path."""
        store.write_text(Path(folder) / "prediction.json", self.answer.model_dump_json(indent=2) + "\n")
        return store.write_text(Path(folder) / "prediction.html", page(self.answer, self.pictures, self.together()))

    def save_dicom(self, folder: str | Path, kinds: Collection[str] = KINDS) -> Written:
        """Write the answer into the study that the exam's DICOM files belong to, as new objects in ``folder``.

        A measurement report and a CAD report of the exam; of each view its heat map over the image, as raw values and as
        outlines, and what counts as calcified where a burden was measured; of these the ``kinds`` that are asked for: "report",
        "cad", "overlay", "map", "state", "burden". They carry the woman's name and ID as her images do;
        the same exam and runs give the same identifiers again. Returns the files and what was left out, and why. Raises
        UsageError where the exam is no DICOM, TramtrackError where its files are not of one study, or are no longer there.
        """
        from tramtrack.dicomout.write import ViewResult, write_results

        shown = {place: self.heatmap(*place) for place in self.maps}
        views = {
            place: ViewResult(file, shown[place].values, shown[place].scale, self._calcified(place))
            if place in shown
            else ViewResult(file)
            for place, file in self.files.items()
        }
        calibrated = {run: None if found is None else asdict(found) for run, found in self.calibrations.items()}
        method = next((one.method for one in shown.values()), "")
        return write_results(Path(folder), self.answer, views, method, calibrated, kinds)

    def _calcified(self, place: Place) -> dict[str, np.ndarray]:
        """By run, which pixels of a view's original image count as calcified; see `mask_of`."""
        scores = self.answer.of("view", *place).by_run
        return {
            run: mask_of(self.maps[place][number], self.pictures[place], self.geometry[place], calibration, scores[number])
            for number, (run, calibration) in enumerate(self.calibrations.items())
            if calibration is not None
        }

    def together(self) -> dict[Place, Map]:
        """The map of all runs of each view that has one."""
        return {place: together(maps, self.geometry[place]) for place, maps in self.maps.items()}

    def save_heatmaps(self, folder: str | Path) -> list[Path]:
        """Write the map of each view over its original image, at its full resolution, as heatmap_<side>_<view>.png."""
        written = []
        for side, view in self.maps:
            stream = io.BytesIO()
            self.heatmap(side, view).overlay().save(stream, format="PNG", compress_level=3)
            written.append(store.write_bytes(Path(folder) / f"heatmap_{side}_{view}.png", stream.getvalue()))
        return written
