"""What the files of DICOM results are called. Needs no DICOM library."""

from __future__ import annotations

from tramtrack.cohort.exam import STANDARD_VIEWS

ENDINGS = {"report": "sr", "cad": "cad", "overlay": "sc", "map": "map", "burden": "seg", "state": "pr"}
"""How the file of each kind of result ends, before .dcm."""


def name_of(kind: str, *place: str) -> str:
    """The file's name of one result: of an exam bac.<ending>.dcm, of a view such as L_MLO.<ending>.dcm."""
    return f"{'_'.join(place) or 'bac'}.{ENDINGS[kind]}.dcm"


WRITTEN = (
    *(name_of(kind) for kind in ("report", "cad")),
    *(name_of(kind, str(s), str(v)) for s, v in STANDARD_VIEWS for kind in ("overlay", "map", "state", "burden")),
)
"""The names of all files that `write_results` may write."""
