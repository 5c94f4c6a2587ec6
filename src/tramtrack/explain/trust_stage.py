"""The trust tests of a study: every network's maps on validation views, against the limits of the protocol.

Writes results/trust.csv. A map that fails stays in the report with its verdict; nothing here decides whether it is shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import special

from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.comparisons import ROUNDING
from tramtrack.evaluation.intervals import standard_error
from tramtrack.evaluation.resampling import resample_women
from tramtrack.explain.atlas import explainer_of, require_some
from tramtrack.explain.doses import Series, insertion_series, removal_series
from tramtrack.explain.localisation import Target, breast_of, make_target
from tramtrack.explain.measure import tolerance_of
from tramtrack.explain.stage import masks_of
from tramtrack.explain.trust import Outcome, dosed, flipped, likeness, maps_of, randomised, repeated
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import read_prepared
from tramtrack.judgement.results import names_of
from tramtrack.network.registry import file_stem
from tramtrack.progress import announce, track
from tramtrack.protocol import Explain, Protocol
from tramtrack.training.hardware import choose_device
from tramtrack.training.rebuild import rebuild
from tramtrack.training.record import PRETRAINED, Run

COLUMNS = ["map", "test", "stage", "estimate", "low", "high", "bound", "limit", "verdict", "views", "women"]
RANDOM_SEED = 9
REMOVAL, INSERTION = "removal", "insertion"
"""The tests by doses of calcification, taken out of views that have it and put into views without."""


def judge_maps(
    runs: Sequence[Run],
    permuted: Mapping[str, Run],
    protocol: Protocol,
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    folder: Path,
    device: str = "auto",
) -> pd.DataFrame:
    """Test the maps of the pretrained ``runs`` and write ``folder``/trust.csv, a row a map, test and stage.

    Calcification is taken out of the views that have a mask, and put into as many without BAC (``label`` 0).
    ``permuted`` has, for some contestants, a run trained on permuted labels. ``bound`` says whether the limit is the "most" or
    the "least" that passes; stages on the way have neither, and "information" as their verdict. Intervals are of resampled
    women, by Student's t, and -1 to 1 where the women do not differ. Views are those of validation, evenly spaced among those
    with a mask (or among all, where none has).
    What was found of each network is kept in ``folder``/trust/, so that an interrupted test goes on at the next.
    One that cannot have a map of the protocol's kind is told of, and the others go on. Raises UsageError where none can.
    """
    chosen, masks = _views(views, geometry, protocol.explain.trust_views)
    grey = np.stack([read_prepared(Path(file)) for file in chosen["file"]])
    without = _without_bac(views, protocol.explain.trust_views)
    of_name: dict[str, list[Run]] = {}
    for run, name in zip(runs, names_of(runs), strict=True):
        if run.weights == PRETRAINED:
            of_name.setdefault(name, []).append(run)
    on = choose_device(device)
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    cases: dict[str, Cases] | None = None
    for name, same in track(list(of_name.items()), "Testing heat maps"):
        kept = folder / "trust" / f"{file_stem(name.replace('/', '-'))}.json"
        identity = _identity(same, permuted.get(name), protocol, chosen, without, masks)
        if store.read_identity(kept) != {"schema": store.SCHEMA_VERSION, **identity}:
            if cases is None:
                cases = _cases(chosen, without, masks, geometry, protocol)
            found = []
            try:
                for outcome in _tests(same, permuted.get(name), protocol, grey, cases, on):
                    women = cases[outcome.test].women if outcome.test in cases else chosen["woman"].to_numpy()
                    found.append({"map": name, **_judged(outcome, women, protocol)})
            except UsageError as error:
                announce(f"{error}; the other networks go on")
                failed[name] = str(error)
                continue
            store.write_manifest(kept, identity, {"rows": found})
        rows += store.read_json(kept)["information"]["rows"]
    require_some(rows, failed, folder.parent)
    table = pd.DataFrame(rows, columns=COLUMNS)
    store.write_csv(folder / "trust.csv", table)
    return table


def _views(views: pd.DataFrame, geometry: Mapping[str, Geometry], count: int) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Evenly spaced validation views, and the masks of those that have one."""
    validation = views[views["fold"] == "validation"].reset_index(drop=True)
    masks = masks_of(validation, geometry)
    candidates = validation[validation["view_id"].isin(masks)] if masks else validation
    places = np.unique(np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().astype(int))
    return candidates.iloc[places].reset_index(drop=True), masks


def _without_bac(views: pd.DataFrame, count: int) -> pd.DataFrame:
    """Evenly spaced validation views whose label says no BAC: an artery can be put into them."""
    found = views[(views["fold"] == "validation") & (views["label"] == 0)].reset_index(drop=True)
    places = np.unique(np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int))
    return found.iloc[places].reset_index(drop=True)


@dataclass(frozen=True)
class Cases:
    """The views of one test by doses, each with its target, and the women whose they are."""

    doses: list[tuple[Series, Target]]
    women: np.ndarray


def _cases(
    chosen: pd.DataFrame,
    without: pd.DataFrame,
    masks: Mapping[str, np.ndarray],
    geometry: Mapping[str, Geometry],
    protocol: Protocol,
) -> dict[str, Cases]:
    """The doses of every view that allows them, by test; how many do not, and why the first does not, is told."""

    def removal(view_id: str, prepared: np.ndarray, breast: np.ndarray) -> Series:
        return removal_series(prepared, masks[view_id], breast, _seed(view_id))

    def insertion(view_id: str, prepared: np.ndarray, _: np.ndarray) -> Series:
        return insertion_series(prepared, geometry[view_id].prepared_spacing_mm, _seed(view_id))

    found = {}
    for test, table, make in (
        (REMOVAL, chosen[chosen["view_id"].isin(masks)], removal),
        (INSERTION, without, insertion),
    ):
        doses, women, reasons = [], [], []
        for row in track(table.to_dict("records"), f"Doses of calcification, {test}"):
            prepared = read_prepared(Path(row["file"]))
            breast = breast_of(prepared)
            try:
                series = make(row["view_id"], prepared, breast)
            except TramtrackError as error:
                reasons.append(f"{row['view_id']}: {error}")
                continue
            target = make_target(series.mask, breast, tolerance_of(geometry[row["view_id"]], protocol)[0])
            if target is not None:
                doses.append((series, target))
                women.append(row["woman"])
        if reasons:
            announce(f"{test} of calcification: {len(reasons)} of {len(table)} views go without it; first: {reasons[0]}")
        found[test] = Cases(doses, np.array(women, dtype=str))
    return found


def _seed(view_id: str) -> int:
    return int(store.text_sha256(view_id)[:8], 16)


def _identity(
    runs: Sequence[Run],
    permuted: Run | None,
    protocol: Protocol,
    chosen: pd.DataFrame,
    without: pd.DataFrame,
    masks: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """What the outcomes of one network depend on."""
    marked = [masks[view_id] for view_id in chosen["view_id"] if view_id in masks]
    drawn = hashlib.sha256(b"".join(np.packbits(mask).tobytes() for mask in marked))
    return {
        "weights": [str(run.information["weights_file_sha256"]) for run in [*runs, *([permuted] if permuted else [])]],
        "views": list(chosen["view_id"]),
        "without": list(without["view_id"]),
        "masks": drawn.hexdigest(),
        "explain": protocol.explain.model_dump(mode="json"),
        "evaluation": protocol.evaluation.model_dump(mode="json"),
    }


def _tests(
    runs: Sequence[Run],
    permuted: Run | None,
    protocol: Protocol,
    grey: np.ndarray,
    cases: Mapping[str, Cases],
    device: torch.device,
) -> Iterator[Outcome]:
    """Every test of the runs of one network."""
    explainer = explainer_of(protocol)
    by_seed = {run.key.seed: maps_of(explainer, rebuild(run, protocol, device), grey)[0] for run in runs}
    yield from repeated(by_seed, grey)
    model = rebuild(runs[0], protocol, device)
    yield flipped(explainer, model, grey)
    for test, found in cases.items():
        yield from dosed(explainer, model, test, found.doses)
    if permuted is not None:
        other, _ = maps_of(explainer, rebuild(permuted, protocol, device), grey)
        yield Outcome("permuted labels", "trained anew", likeness(by_seed[runs[0].key.seed], other, grey))
    yield from randomised(explainer, model, runs[0].key.network, grey, RANDOM_SEED)


def limit_of(outcome: Outcome, settings: Explain) -> tuple[str, float | None]:
    """Whether the outcome's limit is the "most" or the "least" that passes, and that; ("", None) for a stage on the way."""
    if outcome.test == "randomisation":
        return ("most", settings.random_limit) if outcome.stage == "everything" else ("", None)
    if outcome.test == "permuted labels":
        return "most", settings.permuted_limit
    limits = {"repeatability": settings.seeds_limit, "flip": settings.flip_limit}
    return "least", limits.get(outcome.test, settings.dose_limit)


def verdict_of(low: float, high: float, bound: str, limit: float) -> str:
    """ "pass" where the whole interval of a correlation keeps the limit, "fail" where none of it does, else "unresolved".

    "most" holds for the correlation's size: an inverted map shows the image as well as the map does.
    """
    if bound == "least":
        return "pass" if low >= limit else "fail" if high < limit else "unresolved"
    return "pass" if -limit <= low and high <= limit else "fail" if low > limit or high < -limit else "unresolved"


def _judged(outcome: Outcome, women: np.ndarray, protocol: Protocol) -> dict[str, object]:
    settings, values = protocol.evaluation, outcome.values
    names, woman = np.unique(women.astype(str), return_inverse=True)
    weights = resample_women(len(names), settings.resamples, np.random.default_rng(settings.seed))
    sums, counts = (np.bincount(woman, weights=part, minlength=len(names)) for part in (values, np.ones(len(values))))
    error, mean = standard_error((weights.T @ sums) / (weights.T @ counts)), float(values.mean())
    half = float(special.stdtrit(len(names) - 1, 0.5 + settings.confidence / 2)) * error if error > ROUNDING else 2.0
    bound, limit = limit_of(outcome, protocol.explain)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    verdict = "information"
    if limit is not None:
        verdict = verdict_of(low, high, bound, limit)
    about = {"test": outcome.test, "stage": outcome.stage, "estimate": mean, "low": low, "high": high}
    return {**about, "bound": bound, "limit": limit, "verdict": verdict, "views": len(values), "women": len(names)}
