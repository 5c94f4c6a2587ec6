"""What is said of an exam, as data: `Answer` is prediction.json, and docs/reference/prediction.schema.json its schema."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from tramtrack.evaluation.conformal import Finding

GUARANTEE = (
    "Over many exams like those kept for calibration, on average, at most {alpha:.3g} % of women with BAC are called unlikely "
    "and at most {alpha:.3g} % of those without are called likely. This says nothing certain of one woman, and nothing of "
    "exams by another vendor or from other women."
)
RESEARCH_USE = "For research use only. Not a diagnosis."
BURNED_IN = "text burned in"
"""What a flag says of a view, after its side and position, whose picture holds text."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Scored(_Frozen):
    """A view, a breast or the woman: the mean of the runs' scores, each run's own, and what the threshold makes of the mean."""

    unit: Literal["view", "breast", "woman"]
    side: Literal["L", "R"] | None = Field(description="laterality; null for the woman")
    view: Literal["CC", "MLO"] | None = Field(description="projection; null for a breast and the woman")
    score: float = Field(ge=0, le=1, description="mean of the runs' scores; it ranks, it is no probability")
    by_run: tuple[float, ...] = Field(description="each run's score, in the order of `runs`")
    spread: float | None = Field(description="highest minus lowest of the runs' scores; null for a single run")
    sd: float | None = Field(description="their standard deviation; null for a single run")
    threshold: float | None = Field(description="chosen on the study's validation for this unit; null where there is none")
    call: Literal["positive", "negative"] | None = Field(description="positive where score >= threshold")
    reason: str = Field(description="why there is no threshold, or empty")


class Probability(_Frozen):
    """The woman's score recalibrated on validation and shifted to a stated prevalence; null where it cannot be."""

    value: float | None = Field(ge=0, le=1)
    prevalence: float = Field(gt=0, lt=1, description="share of women with BAC for which the value holds")
    reason: str


class Conformal(_Frozen):
    """Whether BAC is likely in the woman, by class-conditional conformal prediction on women kept for nothing else."""

    finding: Finding | None = Field(description="null where the study cannot tell; then `reason` says why")
    alpha: float = Field(gt=0, lt=0.5, description="the error rate that is kept in each class")
    p_with_bac: float | None = Field(gt=0, le=1, description="how well the score fits women with BAC; null where not asked")
    p_without_bac: float | None = Field(gt=0, le=1, description="the same for women without")
    calibration_with_bac: int | None = Field(description="calibration women with BAC")
    calibration_without_bac: int | None = Field(description="calibration women without")
    reason: str = Field(description="why there is no finding, or why it is indeterminate; or empty")
    guarantee: str = Field(description="what holds of the finding, and of whom; empty without one")


class ViewBurden(_Frozen):
    """Calcification of one view by a run's map: a proxy, calibrated on validation."""

    side: Literal["L", "R"]
    view: Literal["CC", "MLO"]
    unit: Literal["mm", "pixels"] = Field(description="of length; area is in its square; pixels are the original image's")
    area: float = Field(ge=0)
    length: float | None = Field(description="along the vessels; null where validation knew no length")
    share: float = Field(ge=0, le=1, description="the area's share of the breast")


class Burden(_Frozen):
    """How much calcification one run's maps amount to. A map shows where the network looked: it is no CSBI grade."""

    run: str = Field(description="network/variant/seed-k")
    views: tuple[ViewBurden, ...]
    area_mm2: float | None = Field(description="the woman's; null where it cannot be had, and `reason` says why")
    low: float | None = Field(description="of the interval that validation gives for her area, mm2; null without one")
    high: float | None
    band: str = Field(pattern=r"^(|0|>0-10|>10-25|>25)$", description="mm2, by her area; empty without one")
    added: Literal["", "sum", "mean"] = Field(description="how her views' areas became hers")
    reason: str


class Answering(_Frozen):
    """A run that answered."""

    network: str
    variant: str
    seed: int
    weights: Literal["pretrained", "random weights"]
    weights_file_sha256: str
    protocol_sha256: str


class Source(_Frozen):
    """The file of a view, by its path below the exam's folder, and what was done to its pixels."""

    side: Literal["L", "R"]
    view: Literal["CC", "MLO"]
    file: str
    sha256: str
    spacing_mm: float | None = Field(description="mm between pixels in the breast's plane; null where the file does not say")
    steps: str


class Refused(_Frozen):
    """A file that is no standard view, and why."""

    file: str
    reason: str
    detail: str


class Answer(_Frozen):
    """Everything that is said of one exam."""

    schema_version: Literal[2] = 2
    tramtrack: str = Field(description="version")
    use: str = RESEARCH_USE
    woman: str = Field(description="a pseudonym unless plain names were asked for")
    exam: str
    synthetic: bool
    runs: tuple[Answering, ...]
    aggregation: Literal["maximum", "mean", "noisy-or"]
    validation_women: int
    validation_positives: int = Field(description="women with BAC behind the threshold and the probability")
    scores: tuple[Scored, ...] = Field(description="views, then breasts, then the woman; empty where no file is a view")
    probability: Probability | None
    conformal: Conformal | None
    burden: tuple[Burden, ...] = Field(description="one for each run, in the order of `runs`")
    flags: tuple[str, ...] = Field(description="why this answer may be worth less than the study's figures say")
    sources: tuple[Source, ...]
    excluded: tuple[Refused, ...]

    def of(self, unit: str, side: str | None = None, view: str | None = None) -> Scored:
        """The score of one unit. Raises KeyError where the exam has none."""
        for scored in self.scores:
            if (scored.unit, scored.side, scored.view) == (unit, side, view):
                return scored
        raise KeyError(f"no score of {' '.join(filter(None, (unit, side, view)))} in this exam")

    def disagreement(self) -> str:
        """How far several runs lie apart on the woman, in a sentence; empty for a single run."""
        woman = self.of("woman")
        if woman.sd is None:
            return ""
        between = f"{min(woman.by_run):.3f} to {max(woman.by_run):.3f}"
        return f"{len(self.runs)} runs answered together; by themselves they say {between} (standard deviation {woman.sd:.3f})."

    def calibrated_by(self) -> str:
        """By how many women of each class it is found whether BAC is likely, in a sentence; empty where nothing is."""
        found = self.conformal
        if found is None or found.finding is None:
            return ""
        women = f"{found.calibration_with_bac} women with BAC and {found.calibration_without_bac} without"
        return f"By {women} who were kept for this."
