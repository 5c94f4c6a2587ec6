"""The runs that answer together, and what their study's validation and training say about how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.cohort.cohort import load_cohort
from tramtrack.cohort.folds import read_folds
from tramtrack.cohort.split import CALIBRATION
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.aggregate import AGGREGATIONS, UNITS, Aggregation
from tramtrack.evaluation.conformal import Conformal, conformal
from tramtrack.explain.atlas import is_kept
from tramtrack.explain.burden import Calibration
from tramtrack.explain.sealed_fold import read_calibration
from tramtrack.imaging.gallery import PREPARED
from tramtrack.judgement.results import load_results
from tramtrack.judgement.scoring import Chosen, choose, predictions_of, resolve_aggregation, units_of
from tramtrack.prediction.burden import calibration_of
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run, load_run
from tramtrack.training.variants import Variant, variants, without_weights

SPREAD_SHARE = 0.95
"""Share of validation women on whom the runs may not differ more than on a new one, else she is flagged. Ours."""


NEEDED: dict[str, tuple[str, ...]] = {
    "identity": ("network", "variant", "seed", "weights", "dtype", "protocol"),
    "information": ("weights_file_sha256",),
}
"""What an answer needs of what a run says of itself; in its study also which folds it was trained under."""


@dataclass(frozen=True)
class Seen:
    """What the views that the runs were trained on have in common: makers, spacings in mm (lowest, highest), and whether all
    are synthetic; and whose they were, and those of validation and calibration: ``women`` and ``pixels`` (pixels_sha256) name
    the fold. ``tested`` has the women and pixels of the test fold, ``sealed`` the same while nobody has looked at it."""

    manufacturers: frozenset[str]
    spacings_mm: tuple[float, float] | None
    synthetic: bool
    women: Mapping[str, str]
    pixels: Mapping[str, str]
    tested: frozenset[str] = frozenset()
    sealed: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Panel:
    """Runs of one study that answer together: a view's score is the mean of theirs. ``study`` is its folder, None where the
    runs were exported from it.

    ``protocols`` are those that each was trained under: the study's, or one of its variants; they prepare views alike.
    ``chosen`` holds the thresholds and recalibrations that validation gives for this mean, ``validation`` the counts behind
    them, ``aggregation`` how views become a breast and a woman. ``conformal`` is what the women kept for calibration give, or
    why there is none. ``spread_limit`` is what the span of the runs' scores of a woman exceeds in at most 5 % of validation
    women, None for a single run. ``calibrations`` take the runs' maps to a burden, None where none was fitted. ``scales`` are
    what the heat maps show brightest, None where the study made none; ``validation_files``, its prepared validation views,
    then give it.
    """

    runs: tuple[Run, ...]
    protocols: tuple[Protocol, ...]
    study: Path | None
    protocol: Protocol
    aggregation: Aggregation
    chosen: Chosen
    validation: dict[str, int]
    seen: Seen
    conformal: Conformal | str
    spread_limit: float | None
    calibrations: tuple[Calibration | None, ...]
    scales: tuple[float | None, ...]
    validation_files: tuple[Path, ...]


def load_panel(paths: Sequence[Path]) -> Panel:
    """The runs in ``paths``: run folders, or folders whose seed-* folders are runs.

    Raises UsageError where a path holds no finished run or a run comes twice, TramtrackError where the runs are of several
    studies, or their study has another protocol or other folds than they were trained under.
    """
    runs = tuple(run for path in paths for run in _runs_in(path))
    if len({run.folder.resolve() for run in runs}) < len(runs):
        raise UsageError(f"{' and '.join(map(str, paths))}: each run may stand once")
    for run in runs:
        _require_whole(run)
    studies = {run.folder.resolve().parents[3] for run in runs}
    if len(studies) > 1:
        raise TramtrackError(
            f"expected runs of one study, received runs of {' and '.join(sorted(map(str, studies)))}; their "
            "thresholds come from different women and cannot be joined"
        )
    (study,) = studies
    protocol = _protocol(study, runs)
    trained = [_trained_under(run, protocol) for run in runs]
    protocols = tuple(variant.protocol for variant in trained)
    if any(other.prepare != protocols[0].prepare for other in protocols):
        raise UsageError(f"{' and '.join(map(str, paths))}: expected runs that see views of one size, received several sizes")
    aggregation = _aggregation(study, runs, protocol)
    table = _validation(runs)
    validation = predictions_of(table, "validation")
    units = {unit: validation.units(unit, aggregation) for unit in UNITS}
    counts = units["woman"].counts()
    prepared = study / PREPARED / trained[0].size
    return Panel(
        runs=runs,
        protocols=protocols,
        study=study,
        protocol=protocol,
        aggregation=aggregation,
        chosen=choose(units, protocol.evaluation),
        validation=counts,
        seen=_seen(study),
        spread_limit=_spread_limit(runs, aggregation),
        conformal=_conformal(study, runs, protocol, aggregation),
        calibrations=tuple(calibration_of(study, run) for run in runs),
        scales=tuple(_scale(study, run, own) for run, own in zip(runs, protocols, strict=True)),
        validation_files=tuple(prepared / f"{view_id}.png" for view_id in table.loc[table["fold"] == "validation", "view_id"]),
    )


def _runs_in(path: Path) -> list[Run]:
    folders = [path] if (path / "run.json").exists() else sorted(path.glob("seed-*"), key=lambda found: found.name)
    runs = [run for run in map(load_run, folders) if run is not None]
    if not runs:
        raise UsageError(
            f"{path}: expected the folder of a finished run (with run.json), or one of whose seed-* folders are; found "
            "neither. Runs lie in a study's runs/<network>/<variant>/seed-<k>"
        )
    return runs


def _require_whole(run: Run) -> None:
    """Raise TramtrackError where something of a run is missing, or its predictions are not those that it wrote."""
    for part, names in {**NEEDED, "identity": (*NEEDED["identity"], "folds")}.items():
        lacking = [name for name in names if name not in getattr(run, part)]
        if lacking:
            raise TramtrackError(f"{run.folder / 'run.json'}: {part} lacks {lacking[0]}; train the run again")
    path = run.folder / "predictions.csv"
    known = run.information.get("predictions_sha256")  # which runs of earlier versions did not write down
    if not path.exists() or (known is not None and store.file_sha256(path) != known):
        raise TramtrackError(f"{path}: not the predictions that this run wrote; remove the run's folder to train it again")


def _protocol(study: Path, runs: Sequence[Run]) -> Protocol:
    path, folds = study / "protocol.toml", study / "cohort" / "folds.csv"
    for needed in (path, folds):
        if not needed.exists():
            raise TramtrackError(f"{needed}: not there; a run answers from its study's folder, where its validation lies")
    dealt = store.file_sha256(folds)
    for run in runs:
        if run.identity["folds"] != dealt:
            raise TramtrackError(f"{run.folder}: trained on other folds than its study has now; train it again")
    return Protocol.from_toml(path.read_text(encoding="utf-8"), str(path))


def _trained_under(run: Run, protocol: Protocol) -> Variant:
    """The variant of its study's protocol under which a run was trained."""
    for variant in variants(protocol):
        if variant.name() == without_weights(run.key.variant) and variant.protocol.sha256 == run.identity["protocol"]:
            return variant
    raise TramtrackError(f"{run.folder}: trained under another protocol than its study has now; train it again")


def _scale(study: Path, run: Run, protocol: Protocol) -> float | None:
    """What the maps that the study made of this very run show brightest, or None."""
    folder = run.key.folder(study / "heatmaps")
    try:
        known = is_kept(run, protocol, folder)
    except store.IdentityMismatch:  # of an earlier run, or another method
        return None
    return float(store.read_json(folder / "manifest.json")["information"]["scale"]) if known else None


def _aggregation(study: Path, runs: Sequence[Run], protocol: Protocol) -> Aggregation:
    """The study's, where it was evaluated (one for all its networks); else the one that these runs' validation gives."""
    summary = study / "results" / "summary.json"
    known = store.read_json(summary).get("aggregation") if summary.exists() else None
    found: Aggregation = known if known in AGGREGATIONS else resolve_aggregation(runs, protocol.evaluation)[0]
    return found


def _validation(runs: Sequence[Run]) -> pd.DataFrame:
    """The validation views with the mean of the runs' scores."""
    tables = [run.predictions().set_index("view_id") for run in runs]
    first = tables[0][tables[0]["fold"] == "validation"]
    return first.assign(score=sum(table.loc[first.index, "score"] for table in tables) / len(tables)).reset_index()


def _spread_limit(runs: Sequence[Run], aggregation: Aggregation) -> float | None:
    """The span of the runs' scores that a share SPREAD_SHARE of validation women does not exceed."""
    if len(runs) < 2:
        return None
    scores = [units_of(run.predictions(), "validation", "woman", aggregation).scores for run in runs]
    return float(np.quantile(np.ptp(scores, axis=0), SPREAD_SHARE, method="higher"))


def _conformal(study: Path, runs: Sequence[Run], protocol: Protocol, aggregation: Aggregation) -> Conformal | str:
    """From the women kept for calibration, scored as a new exam is: the mean of the runs' scores, view by view."""
    if not protocol.split.calibration:
        return "the study keeps no calibration fold; one whose protocol has split.calibration above 0 does"
    tables = [read_calibration(run, study / CALIBRATION) for run in runs]
    scored = [table.set_index("view_id") for table in tables if table is not None]
    if len(scored) < len(runs):
        return "these runs have not scored the calibration fold; `tramtrack calibrate` on the study does so"
    mean = scored[0].assign(score=sum(table["score"] for table in scored) / len(scored)).reset_index()
    return conformal(units_of(mean, CALIBRATION, "woman", aggregation))


def _seen(study: Path) -> Seen:
    views = load_cohort(study / "cohort").views
    folds = read_folds(study / "cohort")
    trained = views[views["woman"].isin(set(folds.loc[folds["fold"] == "training", "woman"]))]
    spacings = trained["spacing_mm"].dropna()
    between = (float(spacings.min()), float(spacings.max())) if len(spacings) else None
    fold_of = dict(zip(folds["woman"], folds["fold"], strict=True))
    known = views.assign(fold=views["woman"].map(fold_of))
    known = known[known["fold"].isin(("training", "validation", CALIBRATION))]
    women, pixels = (dict(zip(known[name], known["fold"], strict=True)) for name in ("woman", "pixels_sha256"))
    synthetic = bool((trained["synthetic"] == "yes").all())
    of_test = views[views["woman"].isin(set(folds.loc[folds["fold"] == "test", "woman"]))]
    tested = frozenset(of_test["woman"]) | frozenset(of_test["pixels_sha256"])
    evaluated = load_results(study / "results")
    opened = evaluated is not None and evaluated.unsealed
    sealed: frozenset[str] = frozenset() if opened else tested
    return Seen(frozenset(trained["manufacturer"]) - {""}, between, synthetic, women, pixels, tested, sealed)
