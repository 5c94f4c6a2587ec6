"""What only the whole intake can tell: copies, repeated views, exams that are not complete, the exam analysed of a woman."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from tramtrack.cohort.exam import Exam, Exclusion, Reason, View
from tramtrack.cohort.inspect import exclusion_from, view_from
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Intake as Settings

KINDS = ("presentation", "synthesised", "processing")
"""Of several images of one view, an exposure for reading comes before a computed one, and that before raw data."""
KEPT = {"presentation": "image for reading", "synthesised": "synthesised image"}


@dataclass(frozen=True)
class Exclusions:
    """The files that are not views; printing it shows the counts by reason."""

    items: tuple[Exclusion, ...]

    def by_reason(self) -> dict[str, int]:
        """How many files were excluded for each reason, the most frequent first."""
        return {str(reason): count for reason, count in Counter(item.reason for item in self.items).most_common()}

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Exclusion]:
        return iter(self.items)

    def __repr__(self) -> str:
        return "Exclusions(" + ", ".join(f"{count} {reason}" for reason, count in self.by_reason().items()) + ")"


@dataclass(frozen=True)
class Intake:
    """What a folder or a table held: views in one fixed order, and exclusions; together they are all files seen."""

    views: tuple[View, ...]
    exclusions: Exclusions
    source: str = field(repr=False, default="")

    def exams(self) -> tuple[Exam, ...]:
        """The views gathered into exams, in order of woman and exam."""
        gathered: dict[tuple[str, str], list[View]] = defaultdict(list)
        for view in self.views:
            gathered[view.woman, view.exam].append(view)
        return tuple(Exam(woman, exam, tuple(views)) for (woman, exam), views in sorted(gathered.items()))


def settle(outcomes: Iterable[dict[str, Any]], settings: Settings, source: str) -> Intake:
    """Decide what only the whole cohort can tell: duplicates, repeated views and exams that are not complete."""
    outcomes = list(outcomes)
    exclusions = [exclusion_from(outcome["exclusion"]) for outcome in outcomes if "exclusion" in outcome]
    found = [view_from(outcome["view"]) for outcome in outcomes if "view" in outcome]
    distinct = _without_copies(sorted(found, key=lambda view: (view.acquired, view.file)), exclusions)
    repeated: dict[tuple[str, ...], list[View]] = defaultdict(list)
    for view in distinct:
        repeated[view.woman, view.exam, view.side, view.view].append(view)
    ordered = [_best(repeated[place], settings, exclusions) for place in sorted(repeated)]
    intake = Intake(_distinct_names(ordered), Exclusions(()), source)
    if settings.incomplete_exams == "leave-out":
        for exam in intake.exams():
            missing = ", ".join(f"{side} {view}" for side, view in exam.missing)
            exclusions += [
                Exclusion(v.file, Reason.INCOMPLETE_EXAM, f"its exam lacks {missing}") for v in exam.views if missing
            ]
    left_out = {item.file for item in exclusions}
    views = tuple(view for view in intake.views if view.file not in left_out)
    return Intake(views, Exclusions(tuple(sorted(exclusions, key=lambda item: item.file))), source)


def _without_copies(views: Iterable[View], exclusions: list[Exclusion]) -> list[View]:
    """The views without those of a woman whose SOP instance or pixels were seen of her before.

    The same pixels under two women stay: nobody knows whose they are, and the split refuses them.
    """
    kept: list[View] = []
    seen: dict[tuple[str, str], View] = {}
    for view in views:
        instance = seen.get((view.woman, view.sop_instance_uid)) if view.sop_instance_uid else None
        pixels = seen.get((view.woman, view.pixels_sha256))
        if instance:
            other = "" if instance.pixels_sha256 == view.pixels_sha256 else ", with other pixels"
            exclusions.append(Exclusion(view.file, Reason.DUPLICATE, f"the same SOP instance as {instance.file}{other}"))
        elif pixels:
            exclusions.append(Exclusion(view.file, Reason.SAME_PIXELS, f"the same image as {pixels.file}"))
        else:
            seen[view.woman, view.pixels_sha256] = view
            seen[view.woman, view.sop_instance_uid] = view
            kept.append(view)
    return kept


def _best(views: list[View], settings: Settings, exclusions: list[Exclusion]) -> View:
    """Of the images of one view, in the order of acquisition, the one that is kept; the others become exclusions naming it."""
    kind = min((view.kind for view in views), key=KINDS.index)
    alike = [view for view in views if view.kind == kind]
    best = alike[-1] if settings.repeated_view == "last" else alike[0]
    for view in views:
        if view is not best:
            order = "later image" if settings.repeated_view == "last" else "earlier image"
            named = order if view.kind == kind else KEPT[kind]
            exclusions.append(Exclusion(view.file, Reason.REPEATED_VIEW, f"the {named} {best.file} of the same view is kept"))
    return best


def _distinct_names(views: Iterable[View]) -> tuple[View, ...]:
    """Two exams whose names become the same file name would overwrite each other: that is an error, not a surprise."""
    named: dict[str, View] = {}
    for view in views:
        other = named.setdefault(view.view_id.lower(), view)
        if other is not view:
            raise TramtrackError(
                f"{view.file} and {other.file}: women or exams whose names differ only in signs that no file name can "
                f"carry ({view.woman!r}/{view.exam!r}, {other.woman!r}/{other.exam!r}); "
                "rename one of them, or ingest under a key"
            )
    return tuple(replace(view) for view in named.values())


def exam_table(exams: Iterable[Exam], analysed: str) -> pd.DataFrame:
    """One row an exam: woman, exam, acquired, views, missing standard views, and whether it is the one analysed of her."""
    rows = [
        {
            "woman": exam.woman,
            "exam": exam.exam,
            "acquired": exam.acquired,
            "views": len(exam.views),
            "missing": ", ".join(f"{side} {view}" for side, view in exam.missing),
        }
        for exam in exams
    ]
    table = pd.DataFrame(rows, columns=["woman", "exam", "acquired", "views", "missing"])
    chosen = analysed_exams(table, analysed)
    table["analysed"] = ["yes" if chosen[row.woman] == row.exam else "no" for row in table.itertuples()]
    return table


def analysed_exams(exams: pd.DataFrame, which: str) -> dict[str, str]:
    """The exam analysed of each woman, the ``first`` or the ``last`` by date and then by name; undated ones come last.

    ``exams`` has the columns woman, exam and acquired, with any number of rows an exam.
    """
    acquired = exams["acquired"].replace("", pd.NA)
    dated = exams.assign(acquired=acquired).groupby(["woman", "exam"], sort=True)["acquired"].min().reset_index()
    dated["undated"] = dated["acquired"].isna()
    ascending = which == "first"
    ordered = dated.sort_values(
        ["woman", "undated", "acquired", "exam"], ascending=[True, True, ascending, ascending], kind="stable"
    )
    return {str(row.woman): str(row.exam) for row in ordered.drop_duplicates("woman").itertuples()}
