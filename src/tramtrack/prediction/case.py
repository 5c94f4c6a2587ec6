"""One new exam: the intake's eyes, the protocol's preparation, the runs' scores, and what is written about it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.cohort.exam import Exam, View
from tramtrack.cohort.ingest import Intake, ingest
from tramtrack.cohort.privacy import Secret, choose
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.aggregate import Predictions, Unit
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.scores import Undefined
from tramtrack.imaging.gallery import AHEAD, prepare_views
from tramtrack.imaging.prepare import read_prepared
from tramtrack.prediction.answer import Answer, Answering, Probability, Refused, Scored, Source
from tramtrack.prediction.flags import flags_of
from tramtrack.prediction.page import page
from tramtrack.prediction.panel import Panel, load_panel
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run
from tramtrack.training.run import predict_views


class NoView(TramtrackError):
    """No file of an exam is a view; ``answer`` says why of each."""

    def __init__(self, message: str, answer: Answer) -> None:
        super().__init__(message)
        self.answer = answer


@dataclass(frozen=True, repr=False)
class Case:
    """An exam that was answered: the answer, and its prepared views (uint16, as the networks saw them) by side and view."""

    answer: Answer
    pictures: dict[tuple[str, str], np.ndarray]

    def __repr__(self) -> str:
        woman = self.answer.of("woman")
        call = f", {woman.call} at {woman.threshold:.3f}" if woman.call else ""
        return f"Case({self.answer.woman}, {len(self.pictures)} views; score {woman.score:.3f}{call})"

    def save(self, folder: str | Path) -> Path:
        """Write prediction.json and prediction.html (one file, opens offline) into ``folder``; returns the page's path."""
        store.write_text(Path(folder) / "prediction.json", self.answer.model_dump_json(indent=2) + "\n")
        return store.write_text(Path(folder) / "prediction.html", page(self.answer, self.pictures))


def predict(
    exam: str | Path,
    run: Run | str | Path | Sequence[Run | str | Path],
    *,
    prevalence: float | None = None,
    key: str | Path | None = None,
    device: str = "auto",
    processes: int = 2,
) -> Case:
    """Score one new exam (a folder, or a CSV with woman, exam, side, view, file) with a run, or with several together.

    ``run`` is a Run or the folder of one or of its seeds. The input is never modified. ``prevalence`` in (0, 1) is the one for
    which the woman's probability is stated (the protocol's if None); ``key`` as for `Study.ingest`. Raises UsageError for a
    folder with several exams, NoView where no file is a view.
    """
    runs = [run] if isinstance(run, Run | str | Path) else list(run)
    panel = load_panel([one.folder if isinstance(one, Run) else Path(one) for one in runs])
    stated = panel.protocol.evaluation.prevalence if prevalence is None else prevalence
    if not 0 < stated < 1:
        raise UsageError(f"prevalence {stated}: expected a share between 0 and 1")
    source = Path(exam).absolute()
    with tempfile.TemporaryDirectory(prefix="tramtrack-") as made:
        work = Path(made)
        found = _look(source, work, panel, choose(key, work, None), processes)
        if not found.views:
            raise _no_view(source, found, panel)
        one = _only_exam(source, found)
        prepared = work / "prepared"
        rows = [{"view_id": view.view_id, **asdict(view)} for view in one.views]
        prepare_views(rows, prepared, panel.protocols[0].prepare, {}, processes)
        files = [prepared / f"{view.view_id}.png" for view in one.views]
        members = zip(panel.runs, panel.protocols, strict=True)
        scores = np.stack([_scores(member, protocol, files, device) for member, protocol in members])  # (runs, views)
        pictures = {(str(v.side), str(v.view)): read_prepared(file) for v, file in zip(one.views, files, strict=True)}
    return Case(_answer(source, one, found, panel, scores, stated), pictures)


def _look(source: Path, work: Path, panel: Panel, secret: Secret, processes: int) -> Intake:
    settings, prepare = panel.protocol.intake, panel.protocols[0].prepare
    folder, ahead = work / "cohort", work / "prepared" / AHEAD
    try:
        return ingest(source, folder, settings, processes=processes, secret=secret, prepare=prepare, ahead=ahead)
    except TramtrackError:
        if not (folder / "exclusions.csv").exists():
            raise
        from tramtrack.cohort.exam import Exclusion, Reason
        from tramtrack.cohort.ingest import Exclusions

        table = pd.read_csv(folder / "exclusions.csv", dtype=str, keep_default_na=False)
        items = (Exclusion(row["file"], Reason(row["reason"]), row["detail"]) for row in table.to_dict("records"))
        return Intake((), Exclusions(tuple(items)), str(source))


def _only_exam(source: Path, found: Intake) -> Exam:
    exams = found.exams()
    if len(exams) > 1:
        names = ", ".join(f"{exam.exam} of {exam.woman}" for exam in exams[:3]) + (" and more" if len(exams) > 3 else "")
        raise UsageError(f"{source}: expected one exam, found {len(exams)} ({names}); give each exam's folder by itself")
    return exams[0]


def _scores(run: Run, protocol: Protocol, files: Sequence[Path], device: str) -> np.ndarray:
    logits = predict_views(run, protocol, files, f"{run.key.network}: seed {run.key.seed}", device).astype(np.float64)
    if not np.isfinite(logits).all():
        raise TramtrackError(f"{run.folder}: this run gives no number for a view of this exam")
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))


def _answer(source: Path, exam: Exam, found: Intake, panel: Panel, scores: np.ndarray, prevalence: float) -> Answer:
    views = exam.views
    scored = [_scored(panel, "view", scores[:, [place]], [view], view) for place, view in enumerate(views)]
    for side in sorted({view.side for view in views}):
        places = [place for place, view in enumerate(views) if view.side == side]
        scored.append(_scored(panel, "breast", scores[:, places], [views[place] for place in places], views[places[0]]))
    woman = _scored(panel, "woman", scores, views, views[0])
    return _empty(source, found, panel).model_copy(
        update={
            "woman": exam.woman,
            "exam": exam.exam,
            "synthetic": any(view.synthetic for view in views),
            "scores": (*scored, woman),
            "probability": _probability(panel, woman.score, prevalence),
            "flags": flags_of(exam, panel),
            "sources": tuple(
                Source(
                    side=view.side.value,
                    view=view.view.value,
                    file=_below(view.file, source),
                    sha256=view.sha256,
                    spacing_mm=view.spacing_mm,
                    steps=view.steps,
                )
                for view in views
            ),
        }
    )


def _empty(source: Path, found: Intake, panel: Panel) -> Answer:
    """What can be said without a view."""
    return Answer(
        tramtrack=version("tramtrack"),
        woman="",
        exam="",
        synthetic=False,
        runs=tuple(
            Answering(
                network=run.key.network,
                variant=run.key.variant,
                seed=run.key.seed,
                weights="pretrained" if run.weights == "pretrained" else "random weights",
                weights_file_sha256=run.information["weights_file_sha256"],
                protocol_sha256=run.identity["protocol"],
            )
            for run in panel.runs
        ),
        aggregation=panel.aggregation,
        validation_women=panel.validation["women"],
        validation_positives=panel.validation["positives"],
        scores=(),
        probability=None,
        flags=(),
        sources=(),
        excluded=tuple(
            Refused(file=_below(item.file, source), reason=str(item.reason), detail=_placeless(item.detail, source))
            for item in found.exclusions
        ),
    )


def _scored(panel: Panel, unit: Unit, scores: np.ndarray, views: Sequence[View], first: View) -> Scored:
    """One unit from its views' scores (runs, views); the mean over runs is taken view by view, as it was on validation."""
    by_run = tuple(_aggregate(panel, unit, row, views) for row in scores)
    score = _aggregate(panel, unit, scores.mean(axis=0), views)
    cut = panel.chosen.threshold(unit, panel.protocol.evaluation.threshold)
    threshold, reason = (None, cut.reason) if isinstance(cut, Undefined) else (cut, "")
    return Scored(
        unit=unit,
        side=None if unit == "woman" else first.side.value,
        view=first.view.value if unit == "view" else None,
        score=score,
        by_run=by_run,
        threshold=threshold,
        call=None if threshold is None else "positive" if score >= threshold else "negative",
        reason=reason,
    )


def _aggregate(panel: Panel, unit: Unit, scores: np.ndarray, views: Sequence[View]) -> float:
    """The score of the one unit that these views make; labels play no part in it."""
    none = np.zeros(len(views), dtype=np.int8)
    side, view = (np.array([str(getattr(each, name)) for each in views]) for name in ("side", "view"))
    units = Predictions(np.zeros(len(views)), side, view, scores, none, none, none).units(unit, panel.aggregation)
    (score,) = units.scores
    return float(score)


def _probability(panel: Panel, score: float, prevalence: float) -> Probability:
    fitted = panel.chosen.recalibrations["woman"]
    if not isinstance(fitted, Recalibration):
        return Probability(value=None, prevalence=prevalence, reason=f"no recalibration: {fitted.reason} in validation")
    value = float(fitted.probabilities(np.array([score]), prevalence)[0])
    return Probability(value=value, prevalence=prevalence, reason="")


def _no_view(source: Path, found: Intake, panel: Panel) -> NoView:
    first = found.exclusions.items[0]
    return NoView(
        f"{source}: none of {len(found.exclusions)} files is a standard view, so there is no score; {found.exclusions!r}; "
        f"first: {_below(first.file, source)}: {_placeless(first.detail, source)}",
        _empty(source, found, panel),
    )


def _placeless(detail: str, source: Path) -> str:
    """A detail that names another file of the exam, by its path below the exam's folder as well."""
    return detail.replace(f"{source if source.is_dir() else source.parent}/", "")


def _below(file: str, source: Path) -> str:
    """``file`` as its path below the exam's folder: where the exam lies is nobody's business."""
    top = source if source.is_dir() else source.parent
    path = Path(file)
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name
