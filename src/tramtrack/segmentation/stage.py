"""The segmentation of a study: trained on training masks, its threshold from validation, the test fold segmented once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tramtrack import sealing, store
from tramtrack.errors import TramtrackError
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement.scoring import named
from tramtrack.protocol import Protocol
from tramtrack.segmentation.known import Known, find_known
from tramtrack.segmentation.run import FOLDER, segment_views, train_unet
from tramtrack.segmentation.scores import measure_views, summarise
from tramtrack.segmentation.unet import require_monai
from tramtrack.training.hardware import choose_device
from tramtrack.training.record import Run, require_own_weights


def segment_study(
    views: pd.DataFrame,
    geometry: Mapping[str, Geometry],
    protocol: Protocol,
    hashes: Mapping[str, str],
    study: Path,
    *,
    unseal: bool = False,
    device: str = "auto",
) -> pd.DataFrame:
    """Train the U-Net into ``study``/segmentation/ and measure it on validation, and with ``unseal`` on the test fold.

    ``views`` is the study's table, ``hashes`` are those of its folds and prepared views. A look at the test fold is logged
    before it is taken; once it was taken with this very network, its results are kept, with or without ``unseal``. Writes
    results/segmentation.csv, which is returned (fold, measure, estimate, low, high, views, women, chance, threshold), and
    segmentation_views.csv. Raises UsageError where MONAI is missing, TramtrackError where training or validation has no mask.
    """
    require_monai("monai.networks.nets")
    choose_device(device)  # refuses one that is not there before masks are read
    size, results = (protocol.prepare.height, protocol.prepare.width), study / "results"
    training, validation = (
        _trained_on(views[views["fold"] == fold], geometry, size, fold, study) for fold in ("training", "validation")
    )
    run = train_unet(training, validation, protocol, hashes, study / FOLDER, device)
    threshold, look = float(run.information["threshold"]), _look(run, protocol)
    maps = segment_views(run, protocol, _files(views, "validation"), device)
    measured = [measure_views(maps, validation, threshold)]
    if unseal or is_opened(run, protocol, results):
        require_own_weights(run)  # before the look is logged: a look that cannot be taken is none
        sealing.log_look(results / "unsealed.jsonl", look)
        segment_views(run, protocol, _files(views, "test"), device)
        test = find_known(views[views["fold"] == "test"], geometry, size, "Reading masks of test views")
        measured.append(measure_views(maps, test, threshold))
    table = pd.concat(measured, ignore_index=True)
    summary = summarise(table, threshold, protocol.evaluation)
    store.write_csv(results / "segmentation_views.csv", table)
    store.write_csv(results / "segmentation.csv", summary)
    return summary


def is_opened(run: Run, protocol: Protocol, results: Path) -> bool:
    """Whether the test fold was looked at with this very segmentation."""
    look = _look(run, protocol)
    return any(entry["look"] == look for entry in sealing.looks(results / "unsealed.jsonl"))


def _look(run: Run, protocol: Protocol) -> dict[str, Any]:
    """What decides the look's result, as `tramtrack.judgement.results` has it of the networks."""
    about = {**named(run), "weights_file_sha256": run.information["weights_file_sha256"]}
    return {
        "protocol": protocol.sha256,
        "runs": [named(run)],
        "thresholds": [{**about, "pixel": run.information["threshold"]}],
    }


def _trained_on(views: pd.DataFrame, geometry: Mapping[str, Geometry], size: tuple[int, int], fold: str, study: Path) -> Known:
    """The views of a fold that are known to the pixel. Raises TramtrackError where none of them shows BAC."""
    known = find_known(views, geometry, size, f"Reading masks of {fold} views")
    if not known.marked.any():
        raise TramtrackError(
            f"{study}: no {fold} view has a mask that marks BAC; a segmentation is trained on masks: name them in the label "
            "table's column mask (pictures of the original's size, non-zero where the calcifications are) and ingest into "
            "a new study"
        )
    return known


def _files(views: pd.DataFrame, fold: str) -> dict[str, Path]:
    chosen = views[views["fold"] == fold]
    return {str(view_id): Path(file) for view_id, file in zip(chosen["view_id"], chosen["file"], strict=True)}
