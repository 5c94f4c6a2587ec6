"""A cohort on disk: its views, exclusions and labels, read back as tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tramtrack import store
from tramtrack.cohort.exam import Exclusion, Reason
from tramtrack.cohort.findings import read_columns, read_findings
from tramtrack.cohort.ingest import ingest
from tramtrack.cohort.labels import Labelled, LabelTable, apply_labels, exam_names, read_labels, reader_tables
from tramtrack.cohort.privacy import NO_SECRET, Secret
from tramtrack.cohort.readers import agreement, disagreements
from tramtrack.cohort.settle import Exclusions, analysed_exams
from tramtrack.cohort.split import require_unsplit
from tramtrack.cohort.table import read_table
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.gallery import AHEAD, PREPARED
from tramtrack.protocol import Intake, Labels, Prepare

UNMATCHED = (
    "label row without a view", "view without a label row", "column not read", "view whose mask is not there",
    "row of findings without a view",
)  # fmt: skip
"""The kinds of unmatched.csv, in its order: four of the label table, one of the table of findings."""


@dataclass(frozen=True)
class Cohort:
    """Views with what is known of them, one row each, and the files that are not views.

    ``views`` has the columns of View, view_id, and bac_view, bac_breast, bac_woman (Int64, missing is "not known"), mask.
    ``unmatched`` lists rows of tables without a view and views without a label row (columns kind, what).
    """

    views: pd.DataFrame
    exclusions: Exclusions
    unmatched: pd.DataFrame

    @property
    def women(self) -> int:
        """The number of women."""
        return int(self.views["woman"].nunique())

    @property
    def exams(self) -> int:
        """The number of exams."""
        return len(self.views[["woman", "exam"]].drop_duplicates())

    @property
    def synthetic(self) -> bool:
        """Whether any view is marked as synthetic data."""
        return bool((self.views["synthetic"] == "yes").any())

    @property
    def labelled(self) -> bool:
        """Whether any label is known."""
        return bool(self.views["bac_woman"].notna().any() or self.views["bac_view"].notna().any())

    def __repr__(self) -> str:
        with_bac = int((self.views.groupby("woman")["bac_woman"].first() == 1).sum())
        labels = f"{with_bac} with BAC" if self.labelled else "no labels"
        files = f"{len(self.exclusions)} files excluded"
        synthetic = "; synthetic" if self.synthetic else ""
        return f"Cohort({len(self.views)} views, {self.exams} exams, {self.women} women; {labels}; {files}{synthetic})"


def make_cohort(
    source: Path,
    folder: Path,
    labels: Path | None = None,
    processes: int = 2,
    settings: Intake | None = None,
    secret: Secret | None = None,
    labelling: Labels | None = None,
    adjudication: Path | None = None,
    prepare: Prepare | None = None,
    findings: Path | None = None,
) -> Cohort:
    """Ingest ``source``, bring the label table to it, and write both into ``folder``; with a ``secret``, under pseudonyms.

    ``labelling`` is a protocol's section labels. Where the table has several readers, ``readers.csv`` says how they agree and
    ``disagreements.csv`` what is to be settled; given back as ``adjudication``, the latter settles it. ``prepare``, its
    section prepare, has views prepared in the same pass over the files. ``findings`` is a table of burden and distractors by
    view, see `findings.read_findings`.
    """
    settings, secret, labelling = settings or Intake(), secret or NO_SECRET, labelling or Labels()
    _require_tables(labels, adjudication, findings, labelling)
    to = folder.parent / PREPARED / AHEAD
    intake = ingest(source, folder, settings, skip=folder.parent, processes=processes, secret=secret, prepare=prepare, ahead=to)
    if labels is not None:
        views = pd.read_csv(folder / "views.csv", dtype=str, keep_default_na=False)
        women, exams = frozenset(views["woman"]), exam_names(views)
        table = read_labels(labels.absolute(), labelling, adjudication, secret.key, women, exams)
        labelled = apply_labels(views, labels.absolute(), table=table)
        _require_a_view(labelled, table, labels, source)
        known = _of_the_analysed_exam(views, labelled.views, labels.absolute(), settings, table)
        require_unsplit(folder, "labels.csv", known)
        settled = store.file_sha256(adjudication) if adjudication else ""
        to_settle = disagreements(table.readings)
        _require_answers_kept(folder / "disagreements.csv", to_settle)
        store.write_csv(folder / "labels.csv", known)
        _write_readers(folder, views, labels.absolute(), table, to_settle)
        identity = {"sha256": store.file_sha256(labels), "consensus": labelling.consensus, "unmarked": labelling.unmarked}
        store.write_manifest(folder / "labels.json", {**identity, "adjudication": settled}, {"file": labels.name})
        masks = known.loc[[bool(mask) and not Path(mask).is_file() for mask in known["mask"]], "view_id"]
        found = (labelled.rows_without_view, labelled.views_without_row, labelled.ignored_columns, [*masks])
        _write_unmatched(folder, dict(zip(UNMATCHED[:-1], found, strict=True)))
    if findings is not None:
        views = pd.read_csv(folder / "views.csv", dtype=str, keep_default_na=False)
        known, without = read_findings(findings, views, secret.key)
        store.write_csv(folder / "findings.csv", known)
        _write_unmatched(folder, {UNMATCHED[-1]: without})
    assert intake.views
    return load_cohort(folder)


def _write_unmatched(folder: Path, found: dict[str, list[str]]) -> None:
    """unmatched.csv: what was ``found`` of each kind now; of other kinds, what another table left there."""
    path = folder / "unmatched.csv"
    rows = [{"kind": kind, "what": what} for kind, all_of_it in found.items() for what in all_of_it]
    if path.exists():
        before = pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")
        rows += [row for row in before if row.get("kind") in UNMATCHED and row["kind"] not in found]  # a person's own go
        rows.sort(key=lambda row: UNMATCHED.index(row["kind"]))
    store.write_csv(path, pd.DataFrame(rows, columns=["kind", "what"]))


def _require_a_view(labelled: Labelled, table: LabelTable, labels: Path, source: Path) -> None:
    """Raise TramtrackError where no row of a label table is about a view of the cohort."""
    if table.rows and len(labelled.rows_without_view) == len(table.rows):
        raise TramtrackError(
            f"{labels}: none of its {len(table.rows)} rows is about a view in {source} (the first: {table.rows[0]}); woman is "
            "the PatientID, or as in the table of images, exam the StudyInstanceUID or, under a key, the AccessionNumber; the "
            "views are kept, so ingest again with the right table"
        )


def _require_tables(labels: Path | None, adjudication: Path | None, findings: Path | None, labelling: Labels) -> None:
    """Raise TramtrackError or UsageError over a table that cannot be read, before any image is looked at."""
    if labels is not None:
        read_labels(labels, labelling, adjudication)
    elif adjudication is not None:
        raise UsageError(f"--adjudication {adjudication}: settles what readers see differently, so it needs their --labels")
    if findings is not None:
        read_columns(findings)


def known_as(folder: Path) -> str | None:
    """The fingerprint of the key under which the women of the cohort in ``folder`` are named, "" for none; None without one."""
    identity = store.read_identity(folder / "manifest.json")
    return None if identity is None else str(identity.get("key", ""))


def analysed_views(views: pd.DataFrame, settings: Intake) -> pd.DataFrame:
    """The views of the one exam of each woman that is analysed: her first, or her last, as the protocol says."""
    chosen = analysed_exams(views, settings.analysed_exam)
    return views[views["exam"] == views["woman"].map(chosen)].reset_index(drop=True)


def _require_answers_kept(path: Path, to_settle: pd.DataFrame) -> None:
    """Raise TramtrackError where somebody has filled in the disagreements and this intake would write over the answers."""
    if not path.exists():
        return
    given, kept = (_answers(table) for table in (_listed(path), to_settle))
    if lost := given - kept:
        raise TramtrackError(
            f"{path}: {len(lost)} of its answers in bac_adjudicated would be lost, so no label is changed; give the table back "
            "by --adjudication, or move it elsewhere"
        )


def _listed(path: Path) -> pd.DataFrame:
    """A table of disagreements as a person may have left it. Raises TramtrackError where it is no table any more."""
    columns, lines = read_table(path, "a table of disagreements")
    return pd.DataFrame([row for _, row in lines], columns=columns, dtype=str)


def _answers(table: pd.DataFrame) -> set[tuple[str, ...]]:
    rows = table.reindex(columns=["woman", "exam", "side", "view", "bac_adjudicated"], fill_value="").to_numpy(dtype=str)
    return {tuple(row) for row in rows if row[-1]}


def _write_readers(folder: Path, views: pd.DataFrame, path: Path, table: LabelTable, to_settle: pd.DataFrame) -> None:
    """readers.csv and disagreements.csv where there are several readers; one reader's table leaves neither, but for answers."""
    names = ("readers.csv", "disagreements.csv")
    if len(table.readers) < 2:
        for name in names if to_settle.empty else names[:1]:
            (folder / name).unlink(missing_ok=True)
        return
    by_unit = reader_tables(views, path, table)
    rows = pd.concat([agreement(of_unit, unit) for unit, of_unit in by_unit.items()], ignore_index=True)
    store.write_csv(folder / names[0], rows)
    listed = folder / names[1]
    there = _listed(listed) if listed.exists() else pd.DataFrame()
    if not (set(to_settle) <= set(there) and there[list(to_settle)].equals(to_settle)):  # what else a person wrote there stays
        store.write_csv(listed, to_settle)


def require_same_intake(folder: Path, settings: Intake, labelling: Labels | None = None) -> None:
    """Raise TramtrackError where the cohort in ``folder`` was ingested under other settings than the protocol's."""
    identity = store.read_identity(folder / "manifest.json") or {}
    found = Intake.model_validate(identity.get("intake", {}))
    differing = [f"{key}: {value} against {getattr(settings, key)}" for key, value in found if value != getattr(settings, key)]
    if labelling:
        told = store.read_identity(folder / "labels.json") or {}
        for key in ("consensus", "unmarked"):
            value, wanted = told.get(key, Labels.model_fields[key].default), getattr(labelling, key)
            differing += [f"{key}: {value} against {wanted}"] if value != wanted else []
    if differing:
        raise TramtrackError(
            f"{folder}: ingested under other settings than the protocol's ({'; '.join(differing)}); ingest again"
            " with --protocol"
        )


def _of_the_analysed_exam(
    views: pd.DataFrame, labels: pd.DataFrame, path: Path, settings: Intake, table: LabelTable
) -> pd.DataFrame:
    """``labels`` with those of the analysed exam judged from that exam and from rows about its woman as a whole.

    Another exam may show what this one did not; it is not scored, so it must not make its woman positive here.
    """
    analysed = analysed_views(views, settings)
    if len(analysed) == len(views):
        return labels
    own = apply_labels(analysed, path, table=table).views
    later = labels[~labels["view_id"].isin(own["view_id"])]
    return pd.concat((own, later)).set_index("view_id").loc[labels["view_id"]].reset_index()


def load_cohort(folder: Path) -> Cohort:
    """Read a cohort back. Raises TramtrackError where there is none yet, or where its labels are those of other views."""
    if not (folder / "views.csv").exists():
        raise TramtrackError(f"{folder}: no cohort yet; run `tramtrack ingest FOLDER --study {folder.parent}` first")
    views = read_views(folder)
    if (folder / "labels.csv").exists():
        label_types = {"view_id": str, "bac_view": "Int64", "bac_breast": "Int64", "bac_woman": "Int64", "mask": str}
        labels = pd.read_csv(folder / "labels.csv", dtype=label_types, na_filter=True)
        if set(labels["view_id"]) != set(views["view_id"]):
            raise TramtrackError(
                f"{folder}: the views have changed since the labels were brought to them; ingest again with --labels"
            )
        views = views.merge(labels.assign(mask=labels["mask"].fillna("")), on="view_id", how="left", validate="one_to_one")
    else:
        for column in ("bac_view", "bac_breast", "bac_woman"):
            views[column] = pd.array([pd.NA] * len(views), dtype="Int64")
        views["mask"] = ""
    excluded = pd.read_csv(folder / "exclusions.csv", dtype=str, keep_default_na=False)
    items = tuple(Exclusion(row["file"], Reason(row["reason"]), row["detail"]) for row in excluded.to_dict("records"))
    unmatched_file = folder / "unmatched.csv"
    unmatched = pd.DataFrame(columns=["kind", "what"])
    if unmatched_file.exists():
        unmatched = pd.read_csv(unmatched_file, dtype=str, keep_default_na=False)
    return Cohort(views, Exclusions(items), unmatched)


def read_views(folder: Path) -> pd.DataFrame:
    """views.csv: texts stay texts, and of the numbers only an empty cell is missing."""
    numbers = {"rows": "int64", "columns": "int64", "bits": "int64", "spacing_mm": "float64", "age_years": "Int64"}
    numbers |= dict.fromkeys(("thickness_mm", "exposure_mas", "kvp"), "float64")
    with (folder / "views.csv").open(encoding="utf-8") as stream:
        columns = stream.readline().strip().split(",")
    missing = {name: [""] for name, kind in numbers.items() if kind != "int64"}
    types = {name: numbers.get(name, "str") for name in columns}
    return pd.read_csv(folder / "views.csv", dtype=types, keep_default_na=False, na_values=missing)
