"""Why an answer may be worth less than its study's figures say."""

from __future__ import annotations

from tramtrack.cohort.exam import Exam, View
from tramtrack.prediction.answer import BURNED_IN
from tramtrack.prediction.panel import Panel
from tramtrack.training.record import PRETRAINED

SPACING_TOLERANCE = 0.01
"""How far a spacing may lie outside those of training, as a share, before it counts as unseen."""


def flags_of(exam: Exam, panel: Panel) -> tuple[str, ...]:
    """Sentences, what concerns the runs first, then the exam, then its views in their order; empty where there is no doubt."""
    found: list[str] = []
    folds = {panel.seen.women.get(exam.woman), *(panel.seen.pixels.get(view.pixels_sha256) for view in exam.views)} - {None}
    if folds:
        fold = "training" if "training" in folds else "validation"
        found.append(f"this woman or image was in the study's {fold} fold: the score says nothing of new women")
    random = sorted({run.key.network for run in panel.runs if run.weights != PRETRAINED})
    if random:
        found.append(f"random weights: {', '.join(random)} never saw ImageNet; a control, not a result")
    if panel.seen.synthetic and not all(view.synthetic for view in exam.views):
        found.append("trained on synthetic mammograms alone, and this exam is not synthetic")
    if exam.missing:
        found.append(f"view missing: {', '.join(f'{side} {view}' for side, view in exam.missing)}")
    unseen = sorted({view.manufacturer or "not named" for view in exam.views} - panel.seen.manufacturers)
    if unseen and panel.seen.manufacturers:
        found.append(f"vendor unseen in training: {', '.join(unseen)}")
    for view in exam.views:
        found += [f"{view.side} {view.view}: {what}" for what in _of_view(view, panel)]
    return tuple(found)


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
