"""How a study's runs are trained, and how they are scored on what was sealed: on the test fold, and for calibration.

`Study` has the methods, and says what each is for.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from tramtrack import store
from tramtrack.cohort.split import CALIBRATION
from tramtrack.engine import Engine
from tramtrack.engine.local import Local
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.judgement import results
from tramtrack.judgement.architectures import SplitResult, read_split, women_of
from tramtrack.judgement.results import Results
from tramtrack.network.registry import file_stem, title
from tramtrack.study_files import StudyFiles
from tramtrack.training import ledger
from tramtrack.training.record import Keep, Run, load_run
from tramtrack.training.variants import Variant, variants, without_weights

SHARED_STORAGE_SECONDS = 120.0
"""How long a network file system may take to show here what another machine has written."""


def train(study: StudyFiles, networks: Sequence[str], weights: str, weights_dir: Path | None, cache: Keep) -> Iterator[Run]:
    """See `Study.train_each`."""
    from tramtrack.network.weight_set import CannotFollow

    own = variants(study.protocol)[0].name()
    failures: dict[str, Exception] = {}
    for name, outcome in _trained(study, networks, weights, weights_dir, cache):
        if not isinstance(outcome, Exception):
            yield from outcome
        elif name.partition("/")[2] in ("", own) or not isinstance(outcome, CannotFollow):
            failures[name] = outcome
    if len(networks) == 1 and [*failures] == [*networks]:
        raise failures[networks[0]]
    if failures:
        said = (f"{_title(name)}: {_reason(name, error)}" for name, error in failures.items())
        raise TramtrackError(f"not trained: {'; '.join(said)}")


def train_all(study: StudyFiles, names: Sequence[str], weights: str, weights_dir: Path | None, cache: Keep) -> dict[str, str]:
    """Train everything; returns the networks and variants that are left out, with the reason."""
    outcomes = _trained(study, names, weights, weights_dir, cache)
    reasons = {name: _reason(name, outcome) for name, outcome in outcomes if isinstance(outcome, Exception)}
    return _in_order(reasons, names)


def _trained(
    study: StudyFiles, networks: Sequence[str], weights: str, weights_dir: Path | None, cache: Keep
) -> Iterator[tuple[str, list[Run] | Exception]]:
    """What `_outcomes` gives; what is left out is written down as it comes. Raises every other error."""
    from tramtrack.training.campaign import LEAVES_OUT

    for name, outcome in _outcomes(study, networks, weights, weights_dir, cache):
        if isinstance(outcome, LEAVES_OUT):
            known = ledger.left_out(study.folder, study.protocol)
            ledger.leave_out(study.folder, _in_order({**known, name: _reason(name, outcome)}, networks))
        elif isinstance(outcome, Exception):
            raise outcome
        yield name, outcome


def _in_order(reasons: Mapping[str, str], networks: Sequence[str]) -> dict[str, str]:
    """``reasons`` by name in the order of ``networks``; those of other networks come first, as they were."""
    places = {network: number for number, network in enumerate(networks)}
    return dict(sorted(reasons.items(), key=lambda item: places.get(item[0].partition("/")[0], -1)))


def _outcomes(
    study: StudyFiles, networks: Sequence[str], weights: str, weights_dir: Path | None, cache: Keep
) -> Iterator[tuple[str, list[Run] | Exception]]:
    """The runs of each variant as its last one ends, or why there are none, by the name that `wanted.Wanted` has."""
    from tramtrack.training.campaign import train_variants
    from tramtrack.training.hardware import choose_device, devices_of
    from tramtrack.training.setup import Fold
    from tramtrack.training.wanted import plan_variants, plan_weights, require_room_for_each

    if weights not in ("pretrained", "random"):
        raise UsageError(f"weights {weights}: expected pretrained or random")
    if weights == "random" and weights_dir is not None:
        raise UsageError(f"--weights-dir {weights_dir}: not with --weights random, which takes none; leave one of the two out")
    if cache not in ("auto", "on", "off"):
        raise UsageError(f"cache {cache}: expected auto, on or off")
    wanted, refused = plan_variants(networks, study.protocol, cache)
    engine: Engine = study.engine or Local(devices_of(study.device))
    wanted, unfit = plan_weights(wanted, weights, weights_dir, study.folder)
    known = ledger.left_out(study.folder, study.protocol)  # these networks are tried anew, what is known of others stays
    ledger.leave_out(study.folder, {name: why for name, why in known.items() if name.partition("/")[0] not in networks})
    for network in unfit.keys() - {one.network for one in wanted}:  # what an earlier command kept is of no use without weights
        shutil.rmtree(study.folder / "cache" / file_stem(network), ignore_errors=True)
    yield from {**refused, **unfit}.items()
    if not wanted:
        return
    study.prepare()
    folds = store.file_sha256(study.folder / "cohort" / "folds.csv")

    def views(variant: Variant) -> tuple[Fold, dict[str, str]]:
        chosen = study.scored_views(variant.size)
        geometry = pd.read_csv(study.prepared(variant.size) / "geometry.csv")
        hashes = {"folds": folds, "prepared": store.text_sha256("\n".join(geometry["sha256"]))}
        return Fold(chosen.assign(file=[Path(file).absolute() for file in chosen["file"]])), hashes

    device = None if engine.is_cluster else choose_device(study.device)
    require_room_for_each(wanted, weights, cache, views, study.folder, device)
    for name, outcome in train_variants(wanted, weights, weights_dir, cache, engine, views, study.folder):
        yield name, outcome if isinstance(outcome, Exception) else [_arrived(study.folder, run) for run in outcome]


def _arrived(study: Path, run: Run) -> Run:
    """The run as this machine sees its folder. Raises TramtrackError where it is on storage of another machine."""
    folder = study / "runs" / run.folder.relative_to((study / "runs").absolute())
    deadline = time.monotonic() + SHARED_STORAGE_SECONDS
    while (found := load_run(folder)) is None:
        if time.monotonic() > deadline:
            raise TramtrackError(
                f"{folder}: a machine of the cluster finished this run, but it is not here; the study's folder must lie on "
                "storage that all machines share, under the same path"
            )
        time.sleep(1.0)
    return found


def _reason(name: str, error: Exception) -> str:
    """Why a network or variant is left out, without its title in front."""
    return str(error).removeprefix(f"{title(name.partition('/')[0])}: ")


def _title(name: str) -> str:
    """A network's title, with the variant where ``name`` has one."""
    network, _, variant = name.partition("/")
    return f"{title(network)}, {variant}" if variant else title(network)


def calibrate(study: StudyFiles) -> dict[str, int]:
    """See `Study.calibrate`."""
    from tramtrack.explain.sealed_fold import score_calibration

    study.split()
    folds = study.folds()
    kept = folds[folds["fold"] == CALIBRATION]
    if kept.empty:
        raise TramtrackError(
            f"{study.folder}: no woman is kept for calibration; begin a study whose protocol has split.calibration above 0"
        )
    runs = study.runs()
    if not runs:
        raise TramtrackError(f"{study.folder}: no finished run; run `tramtrack train {study.folder}`")
    variant_of = _variants_by_name(study)
    for run in runs:
        variant = variant_of.get(without_weights(run.key.variant))
        if variant is not None:
            score_calibration(run, study.folder / CALIBRATION, variant.protocol, study.views(variant.size), study.device)
    return {"with BAC": int((kept["bac_woman"] == 1).sum()), "without BAC": int((kept["bac_woman"] == 0).sum())}


def evaluate(study: StudyFiles, networks: Sequence[str] | None, unseal: bool) -> Results:
    """See `Study.evaluate`."""
    from tramtrack.explain import sealed_fold
    from tramtrack.training.hardware import devices_of

    devices_of(study.device)  # refuses one that is not there before the test fold is looked at
    study.split()
    runs = ledger.complete_runs(study.folder, study.protocol, networks)
    repeats = study.repeats()
    for repeat in repeats:  # every run of every split is done before any test fold is scored
        if not _is_left_out(repeat, networks):
            ledger.complete_runs(repeat.folder, repeat.protocol, networks)
    folder = study.folder / "results"
    kept = results.load_results(folder)
    if not unseal and kept is not None and kept.unsealed and kept.runs == results.hashes_of(runs):
        return kept
    variant_of = _variants_by_name(study)

    def maps_of(run: Run) -> Path:
        return run.key.folder(study.folder / "heatmaps")

    def score_test(run: Run, path: Path) -> pd.DataFrame:
        variant = variant_of[without_weights(run.key.variant)]
        return sealed_fold.score_test(run, path, variant.protocol, study.views(variant.size), maps_of(run), study.device)

    splits, fold = [], "test" if unseal else "validation"
    for repeat in repeats:
        if _is_left_out(repeat, networks):
            splits.append(SplitResult({}, *women_of(repeat.folder, fold)))
        elif evaluate(repeat, networks, unseal).unsealed == unseal:
            splits.append(read_split(repeat.folder, fold))
    left_out = ledger.left_out(study.folder, study.protocol)
    if unseal:
        for run in runs:  # before the look is logged: a look that cannot be taken is none
            sealed_fold.require_scorable(run, results.test_file(folder, run), study.protocol, maps_of(run))
    return results.evaluate(
        runs,
        study.protocol,
        folder,
        score_test=score_test if unseal else None,
        left_out={name: why for name, why in left_out.items() if networks is None or name.partition("/")[0] in networks},
        synthetic=study.cohort.synthetic,
        views=study.views(),
        splits=splits,
    )


def _variants_by_name(study: StudyFiles) -> Mapping[str, Variant]:
    return {variant.name(): variant for variant in variants(study.protocol)}


def _is_left_out(study: StudyFiles, networks: Sequence[str] | None) -> bool:
    """Whether every one of these networks (all that were begun if None) is left out in ``study``."""
    out = ledger.left_out(study.folder, study.protocol)
    if networks is None:
        return bool(out) and not ledger.listed_runs(study.folder, study.protocol)
    return all(ledger.is_left_out(name, out, study.protocol) for name in networks)
