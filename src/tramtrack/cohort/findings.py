"""What else a table says of each view: how much calcium it shows, and what may be taken for it.

Findings make subgroups of an evaluation and are the truth of its burden: no network sees them, and no fold depends on them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tramtrack.cohort.labels import LabelRow, exam_names, pseudonymous
from tramtrack.cohort.table import Row, read_table
from tramtrack.errors import TramtrackError

BURDEN = {"burden_mm2": "burden_mm2", "area_mm2": "burden_mm2"}
"""Columns that hold the calcified area of a view in mm2, and what the column is called here."""
LENGTH = ("visible_length_mm", "length_mm")
"""Columns that hold the calcified length of a view in mm; of a synthetic cohort's two the length that shows comes first."""
DISTRACTOR = "distractor_"
OF_A_PHANTOM = (
    "round", "cluster", "rod", "eggshell", "skin_calcification", "mass", "clip", "skin_fold", "nipple_out_of_profile", "motion",
    "implants", "faint_calcium",
)  # fmt: skip
"""What may be taken for an artery's visible calcium, or hide it, as a synthetic cohort's truth.csv counts it; arterial calcium
below visibility, which is neither BAC nor none, is thereby scored apart."""


def read_findings(path: Path, views: pd.DataFrame, secret: bytes = b"") -> tuple[pd.DataFrame, list[str]]:
    """findings.csv: view_id, burden_mm2 and length_mm where the table has them, and a column distractor_<kind> for each kind,
    counts from 0 on; and the rows that are about no view.

    ``path`` has a row a view with woman, side, view and where known exam; the area in ``burden_mm2`` or ``area_mm2``, the
    length in ``length_mm`` (or ``visible_length_mm``, which is taken before it); counts in columns distractor_<kind>, or those
    of OF_A_PHANTOM as in a synthetic cohort's truth.csv. ``views`` has view_id, woman, exam, side, view and, where
    known, accession. A view without a row has no findings. Raises TramtrackError naming the line.
    """
    wanted, lines = read_columns(path)
    place = {(r["woman"], r["exam"], r["side"], r["view"]): r["view_id"] for r in views.to_dict("records")}
    known, exams = frozenset(views["woman"]), exam_names(views) if "accession" in views else {}
    of_woman: dict[tuple[str, str, str], list[str]] = {}
    for (woman, _, side, view), view_id in place.items():
        of_woman.setdefault((woman, side, view), []).append(view_id)
    found: dict[str, dict[str, float]] = {}
    without: list[str] = []
    for line, row in lines:
        key = (row["woman"], row.get("exam", ""), row["side"].upper(), row["view"].upper())
        key = pseudonymous(key, secret, known) if secret else key
        key = (key[0], exams.get(key[:2], key[1]), *key[2:])
        ids = [place[key]] if key in place else [] if key[1] else of_woman.get((key[0], key[2], key[3]), [])
        if not ids:
            without.append(str(LabelRow(line, *key, None, "")))
        for view_id in ids:
            if view_id in found:
                raise TramtrackError(f"{path}: one row for each view; line {line} is about a view that stood there already")
            found[view_id] = {into: _number(row[name], name, path, line) for name, into in wanted.items()}
    if not found:
        raise TramtrackError(f"{path}: no row is about a view of this cohort; woman, exam, side and view are compared")
    table = pd.DataFrame([{"view_id": view_id, **values} for view_id, values in found.items()])
    return table.sort_values("view_id").reset_index(drop=True), without


def read_columns(path: Path) -> tuple[dict[str, str], list[tuple[int, Row]]]:
    """What each column that is read becomes, and the rows with their lines. Raises TramtrackError where it is no such table."""
    columns, lines = read_table(path, "a table of findings with the columns woman, side and view")
    missing = [name for name in ("woman", "side", "view") if name not in columns]
    kinds = {name: DISTRACTOR + name for name in columns if name in OF_A_PHANTOM}
    kinds |= {name: name for name in columns if name.startswith(DISTRACTOR) and name != DISTRACTOR}
    areas = [name for name in columns if name in BURDEN]
    if missing or not (kinds or areas):
        raise TramtrackError(
            f"{path}: expected the columns woman, side, view and burden_mm2 or {DISTRACTOR}<kind>, found {', '.join(columns)}"
        )
    if len(areas) > 1:
        raise TramtrackError(f"{path}: expected one column with the area, found {' and '.join(areas)}")
    _require_known(columns, path)
    lengths = {name: "length_mm" for name in LENGTH if name in columns}
    return {name: BURDEN[name] for name in areas} | dict(list(lengths.items())[:1]) | kinds, lines


def _require_known(columns: list[str], path: Path) -> None:
    """Raise TramtrackError over a column that is nearly one that is read; others may stand in the table."""
    known = [*BURDEN, *LENGTH, *OF_A_PHANTOM]
    for column in columns:
        head, sign, kind = column.lower().partition("_")
        near = difflib.get_close_matches(column.lower(), [name for name in known if name not in columns], n=1, cutoff=0.88)
        if sign and not column.startswith(DISTRACTOR) and difflib.get_close_matches(head, [DISTRACTOR[:-1]], cutoff=0.8):
            near = [DISTRACTOR + kind]
        if near and column not in known:
            raise TramtrackError(f"{path}: unknown column {column}, did you mean {near[0]}?")


def distractors(views: pd.DataFrame) -> Mapping[str, str]:
    """Column -> kind, for each kind of distractor that some view shows."""
    columns = [str(name) for name in views if str(name).startswith(DISTRACTOR)]
    return {name: name.removeprefix(DISTRACTOR) for name in columns if (views[name].fillna(0) > 0).any()}


def _number(text: str, column: str, path: Path, line: int) -> float:
    """A number of at least 0, NaN for an empty cell."""
    whole = column not in BURDEN and column not in LENGTH
    if not text:
        return float("nan")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9 or (whole and value != int(value)):
        kind = "a count from 0 on" if whole else f"{'a length in mm' if column in LENGTH else 'an area in mm2'} from 0 on"
        raise TramtrackError(f"{path}: line {line}: column {column}: expected {kind} or nothing, received {text!r}")
    return value
