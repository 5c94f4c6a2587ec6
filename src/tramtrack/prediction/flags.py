"""Why an answer may be worth less than its study's figures say."""

from __future__ import annotations

from collections.abc import Container, Sequence

from tramtrack.cohort.exam import Exam, View
from tramtrack.cohort.split import CALIBRATION
from tramtrack.prediction.answer import BURNED_IN, Scored
from tramtrack.prediction.panel import SPREAD_SHARE, Panel
from tramtrack.training.record import PRETRAINED

SPACING_TOLERANCE = 0.01
"""How far a spacing may lie outside those of training, as a share, before it counts as unseen."""


def flags_of_runs(panel: Panel) -> tuple[str, ...]:
    """Sentences on the runs, whatever the exam; empty where there is no doubt."""
    random = sorted({run.key.network for run in panel.runs if run.weights != PRETRAINED})
    return (f"random weights: {', '.join(random)} never saw ImageNet; a control, not a result",) if random else ()


def flags_of_exam(exam: Exam, panel: Panel) -> tuple[str, ...]:
    """Why an exam is not like those that the runs are known by: sentences on it, then on its views in their order."""
    found: list[str] = []
    folds = {panel.seen.women.get(exam.woman), *(panel.seen.pixels.get(view.pixels_sha256) for view in exam.views)} - {None}
    if folds:
        fold = next(name for name in ("training", "validation", CALIBRATION) if name in folds)
        found.append(f"this woman or image was in the study's {fold} fold: the score says nothing of new women")
    if panel.seen.synthetic and not all(view.synthetic for view in exam.views):
        found.append("trained on synthetic mammograms alone, and this exam is not synthetic")
    if exam.missing:
        found.append(f"view missing: {', '.join(f'{side} {view}' for side, view in exam.missing)}")
    vendors = {view.manufacturer for view in exam.views}
    unseen = sorted(vendor or "not named" for vendor in vendors - panel.seen.manufacturers)
    if unseen and panel.seen.manufacturers:
        found.append(f"vendor unseen in training: {', '.join(unseen)}")
    elif vendors - {""} and not panel.seen.manufacturers:
        found.append("training images named no vendor")
    for view in exam.views:
        found += [f"{view.side} {view.view}: {what}" for what in _of_view(view, panel)]
    return tuple(found)


def flags_of_spread(spread: float | None, panel: Panel) -> tuple[str, ...]:
    """A sentence where the runs disagree on the woman more than on nearly all women of validation; see `Panel.spread_limit`."""
    limit = panel.spread_limit
    if spread is None or limit is None or spread <= limit:
        return ()
    usual = f"those of {SPREAD_SHARE:.0%} of validation women at most {limit:.3f}"
    return (f"the runs disagree: their scores span {spread:.3f}, {usual}",)


def flags_of_maps(views: Sequence[Scored], empty: Container[tuple[str, str]]) -> tuple[str, ...]:
    """A sentence on each of the ``views`` whose heat map is all zeros (``empty`` has their side and view), but for those that
    are called negative, of which an empty map says what the call says."""
    odd = [scored for scored in views if (scored.side, scored.view) in empty and scored.call != "negative"]
    said = "its heat map is empty, so no place in the view shows why it has its score"
    return tuple(f"{scored.side} {scored.view}: {said}" for scored in odd)


def _of_view(view: View, panel: Panel) -> list[str]:
    found = []
    known = panel.seen.spacings_mm
    if view.spacing_mm is None:
        found += ["no spacing in the file"] if known else []
    elif known is None:
        found.append("training images had no spacing")
    elif not known[0] * (1 - SPACING_TOLERANCE) <= view.spacing_mm <= known[1] * (1 + SPACING_TOLERANCE):
        found.append(f"spacing {view.spacing_mm:.4f} mm unseen in training ({known[0]:.4f} to {known[1]:.4f})")
    if view.doubts:
        found.append(f"crop doubtful: {view.doubts}")
    if view.burned_in:
        found.append(BURNED_IN)
    if view.contradictions:
        found.append(f"its header contradicts itself: {view.contradictions}")
    if view.implant == "YES":
        found.append("implant")
    return found
