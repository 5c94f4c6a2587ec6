"""A study's runs into one portable folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tramtrack.errors import UsageError
from tramtrack.judgement.results import name_of
from tramtrack.prediction.card import card_of, onnx_lines
from tramtrack.prediction.exported import is_export, write_export
from tramtrack.prediction.onnx_export import write_onnx
from tramtrack.prediction.predictor import Predictor
from tramtrack.progress import track


def export_runs(runs: Sequence[Path], out: Path, onnx: bool = True) -> Path:
    """Write the runs in ``runs`` (see `load_panel`) as an export into ``out``, which must not be there yet; returns it.

    With ``onnx`` each network also as ONNX, checked on validation views, see `write_onnx`. The folder is made beside its place
    and renamed, so that a kill leaves no half of one. Raises UsageError and TramtrackError.
    """
    if out.exists():
        raise UsageError(f"--out {out}: expected a folder that is not there yet; remove it, or name another")
    for run in runs:
        if is_export(run):
            raise UsageError(f"{run}: expected runs of a study, received an exported folder; copy it as it is")
    ready = Predictor(list(runs), device="cpu", processes=0)
    panel = ready.panel
    scales = [reader.scale() for reader in ready.readers]
    size = panel.protocols[0].prepare
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as made:
        work = Path(made) / out.name
        work.mkdir()
        differences = []
        for reader in track(ready.readers, "Writing ONNX") if onnx else ():
            path = work / "runs" / name_of(reader.run) / "model.onnx"
            worst = write_onnx(reader.model, (size.height, size.width), panel.validation_files, path)
            differences.append((name_of(reader.run), worst))
        write_export(panel, scales, card_of(panel) + onnx_lines(differences), work)
        shutil.move(work, out)
    return out
