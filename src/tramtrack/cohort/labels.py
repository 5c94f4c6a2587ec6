"""Labels that climb and are never lost on the way: from views to breasts to women, and down only where that is certain.

A label is 1 (BAC seen), 0 (looked for, none seen) or unknown. Up: one positive view makes its breast and its woman positive;
a breast is negative once both its standard views are, a woman once all four are, or once she or both her breasts were called
negative; anything else is unknown. Down: a negative woman, exam or breast has negative views; of a positive one it is not
known which views show it. Rows that contradict one another are an error, in whatever order they stand.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tramtrack.cohort.exam import STANDARD_VIEWS, Position, Side
from tramtrack.cohort.field_tables import as_own_rows, is_field_table
from tramtrack.cohort.privacy import exam_pseudonym, pseudonym
from tramtrack.cohort.readers import ADJUDICATOR, Key, Reading, agreed, gather
from tramtrack.cohort.table import Row, read_table
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Labels

PSEUDONYM = re.compile(r"[WE]-[0-9a-f]{12}")
KEYS = ("woman", "exam", "side", "view")
KNOWN_COLUMNS = (*KEYS, "bac", "mask", "reader")
POSITIVE = {"1", "1.0", "yes", "true", "positive", "bac", "present"}
NEGATIVE = {"0", "0.0", "no", "false", "negative", "non-bac", "no bac", "absent"}
UNKNOWN = {"", "unknown", "na", "n/a", "nan", "?", "uncertain"}


@dataclass(frozen=True)
class LabelRow:
    """One row of a label table: whom and what it is about (empty is "all of them"), 1, 0 or None (unknown), and its line.

    ``table`` is the name of the table that it stands in where that is another than the label table.
    """

    line: int
    woman: str
    exam: str
    side: str
    view: str
    label: int | None
    mask: str
    table: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the row is about; unique in a table."""
        return self.woman, self.exam, self.side, self.view

    @property
    def required_views(self) -> int:
        """How many standard views make up what the row is about."""
        if self.view:
            return 1
        return len(Position) if self.side else len(STANDARD_VIEWS)

    def __str__(self) -> str:
        named = [f"{name} {value}" for name, value in zip(KEYS, self.key, strict=True) if value]
        of = f" of {self.table}" if self.table else ""
        return f"line {self.line}{of}: " + (", ".join(named) or "a row without a woman")


@dataclass(frozen=True)
class LabelTable:
    """A label table as read: one row for each key with the consensus, columns not read, and what each reader said."""

    rows: list[LabelRow]
    ignored: list[str]
    readings: tuple[Reading, ...]

    @property
    def readers(self) -> list[str]:
        """The readers in order of appearance, without the adjudicator; a table without named readers has one, ""."""
        return [name for name in dict.fromkeys(reading.reader for reading in self.readings) if name != ADJUDICATOR]


@dataclass(frozen=True)
class Labelled:
    """Views with their labels, and what did not match.

    ``views`` has the columns view_id, bac_view, bac_breast, bac_woman (Int64, missing is unknown) and mask (a path or "");
    ``rows_without_view`` and ``views_without_row`` list what stands on one side only; ``ignored_columns`` those not read.
    """

    views: pd.DataFrame
    rows_without_view: list[str]
    views_without_row: list[str]
    ignored_columns: list[str]


def read_labels(
    path: Path,
    settings: Labels | None = None,
    adjudication: Path | None = None,
    secret: bytes = b"",
    known: frozenset[str] = frozenset(),
    exams: Mapping[tuple[str, str], str] | None = None,
) -> LabelTable:
    """A label table: woman and bac, and as far as a row is about less than a woman, exam, side and view; mask is a path.

    Several readers stand in columns (bac_<reader>) or in rows (a column reader); ``settings`` (a protocol's section labels)
    names the rule of consensus, and ``adjudication`` is a table of disagreements with the column bac_adjudicated filled in.
    Case descriptions of CBIS-DDSM and EMBED's clinical table are understood. With the ``secret`` of the pseudonyms women and
    exams get theirs, where the table does not name them so already and the cohort does not know them (``known``) by that name.
    ``exams`` are other names of exams, see `exam_names`. Raises TramtrackError for a missing column, a duplicate key or a value
    that is no label, naming the line.
    """
    settings = settings or Labels()
    columns, lines = read_table(path, "a table with the columns woman and bac")
    if is_field_table(columns):
        lines, ignored = as_own_rows(columns, lines, path, settings.unmarked), []
        columns = [*KEYS, "bac"]
    else:
        ignored = _check_columns(columns, path)
    readings = _readings(columns, lines, path)
    if adjudication:
        found, settled = read_table(adjudication, "a table of disagreements with the column bac_adjudicated")
        if "bac_adjudicated" not in found:
            raise TramtrackError(f"{adjudication}: expected the column bac_adjudicated, found {', '.join(found)}")
        settling = _readings([*KEYS, "bac_adjudicated"], settled, adjudication)
        readings += [replace(reading, table=adjudication.name) for reading in settling]
    if secret:
        readings = [replace(reading, key=pseudonymous(reading.key, secret, known)) for reading in readings]
    readings = _under_their_exams(readings, exams or {}, path)
    rows = []
    for key, by_reader in gather(readings).items():
        label = agreed(by_reader, settings.consensus)
        masks = [reading.mask for reading in by_reader.values() if reading.mask]
        own = [reading.line for reading in by_reader.values() if not reading.table]
        first = min(own or [reading.line for reading in by_reader.values()])
        table = "" if own else next(iter(by_reader.values())).table
        rows.append(LabelRow(first, *key, label, masks[0] if masks else "", table))
    return LabelTable(rows, ignored, tuple(readings))


def exam_names(views: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(woman, accession number) -> exam, for tables that name exams as the hospital does; without those of several exams.

    ``views`` has the columns woman, exam and accession, the last as its pseudonym.
    """
    named = views.loc[views["accession"] != "", ["woman", "accession", "exam"]].drop_duplicates()
    named = named[~named.duplicated(["woman", "accession"], keep=False)]
    return {(str(woman), str(number)): str(exam) for woman, number, exam in named.to_numpy()}


def _under_their_exams(readings: list[Reading], exams: Mapping[tuple[str, str], str], path: Path) -> list[Reading]:
    """The readings, an exam that goes by another name under its own. Raises TramtrackError where it is named both ways."""
    found: dict[tuple[Key, str], Reading] = {}
    named = []
    for reading in readings:
        woman, exam, side, view = reading.key
        own = (woman, exams.get((woman, exam), exam), side, view)
        other = found.setdefault((own, reader := reading.reader), reading)
        if other.key != reading.key:
            lines = f"lines {other.line} and {reading.line}" + (f", {reader}" if reader else "")
            raise TramtrackError(f"{path}: {lines}: one exam stands there by two names; one row for each key")
        named.append(replace(reading, key=own))
    return named


def _readings(columns: list[str], lines: list[tuple[int, Row]], path: Path) -> list[Reading]:
    """What each reader said in each line. Raises TramtrackError where one reader speaks twice of the same."""
    named = [column for column in columns if column == "bac" or column.startswith("bac_")]
    readings = []
    seen: dict[tuple[Key, str], int] = {}
    for line, row in lines:
        key = _read_key(row, path, line)
        for column in named:
            reader = row.get("reader", "") if column == "bac" else column.removeprefix("bac_")
            if reader in KEYS:
                raise TramtrackError(
                    f"{path}, line {line}: a reader cannot be called {reader}, as a column is; rename the reader"
                )
            label = _label(row[column], path, line, column)
            reading = Reading(line, key, reader, label, row.get("mask", ""), row[column].strip())
            if (key, reader) in seen:
                whom = LabelRow(seen[key, reader], *key, None, "")
                by = f" by {reader}" if reader else ""
                raise TramtrackError(f"{path}: one row for each key; {whom} stands{by} in lines {whom.line}, {line}")
            seen[key, reader] = line
            readings.append(reading)
    return readings


def apply_labels(views: pd.DataFrame, path: Path, secret: bytes = b"", table: LabelTable | None = None) -> Labelled:
    """Bring a label table to the views of a cohort (columns view_id, woman, exam, side, view, and absent_breast if known).

    ``table`` is ``path`` as it was read already; ``secret`` that of the pseudonyms. Raises TramtrackError where the table
    contradicts itself (a negative woman with a positive view).
    """
    table = table or read_labels(path, secret=secret)
    rows = table.rows
    keys = [(str(woman), str(exam), str(side), str(view)) for woman, exam, side, view in views[list(KEYS)].to_numpy()]
    of_woman: dict[str, list[int]] = defaultdict(list)
    for index, key in enumerate(keys):
        of_woman[key[0]].append(index)
    about = {row: [i for i in of_woman.get(row.woman, []) if _is_about(row, keys[i])] for row in rows}
    masks = [""] * len(keys)
    for row, chosen in about.items():
        if row.mask and len(chosen) > 1:
            raise TramtrackError(f"{path}, {row}: a mask belongs to one view, this row is about {len(chosen)}")
        for index in chosen:
            masks[index] = str(path.parent / row.mask) if row.mask else masks[index]
    absent: dict[str, set[str]] = defaultdict(set)
    if "absent_breast" in views:
        for woman, side in views.loc[views["absent_breast"].isin(list(Side)), ["woman", "absent_breast"]].to_numpy():
            absent[str(woman)].add(str(side))
    labels = _Labels(path, keys, {row: chosen for row, chosen in about.items() if chosen and row.label is not None}, absent)
    result = pd.DataFrame({"view_id": views["view_id"].to_numpy()}, index=views.index)
    for column, values in (("bac_view", labels.views), ("bac_breast", labels.breasts()), ("bac_woman", labels.women())):
        result[column] = pd.array(values, dtype="Int64")
    result["mask"] = masks
    matched = {index for chosen in about.values() for index in chosen}
    missing = [str(view_id) for index, view_id in enumerate(views["view_id"]) if index not in matched]
    return Labelled(result, [str(row) for row, chosen in about.items() if not chosen], missing, table.ignored)


def pseudonymous(key: Key, secret: bytes, known: frozenset[str]) -> Key:
    """A key (woman, exam, side, view) under the pseudonyms that ``secret`` makes; what is one already, or is a woman ``known``
    to the cohort by that very name, stays."""
    woman, exam, side, view = key
    if woman in known:
        return key
    woman = woman if PSEUDONYM.fullmatch(woman) else pseudonym(secret, "W", woman)
    exam = exam if not exam or PSEUDONYM.fullmatch(exam) else exam_pseudonym(secret, woman, exam)
    return woman, exam, side, view


def _is_about(row: LabelRow, key: tuple[str, str, str, str]) -> bool:
    return all(not wanted or wanted == found for wanted, found in zip(row.key, key, strict=True))


class _Labels:
    """What the rows say of the views at ``keys``, and what follows for breasts and women.

    ``rows`` gives for each row with a label the views (as positions in ``keys``) that it is about, ``absent`` for each woman
    the sides that surgery removed: no view of them is required.
    """

    def __init__(
        self,
        path: Path,
        keys: Sequence[tuple[str, str, str, str]],
        rows: dict[LabelRow, list[int]],
        absent: Mapping[str, set[str]],
    ) -> None:
        self.path, self.keys, self.absent = path, keys, absent
        self.views: list[int | None] = [None] * len(keys)
        self.negative = {row: chosen for row, chosen in rows.items() if row.label == 0}
        self.positive = {row: chosen for row, chosen in rows.items() if row.label == 1}
        self.called_negative: dict[int, LabelRow] = {}
        for row, chosen in self.negative.items():
            for index in chosen:
                self.views[index] = 0
                if not row.view:
                    self.called_negative[index] = row
        one_view = {row: chosen[0] for row, chosen in self.positive.items() if row.view and len(chosen) == 1}
        for row, index in one_view.items():
            if self.views[index] == 0:
                self._contradiction(row, [index])
            self.views[index] = 1
        for row, chosen in self.positive.items():
            places = {self.keys[index][2:] for index in chosen}
            whole = len(places) == row.required_views or all(index in self.called_negative for index in chosen)
            if whole and all(self.views[index] == 0 for index in chosen):
                self._contradiction(row, chosen)

    def _contradiction(self, row: LabelRow, chosen: Sequence[int]) -> None:
        against = next(other for other, views in self.negative.items() if set(views) & set(chosen))
        raise TramtrackError(f"{self.path}: {row} is positive, but all its views are negative ({against})")

    def breasts(self) -> list[int | None]:
        """For each view, the label of its breast in its exam."""
        found: dict[tuple[str, str, str], int | None] = {}
        for breast, members in self._gather(3).items():
            known = [self.views[index] for index in members]
            positions = {self.keys[index][3] for index in members}
            whole = len(positions) == len(Position) or all(index in self.called_negative for index in members)
            found[breast[0], breast[1], breast[2]] = 1 if 1 in known else 0 if whole and set(known) == {0} else None
        for row, chosen in self.positive.items():
            breasts = {self.keys[index][:3] for index in chosen}
            if row.side and len(breasts) == 1:
                found[breasts.pop()] = 1
        return [found[key[:3]] for key in self.keys]

    def women(self) -> list[int | None]:
        """For each view, the label of its woman."""
        breasts = self.breasts()
        positive = {row.woman for row in self.positive}
        negative = {row.woman for row in self.negative if not (row.exam or row.side or row.view)}
        found: dict[str, int | None] = {}
        for (woman,), members in self._gather(1).items():
            places = {self.keys[index][2:] for index in members}
            sides = {self.keys[index][2] for index in members}
            required = set(Side) - self.absent.get(woman, set())
            all_views = bool(required) and places >= {place for place in STANDARD_VIEWS if place[0] in required}
            views_negative = all_views and all(self.views[index] == 0 for index in members)
            breasts_negative = bool(required) and sides >= required and all(breasts[index] == 0 for index in members)
            if woman in positive:
                found[woman] = 1
            else:
                found[woman] = 0 if woman in negative or views_negative or breasts_negative else None
        return [found[key[0]] for key in self.keys]

    def _gather(self, depth: int) -> dict[tuple[str, ...], list[int]]:
        gathered: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, key in enumerate(self.keys):
            gathered[key[:depth]].append(index)
        return gathered


def _check_columns(columns: list[str], path: Path) -> list[str]:
    """The columns that are not read. Raises TramtrackError where one is missing, or is nearly one that is known."""
    readers = [column for column in columns if column.startswith("bac_") and column != "bac_"]
    missing = [column for column in ("woman", "bac") if column not in columns and not (column == "bac" and readers)]
    if missing:
        raise TramtrackError(f"{path}: expected the columns woman and bac, found {', '.join(columns)}")
    if readers and ("bac" in columns or "reader" in columns):
        raise TramtrackError(f"{path}: readers stand in columns ({', '.join(readers)}) or in rows (bac, reader), not in both")
    ignored = [column for column in columns if column not in KNOWN_COLUMNS and column not in readers]
    for column in ignored:
        near = difflib.get_close_matches(column.lower(), [key for key in KNOWN_COLUMNS if key not in columns], cutoff=0.7)
        if near:
            raise TramtrackError(f"{path}: unknown column {column}, did you mean {near[0]}?")
    if "view" in columns and "side" not in columns:
        raise TramtrackError(f"{path}: has a column view but no column side; a view needs both")
    return ignored


def _read_key(row: Row, path: Path, line: int) -> Key:
    side, view = row.get("side", "").upper(), row.get("view", "").upper()
    found = LabelRow(line, row["woman"], row.get("exam", ""), side, view, None, "")
    if side not in ("", *Side) or view not in ("", *Position):
        raise TramtrackError(f"{path}, {found}: expected side L or R and view CC or MLO, received {side!r} and {view!r}")
    if view and not side:
        raise TramtrackError(f"{path}, {found}: a view needs its side")
    return found.key


def reader_tables(views: pd.DataFrame, path: Path, table: LabelTable) -> dict[str, pd.DataFrame]:
    """For each unit (view, breast, woman) a table of woman and what each reader's own rows say of it, Int64."""
    units = {"view": ["woman", "exam", "side", "view"], "breast": ["woman", "exam", "side"], "woman": ["woman"]}
    found = {unit: pd.DataFrame(views[keys].drop_duplicates()).reset_index(drop=True) for unit, keys in units.items()}
    for reader in table.readers:
        own = [LabelRow(item.line, *item.key, item.label, "") for item in table.readings if item.reader == reader]
        labelled = apply_labels(views, path, table=LabelTable(own, [], ())).views
        for unit, keys in units.items():
            said = views[keys].assign(label=labelled[f"bac_{unit}"].to_numpy()).drop_duplicates(keys)
            found[unit] = found[unit].merge(said.rename(columns={"label": reader}), on=keys, how="left")
    return {unit: table.drop(columns=[key for key in units[unit] if key != "woman"]) for unit, table in found.items()}


def _label(value: str, path: Path, line: int, column: str) -> int | None:
    text = value.strip().lower()
    if text in POSITIVE:
        return 1
    if text in NEGATIVE:
        return 0
    if text in UNKNOWN:
        return None
    raise TramtrackError(
        f"{path}, line {line}: expected 1, 0, yes, no, positive, negative or nothing in {column}, received {value!r}"
    )
