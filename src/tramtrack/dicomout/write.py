"""All DICOM results of an exam, one after the other, into a folder."""

from __future__ import annotations

import io
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from tramtrack import store
from tramtrack.cohort.inspect import HEADER_ERRORS
from tramtrack.dicomout.burden import segmentation, segments_of
from tramtrack.dicomout.cad import NoCalls, cad_report
from tramtrack.dicomout.conformance import problems
from tramtrack.dicomout.context import Context
from tramtrack.dicomout.heat import NoAxes, parametric_map
from tramtrack.dicomout.names import KINDS, WRITTEN, name_of
from tramtrack.dicomout.overlay import overlay
from tramtrack.dicomout.regions import Hot, hot_of
from tramtrack.dicomout.report import measurement_report
from tramtrack.dicomout.sources import Place, SourceImage, read_sources
from tramtrack.dicomout.state import presentation_state
from tramtrack.errors import TramtrackError
from tramtrack.prediction.answer import Answer

NO_MAP = "no heat map was made"


@dataclass(frozen=True)
class ViewResult:
    """What is written of one view beside its score; arrays lie on the pixels of ``file``.

    ``heatmap`` (rows, columns) float32 >= 0, or None where no maps were made, is shown brightest at ``scale``; ``calcified``
    holds by run, as the answer's burden names it, which pixels count as calcified: (rows, columns) bool.
    """

    file: Path
    heatmap: np.ndarray | None = None
    scale: float = 0.0
    calcified: Mapping[str, np.ndarray] = field(default_factory=dict)


@dataclass
class Written:
    """The ``files`` that were written, and why others, by their names, were ``left_out``; no reason quotes a header's text."""

    files: list[Path] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def told(self) -> str:
        """In one line what was left out, and why; empty where nothing was."""
        return "; ".join(f"{', '.join(names)} left out: {reason}" for reason, names in self.reasons().items())

    def reasons(self) -> dict[str, list[str]]:
        """The names of what was left out, by the reason."""
        by: dict[str, list[str]] = {}
        for name, reason in self.left_out.items():
            by.setdefault(reason, []).append(name)
        return by


def write_results(
    folder: Path,
    answer: Answer,
    views: Mapping[Place, ViewResult],
    method: str,
    calibrated: Mapping[str, Mapping[str, Any] | None] = MappingProxyType({}),
    kinds: Collection[str] = KINDS,
) -> Written:
    """Write the DICOM results of an exam into ``folder``; what an earlier exam left there under the same names is removed.

    ``views`` holds every view that ``answer`` scores; ``method`` is how their heat maps were made, ``calibrated`` by run how
    these become a burden, as plain numbers, or None; of all ``kinds`` of results (`ENDINGS`) those that are wanted. The same
    input gives the same identifiers again. Raises UsageError where the exam is no DICOM, TramtrackError where its files do not
    belong to one study, a map does not fit its image, or a header cannot carry results.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom warns of odd values by printing them, names among them
        sources = read_sources({place: view.file for place, view in views.items()})
    context = Context(answer, sources, method, calibrated, segmented="burden" in kinds)
    for source in context.sources:
        _require_fit(source, views[source.side, source.view])
    for name in WRITTEN:
        (folder / name).unlink(missing_ok=True)
    written = Written()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # highdicom warns of odd names by printing them
            for name, result in _results(context, views, frozenset(kinds), written.left_out):
                written.files.append(_save(folder / name, result))
    except HEADER_ERRORS as error:
        names = ", ".join(source.file.name for source in context.sources)
        raise TramtrackError(
            f"{names}: a header cannot carry DICOM results ({_kind_and_place(error)}); the answer itself is written"
        ) from error
    return written


def _results(
    context: Context, views: Mapping[Place, ViewResult], kinds: frozenset[str], left_out: dict[str, str]
) -> Iterator[tuple[str, Dataset]]:
    """Each result with its file's name; one view is held at a time."""
    segmentations: dict[Place, tuple[Dataset, dict[str, int]]] = {}
    hot: dict[Place, Hot] = {}
    for number, source in enumerate(context.sources, 1):
        place = source.side, source.view
        view = views[place]
        if view.heatmap is not None and kinds & {"state", "cad"}:
            hot[place] = hot_of(view.heatmap, view.scale)
        segments = segments_of(view.calcified)
        shown: dict[str, tuple[Callable[..., Dataset], Any]] = {
            "overlay": (overlay, view.heatmap),
            "map": (parametric_map, view.heatmap),
            "state": (presentation_state, hot.get(place)),
        }
        for kind, (make, what) in shown.items():
            if kind in kinds:
                arguments = None if what is None else (context, source, what, view.scale, number)
                yield from _made(name_of(kind, *place), make, arguments, left_out)
        if segments and "burden" in kinds:
            for name, made in _made(
                name_of("burden", *place), segmentation, (context, source, view.calcified, number), left_out
            ):
                segmentations[place] = made, segments
                yield name, made
    if "report" in kinds:
        yield name_of("report"), _checked(measurement_report(context, segmentations))
    if "cad" in kinds:
        yield from _made(name_of("cad"), _cad, (context, hot) if len(hot) == len(context.sources) else None, left_out)


def _cad(context: Context, hot: Mapping[Place, Hot]) -> Dataset:
    return _checked(cad_report(context, hot))


def _made(
    name: str, make: Callable[..., Dataset], arguments: tuple[Any, ...] | None, left_out: dict[str, str]
) -> list[tuple[str, Dataset]]:
    """The result that goes by this name, or none and why it is left out; ``arguments`` are None without a heat map."""
    try:
        if arguments is not None:
            return [(name, make(*arguments))]
        left_out[name] = NO_MAP
    except (NoAxes, NoCalls) as reason:
        left_out[name] = str(reason)
    except HEADER_ERRORS as error:
        left_out[name] = f"a header cannot carry it ({_kind_and_place(error)})"
    return []


def _kind_and_place(error: Exception) -> str:
    """Of an error whose words may quote a value of the header, and so a name."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}, line {last.lineno}"


def _require_fit(source: SourceImage, view: ViewResult) -> None:
    size = (int(source.header.Rows), int(source.header.Columns))
    for what, values in (("heat map", view.heatmap), *((f"mask by {run}", mask) for run, mask in view.calcified.items())):
        if values is not None and values.shape != size:
            raise TramtrackError(f"{source.file}: {size[0]} x {size[1]} pixels, but its {what} has {values.shape}")


def _checked(report: Dataset) -> Dataset:
    """The report itself, once it holds what its templates ask for."""
    found = problems(report)
    if found:
        raise ValueError(f"a report does not hold to its template: {'; '.join(found[:3])}")
    return report


def _save(path: Path, result: Dataset) -> Path:
    stream = io.BytesIO()
    result.save_as(stream, enforce_file_format=True)
    return store.write_bytes(path, stream.getvalue())
