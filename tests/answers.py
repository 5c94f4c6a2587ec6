"""Answers made up for tests: scores of an exam's views, as `tramtrack predict` would give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tramtrack.prediction.answer import GUARANTEE, Answer, Answering, Burden, Conformal, Probability, Scored, Source, ViewBurden

WEIGHTS = "ab" * 32
RUN = "vgg16/last-conv/seed-0"


def answer(
    scores: Mapping[tuple[str, str], float],
    threshold: float | None = 0.5,
    spacing_mm: float | None = 0.8,
    **changes: Any,
) -> Answer:
    """The answer of one run for views with these scores; breast and woman get the largest of theirs."""

    def scored(unit: Any, side: Any, view: Any, score: float) -> Scored:
        call: Any = None if threshold is None else "positive" if score >= threshold else "negative"
        reason = "" if threshold is not None else "no woman with BAC"
        told = {"threshold": threshold, "call": call, "reason": reason}
        return Scored(unit=unit, side=side, view=view, score=score, by_run=(score,), spread=None, sd=None, **told)

    breasts = {side: max(value for (s, _), value in scores.items() if s == side) for side, _ in scores}
    run = Answering(
        network="vgg16",
        variant="last-conv",
        seed=0,
        weights="pretrained",
        weights_file_sha256=WEIGHTS,
        protocol_sha256="cd" * 32,
    )
    made = Answer(
        tramtrack="0.1.0",
        woman="W-1",
        exam="E-1",
        synthetic=True,
        runs=(run,),
        aggregation="maximum",
        validation_women=20,
        validation_positives=7,
        scores=(
            *(scored("view", side, view, score) for (side, view), score in scores.items()),
            *(scored("breast", side, None, score) for side, score in breasts.items()),
            scored("woman", None, None, max(breasts.values())),
        ),
        probability=Probability(value=0.6, prevalence=0.13, reason=""),
        conformal=Conformal(
            finding="BAC likely",
            alpha=0.1,
            p_with_bac=0.5,
            p_without_bac=0.05,
            calibration_with_bac=20,
            calibration_without_bac=40,
            reason="",
            guarantee=GUARANTEE.format(alpha=10),
        ),
        burden=(),
        flags=("vendor unseen in training: SYNTHETIC",),
        sources=tuple(
            Source(side=side, view=view, file=f"{side}{view}.dcm", sha256="", spacing_mm=spacing_mm, steps="")  # type: ignore[arg-type]
            for side, view in scores
        ),
        excluded=(),
    )
    return made.model_copy(update=changes)


def burden(areas: Mapping[tuple[str, str], float], unit: Any = "mm", run: str = RUN) -> Burden:
    """What one run's maps amount to in these views; the woman has it all, with an interval, where it is in mm2."""
    views = tuple(
        ViewBurden(side=side, view=view, unit=unit, area=area, length=None, share=0.01)  # type: ignore[arg-type]
        for (side, view), area in areas.items()
    )
    if unit != "mm":
        return Burden(run=run, views=views, area_mm2=None, low=None, high=None, band="", added="", reason="no spacing")
    whole = sum(areas.values())
    return Burden(run=run, views=views, area_mm2=whole, low=whole / 2, high=2 * whole, band=">10-25", added="sum", reason="")
