"""The answer that benchmarks/predict.py times is a whole one, or nothing is timed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import predict
from mammogram import write_exam


def test_a_lesser_answer_is_not_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an image without an orientation there is no parametric map; everything else is there."""
    monkeypatch.setattr(predict, "SIZE", (96, 64))
    predict.write_network("mobilenetv2", tmp_path / "mobilenetv2")
    write_exam(tmp_path / "exam", SeriesInstanceUID="1.2.3.1", ImagerPixelSpacing=[0.1, 0.1])
    with pytest.raises(SystemExit) as ended:
        predict.side(tmp_path / "mobilenetv2", tmp_path / "exam", 1, tmp_path / "out.json")
    lacking = "L_CC.map.dcm, L_MLO.map.dcm, R_CC.map.dcm, R_MLO.map.dcm"
    assert str(ended.value).endswith(f"the answer that is timed is not a whole one; it lacks {lacking}")
