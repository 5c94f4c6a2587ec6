"""One new exam, answered: the answer, its views, and where in them the networks looked."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tramtrack import store
from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.geometry import Geometry
from tramtrack.prediction.answer import Answer
from tramtrack.prediction.heatmap import Heatmap, together
from tramtrack.prediction.page import page
from tramtrack.prediction.reader import Map

Place = tuple[str, str]
"""Side and view, such as ("L", "MLO")."""
WRITTEN = ("prediction.json", "prediction.html", *(f"heatmap_{side}_{view}.png" for side, view in STANDARD_VIEWS))
"""The names of the files that a Case may write."""


class NoView(TramtrackError):
    """No file of an exam is a view; ``answer`` says why of each."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


@dataclass(frozen=True, repr=False)
class Case:
    """An exam that was answered: the answer and, by side and view, its prepared views (uint16, as the networks saw them), the
    files that they come from, how each lies in its file, and its map under each run, in the order of ``answer.runs``."""

    answer: Answer
    pictures: dict[Place, np.ndarray]
    files: dict[Place, Path]
    geometry: dict[Place, Geometry]
    maps: dict[Place, tuple[Map, ...]]

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
