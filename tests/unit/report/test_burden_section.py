"""The section on burden: what was measured against the truth, the bands, the proxy said; nothing of runs that are gone."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from tramtrack import store
from tramtrack.explain.burden import Calibration, save_calibration
from tramtrack.judgement.burden import AGREEMENT_COLUMNS, BANDS, PROXY
from tramtrack.report.page import write_report

HEADING = "How much calcification the maps amount to"


def measured(folder: Path, source: str, kind: str, weights: str) -> None:
    """The tables of one source, on validation and test."""
    results = folder / "results"
    calibration = Calibration(source, "segmentation" if kind == "segmentation" else "heat map", 0.5, 1.0, None, 0.5, None)
    save_calibration(results, calibration, {"maps": {"weights": weights}}, {})
    about = {"source": source, "kind": kind, "unit": "mm", "n": 24, "women": 6, "reason": ""}
    limits = {"bias": -1.5, "bias_low": -3, "bias_high": 0.2, "lower": -9.0, "upper": 6.0}
    rho = {"rho": 0.61, "rho_low": 0.2, "rho_high": 0.83}
    rows = [
        {**about, **rho, **limits, "fold": "test", "of": "view", "among": "all", "measured": "area", "true": "area"},
        {**about, **rho, "fold": "test", "of": "view", "among": "with BAC", "measured": "area", "true": "length"},
        {**about, "fold": "test", "of": "woman", "among": "with BAC", "measured": "area", "true": "area", "n": 3, "women": 3,
         "reason": "3 women; 4 are needed"},
        {**about, **rho, "fold": "validation", "of": "view", "among": "all", "measured": "length", "true": "length"},
    ]  # fmt: skip
    bands = [{"source": source, "kind": kind, "fold": "test", "true_band": band, **dict.fromkeys(BANDS, 0)} for band in BANDS]
    bands[0]["0"], bands[3][">10-25"] = 3, 2
    women = [
        {"source": source, "woman": f"w{k}", "exam": "e", "fold": "test", "analysed": "yes" if k < 6 else "no", "views": 4}
        for k in range(7)
    ]
    tables = {
        "burden_agreement": pd.DataFrame(rows, columns=AGREEMENT_COLUMNS),
        "burden_bands": pd.DataFrame(bands),
        "women_burden": pd.DataFrame(women),
        "burden": pd.DataFrame(
            [
                {"source": source, "fold": fold, "analysed": "yes", "unit": "mm", "area": 3.0 * k, "true_area": 2.0 * k}
                for fold in ("validation", "test")
                for k in range(12)
            ]
        ),
    }
    for name, table in tables.items():
        path = results / f"{name}.csv"
        store.write_csv(path, pd.concat((pd.read_csv(path), table)) if path.exists() else table)


@pytest.mark.usefixtures("few_figures")
def test_the_report_says_how_much_the_maps_amount_to_and_how_right_that_is(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    assert HEADING not in write_report(*made.arguments()).read_text()
    runs = store.read_json(made.folder / "results" / "summary.json")["runs"]
    for name, weights in runs.items():
        measured(made.folder, name, "heat map", weights)
    measured(made.folder, "segmentation", "segmentation", "of whatever")
    measured(made.folder, "vgg19/last-conv/seed-0", "heat map", "of a run that is gone")
    page = write_report(*made.arguments()).read_text()
    assert f'{HEADING} <span class="soft">24 views of 6 women</span>' in page and PROXY in page
    table = re.search(r'<table id="burden-table".*?</table>', page, flags=re.DOTALL)
    assert table is not None
    names = [re.sub("<[^>]+>", "", name) for name in re.findall(r'<th scope="row">(.*?)</th>', table[0])]
    expected = ["VGG16", "MobileNetV2", "Xception random weights", "Segmentation trained on masks"]
    assert names == [name for name in expected for _ in range(3)]
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table[0])
    assert cells[:6] == [
        "area of a view", "all", "0.61 (0.20 to 0.83)", "−1.5 (−3.0 to 0.2)", "−9.0 to 6.0 mm²", "24 of 6 women",
    ]  # fmt: skip
    assert cells[6:11] == ["area against true length", "with BAC", "0.61 (0.20 to 0.83)", "", ""]
    assert cells[14] == "3 women; 4 are needed"
    drawn = re.findall(r'aria-label="Areas of 12 views of the test fold by (.*?): measured minus true', page)
    assert drawn == ["VGG16", "MobileNetV2", "Xception, random weights", "Segmentation, trained on masks"]
    assert page.count('<table class="dense bands">') == 4 and "3 of 5 women in the true band" in page


@pytest.mark.usefixtures("few_figures")
def test_without_spacing_it_says_pixels_and_without_truth_that_nothing_tells(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    measured(made.folder, "segmentation", "segmentation", "s")
    path = made.folder / "results" / "burden_agreement.csv"
    store.write_csv(path, pd.read_csv(path).assign(unit="pixels"))
    assert "−9.0 to 6.0 pixels<" in write_report(*made.arguments()).read_text()
    store.write_csv(path, pd.read_csv(path).iloc[:0])
    assert "nothing says how right these amounts are" in write_report(*made.arguments()).read_text()


@pytest.mark.usefixtures("few_figures")
def test_a_woman_called_na_counts(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    measured(made.folder, "segmentation", "segmentation", "s")
    path = made.folder / "results" / "women_burden.csv"
    path.write_text(path.read_text().replace("w0", "NA"))
    assert "24 views of 6 women</span>" in write_report(*made.arguments()).read_text()
