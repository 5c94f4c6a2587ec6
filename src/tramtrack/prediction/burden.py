"""How much calcification the maps of a new exam amount to, by the calibration that a run's study made on validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tramtrack import store
from tramtrack.cohort.exam import Exam
from tramtrack.errors import TramtrackError
from tramtrack.explain import burden as measuring
from tramtrack.explain.burden import Calibration, NoBurden, burden_of, load_calibration, on_breast
from tramtrack.explain.localisation import breast_of
from tramtrack.explain.place import to_original
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement.burden import around, band_of
from tramtrack.judgement.results import name_of
from tramtrack.prediction.answer import Burden, ViewBurden
from tramtrack.prediction.reader import Map
from tramtrack.protocol import Burden as Settings
from tramtrack.training.record import Run


def calibration_of(study: Path, run: Run) -> Calibration | None:
    """What `tramtrack burden` fitted for this very run, or None. Raises TramtrackError where it is of other weights."""
    results, source = study / "results", name_of(run)
    found = load_calibration(results, source)
    if found is None:
        return None
    path = measuring.calibration_file(results, source)
    if store.read_json(path)["identity"]["maps"]["weights"] != run.information["weights_file_sha256"]:
        raise TramtrackError(f"{path}: of an earlier run; run `tramtrack burden` again")
    return found


def burden_by(
    run: str,
    calibration: Calibration | None,
    exam: Exam,
    maps: Sequence[Map],
    scores: np.ndarray,
    pictures: Sequence[np.ndarray],
    geometry: Sequence[Geometry],
    settings: Settings,
) -> Burden:
    """The burden of an exam by one run's ``maps`` and ``scores`` (views,); ``maps`` is empty where none were made.

    The woman's area is the sum or the mean of her views', as her band's source leaves open; it is null, with the reason, where
    a view is missing, could not be measured, or has no spacing.
    """
    if calibration is None:
        return _none(
            run, "not calibrated: `tramtrack burden` on the study does so, where views of validation have a known area"
        )
    if not maps:
        return _none(run, "no heat maps were asked for, and burden is measured on them")
    views, failed = [], ""
    for place, view in enumerate(exam.views):
        try:
            found = burden_of(maps[place].values, pictures[place], geometry[place], calibration, float(scores[place]))
        except NoBurden as error:
            failed = failed or f"{view.side} {view.view}: {error}"
            continue
        views.append(
            ViewBurden(
                side=view.side.value,
                view=view.view.value,
                unit=found.unit,
                area=found.area,
                length=found.length,
                share=found.share,
            )
        )
    if exam.missing:
        failed = failed or f"view missing: {', '.join(f'{side} {view}' for side, view in exam.missing)}"
    if any(view.unit != "mm" for view in views):
        failed = failed or "no spacing: her views are measured in pixels"
    return _of_woman(run, views, calibration, settings, failed)


def mask_of(found: Map, prepared: np.ndarray, geometry: Geometry, calibration: Calibration, score: float) -> np.ndarray:
    """The pixels of the original image, bool (source_rows, source_columns), whose area `burden_of` multiplies by the
    calibration's factor: where the map reaches the threshold in the breast, nowhere where the view scores too low."""
    breast = breast_of(prepared)
    if calibration.least_score is not None and score < calibration.least_score:
        breast = np.zeros_like(breast)
    mask = (on_breast(found.values, breast) >= calibration.threshold) & breast
    return np.asarray(to_original(mask.astype(np.float32), geometry) >= 0.5)


def _of_woman(run: str, views: Sequence[ViewBurden], calibration: Calibration, settings: Settings, failed: str) -> Burden:
    if failed:
        return _none(run, failed, views)
    area = float(np.sum([view.area for view in views])) / (len(views) if settings.woman == "mean" else 1)
    low, high = (None, None) if calibration.squared_error is None else around(area, calibration.squared_error)
    reason = "no interval: validation has too few women whose area is known" if low is None else ""
    return Burden(
        run=run, views=tuple(views), area_mm2=area, low=low, high=high, band=band_of(area), added=settings.woman, reason=reason
    )


def _none(run: str, reason: str, views: Sequence[ViewBurden] = ()) -> Burden:
    return Burden(run=run, views=tuple(views), area_mm2=None, low=None, high=None, band="", added="", reason=reason)


def burdens(
    named: Mapping[str, Calibration | None],
    exam: Exam,
    maps: Sequence[Sequence[Map]],
    scores: np.ndarray,
    pictures: Sequence[np.ndarray],
    geometry: Sequence[Geometry],
    settings: Settings,
) -> tuple[Burden, ...]:
    """`burden_by` of each run; ``scores`` (runs, views), ``maps`` by run and view, empty where none were made."""
    return tuple(
        burden_by(run, calibration, exam, maps[place] if maps else [], scores[place], pictures, geometry, settings)
        for place, (run, calibration) in enumerate(named.items())
    )
