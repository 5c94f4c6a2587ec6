"""Cohorts that have a name: how many women, how many with BAC, and how many views show it."""

from __future__ import annotations

from dataclasses import dataclass, field

from tramtrack.errors import UsageError
from tramtrack.phantom.settings import PhantomSettings


@dataclass(frozen=True)
class Preset:
    """A named cohort. ``positive_views``: exactly so many views are labelled 1; None leaves it to the women drawn."""

    women: int
    prevalence: float
    positive_views: int | None = None
    settings: PhantomSettings = field(default_factory=PhantomSettings)


PRESETS = {
    # What `make demo` compares networks on: many women with BAC, so that a small cohort says something, and pixels binned to
    # 0.18 mm, more than twice as fine as the demo's networks see.
    "demo": Preset(women=144, prevalence=1 / 3, settings=PhantomSettings(rows=1280, columns=640, pitch_mm=0.18)),
    # Counts of Mobini et al. (Eur Radiol Exp 2024;8:80): 1,493 women, 194 with BAC, 581 of 5,972 views with BAC.
    "mobini-2024": Preset(women=1493, prevalence=194 / 1493, positive_views=581),
}


def preset(name: str) -> Preset:
    """The cohort of that name. Raises UsageError for a name that is not known."""
    if name not in PRESETS:
        raise UsageError(f"phantom cohort: preset: expected one of {', '.join(PRESETS)}, received {name!r}")
    return PRESETS[name]
