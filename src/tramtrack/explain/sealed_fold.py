"""The views that no run is chosen by, scored once: those of the test fold, and those kept for calibration.

The pass that scores a view holds all that its heat map needs.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tramtrack import store
from tramtrack.cohort.split import CALIBRATION
from tramtrack.explain.atlas import explainer_of, is_kept, make_heatmaps
from tramtrack.protocol import Protocol
from tramtrack.training.rebuild import predict_views
from tramtrack.training.record import Run, read_predictions, require_own_weights, write_predictions


def require_scorable(run: Run, path: Path, protocol: Protocol, maps: Path) -> None:
    """Raise where the test views of ``run`` cannot be scored: before the look is logged, since such a look is none.

    TramtrackError where its weights were changed, IdentityMismatch where the scores or the maps are of an earlier run.
    """
    require_own_weights(run)
    _is_scored(run, path)
    is_kept(run, protocol, maps)


def score_test(run: Run, path: Path, protocol: Protocol, views: pd.DataFrame, maps: Path, device: str) -> pd.DataFrame:
    """The scores of the test views among ``views``, from ``path`` where they are kept, else made and kept there.

    ``protocol`` is the one that the run was trained under; heat maps that cost nothing more are kept in ``maps``.
    """
    if not _is_scored(run, path):
        test = views[views["fold"] == "test"].reset_index(drop=True)
        files = dict(zip(test["view_id"], test["file"], strict=True))
        if explainer_of(protocol).is_cheap:
            validation = list(views.loc[views["fold"] == "validation", "file"])
            atlas = make_heatmaps(run, protocol, files, validation, maps, device, "test views with their heat maps")
            logits = atlas.scores(list(files))
        else:
            what = f"{run.key.network}: seed {run.key.seed}, test views"
            logits = predict_views(run, protocol, list(files.values()), what, device)
        write_predictions(path, test, logits)
        store.write_manifest(path.parent / "manifest.json", _identity(run), {"views": len(test)})
    return read_predictions(path)


def score_calibration(run: Run, folder: Path, protocol: Protocol, views: pd.DataFrame, device: str) -> None:
    """The scores of the calibration views among ``views`` into ``folder``, unless they are kept there; see `score_test`."""
    path = calibration_file(folder, run)
    if not _is_scored(run, path):
        kept = views[views["fold"] == CALIBRATION].reset_index(drop=True)
        what = f"{run.key.network}: seed {run.key.seed}, calibration views"
        write_predictions(path, kept, predict_views(run, protocol, list(kept["file"]), what, device))
        store.write_manifest(path.parent / "manifest.json", _identity(run), {"views": len(kept)})


def read_calibration(run: Run, folder: Path) -> pd.DataFrame | None:
    """What `score_calibration` wrote of this very run, or None. Raises IdentityMismatch where it is of an earlier one."""
    path = calibration_file(folder, run)
    return read_predictions(path) if _is_scored(run, path) else None


def calibration_file(folder: Path, run: Run) -> Path:
    """Where the scores of a run's calibration views are kept below ``folder``."""
    return run.key.folder(folder) / "predictions.csv"


def _is_scored(run: Run, path: Path) -> bool:
    advice = "these scores are of an earlier run; remove their folder to score anew"
    return store.require_same_identity(path.parent / "manifest.json", _identity(run), advice)


def _identity(run: Run) -> dict[str, str]:
    return {"weights": run.information["weights_file_sha256"]}
