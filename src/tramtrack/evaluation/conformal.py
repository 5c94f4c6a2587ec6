"""Whether a woman is called BAC likely, unlikely or neither, by class-conditional conformal prediction.

For each class the new score is ranked among those of calibration women of that class, who took part in nothing else. Source:
Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005, sections 2.2 and 4.5 (Mondrian, or label-conditional,
conformal predictors).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tramtrack.errors import UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.scores import Floats

Finding = Literal["BAC likely", "BAC unlikely", "indeterminate"]
LIKELY: Finding = "BAC likely"
UNLIKELY: Finding = "BAC unlikely"
INDETERMINATE: Finding = "indeterminate"


@dataclass(frozen=True)
class Conformal:
    """The scores of calibration women, ascending: ``with_bac`` (n1,) and ``without_bac`` (n0,), float64 in [0, 1]."""

    with_bac: Floats
    without_bac: Floats

    @property
    def smallest_alpha(self) -> float:
        """The smallest error rate that can be asked for: 1 / (n + 1), n the women of the smaller class."""
        return 1 / (min(len(self.with_bac), len(self.without_bac)) + 1)

    def p_values(self, score: float) -> tuple[float, float]:
        """How well a score in [0, 1] fits each class, with BAC and without, each in (0, 1].

        (1 + the women of the class who fit it no better) / (n + 1): a low score is unlike women with BAC, a high one unlike
        those without. Equal scores count as no better, so that ties never cost coverage.
        """
        lower = int(np.searchsorted(self.with_bac, score, side="right"))
        higher = len(self.without_bac) - int(np.searchsorted(self.without_bac, score, side="left"))
        return (1 + lower) / (len(self.with_bac) + 1), (1 + higher) / (len(self.without_bac) + 1)

    def find(self, score: float, alpha: float) -> Finding:
        """BAC likely where only the class with BAC fits (p > alpha), unlikely where only the other does, else indeterminate.

        Where neither fits, the score lies between the classes, and that is indeterminate too. Of exchangeable women with BAC at
        most a share ``alpha`` is called unlikely, of those without at most ``alpha`` likely, on average over calibration and
        new women. Raises UsageError for an alpha below `smallest_alpha`: it could never rule a class out.
        """
        self.require(alpha)
        fits_with, fits_without = self.fits(score, alpha)
        if fits_with == fits_without:
            return INDETERMINATE
        return LIKELY if fits_with else UNLIKELY

    def fits(self, score: float, alpha: float) -> tuple[bool, bool]:
        """Whether the score fits women with BAC, and women without, at the error rate ``alpha``."""
        with_bac, without_bac = (p > alpha * (1 + 1e-12) for p in self.p_values(score))
        return with_bac, without_bac

    def require(self, alpha: float) -> None:
        """Raise UsageError where ``alpha`` is no error rate that these women can keep."""
        if not 0 < alpha < 0.5:
            raise UsageError(f"alpha {alpha}: expected an error rate above 0 and below 0.5")
        if alpha < self.smallest_alpha * (1 - 1e-12):
            counts = f"{len(self.with_bac)} women with BAC and {len(self.without_bac)} without"
            raise UsageError(
                f"alpha {alpha:g}: {counts} were kept for calibration, so the smallest possible alpha is "
                f"{_rounded_up(self.smallest_alpha)} (1 / (n + 1) of the smaller class)"
            )


def conformal(units: Units) -> Conformal:
    """The scores of calibration women by class. Raises ValueError where a score is not finite."""
    if not np.isfinite(units.scores).all():
        raise ValueError("a calibration score is not finite")
    return Conformal(np.sort(units.scores[units.labels]), np.sort(units.scores[~units.labels]))


def _rounded_up(share: float) -> str:
    """With four digits, never below the share itself."""
    return f"{np.ceil(share * 1e4 - 1e-6) / 1e4:g}"
