"""The verb for a new exam: ``tramtrack predict``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from tramtrack.commands.options import Alpha, Device, Key, Prevalence, StudyFolder
from tramtrack.console import say, table


def predict(
    run: Annotated[Path, typer.Argument(help="A run's folder, the one above it (all its seeds), or an export.")],
    exam: Annotated[Path, typer.Argument(help="One exam: a folder, or a CSV with woman, exam, side, view, file.")],
    out: Annotated[Path, typer.Option("--out", help="Where prediction.json and prediction.html are written.")],
    also: Annotated[
        list[Path] | None, typer.Option("--also", help="A further run of the study that answers together; may be repeated.")
    ] = None,
    prevalence: Prevalence = None,
    alpha: Alpha = None,
    key: Key = None,
    heatmaps: Annotated[
        bool, typer.Option("--heatmaps/--no-heatmaps", help="Show where in each view the score comes from.")
    ] = True,
    dicom: Annotated[
        bool,
        typer.Option("--dicom", help="Also write results into the exam's DICOM study, in OUT/dicom; they name the woman."),
    ] = False,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print prediction.json instead of a table.")] = False,
) -> None:
    """What trained networks say of a new exam: scores, calls, a probability, and how far they can be relied on."""
    from tramtrack import store
    from tramtrack.dicomout.names import WRITTEN as RESULTS
    from tramtrack.errors import TramtrackError, UsageError
    from tramtrack.prediction.case import WRITTEN, NoView
    from tramtrack.prediction.predictor import Predictor
    from tramtrack.progress import announce

    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out}: expected a folder, received a file")
    if not exam.exists():
        raise TramtrackError(f"{exam}: expected a folder with one exam, or a CSV that names its files; found nothing there")
    with closing(Predictor([run, *(also or [])], device=device)) as predictor:
        for name in (*WRITTEN, *(f"dicom/{name}" for name in RESULTS)):  # of an earlier exam: they must not stand for this one
            (out / name).unlink(missing_ok=True)
        try:
            case = predictor.predict(exam, prevalence=prevalence, alpha=alpha, key=key, heatmaps=heatmaps)
        except NoView as refusal:
            store.write_text(out / "prediction.json", refusal.answer.model_dump_json(indent=2) + "\n")
            raise
    page = case.save(out)
    pictures = case.save_heatmaps(out)
    answer = case.answer
    if as_json:
        print(answer.model_dump_json(indent=2))
        if dicom and (left_out := case.save_dicom(out / "dicom").told()):
            announce(left_out)
        return
    _say_answer(answer, out)
    if pictures:
        names = ", ".join(picture.name for picture in pictures)
        say(f"{len(pictures)} heat map{'' if len(pictures) == 1 else 's'} at the images' own resolution: {names}")
    say(f"the page is {page}")
    if dicom:  # last: an exam that is no DICOM has its answer by now
        _say_results(case.save_dicom(out / "dicom"), out / "dicom")


def _say_answer(answer: Any, out: Path) -> None:
    """The scores as a table, and below it what follows from them and what makes them doubtful."""
    rows = [
        {
            "unit": " ".join(filter(None, (scored.unit, scored.side, scored.view))),
            "score": f"{scored.score:.3f}",
            "threshold": "-" if scored.threshold is None else f"{scored.threshold:.3f}",
            "call": scored.call or f"none: {scored.reason}",
        }
        for scored in answer.scores
    ]
    table(rows, f"Exam {answer.exam} of {answer.woman}{' (synthetic)' if answer.synthetic else ''}")
    if answer.disagreement():
        say(answer.disagreement())
    chance = answer.probability
    if chance is not None and chance.value is not None:
        say(f"probability {chance.value:.2f} among women of whom {chance.prevalence:.0%} have BAC")
    elif chance is not None:
        say(f"no probability: {chance.reason}")
    _say_found(answer.conformal)
    for found in answer.burden:
        if found.area_mm2 is None:
            say(f"no burden by {found.run}: {found.reason}")
            continue
        between = "" if found.low is None else f" ({found.low:.1f} to {found.high:.1f})"
        say(f"burden {found.area_mm2:.1f} mm2{between}, band {found.band} mm2, by {found.run}: a proxy, no CSBI grade")
    for flag in answer.flags:
        say(f"read with care: {flag}")
    if answer.excluded:
        say(f"{len(answer.excluded)} files are no standard view; each reason stands in {out / 'prediction.json'}")


def _say_results(results: Any, folder: Path) -> None:
    """How many DICOM results were written, and what was left out."""
    count = len(results.files)
    say(f"{count} DICOM result{'' if count == 1 else 's'} in {folder}; they name the woman as her images do")
    for reason, names in results.reasons().items():
        say(f"not written: {', '.join(names)}: {reason}")


def _say_found(conformal: Any) -> None:
    """What is found of the woman, by how many others, and what that is worth."""
    if conformal.finding is None:
        say(f"neither BAC likely nor BAC unlikely is said: {conformal.reason}")
        return
    why = f" ({conformal.reason})" if conformal.reason else ""
    by = f"{conformal.calibration_with_bac} women with BAC and {conformal.calibration_without_bac} without"
    say(f"{conformal.finding} at an error rate of {conformal.alpha:.3g}{why}, by {by} kept for calibration")
    say(conformal.guarantee)


def calibrate(study: StudyFolder, device: Device = "auto") -> None:
    """Score the women that the split keeps for calibration, for BAC likely and unlikely of new exams; `run` does so too."""
    from tramtrack.study import Study

    women = Study(study, device=device).calibrate()
    kept = ", ".join(f"{count} {what}" for what, count in women.items())
    say(f"calibration women: {kept}; their scores are in {study / 'calibration'}")
