"""What a study's heat maps show: the stages after the evaluation, each from the study's files to files of its own.

`Study` has a method of the same name for each function here, and says what it is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tramtrack import store
from tramtrack.cohort.cohort import known_as
from tramtrack.cohort.privacy import choose
from tramtrack.errors import TramtrackError
from tramtrack.imaging.gallery import load_geometry
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement import results
from tramtrack.study_files import StudyFiles
from tramtrack.training.record import PRETRAINED, Run
from tramtrack.training.variants import variants, without_weights

if TYPE_CHECKING:
    from tramtrack.explain.burden_stage import BurdenTables


def evaluated_runs(study: StudyFiles) -> list[Run]:
    """The runs of the protocol's own variant that the last evaluation is of. Raises TramtrackError where there is none."""
    evaluated = study.last_evaluation().runs
    return [run for run in study.own_runs() if results.name_of(run) in evaluated]


def explain(study: StudyFiles) -> Path:
    """See `Study.explain`."""
    from tramtrack.explain.stage import explain_runs
    from tramtrack.segmentation.burden import opened_source

    protocol, evaluated = study.protocol, study.last_evaluation().runs
    segmentation = opened_source(protocol, study.folder)
    own, *others = variants(protocol)
    finer = {other.name(): other.protocol for other in others if other.levels == {**own.levels, "stride": "16"}}
    at_16 = [
        (run, finer[without_weights(run.key.variant)])
        for run in study.runs()
        if without_weights(run.key.variant) in finer and results.name_of(run) in evaluated
    ]
    return explain_runs(
        evaluated_runs(study),
        protocol,
        study.views(),
        load_geometry(study.prepared()),
        study.folder,
        study.device,
        [segmentation] if segmentation else [],
        at_16,
    )


def explain_views(study: StudyFiles, view_ids: Sequence[str], method: str | None, layer: str | None) -> pd.DataFrame:
    """See `Study.explain_views`."""
    from tramtrack.explain.methods import Explainer
    from tramtrack.explain.single import explain_views

    given = {"method": method, "layer": layer}
    asked = {name: value for name, value in given.items() if value is not None}
    settings = study.protocol.explain.model_copy(update=asked)
    Explainer(settings.method, settings.layer)  # refuses what is not known before any work
    changed = study.protocol.model_copy(update={"explain": settings})
    geometry = load_geometry(study.prepared())
    return explain_views(study.own_runs(), changed, study.views(), geometry, study.folder, view_ids, study.device)


def blind(study: StudyFiles, views: int, seed: int | None) -> Path:
    """See `Study.blind`."""
    from tramtrack.explain.blind import make_blind

    fold = "test" if study.last_evaluation().unsealed else "validation"
    about: dict[str, Any] = {"fold": fold, "synthetic": study.cohort.synthetic, "count": views, "seed": seed}
    return make_blind(evaluated_runs(study), study.protocol, study.views(), study.folder, **about, device=study.device)


def ratings(study: StudyFiles, files: Sequence[str | Path]) -> dict[str, Any]:
    """See `Study.ratings`."""
    from tramtrack.explain.ratings import import_ratings

    return import_ratings(study.folder, [Path(file) for file in files], study.protocol.evaluation)


def trust(study: StudyFiles, permuted: bool, weights_dir: Path | None) -> pd.DataFrame:
    """See `Study.trust`."""
    from tramtrack.explain.trust_stage import judge_maps

    runs = [run for run in study.own_runs() if run.weights == PRETRAINED]
    if not runs:
        raise TramtrackError(
            f"{study.folder}: no pretrained run whose maps could be tested; run `tramtrack run {study.folder}`"
        )
    trained = _permuted(study, runs, weights_dir) if permuted else {}
    geometry = load_geometry(study.prepared())
    return judge_maps(runs, trained, study.protocol, study.views(), geometry, study.folder / "results", study.device)


def _permuted(study: StudyFiles, runs: Sequence[Run], weights_dir: Path | None) -> dict[str, Run]:
    """By contestant a run like its first one, but for the training labels, which are dealt anew among the views."""
    from tramtrack.explain.permuted import train_permuted

    table = study.scored_views()
    trained: dict[str, Run] = {}
    for run, name in zip(runs, results.names_of(runs), strict=True):
        if name not in trained:
            trained[name] = train_permuted(run, study.protocol, table, study.folder / "trust", weights_dir, study.device)
    return trained


def burden(study: StudyFiles) -> BurdenTables:
    """See `Study.burden`."""
    from tramtrack.explain.burden_stage import measure_runs, write_burden
    from tramtrack.segmentation.burden import measure_segmentation

    runs = evaluated_runs(study)
    views, geometry, truth = burden_views(study)
    failed = measure_runs(runs, study.protocol, views, geometry, truth, study.folder, study.device)
    failed |= measure_segmentation(study.protocol, views, geometry, truth, study.folder, study.device)
    return write_burden(study.folder / "results", study.protocol, views, failed)


def burden_views(study: StudyFiles) -> tuple[pd.DataFrame, dict[str, Geometry], pd.DataFrame]:
    """See `Study.burden_views`."""
    from tramtrack.explain import burden_stage

    others, geometry = _other_exams(study)
    geometry |= load_geometry(study.prepared())
    views, truth = burden_stage.burden_views(study.views(), others, geometry, study.last_evaluation().unsealed)
    return views, geometry, truth


def _other_exams(study: StudyFiles) -> tuple[pd.DataFrame, dict[str, Geometry]]:
    """The views of the exams that are not analysed, of women in validation and test, prepared; and their Geometry."""
    from tramtrack.explain.burden_stage import MEASURED, prepare_others

    views = study.cohort.views.merge(study.folds()[["woman", "fold"]], on="woman", validate="many_to_one")
    others = views["fold"].isin(MEASURED) & ~views["view_id"].isin(study.views()["view_id"])
    views = study.with_findings(views[others].reset_index(drop=True))
    return prepare_others(views, study.prepared("other-exams"), study.protocol.prepare)


def associate(study: StudyFiles, outcomes: str | Path, source: str | None, key: str | Path | None) -> pd.DataFrame:
    """See `Study.associate`."""
    from tramtrack.judgement.association import associate, measured_women, read_outcomes, women_of

    folder = study.folder / "results"
    measured = measured_women(folder / "women_burden.csv")
    best = results.name_of(study.best()) if source is None else ""  # a study of random weights alone has no best run
    women = women_of(measured, source, best)
    secret = choose(key, study.folder, known_as(study.folder / "cohort"))
    read = read_outcomes(Path(outcomes), frozenset(women["woman"]), secret)
    found = associate(women, read, study.protocol)
    store.write_csv(folder / "associations.csv", found)
    return found


def segment(study: StudyFiles, unseal: bool) -> pd.DataFrame:
    """See `Study.segment`."""
    from tramtrack.segmentation.stage import segment_study

    study.prepare()
    prepared = pd.read_csv(study.prepared() / "geometry.csv")
    hashes = {
        "folds": store.file_sha256(study.folder / "cohort" / "folds.csv"),
        "prepared": store.text_sha256("\n".join(prepared["sha256"])),
    }
    geometry = load_geometry(study.prepared())
    return segment_study(study.views(), geometry, study.protocol, hashes, study.folder, unseal=unseal, device=study.device)
