"""From the scores of an exam's views to all that is said of it."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from tramtrack.cohort.exam import Exam, View
from tramtrack.cohort.settle import Intake
from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Predictions, Unit
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.conformal import INDETERMINATE, Finding
from tramtrack.evaluation.scores import Undefined
from tramtrack.prediction.answer import GUARANTEE, Answer, Answering, Burden, Conformal, Probability, Refused, Scored, Source
from tramtrack.prediction.case import NoView
from tramtrack.prediction.flags import flags_of_exam, flags_of_maps, flags_of_runs, flags_of_spread
from tramtrack.prediction.panel import Panel

UNDECIDED = {
    True: "the score fits women with BAC and women without at this error rate",
    False: "the score fits neither women with BAC nor women without at this error rate",
}
"""Why nothing is found of an exam that is not doubted: whether its score fits both classes, or none."""


@dataclass(frozen=True)
class Stated:
    """For what an answer holds: ``prevalence`` in (0, 1) of its probability, ``alpha`` in (0, 0.5) of its conformal call."""

    prevalence: float
    alpha: float


def answer_of(
    source: Path,
    exam: Exam,
    found: Intake,
    panel: Panel,
    scores: np.ndarray,
    burden: tuple[Burden, ...],
    stated: Stated,
    empty: Container[tuple[str, str]] = (),
) -> Answer:
    """The answer to the one exam that was found in ``source``; ``scores`` (runs, views) float64 in [0, 1]; ``empty`` has side
    and view where the heat map is all zeros."""
    views = exam.views
    scored = [_scored(panel, "view", scores[:, [place]], [view], view) for place, view in enumerate(views)]
    for side in sorted({view.side for view in views}):
        places = [place for place, view in enumerate(views) if view.side == side]
        scored.append(_scored(panel, "breast", scores[:, places], [views[place] for place in places], views[places[0]]))
    woman = _scored(panel, "woman", scores, views, views[0])
    doubts = (*flags_of_exam(exam, panel), *flags_of_spread(woman.spread, panel))
    return _empty(source, found, panel).model_copy(
        update={
            "woman": exam.woman,
            "exam": exam.exam,
            "synthetic": any(view.synthetic for view in views),
            "scores": (*scored, woman),
            "probability": _probability(panel, woman.score, stated.prevalence),
            "conformal": _conformal(panel, woman.score, stated.alpha, doubts),
            "burden": burden,
            "flags": (*flags_of_runs(panel), *doubts, *flags_of_maps(scored[: len(views)], empty)),
            "sources": tuple(
                Source(
                    side=view.side.value,
                    view=view.view.value,
                    file=_below(view.file, source),
                    sha256=view.sha256,
                    spacing_mm=view.spacing_mm,
                    steps=view.steps,
                )
                for view in views
            ),
        }
    )


def _empty(source: Path, found: Intake, panel: Panel) -> Answer:
    """What can be said without a view."""
    return Answer(
        tramtrack=version("tramtrack"),
        woman="",
        exam="",
        synthetic=False,
        runs=tuple(
            Answering(
                network=run.key.network,
                variant=run.key.variant,
                seed=run.key.seed,
                weights="pretrained" if run.weights == "pretrained" else "random weights",
                weights_file_sha256=run.information["weights_file_sha256"],
                protocol_sha256=run.identity["protocol"],
            )
            for run in panel.runs
        ),
        aggregation=panel.aggregation,
        validation_women=panel.validation["women"],
        validation_positives=panel.validation["positives"],
        scores=(),
        probability=None,
        conformal=None,
        burden=(),
        flags=(),
        sources=(),
        excluded=tuple(
            Refused(file=_below(item.file, source), reason=str(item.reason), detail=_placeless(item.detail, source))
            for item in found.exclusions
        ),
    )


def _scored(panel: Panel, unit: Unit, scores: np.ndarray, views: Sequence[View], first: View) -> Scored:
    """One unit from its views' scores (runs, views); the mean over runs is taken view by view, as it was on validation."""
    by_run = tuple(_aggregate(panel, unit, row, views) for row in scores)
    score = _aggregate(panel, unit, scores.mean(axis=0), views)
    cut = panel.chosen.threshold(unit, panel.protocol.evaluation.threshold)
    threshold, reason = (None, cut.reason) if isinstance(cut, Undefined) else (cut, "")
    return Scored(
        unit=unit,
        side=None if unit == "woman" else first.side.value,
        view=first.view.value if unit == "view" else None,
        score=score,
        by_run=by_run,
        spread=max(by_run) - min(by_run) if len(by_run) > 1 else None,
        sd=float(np.std(by_run, ddof=1)) if len(by_run) > 1 else None,
        threshold=threshold,
        call=None if threshold is None else "positive" if score >= threshold else "negative",
        reason=reason,
    )


def _aggregate(panel: Panel, unit: Unit, scores: np.ndarray, views: Sequence[View]) -> float:
    """The score of the one unit that these views make; labels play no part in it."""
    none = np.zeros(len(views), dtype=np.int8)
    side, view = (np.array([str(getattr(each, name)) for each in views]) for name in ("side", "view"))
    units = Predictions(np.zeros(len(views)), side, view, scores, none, none, none).units(unit, panel.aggregation)
    (score,) = units.scores
    return float(score)


def _probability(panel: Panel, score: float, prevalence: float) -> Probability:
    fitted = panel.chosen.recalibrations["woman"]
    if not isinstance(fitted, Recalibration):
        return Probability(value=None, prevalence=prevalence, reason=f"no recalibration: {fitted.reason} in validation")
    value = float(fitted.probabilities(np.array([score]), prevalence)[0])
    return Probability(value=value, prevalence=prevalence, reason="")


def _conformal(panel: Panel, score: float, alpha: float, doubts: Sequence[str]) -> Conformal:
    """An exam that is doubted is not exchangeable with those of calibration: nothing is found of it."""
    kept = panel.conformal
    if isinstance(kept, str):
        return _found(None, alpha, kept)
    counts = {"calibration_with_bac": len(kept.with_bac), "calibration_without_bac": len(kept.without_bac)}
    try:
        finding = kept.find(score, alpha)
    except UsageError as refusal:
        return _found(None, alpha, str(refusal), **counts)
    guarantee = GUARANTEE.format(alpha=100 * alpha)
    if doubts:
        return _found(
            INDETERMINATE, alpha, f"this exam is unlike those of calibration: {doubts[0]}", guarantee=guarantee, **counts
        )
    p_with, p_without = kept.p_values(score)
    reason = "" if finding != INDETERMINATE else UNDECIDED[kept.fits(score, alpha)[0]]
    return _found(finding, alpha, reason, p_with_bac=p_with, p_without_bac=p_without, guarantee=guarantee, **counts)


def _found(finding: Finding | None, alpha: float, reason: str, **known: Any) -> Conformal:
    unknown = dict.fromkeys(("p_with_bac", "p_without_bac", "calibration_with_bac", "calibration_without_bac"))
    return Conformal(**{"finding": finding, "alpha": alpha, "reason": reason, "guarantee": "", **unknown, **known})


def no_view(source: Path, found: Intake, panel: Panel) -> NoView:
    """The refusal of an exam in which no file is a view, with the answer that has no score."""
    first = found.exclusions.items[0]
    return NoView(
        f"{source}: none of {len(found.exclusions)} files is a standard view, so there is no score; {found.exclusions!r}; "
        f"first: {_below(first.file, source)}: {_placeless(first.detail, source)}",
        _empty(source, found, panel),
    )


def _placeless(detail: str, source: Path) -> str:
    """A detail that names another file of the exam, by its path below the exam's folder as well."""
    return detail.replace(f"{source if source.is_dir() else source.parent}/", "")


def _below(file: str, source: Path) -> str:
    """``file`` as its path below the exam's folder: where the exam lies is nobody's business."""
    top = source if source.is_dir() else source.parent
    path = Path(file)
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name
