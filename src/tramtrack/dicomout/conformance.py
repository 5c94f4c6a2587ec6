"""Whether a structured report holds to its templates: our own table of their rows, and what in a report breaks one of them.

``templates.csv`` has those rows of PS3.16 TID 4000 (with 4001, 4002, 4003, 4006, 4009, 4015 to 4021 and 1204) and of TID 1500
(with 1001 as a device fills it, 1600, 1501, 1410 with a segmentation, and 300) that are mandatory or that tramtrack writes:
nesting level, relationship with the parent, value type, concept, how many, requirement, condition, and the values that are
allowed. Rows for what tramtrack never writes (composite features, breast composition, operating points, persons as observers)
are left out, so in the templates that may not be extended such an item counts as a breach.

A condition reads ``if parent not A|B`` (mandatory unless the item above has one of these codes as its value), ``iff parent
A|B`` (mandatory where it has one, forbidden else), or ``with A`` (it means items that hold one named A). A relationship that
begins with R- is by reference.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

EXTENSIBLE = {"1500"}
"""Of the two root templates the one that may hold further items."""


@dataclass(frozen=True)
class Row:
    """A row of a template, with the rows nested below it."""

    template: str
    row: str
    relationship: str
    type: str
    concept: str
    many: bool
    requirement: str
    condition: str
    values: str
    below: list[Row] = field(default_factory=list, compare=False)

    def __str__(self) -> str:
        return f"TID {self.template} row {self.row}"


@cache
def templates() -> dict[str, list[Row]]:
    """The top rows of each template, by its number."""
    text = (resources.files("tramtrack.dicomout") / "templates.csv").read_text("utf-8")
    tops: dict[str, list[Row]] = defaultdict(list)
    open_rows: list[Row] = []
    for line in csv.DictReader(text.splitlines()):
        level = len(line.pop("level"))
        row = Row(**{**line, "many": line["many"] == "1-n"})  # type: ignore[arg-type]
        (tops[row.template] if level == 0 else open_rows[level - 1].below).append(row)
        open_rows[level:] = [row]
    return dict(tops)


def problems(report: Dataset) -> list[str]:
    """What in an SR document breaks its root template, one sentence each; empty where it holds.

    Raises KeyError where the document's template is not in the table.
    """
    named = report.get("ContentTemplateSequence")
    if not named:
        return ["the document names no template"]
    number = str(named[0].TemplateIdentifier)
    (top,) = templates()[number]
    check = _Check(report, strict=number not in EXTENSIBLE)
    if not _matches(report, replace(top, relationship="")):
        check.found.append(f"{top}: expected {top.type} {top.concept} at the root")
    check.children(report, top.below, f"TID {number}")
    return check.found


class _Check:
    """One pass over a document; ``found`` gathers what is wrong. ``strict`` forbids items that no row is for."""

    def __init__(self, root: Dataset, strict: bool) -> None:
        self.root, self.strict = root, strict
        self.found: list[str] = []

    def children(self, parent: Dataset, rows: Sequence[Row], where: str) -> None:
        """Hold the items below ``parent`` against ``rows``."""
        items = list(parent.get("ContentSequence") or [])
        left = self._take(parent, items, rows, where)
        if self.strict:
            self.found += [f"{where}: {_named(item)} has no row in the template" for item in left]

    def _take(self, parent: Dataset, items: list[Dataset], rows: Sequence[Row], where: str) -> list[Dataset]:
        """The items that none of the rows is for; what breaks a row is gathered."""
        for row in rows:
            included = _included(row) if row.type == "INCLUDE" else [row]
            hits = [item for item in items if _is_meant(item, row) and any(_matches(item, one, self.root) for one in included)]
            if not hits:
                if _is_needed(row, parent):
                    self.found.append(f"{where}: {row} is missing ({row.relationship} {row.type} {row.concept})")
                continue
            if row.condition.startswith("iff") and not _is_needed(row, parent):
                self.found.append(f"{where}: {row} must not be there, by the value of the item above")
            items = [item for item in items if all(item is not hit for hit in hits)]
            if row.type == "INCLUDE":
                self._take(parent, hits, [replace(one, many=one.many or row.many) for one in included], where)
                continue
            if len(hits) > 1 and not row.many:
                self.found.append(f"{where}: {row} stands {len(hits)} times, expected once")
            for hit in hits:
                self.found += [f"{where}: {row}: {problem}" for problem in _value_problems(hit, row)]
                self.children(hit, row.below, f"{where} > {_named(hit)}")
        return items


def _included(row: Row) -> list[Row]:
    """The top rows of the template that ``row`` includes, under its relationship."""
    tops = templates()[row.concept.removeprefix("TID ")]
    return [replace(top, relationship=row.relationship, below=top.below) for top in tops]


def _matches(item: Dataset, row: Row, root: Dataset | None = None) -> bool:
    relationship = str(item.get("RelationshipType", ""))
    if row.relationship.startswith("R-"):
        target = _target(item, root)
        return relationship == row.relationship[2:] and target is not None and target.get("ValueType") == row.type
    if "ReferencedContentItemIdentifier" in item:
        return False
    name = _code(item.get("ConceptNameCodeSequence"))
    named = name is None if row.concept == "none" else row.concept == "any" or name in _codes(row.concept)
    return named and item.get("ValueType") == row.type and (not row.relationship or relationship == row.relationship)


def _target(item: Dataset, root: Dataset | None) -> Dataset | None:
    """The item that a by-reference relationship points at: its place from the root, which is 1; None where it leads nowhere."""
    place = item.get("ReferencedContentItemIdentifier")
    if place is None or root is None:
        return None
    first, *path = [place] if isinstance(place, int) else list(place)
    found = root if first == 1 else None
    for number in path:
        children = (found.get("ContentSequence") or []) if found is not None else []
        found = children[number - 1] if 1 <= number <= len(children) else None
    return found


def _is_meant(item: Dataset, row: Row) -> bool:
    """Whether a row with the condition ``with A`` is for this item, which then holds one of that name."""
    if not row.condition.startswith("with "):
        return True
    return any(_code(one.get("ConceptNameCodeSequence")) == row.condition[5:] for one in item.get("ContentSequence") or [])


def _is_needed(row: Row, parent: Dataset) -> bool:
    if row.requirement == "M":
        return True
    if row.requirement != "MC":
        return False
    value = _code(parent.get("ConceptCodeSequence"))
    _, _, listed = row.condition.partition("parent ")
    if listed.startswith("not "):
        return value not in listed.removeprefix("not ").split("|")
    return value in listed.split("|")


def _value_problems(item: Dataset, row: Row) -> Iterator[str]:
    if row.type == "CODE":
        value = _code(item.get("ConceptCodeSequence"))
        if value is None:
            yield "has no value"
        elif row.values and value not in _codes(row.values):
            yield f"its value {value} is not in {row.values}"
    if row.type == "NUM":
        measured = item.get("MeasuredValueSequence")
        unit = _code(measured[0].get("MeasurementUnitsCodeSequence")) if measured else None
        if unit is None or (row.values and unit != row.values):
            yield f"its unit is {unit or 'missing'}, expected {row.values or 'one'}"
    if row.type == "SCOORD" and item.get("GraphicType") != row.values:
        yield f"its shape is {item.get('GraphicType')}, expected {row.values}"
    if row.type == "TEXT" and not item.get("TextValue"):
        yield "has no text"
    if row.type == "IMAGE" and not row.relationship.startswith("R-") and not item.get("ReferencedSOPSequence"):
        yield "refers to no image"


@cache
def _codes(named: str) -> frozenset[str]:
    """The codes of a context group ("CID 6042"), or the one code itself."""
    if not named.startswith("CID "):
        return frozenset([named])
    group = getattr(codes, f"cid{named.removeprefix('CID ')}")
    return frozenset(f"{code.scheme_designator} {code.value}" for code in (getattr(group, name) for name in group.dir()))


def _code(sequence: Sequence[Dataset] | None) -> str | None:
    """A coded entry as "scheme value", or None where there is none."""
    if not sequence:
        return None
    return f"{sequence[0].get('CodingSchemeDesignator', '')} {sequence[0].get('CodeValue', '')}"


def _named(item: Dataset) -> str:
    name = item.get("ConceptNameCodeSequence")
    return str(name[0].get("CodeMeaning", "")) if name else str(item.get("ValueType", "a reference"))
