"""The section on what heat maps cost against a segmentation: its scores, paired differences, what cannot be told."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from tramtrack import store
from tramtrack.explain.burden import Calibration, save_calibration
from tramtrack.judgement.burden_cost import COLUMNS
from tramtrack.report.page import write_report
from tramtrack.report.reading import read_material
from tramtrack.report.segmentation import segmented
from tramtrack.segmentation.scores import COLUMNS as SCORE_COLUMNS

HEADING = "What the maps cost in accuracy"


@pytest.mark.usefixtures("few_figures")
def test_the_report_says_what_the_maps_cost(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    results = made.folder / "results"
    assert segmented(read_material(*made.arguments())) is None
    information = {"training_views": 88, "training_views_with_bac": 30}
    store.write_manifest(made.folder / "segmentation" / "run.json", {}, information)
    rows = [
        ("validation", "dice", 0.6, 0.5, 0.7, 9, 4, None, 0.4),
        ("validation", "average_precision", 0.7, 0.6, 0.8, 9, 4, 0.01, 0.4),
    ]
    store.write_csv(results / "segmentation.csv", pd.DataFrame(rows, columns=SCORE_COLUMNS))
    found = segmented(read_material(*made.arguments()))
    assert found is not None and found.sealed and found.costs == []
    rows += [
        ("test", "dice", 0.51, 0.4, 0.62, 12, 5, None, 0.4),
        ("test", "average_precision", 0.55, 0.45, 0.6, 12, 5, 0.011, 0.4),
    ]
    store.write_csv(results / "segmentation.csv", pd.DataFrame(rows, columns=SCORE_COLUMNS))
    runs = store.read_json(results / "summary.json")["runs"]
    name, weights = next((name, weights) for name, weights in runs.items() if "vgg16" in name)
    for source, of_source in ((name, weights), ("vgg19/last-conv/seed-0", "of a run that is gone")):
        calibration = Calibration(source, "heat map", 0.5, 1.0, None, 0.5, None)
        save_calibration(results, calibration, {"maps": {"weights": of_source}}, {})
    costs = [
        (name, "test", "view", "mm", "absolute_error", 4.2, 1.5, 2.7, 1.1, 4.3, 0.001, 0.002, True, 12, 5, ""),
        (name, "test", "view", "mm", "rho", 0.5, 0.8, -0.3, -0.7, 0.1, 0.2, 0.2, False, 12, 5, ""),
        (
            name,
            "test",
            "woman",
            "mm",
            "absolute_error",
            9.0,
            4.0,
            5.0,
            None,
            None,
            None,
            1.0,
            False,
            3,
            3,
            "3 women; 4 are needed",
        ),
        ("vgg19/last-conv/seed-0", "test", "view", "mm", "rho", 0.1, 0.8, -0.7, -0.9, -0.5, 0.0, 0.0, True, 12, 5, ""),
        (name, "validation", "view", "mm", "rho", 0.9, 0.8, 0.1, 0.0, 0.2, 0.1, 0.1, False, 12, 5, ""),
    ]
    store.write_csv(results / "burden_cost.csv", pd.DataFrame(costs, columns=COLUMNS))
    page = write_report(*made.arguments()).read_text()
    assert "On the 12 test views with BAC, of 5 women, its Dice is 0.510 (0.400 to 0.620)" in page
    assert HEADING in page and "on 88 training views, 30 of them with BAC" in page and "where chance gives 0.011" in page
    table = re.search(r'<table id="cost-of-maps".*?</table>', page, flags=re.DOTALL)
    assert table is not None
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", table[0])]
    assert cells == [
        ["mean error of the area, by view", "4.2 mm²", "1.5 mm²", "2.7 (1.1 to 4.3)", "the heat map is less accurate"],
        ["rho with the true area, by view", "0.50", "0.80", "−0.30 (−0.70 to 0.10)", "cannot be separated"],
        ["mean error of the area, by woman", "9.0 mm²", "4.0 mm²", "5.0", "cannot be told: 3 women; 4 are needed"],
    ]
