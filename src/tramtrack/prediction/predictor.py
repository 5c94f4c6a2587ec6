"""Trained runs that are kept ready, and the way of a new exam through them: intake, preparation, networks, answer."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack.cohort.exam import Exam, Exclusion, Reason
from tramtrack.cohort.ingest import BYTES_A_WORKER, ingest
from tramtrack.cohort.inspect import inspect_file
from tramtrack.cohort.privacy import Secret, choose, require_key
from tramtrack.cohort.settle import Exclusions, Intake
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.gallery import AHEAD, load_geometry, prepare_views
from tramtrack.imaging.prepare import read_prepared
from tramtrack.judgement.results import name_of
from tramtrack.prediction.answering import Stated, answer_of, no_view
from tramtrack.prediction.burden import burdens
from tramtrack.prediction.case import Case, Sealed, SeveralExams
from tramtrack.prediction.exported import open_panel
from tramtrack.prediction.heatmap import together
from tramtrack.prediction.panel import Panel
from tramtrack.prediction.reader import Map, Reader
from tramtrack.training.record import Run
from tramtrack.workers import Crew


class Predictor:
    """Runs of one study, loaded once, that answer exam after exam; the processes that read files are kept as well.

    ``run`` is a Run, the folder of one or of its seeds, or several of these, which answer together; or an exported folder.
    ``device`` is where the networks run, see `choose_device`; ``processes`` how many files of an exam are read at once. Raises
    UsageError and TramtrackError as `open_panel`, and TramtrackError where a run's weights were changed.
    """

    def __init__(self, run: Run | str | Path | Sequence[Run | str | Path], *, device: str = "auto", processes: int = 2) -> None:
        runs = [run] if isinstance(run, Run | str | Path) else list(run)
        self.panel = open_panel([one.folder if isinstance(one, Run) else Path(one) for one in runs])
        self.processes = processes
        self._crew = Crew()
        self._crew.start(inspect_file, processes, BYTES_A_WORKER)
        panel = self.panel
        members = zip(panel.runs, panel.protocols, panel.scales, strict=True)
        self.readers = [Reader(run, under, panel.validation_files, scale, device) for run, under, scale in members]

    def close(self) -> None:
        """End the processes that read files; they end with this process anyway."""
        self._crew.close()

    def __repr__(self) -> str:
        return f"Predictor({', '.join(f'{one.key.network}, seed {one.key.seed}' for one in self.panel.runs)})"

    def predict(
        self,
        exam: str | Path,
        *,
        prevalence: float | None = None,
        alpha: float | None = None,
        key: str | Path | None = None,
        heatmaps: bool = True,
    ) -> Case:
        """Answer one exam: a folder, or a CSV with woman, exam, side, view, file. The input is never modified.

        ``prevalence`` in (0, 1) is the one for which the woman's probability is stated, ``alpha`` in (0, 0.5) the error rate of
        "BAC likely" and "BAC unlikely" (the protocol's if None); ``key`` as for `Study.ingest`; without ``heatmaps`` no maps
        are made. Raises UsageError for a folder with several exams, for an alpha that the calibration fold cannot keep and for
        a key that is not there, NoView where no file is a view, Sealed for an exam of a test fold that is sealed.
        """
        panel, stated = self.panel, self.stated(prevalence, alpha)
        require_key(key)
        source = Path(exam).absolute()
        with tempfile.TemporaryDirectory(prefix="tramtrack-") as made:
            work = Path(made)
            found = _look(source, work, panel, choose(key, work, None), self.processes, self._crew)
            if not found.views:
                raise no_view(source, found, panel)
            one = _only_exam(source, found)
            if panel.seen.sealed & {one.woman, *(view.pixels_sha256 for view in one.views)}:
                raise Sealed(
                    f"{source}: this exam is of the study's test fold, which is sealed: a score would be a look at it that "
                    "nobody logs; `tramtrack run` or `tramtrack evaluate --unseal` opens the fold when all runs are done"
                )
            prepared = work / "prepared"
            rows = [{"view_id": view.view_id, **asdict(view)} for view in one.views]
            prepare_views(rows, prepared, panel.protocols[0].prepare, {}, self.processes)
            files = [prepared / f"{view.view_id}.png" for view in one.views]
            scores, maps = self._read(files, heatmaps)
            pictures = [read_prepared(file) for file in files]
            geometry = load_geometry(prepared)
        placed = [geometry[view.view_id] for view in one.views]
        named = {name_of(run): calibration for run, calibration in zip(panel.runs, panel.calibrations, strict=True)}
        burden = burdens(named, one, maps, scores, pictures, placed, panel.protocol.burden)
        places = [(str(view.side), str(view.view)) for view in one.views]
        of_place = dict(zip(places, zip(*maps, strict=True), strict=True)) if heatmaps else {}
        where = dict(zip(places, placed, strict=True))
        empty = [place for place, found_maps in of_place.items() if not together(found_maps, where[place]).values.any()]
        return Case(
            answer=answer_of(source, one, found, panel, scores, burden, stated, empty),
            pictures=dict(zip(places, pictures, strict=True)),
            files={place: Path(view.file) for place, view in zip(places, one.views, strict=True)},
            geometry=where,
            maps=of_place,
            calibrations=named,
        )

    def stated(self, prevalence: float | None, alpha: float | None) -> Stated:
        """What an answer is stated for; raises UsageError where it can hold for nothing."""
        settings = self.panel.protocol.evaluation
        prevalence = settings.prevalence if prevalence is None else prevalence
        if not 0 < prevalence < 1:
            raise UsageError(f"prevalence {prevalence}: expected a share between 0 and 1")
        if alpha is not None:
            kept = self.panel.conformal
            if isinstance(kept, str):
                raise UsageError(f"alpha {alpha}: {kept}")
            kept.require(alpha)
        return Stated(prevalence, settings.alpha if alpha is None else alpha)

    def _read(self, files: Sequence[Path], heatmaps: bool) -> tuple[np.ndarray, list[list[Map]]]:
        """Scores (runs, views), and each run's maps of the views where they are asked for."""
        if not heatmaps:
            return np.stack([reader.scores(files) for reader in self.readers]), []
        found = [reader.look(files) for reader in self.readers]
        return np.stack([scores for scores, _ in found]), [maps for _, maps in found]


def predict(
    exam: str | Path,
    run: Run | str | Path | Sequence[Run | str | Path],
    *,
    prevalence: float | None = None,
    alpha: float | None = None,
    key: str | Path | None = None,
    heatmaps: bool = True,
    device: str = "auto",
    processes: int = 2,
) -> Case:
    """Answer one new exam with a run, or with several together; for exam after exam keep a `Predictor`, whose arguments
    these are."""
    ready = Predictor(run, device=device, processes=processes)
    try:
        return ready.predict(exam, prevalence=prevalence, alpha=alpha, key=key, heatmaps=heatmaps)
    finally:
        ready.close()


def _look(source: Path, work: Path, panel: Panel, secret: Secret, processes: int, crew: Crew) -> Intake:
    settings, prepare = panel.protocol.intake, panel.protocols[0].prepare
    folder, ahead = work / "cohort", work / "prepared" / AHEAD
    try:
        return ingest(source, folder, settings, processes=processes, secret=secret, prepare=prepare, ahead=ahead, crew=crew)
    except TramtrackError:
        if not (folder / "exclusions.csv").exists():
            raise
        table = pd.read_csv(folder / "exclusions.csv", dtype=str, keep_default_na=False)
        items = (Exclusion(row["file"], Reason(row["reason"]), row["detail"]) for row in table.to_dict("records"))
        return Intake((), Exclusions(tuple(items)), str(source))


def _only_exam(source: Path, found: Intake) -> Exam:
    exams = found.exams()
    if len(exams) > 1:
        names = ", ".join(f"{exam.exam} of {exam.woman}" for exam in exams[:3]) + (" and more" if len(exams) > 3 else "")
        raise SeveralExams(f"{source}: expected one exam, found {len(exams)} ({names}); give each exam's folder by itself")
    return exams[0]
