"""tramtrack: compare deep networks for breast arterial calcifications on mammograms. Research use only.

    import tramtrack as tt
    study = tt.Study("study/", protocol="mobini-2024")
    study.ingest("dicom/", labels="labels.csv")
    study.run(["vgg16", "xception", "mobilenetv2"])

The public names are imported when they are first used, so that importing this costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tramtrack.cohort.cohort import Cohort
    from tramtrack.cohort.exam import Exam, Exclusion, Position, Side, View
    from tramtrack.errors import TramtrackError, UsageError
    from tramtrack.imaging.geometry import Geometry
    from tramtrack.judgement.results import Results
    from tramtrack.prediction.case import Case
    from tramtrack.prediction.predictor import Predictor, predict
    from tramtrack.protocol import Protocol
    from tramtrack.study import Study

_HOMES = {
    "Case": "tramtrack.prediction.case",
    "Cohort": "tramtrack.cohort.cohort",
    "Exam": "tramtrack.cohort.exam",
    "Exclusion": "tramtrack.cohort.exam",
    "Geometry": "tramtrack.imaging.geometry",
    "Position": "tramtrack.cohort.exam",
    "Predictor": "tramtrack.prediction.predictor",
    "Protocol": "tramtrack.protocol",
    "Results": "tramtrack.judgement.results",
    "Side": "tramtrack.cohort.exam",
    "Study": "tramtrack.study",
    "TramtrackError": "tramtrack.errors",
    "UsageError": "tramtrack.errors",
    "View": "tramtrack.cohort.exam",
    "predict": "tramtrack.prediction.predictor",
}

__all__ = [
    "Case",
    "Cohort",
    "Exam",
    "Exclusion",
    "Geometry",
    "Position",
    "Predictor",
    "Protocol",
    "Results",
    "Side",
    "Study",
    "TramtrackError",
    "UsageError",
    "View",
    "networks",
    "predict",
]


def networks() -> list[str]:
    """The names of the eleven networks, in one fixed order."""
    from tramtrack.network.registry import NETWORKS

    return list(NETWORKS)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module tramtrack has no attribute {name}")


def __dir__() -> list[str]:
    return sorted(__all__)
