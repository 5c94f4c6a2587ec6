"""The seam between the service and the prediction: an exam's folder in, a folder of results out."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from tramtrack.errors import TramtrackError
from tramtrack.prediction.worker import Predict


def load(runs: tuple[str, ...], prevalence: float | None, alpha: float | None, key: str | None, device: str) -> Predict:
    """Load trained runs, in the process that predicts with them; arguments as those of `tramtrack.predict`.

    Raises TramtrackError where a run is incomplete or was changed, UsageError for a prevalence or an alpha that it cannot hold.
    """
    from tramtrack import store
    from tramtrack.prediction.case import NoView
    from tramtrack.prediction.predictor import Predictor

    predictor = Predictor(runs, device=device)
    predictor.stated(prevalence, alpha)

    def predict(exam: Path, results: Path) -> str:
        try:
            case = predictor.predict(exam, prevalence=prevalence, alpha=alpha, key=key)
        except NoView as refusal:
            store.write_text(results / "prediction.json", refusal.answer.model_dump_json(indent=2) + "\n")
            raise
        case.save(results)
        pack(case.save_heatmaps(results / "heatmaps"), results / "heatmaps.zip")
        try:
            written = case.save_dicom(results / "dicom")
        except TramtrackError as error:
            return f"there are no DICOM results: {error}"
        pack(written.files, results / "dicom.zip")
        return written.told()

    return predict


def pack(files: Sequence[Path], target: Path) -> None:
    """Move files into a zip, stored as they are."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            archive.write(file, file.name)
            file.unlink()
