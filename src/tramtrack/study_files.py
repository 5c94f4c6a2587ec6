"""A study's folder: its protocol, its cohort and folds, its prepared views, and which runs and results lie in it.

A stage whose files are there and still fit is skipped. What is done with networks stands in `tramtrack.study_runs`, with their
maps in `tramtrack.study_maps`; `tramtrack.study.Study` has it all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Self

import pandas as pd

from tramtrack import store
from tramtrack.cohort.cohort import Cohort, analysed_views, known_as, load_cohort, make_cohort, require_same_intake
from tramtrack.cohort.folds import deal, read_folds
from tramtrack.cohort.privacy import choose
from tramtrack.cohort.repeats import share_cohort, share_prepared
from tramtrack.cohort.split import CALIBRATION, FOLDS
from tramtrack.cohort.warnings import LookAlike, look_alikes
from tramtrack.engine import Engine
from tramtrack.errors import TramtrackError
from tramtrack.imaging.gallery import prepare_views
from tramtrack.judgement import results
from tramtrack.judgement.results import Results
from tramtrack.protocol import Factors, Protocol
from tramtrack.training import ledger
from tramtrack.training.record import Run, load_run
from tramtrack.training.variants import variants, without_weights

SCORED = ("training", "validation")


class StudyFiles:
    """What lies in ``folder``; see `tramtrack.study.Study` for the arguments."""

    def __init__(
        self,
        folder: str | Path,
        protocol: str | Path | Protocol | None = None,
        *,
        device: str = "auto",
        engine: Engine | None = None,
        factors: Factors | None = None,
        repeats: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.device = device
        self.engine = engine
        self._factors, self._repeats = factors, repeats
        self._wanted = protocol if isinstance(protocol, Protocol) or protocol is None else Protocol.load(protocol)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r}, protocol={self.protocol.name!r})"

    @property
    def protocol(self) -> Protocol:
        """The protocol asked for; it must be the one that the folder was begun with. Raises IdentityMismatch."""
        path = self.folder / "protocol.toml"
        if not path.exists():
            return self._with_beside(self._wanted or Protocol.load("mobini-2024"))
        kept = Protocol.from_toml(path.read_text(encoding="utf-8"), str(path))
        if self._wanted and self._wanted.sha256 != kept.sha256:
            differing = "; ".join(kept.differences(self._wanted))
            raise store.IdentityMismatch(
                f"{self.folder}: this study has another protocol ({differing}: the folder's against the one asked for); "
                "use another study folder, or leave --protocol out"
            )
        return self._with_beside(kept)

    def _with_beside(self, protocol: Protocol) -> Protocol:
        """``protocol`` with what was asked for beside its runs in place of its own: variants, splits, burden, segmentation."""
        asked = self._wanted or protocol
        repeats = self._repeats or max(asked.split.repeats, protocol.split.repeats)
        factors = self._factors or (protocol.factors if asked.factors == Factors() else asked.factors)
        split = protocol.split.model_copy(update={"repeats": repeats})
        beside = {"factors": factors, "split": split, "burden": asked.burden, "segmentation": asked.segmentation}
        return protocol.model_copy(update=beside)

    def ingest(
        self,
        source: str | Path,
        labels: str | Path | None = None,
        processes: int = 2,
        key: str | Path | None = None,
        adjudication: str | Path | None = None,
        findings: str | Path | None = None,
    ) -> Cohort:
        """Find the views in ``source`` (a folder, or a CSV that names woman, exam, side, view, file) and their labels.

        Women, exams, instances and institutions are known by keyed hashes alone, synthetic ones aside; the key is the user's
        own, or that in the file ``key`` outside the study's folder, made where there is none; "none" keeps the names that the
        files give. ``adjudication`` is cohort/disagreements.csv, its last column filled in.
        ``findings`` is a table of what views show beside their label: burden_mm2, length_mm and counts of distractors.
        Where the study's protocol is stated by now, views are prepared by it in the same pass over the files.
        """
        table = Path(labels) if labels else None
        settled = Path(adjudication) if adjudication else None
        protocol, folder = self.protocol, self.folder / "cohort"
        seen = Path(findings) if findings else None
        stated = self._wanted is not None or (self.folder / "protocol.toml").exists()
        prepare = protocol.prepare if stated else None
        secret = choose(key, self.folder, known_as(folder))
        cohort = make_cohort(
            Path(source), folder, table, processes, protocol.intake, secret, protocol.labels, settled, prepare, seen
        )
        if self._wanted is not None:
            self._keep_protocol()
        return cohort

    def audit(self, processes: int = 2) -> Path:
        """Write cohort/audit.html and audit.json: where every file went, and what still identifies somebody; returns the page.

        Raises TramtrackError where nothing is ingested yet.
        """
        from tramtrack.cohort.audit_page import write_audit

        return write_audit(self.folder, processes)

    @property
    def cohort(self) -> Cohort:
        """The cohort as ingested. Raises TramtrackError where there is none."""
        return load_cohort(self.folder / "cohort")

    def split(self) -> pd.DataFrame:
        """Deal women to folds, once for each repeat; returns folds.csv: woman, fold, bac_woman, detail. Raises Leak."""
        cohort = self.cohort
        return self._deal(cohort, functools.cache(lambda: look_alikes(cohort.views)))

    def _deal(self, cohort: Cohort, alike: Callable[[], list[LookAlike]]) -> pd.DataFrame:
        """Deal the women of this split and of its repeats, which share what is ``alike`` among their views."""
        if not cohort.labelled:
            raise TramtrackError(
                f"{self.folder}: the cohort has no labels; run `tramtrack ingest ... --labels labels.csv --study {self.folder}`"
            )
        folder = self.folder / "cohort"
        require_same_intake(folder, self.protocol.intake, self.protocol.labels)
        self._keep_protocol()
        dealt = deal(folder, cohort.views, analysed_views(cohort.views, self.protocol.intake), self.protocol.split, alike)
        for repeat in self.repeats():
            repeat._deal(repeat.cohort, alike)
        return dealt

    def repeats(self) -> list[Self]:
        """The other splits of the same cohort, as studies of their own below repeats/; as many as split.repeats, less one."""
        found = []
        for number in range(1, self.protocol.split.repeats):
            place = self.folder / "repeats" / str(number)
            share_cohort(self.folder / "cohort", place / "cohort")
            dealt = self.protocol.split.model_copy(update={"seed": self.protocol.split.seed + number, "repeats": 1})
            protocol = self.protocol.model_copy(update={"split": dealt})
            found.append(type(self)(place, protocol, device=self.device, engine=self.engine))
        return found

    def folds(self) -> pd.DataFrame:
        """folds.csv as written by `split`."""
        return read_folds(self.folder / "cohort")

    def views(self, size: str = "") -> pd.DataFrame:
        """The views that take part, one row each with fold, labels, training label and the prepared file.

        ``size``: HEIGHTxWIDTH, where it is not the protocol's own.
        """
        views = analysed_views(self.cohort.views, self.protocol.intake).merge(
            self.folds()[["woman", "fold"]], on="woman", validate="many_to_one"
        )
        views = views[views["fold"].isin((*FOLDS, CALIBRATION))].reset_index(drop=True)
        label = views["bac_view"].astype("Float64")
        if self.protocol.labels.views_without_label == "inherit":
            label = label.fillna(views["bac_breast"].astype("Float64")).fillna(views["bac_woman"].astype("Float64"))
        views = self.with_findings(views)
        files = [self.prepared(size) / f"{view_id}.png" for view_id in views["view_id"]]
        return views.assign(label=label.astype(float), original=views["file"], file=files)

    def scored_views(self, size: str = "") -> pd.DataFrame:
        """Those of `views` that a run sees: of the training and validation folds."""
        table = self.views(size)
        return table[table["fold"].isin(SCORED)].reset_index(drop=True)

    def with_findings(self, views: pd.DataFrame) -> pd.DataFrame:
        """``views`` with the columns of --findings, where such a table was given."""
        path = self.folder / "cohort" / "findings.csv"
        if not path.exists():
            return views
        return views.merge(pd.read_csv(path, dtype={"view_id": str}), on="view_id", how="left", validate="one_to_one")

    def prepare(self, processes: int = 2) -> pd.DataFrame:
        """Prepare every view of the folds, in each size that the factors name as well; returns geometry.csv of its own size."""
        self.split()
        rows = self.views().assign(file=lambda table: table["original"])
        engine = self.engine.on_cpus() if self.engine is not None and self.engine.is_cluster else None
        records = rows.to_dict("records")
        views = store.text_sha256("\n".join(rows["view_id"] + " " + rows["sha256"]))
        sizes = {variant.size: variant.protocol.prepare for variant in variants(self.protocol)}
        tables = {}
        for size, settings in sizes.items():
            identity = {"prepare": settings.model_dump(mode="json"), "views": views}
            tables[size] = prepare_views(records, self.prepared(size), settings, identity, processes, engine)
        before = [self]
        for repeat in self.repeats():
            for size, other in product(sizes, before):
                share_prepared(other.prepared(size), repeat.prepared(size))
            repeat.prepare(processes)
            before.append(repeat)
        return tables[""]

    def prepared(self, size: str = "") -> Path:
        """Where the prepared views of a size lie; those of the protocol's own ("") in prepared/ itself."""
        return self.folder / "prepared" / size

    def last_evaluation(self) -> Results:
        """The last evaluation, if the cohort and the runs are still those it was made of. Raises TramtrackError."""
        found = results.load_results(self.folder / "results")
        if found is None:
            raise TramtrackError(f"{self.folder}: nothing is evaluated yet; run `tramtrack run {self.folder}`")
        self.split()
        for name, weights in found.runs.items():
            run = load_run(self.folder / "runs" / name)
            if run is None or run.information["weights_file_sha256"] != weights:
                raise TramtrackError(
                    f"{self.folder}: the results are of a run {name} that is gone or was trained again; "
                    f"run `tramtrack run {self.folder}` again"
                )
        return found

    def runs(self) -> list[Run]:
        """The finished runs: the eleven networks in the registry's order, then challengers by name; by variant and seed."""
        return ledger.finished_runs(self.folder)

    def own_runs(self) -> list[Run]:
        """The finished runs of the protocol's own variant, whose heat maps are made."""
        own = variants(self.protocol)[0].name()
        return [run for run in self.runs() if without_weights(run.key.variant) == own]

    def best(self) -> Run:
        """The pretrained run with the highest AUC-ROC by woman on validation; the test fold has no say in it."""
        found = results.best_on_validation(ledger.listed_runs(self.folder, self.protocol), self.protocol.evaluation)
        if found is None:
            raise TramtrackError(f"{self.folder}: no pretrained run with a validation AUC")
        return found

    def _keep_protocol(self) -> None:
        path = self.folder / "protocol.toml"
        text = self.protocol.to_toml()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            store.write_text(path, text)
