"""Label tables of the field's public collections, as rows of the project's own: CBIS-DDSM and EMBED.

Both list findings, not images without them. "Not marked as vascular" is therefore unknown, unless the user says otherwise:
CBIS calls P_00646 pleomorphic although its artery is plainly calcified.
"""

from __future__ import annotations

import re
from pathlib import Path

from tramtrack.cohort.table import Row
from tramtrack.errors import TramtrackError

CBIS = ("patient_id", "left or right breast", "image view", "abnormality type")
EMBED = ("empi_anon", "acc_anon", "side", "calcfind")
SIDES = {"LEFT": ("L",), "RIGHT": ("R",), "L": ("L",), "R": ("R",), "B": ("L", "R")}


def is_field_table(columns: list[str]) -> bool:
    """Whether these are the columns of CBIS-DDSM's case descriptions or of EMBED's clinical table."""
    return any(all(column in columns for column in known) for known in (CBIS, EMBED))


def as_own_rows(columns: list[str], lines: list[tuple[int, Row]], path: Path, unmarked: str) -> list[tuple[int, Row]]:
    """Such a table's lines as rows with woman, exam, side, view and bac, one for each view (CBIS) or breast (EMBED).

    ``unmarked`` ("unknown" or "negative") is what a breast or view without a vascular finding becomes; where the side of such a
    finding is not told, the exam has it, and neither breast is called negative. Raises TramtrackError naming the line.
    """
    read = _cbis if all(column in columns for column in CBIS) else _embed
    marked: dict[tuple[str, str, str, str], tuple[int, bool]] = {}
    for line, row in lines:
        keys, vascular = read(row, path, line)
        for key in keys:
            first, before = marked.get(key, (line, False))
            marked[key] = (first, before or vascular)
    somewhere = {key[:2] for key in marked if not key[2]}
    rows = []
    for key, (line, vascular) in marked.items():
        other = "0" if unmarked == "negative" and key[:2] not in somewhere else ""
        named = dict(zip(("woman", "exam", "side", "view"), key, strict=True))
        rows.append((line, {**named, "bac": "1" if vascular else other}))
    return rows


def _cbis(row: Row, path: Path, line: int) -> tuple[list[tuple[str, str, str, str]], bool]:
    """A case description: calc type holds VASCULAR, alone or joined to others by a hyphen."""
    sides = _sides(row["left or right breast"], path, line)
    view = row["image view"].upper()
    if view not in ("CC", "MLO"):
        raise TramtrackError(f"{path}, line {line}: expected CC or MLO in image view, received {row['image view']!r}")
    vascular = "VASCULAR" in re.split(r"[-_ ]+", row.get("calc type", "").upper())
    return [(row["patient_id"], "", side, view) for side in sides], vascular


def _embed(row: Row, path: Path, line: int) -> tuple[list[tuple[str, str, str, str]], bool]:
    """A finding: calcfind holds the code V, alone or among others; side B is both breasts; without a side V is the exam's."""
    vascular = "V" in re.split(r"[,;/ ]+", row["calcfind"].upper())
    sides = _sides(row["side"], path, line) if row["side"] else ("",) if vascular else ()
    return [(row["empi_anon"], row["acc_anon"], side, "") for side in sides], vascular


def _sides(text: str, path: Path, line: int) -> tuple[str, ...]:
    if text.upper() not in SIDES:
        raise TramtrackError(f"{path}, line {line}: expected a side (LEFT, RIGHT, L, R or B), received {text!r}")
    return SIDES[text.upper()]
