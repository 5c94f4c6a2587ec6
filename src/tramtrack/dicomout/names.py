"""What the files of DICOM results are called, and which of them are wanted. Needs no DICOM library."""

from __future__ import annotations

from tramtrack.cohort.exam import STANDARD_VIEWS
from tramtrack.errors import UsageError

ENDINGS = {"report": "sr", "cad": "cad", "overlay": "sc", "map": "map", "burden": "seg", "state": "pr"}
"""How the file of each kind of result ends, before .dcm."""
KINDS = tuple(ENDINGS)


def kinds_of(text: str) -> tuple[str, ...]:
    """The kinds of results that endings with commas between name, such as "sr,sc". Raises UsageError."""
    asked = [part.strip() for part in text.split(",")]
    unknown = [part for part in asked if part not in ENDINGS.values()]
    if unknown:
        raise UsageError(
            f"--results {text}: expected one or more of {', '.join(ENDINGS.values())} with commas between, "
            f"received {unknown[0] or 'nothing'!r}"
        )
    return tuple(kind for kind, ending in ENDINGS.items() if ending in asked)


def name_of(kind: str, *place: str) -> str:
    """The file's name of one result: of an exam bac.<ending>.dcm, of a view such as L_MLO.<ending>.dcm."""
    return f"{'_'.join(place) or 'bac'}.{ENDINGS[kind]}.dcm"


WRITTEN = (
    *(name_of(kind) for kind in ("report", "cad")),
    *(name_of(kind, str(s), str(v)) for s, v in STANDARD_VIEWS for kind in ("overlay", "map", "state", "burden")),
)
"""The names of all files that `write_results` may write."""
