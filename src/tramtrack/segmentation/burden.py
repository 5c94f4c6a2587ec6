"""The segmentation as one more source of burden, beside the heat maps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tramtrack.errors import TramtrackError
from tramtrack.explain.burden_source import Source, measure_source
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement.burden_cost import SEGMENTATION
from tramtrack.progress import announce
from tramtrack.protocol import Protocol
from tramtrack.segmentation.maps import Maps
from tramtrack.segmentation.run import FOLDER, maps_of, segment_views
from tramtrack.segmentation.stage import is_opened
from tramtrack.training.record import Run, load_run


def source_of(run: Run, maps: Maps) -> Source:
    """The probability maps as a source; their threshold and factor are fitted on validation, as a heat map's are."""
    identity = {"weights": str(run.information["weights_file_sha256"])}
    return Source(SEGMENTATION, "segmentation", identity, map_of=lambda view_id: maps[view_id], strongest=1.0)


def opened_source(protocol: Protocol, study: Path) -> Source | None:
    """The study's segmentation as a source, or None where there is none whose test views were unsealed."""
    run = load_run(study / FOLDER)
    if run is None or not is_opened(run, protocol, study / "results"):
        return None
    return source_of(run, maps_of(run.folder))


def measure_segmentation(
    protocol: Protocol,
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    truth: pd.DataFrame,
    study: Path,
    device: str = "auto",
) -> dict[str, str]:
    """Measure the burden under the study's segmentation, where there is one; returns why there are no numbers, by its name.

    ``views`` and ``truth`` are those of `tramtrack.explain.burden_stage.burden_views`. Maps that lack are made, of test views
    only once they were unsealed for this segmentation.
    """
    run = load_run(study / FOLDER)
    if run is None:
        return {}
    try:
        if (views["fold"] == "test").any() and not is_opened(run, protocol, study / "results"):
            raise TramtrackError(
                f"{SEGMENTATION}: its test views are sealed; `tramtrack segment {study} --unseal` segments them"
            )
        files = {str(row["view_id"]): Path(row["file"]) for row in views.to_dict("records")}
        segment_views(run, protocol, files, device)
        measure_source(source_of(run, maps_of(run.folder)), views, geometry, truth, protocol, study / "results")
    except TramtrackError as error:
        announce(f"{error}; the heat maps go on")
        return {SEGMENTATION: str(error)}
    return {}
