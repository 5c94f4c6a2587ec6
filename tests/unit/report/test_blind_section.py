"""The section on the blind reading: shares, strengths, agreement and sentences, of these runs alone."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

import html_page
from tramtrack import store
from tramtrack.explain.ratings import AGREEMENT_COLUMNS, LOCALISES_COLUMNS, RANKING_COLUMNS
from tramtrack.report.blind import blind
from tramtrack.report.page import write_report
from tramtrack.report.reading import read_material


@pytest.mark.usefixtures("few_figures")
def test_the_report_says_what_the_readers_said(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    assert blind(read_material(*made.arguments())) is None
    results = made.folder / "results"
    localises = [
        ("vgg16", 8, 4, 3, 0.5, 0.25, 0.25, 0.625, 0.4, 0.8),
        ("mobilenetv2", 0, 0, 0, None, None, None, None, None, None),
    ]
    ranking = [
        ("vgg16", 8, 3, 0.75, 0.5, 0.9, 0.7, -0.2, 1.6, ""),
        ("mobilenetv2", 8, 3, 0.0, 0.0, 0.4, None, None, None, "unresolved: never won, so its strength is not finite"),
    ]
    agreement = [
        ("localises", "Anna", "Bo", 8, 3, 0.75, 0.5, 0.1, 0.9, ""),
        ("finer", "Anna", "Bo", 0, 0, None, None, None, None, "no item was rated by both"),
    ]
    for name, rows, columns in (
        ("localises", localises, LOCALISES_COLUMNS),
        ("ranking", ranking, RANKING_COLUMNS),
        ("agreement", agreement, AGREEMENT_COLUMNS),
    ):
        store.write_csv(results / f"blind_{name}.csv", pd.DataFrame(rows, columns=columns))
    runs = store.read_json(results / "summary.json")["runs"]
    information = {
        "fold": "test", "networks": {"vgg16": "", "mobilenetv2": ""}, "weights": {name: runs[name] for name in list(runs)[:1]},
        "readers": ["Anna", "Bo"], "views": 4, "women": 3, "kappa": "linear weights", "groups": [["vgg16", "mobilenetv2"]],
        "sentences": ["vgg16 against mobilenetv2: judged finer in 80 % (60 to 90 %) by the model.", "Nothing: else."],
    }  # fmt: skip
    store.write_manifest(results / "blind.json", {}, information)
    text = write_report(*made.arguments()).read_text()
    page = html_page.Page(text)
    assert page.rows["blind-localises"][1:] == [["VGG16", "50 %", "25 %", "25 %", "0.62 (0.40 to 0.80)", "8"]]
    assert page.rows["blind-finer"][1:] == [
        ["VGG16", "0.75 (0.50 to 0.90)", "0.70 (-0.20 to 1.60)", "8"],
        ["MobileNetV2", "0.00 (0.00 to 0.40)", "unresolved: never won, so its strength is not finite", "8"],
    ]
    assert page.rows["blind-agreement"][1:] == [
        ["Anna and Bo", "localises", "8", "75 %", "0.50 (0.10 to 0.90)"],
        ["Anna and Bo", "finer", "0", "", "no item was rated by both"],
    ]
    assert "VGG16 against MobileNetV2: judged finer in 80 %" in text and "Nothing: else." in text
    assert "2 readers, 4 test views with BAC, 3 women" in text and "kappa with linear weights" in text
    store.write_manifest(results / "blind.json", {}, {**information, "weights": {next(iter(runs)): "other"}})
    assert blind(read_material(*made.arguments())) is None  # of other runs
