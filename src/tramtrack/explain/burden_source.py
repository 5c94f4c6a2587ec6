"""The burden of every view under one source of maps: calibrated on validation, kept in results/burden/<source>/.

A source is whatever gives a map of a view: a run's heat maps, or a segmentation network's probabilities. Another one adds
itself to the study's tables in two calls, and needs nothing else of this package::

    source = Source("segmentation", "segmentation", {"weights": sha256}, map_of=probabilities_of, strongest=1.0, cuts=(0.5,))
    measure_source(source, views, geometry, truth, protocol, results)  # once; kept while nothing that it depends on changes
    write_burden(results, protocol)  # joins all sources: burden.csv, burden_agreement.csv, burden_bands.csv, women_burden.csv

``views``, ``geometry`` and ``truth`` are what `tramtrack.explain.burden_stage.burden_views` gives for a study, the same for
every source. ``cuts`` with one value fixes the threshold; the default lets validation choose.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.explain.burden import (
    Burden,
    Calibration,
    Kind,
    NoBurden,
    burden_of,
    calibration_file,
    centreline_length,
    on_breast,
    pixel_size,
    save_calibration,
)
from tramtrack.explain.burden_fit import CUTS, PARTS, Fit, factor_of, fit, parts
from tramtrack.explain.localisation import breast_of
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import read_prepared
from tramtrack.judgement.burden import SCU_NET, VIEW_COLUMNS, squared_errors
from tramtrack.progress import track
from tramtrack.protocol import Protocol

Rows = Sequence[Mapping[Any, Any]]


@dataclass(frozen=True)
class Source:
    """Where maps come from. ``name``: the tables' column source, a run's network/variant/seed-k or another path-like name.

    ``identity``: what the maps depend on, such as the weights' hash; where it changes, everything is measured anew.
    ``map_of`` gives the map (h, w) >= 0 of a view by its view_id, of any size that covers the prepared view; ``strongest`` > 0
    is the value that stands for a probability of 1, and ``cuts`` are the thresholds to choose from, as shares of it.
    ``score_of`` gives a view's score in [0, 1], where there is one: then validation may choose a least score as well.
    """

    name: str
    kind: Kind
    identity: Mapping[str, Any]
    map_of: Callable[[str], np.ndarray]
    strongest: float
    cuts: tuple[float, ...] = CUTS
    score_of: Callable[[str], float] | None = None

    def score(self, view_id: str) -> float | None:
        """The view's score, or None where the source has none."""
        return None if self.score_of is None else self.score_of(view_id)


def measure_source(
    source: Source,
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    truth: pd.DataFrame,
    protocol: Protocol,
    results: Path,
) -> pd.DataFrame:
    """The burden of ``views`` under ``source``, a row a view with VIEW_COLUMNS; also ``results``/burden/<source>/views.csv.

    ``views`` has view_id, woman, exam, side, view, fold, analysed (no for an earlier or later exam) and file (prepared);
    ``truth`` is that of `truths`, for the same views. The calibration is fitted on the analysed validation views whose area is
    known; a view that cannot be measured has a note in place of numbers. Raises TramtrackError where validation fits nothing.
    """
    identity = _identity(source, views, truth, protocol)
    path = calibration_file(results, source.name)
    table = path.parent / "views.csv"
    if table.exists() and store.read_identity(path) == {"schema": store.SCHEMA_VERSION, **identity}:
        return read_measured(table)
    path.unlink(missing_ok=True)
    rows = views.merge(truth, on="view_id", validate="one_to_one").to_dict("records")
    known = [row for row in rows if row["fold"] == "validation" and row["analysed"] == "yes" and np.isfinite(row["true_area"])]
    unit = _commonest_unit(known)
    known = [row for row in known if row["unit"] == unit]
    calibration, by_part, fitted = _calibrate(source, known, geometry)
    found = _measured(source, rows, geometry, calibration, by_part)
    errors = squared_errors(found, protocol)
    calibration = replace(calibration, squared_error=errors.interval, repeatability=errors.repeatability)
    store.write_csv(table, found)
    information = {"unit": unit, "rho": fitted.rho, "views": [str(row["view_id"]) for row in known], "women": errors.women}
    save_calibration(results, calibration, identity, information)
    return found


def read_measured(path: Path) -> pd.DataFrame:
    """views.csv of one source, or burden.csv of all."""
    types = dict.fromkeys(("view_id", "woman", "exam", "side", "view", "fold", "analysed", "source", "kind", "unit"), str)
    texts = dict.fromkeys(("true_from", "calibrated", "note"), str)
    table = pd.read_csv(path, dtype=types | texts, keep_default_na=False, na_values={name: [""] for name in _NUMBERS})
    return table.astype(dict.fromkeys(_NUMBERS, "float64"))


_NUMBERS = ("area", "length", "share", "breast_area", *SCU_NET, "true_area", "true_length")


def _identity(source: Source, views: pd.DataFrame, truth: pd.DataFrame, protocol: Protocol) -> dict[str, Any]:
    """What the burden of a source depends on."""
    about = views[["view_id", "woman", "exam", "fold", "analysed"]]
    return {
        "maps": dict(source.identity),
        "cuts": list(source.cuts),
        "views": store.text_sha256(store.csv_text(about)),
        "truth": store.text_sha256(store.csv_text(truth)),
        "burden": protocol.burden.model_dump(mode="json"),
        "confidence": protocol.evaluation.confidence,
    }


def _commonest_unit(known: Rows) -> str:
    """Validation views with and without a spacing cannot be added up: the calibration is that of the larger group."""
    in_mm = sum(row["unit"] == "mm" for row in known)
    return "mm" if in_mm >= len(known) - in_mm else "pixels"


def _calibrate(
    source: Source, known: Rows, geometry: Mapping[str, Geometry]
) -> tuple[Calibration, dict[str, Calibration | None], Fit]:
    """The calibration of all ``known`` validation views; for each of their women that without her views, None where it cannot
    be fitted; and the fit behind the former."""
    if not source.strongest > 0:
        raise TramtrackError(f"{source.name}: its maps of validation views are zero everywhere, so they show no burden")
    truth = np.array([row["true_area"] for row in known], dtype=np.float64)
    thresholds = source.strongest * np.array(source.cuts)
    areas = np.zeros((len(known), len(thresholds)))
    for place, row in enumerate(track(known, f"{source.name}: areas on validation")):
        inside, pixel = _inside(source, row, geometry)
        areas[place] = (len(inside) - np.searchsorted(np.sort(inside), thresholds)) * pixel
    score_of = source.score_of
    scores = None if score_of is None else np.array([score_of(str(row["view_id"])) for row in known])
    whole = fit(areas, truth, scores)
    if isinstance(whole, str):
        raise TramtrackError(f"{source.name}: no calibration, {whole}")
    woman = np.array([str(row["woman"]) for row in known])
    part = parts(woman, truth)
    without: list[Fit | str] = []
    for number in range(PARTS):
        others = part != number
        without.append(fit(areas[others], truth[others], None if scores is None else scores[others]))
    fits = [whole, *without]
    pairs = {(one.cut, one.least_score) for one in fits if isinstance(one, Fit)}
    lengths = _lengths(source, known, geometry, thresholds, scores, pairs)
    true_lengths = np.array([row["true_length"] for row in known], dtype=np.float64)

    def calibration(one: Fit | str, chosen: np.ndarray) -> Calibration | None:
        if isinstance(one, str):
            return None
        usable = chosen & np.isfinite(true_lengths)
        factor = factor_of(lengths[one.cut, one.least_score][usable], true_lengths[usable])
        threshold = float(thresholds[one.cut])
        return Calibration(source.name, source.kind, threshold, source.strongest, one.least_score, one.factor, factor)

    by_part = [calibration(one, part != number) for number, one in enumerate(without)]
    everything = calibration(whole, np.ones(len(known), dtype=bool))
    assert everything is not None
    return everything, {name: by_part[number] for name, number in zip(woman, part.tolist(), strict=True)}, whole


def _inside(source: Source, row: Mapping[Any, Any], geometry: Mapping[str, Geometry]) -> tuple[np.ndarray, float]:
    """The map's values over the breast (n,), and the area of a pixel. A view without breast gives none."""
    view_id = str(row["view_id"])
    breast = breast_of(read_prepared(Path(row["file"])))
    return on_breast(source.map_of(view_id), breast)[breast], pixel_size(geometry[view_id]).area


def _lengths(
    source: Source,
    known: Rows,
    geometry: Mapping[str, Geometry],
    thresholds: np.ndarray,
    scores: np.ndarray | None,
    pairs: Collection[tuple[int, float | None]],
) -> dict[tuple[int, float | None], np.ndarray]:
    """Lengths of the known views' binarised maps, for the pairs of cut and least score that were chosen: thinning is slow."""
    found = {pair: np.zeros(len(known)) for pair in pairs}
    for place, row in enumerate(track(known, f"{source.name}: lengths on validation")):
        view_id = str(row["view_id"])
        enlarged = on_breast(source.map_of(view_id), breast_of(read_prepared(Path(row["file"]))))
        size = pixel_size(geometry[view_id])
        by_cut = {cut: centreline_length(enlarged >= thresholds[cut], size) for cut in {cut for cut, _ in pairs}}
        for cut, least_score in pairs:
            if scores is None or least_score is None or scores[place] >= least_score:
                found[cut, least_score][place] = by_cut[cut]
    return found


def _measured(
    source: Source,
    rows: Rows,
    geometry: Mapping[str, Geometry],
    calibration: Calibration,
    by_woman: Mapping[str, Calibration | None],
) -> pd.DataFrame:
    """A row a view; those of women that the calibration was fitted on are measured under the one without them."""
    table = []
    for row in track(rows, f"{source.name}: burden"):
        view_id, woman = str(row["view_id"]), str(row["woman"])
        own = by_woman.get(woman, calibration)
        about = {name: row[name] for name in VIEW_COLUMNS if name in row}
        entry = about | {"source": source.name, "kind": source.kind}
        entry["calibrated"] = "cross-fitted" if woman in by_woman else "validation"
        try:
            if own is None:
                raise NoBurden("without her views, validation fits no calibration")
            prepared = read_prepared(Path(row["file"]))
            found = burden_of(source.map_of(view_id), prepared, geometry[view_id], own, source.score(view_id))
            entry |= _numbers(found)
        except NoBurden as error:
            entry["note"] = str(error)
        table.append(entry)
    frame = pd.DataFrame(table, columns=VIEW_COLUMNS)
    return frame.astype(dict.fromkeys(_NUMBERS, "float64")).assign(note=frame["note"].fillna(""))


def _numbers(found: Burden) -> dict[str, Any]:
    values = asdict(found)
    empty = values.pop("empty")
    return values | {"note": "the map is zero everywhere" if empty else ""}
