"""One cohort in several splits: each has a study folder of its own, its cohort a copy and its prepared views links."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tramtrack import store

SHARED = (
    "views.csv", "exams.csv", "exclusions.csv", "labels.csv", "labels.json", "unmatched.csv", "manifest.json", "readers.csv",
    "disagreements.csv", "findings.csv",
)  # fmt: skip
"""What of a cohort is the same in every split of it."""


def share_cohort(source: Path, target: Path) -> None:
    """Copy the tables of a cohort, but not its folds, into the ``target`` of another split; what is the same already stays.

    A cohort that changed after the split is noticed there as everywhere, by the hashes that the folds were dealt from.
    """
    for name in SHARED:
        content = (source / name).read_bytes() if (source / name).exists() else None
        if content is not None and (not (target / name).exists() or (target / name).read_bytes() != content):
            store.write_bytes(target / name, content)
        if content is None:  # of an earlier intake
            (target / name).unlink(missing_ok=True)


def share_prepared(source: Path, target: Path) -> None:
    """Link the views that are prepared in ``source`` into ``target``, with their journal, so that none is prepared twice.

    A link takes no room; where the file system has none, the file is copied. Both folders are of the same settings.
    """
    known = {str(entry["view_id"]) for entry in store.Journal(target / "prepared.jsonl").entries()}
    with store.Journal(target / "prepared.jsonl").appending() as append:
        for entry in store.Journal(source / "prepared.jsonl").entries():
            file, link = source / f"{entry['view_id']}.png", target / f"{entry['view_id']}.png"
            if entry["view_id"] in known or not file.exists():
                continue
            link.unlink(missing_ok=True)  # of an earlier start, before its line was written
            try:
                os.link(file, link)
            except OSError:
                shutil.copyfile(file, link)
            append(entry)
