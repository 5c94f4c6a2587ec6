"""The section on localisation: a table a kind, the best first, chance, sentences; nothing where nothing was measured."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from tramtrack import store
from tramtrack.explain.localisation import MEASURES
from tramtrack.explain.ranking import SCORE_COLUMNS
from tramtrack.report.localisation import localisation
from tramtrack.report.page import write_report
from tramtrack.report.reading import read_material


@pytest.mark.usefixtures("few_figures")
def test_the_report_says_how_well_the_maps_lie_on_the_masks(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    plain = write_report(*made.arguments()).read_text()
    assert "How well the maps lie" not in plain
    estimates = {"mobilenetv2": 0.2, "vgg16 (random weights)": 0.25, "vgg16": 0.5, "centre blob": 0.3, "vessel filter": 0.1}
    rows = [
        (name, kind, measure, value, value - 0.1, value + 0.1, 12, 6, 1.0, 0.04)
        for kind in ("native", "matched", "stride-16")
        for name, value in estimates.items()
        for measure in MEASURES
    ]
    results = made.folder / "results"
    store.write_csv(results / "localisation.csv", pd.DataFrame(rows, columns=SCORE_COLUMNS))
    said = "vgg16 against mobilenetv2, native maps: 0.300 (0.100 to 0.500); cannot be separated."
    information = {
        "views": 12,
        "women": 6,
        "tolerance": "2 mm",
        "primary": "average_precision",
        "sentences": [said, "vgg16: its native maps lie better."],
    }
    weights = {name: ["cd" * 32] for name in ("vgg16", "vgg16 (random weights)", "mobilenetv2")}
    identity = {"weights": weights, "stride_16": weights}
    whole = {
        **information,
        "variants": {"native": {"vgg16": ["vgg16", "last-conv"]}},
        "strides": {"vgg16": 16, "vgg16 (random weights)": 16, "mobilenetv2": 32},
    }
    store.write_manifest(results / "localisation.json", identity, whole)
    page = write_report(*made.arguments()).read_text()
    assert "12 views with a mask, 6 women" in page and "Chance gives 0.040" in page
    assert "VGG16 against MobileNetV2, native maps: 0.300 (0.100 to 0.500); cannot be separated." in page
    tables = re.findall(r'<table class="dense localisation">.*?</table>', page, flags=re.DOTALL)
    assert "VGG16: its native maps lie better." in page
    assert len(tables) == 3 and "within 2 mm of the mask" in tables[0]
    order = [re.sub("<[^>]+>", "", name).strip() for name in re.findall(r'<th scope="row">(.*?)</th>', tables[0])]
    assert order == ["VGG16", "centre blob baseline", "VGG16 random weights", "MobileNetV2", "vessel filter baseline"]
    cells = [re.sub("<[^>]+>", "", cell) for cell in re.findall(r'<td class="num">(.*?)</td>', tables[0])]
    assert "0.500 (0.400 to 0.600)" in cells
    shown = [re.findall(r'<th scope="row">VGG16</th><td class="num">(\d+)', table) for table in tables]
    assert shown == [["16"], ["32"], ["16"]]
    scores = pd.read_csv(results / "scores.csv").query("fold == 'test' and unit == 'woman' and metric == 'auc_roc'")
    auc = scores[(scores["network"] == "vgg16") & (scores["variant"] == "last-conv")]["estimate"].iloc[0]
    assert any(cell.startswith(f"{auc:.3f} (") for cell in cells) and "AUC-ROC by woman" not in tables[1]
    assert "All at stride 16, trained so" in tables[2]


def test_what_was_measured_of_earlier_weights_is_not_shown(study_folder: ModuleType, tmp_path: Path) -> None:
    """Of two seeds of one network one was trained anew since: its row goes, and the sentences that speak of it."""
    made = study_folder.fabricate(tmp_path / "study")
    names, results = ("vgg16", "mobilenetv2", "centre blob"), made.folder / "results"
    rows = [
        (name, kind, measure, 0.3, 0.2, 0.4, 12, 6, 0.0, 0.04)
        for kind in ("native", "stride-16")
        for name in names
        for measure in MEASURES
    ]
    store.write_csv(results / "localisation.csv", pd.DataFrame(rows, columns=SCORE_COLUMNS))
    about = {"views": 12, "women": 6, "tolerance": "2 mm", "primary": "mass", "strides": {"vgg16": 16, "mobilenetv2": 32}}
    said = ["vgg16 against mobilenetv2, native maps: 0.3.", "vgg16: its native maps lie better."]
    own, other = ["cd" * 32], ["cd" * 32, "ee" * 32]
    material = read_material(*made.arguments())

    def shown(weights: dict[str, list[str]], at_16: dict[str, list[str]]) -> tuple[list[set[str]], list[str]] | None:
        store.write_manifest(
            results / "localisation.json", {"weights": weights, "stride_16": at_16}, {**about, "sentences": said}
        )
        found = localisation(material)
        return found and ([{row.title for row in table} for _, table in found.tables], found.sentences)

    both = {"vgg16": own, "mobilenetv2": own}
    every, alone = {"VGG16", "MobileNetV2", "centre blob"}, {"VGG16", "centre blob"}
    whole = shown(both, both)
    assert whole is not None and whole[0] == [every, every] and len(whole[1]) == 2
    better = ["VGG16: its native maps lie better."]
    assert shown({**both, "mobilenetv2": other}, both) == ([alone, every], better)
    assert shown(both, {**both, "mobilenetv2": other}) == ([every, alone], better)
    assert shown({"vgg16": other, "mobilenetv2": other}, {}) is None


@pytest.mark.usefixtures("few_figures")
def test_the_gallery_shows_finer_maps_at_equal_stride_as_well_with_their_localisation(
    study_folder: ModuleType, tmp_path: Path
) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    plain = write_report(*made.arguments()).read_text()
    assert "at equal stride" not in plain and "on the mask" not in plain
    shown = pd.read_csv(made.folder / "heatmaps" / "views.csv", dtype=str)
    row = shown[shown["network"] == "vgg16"].iloc[0]
    place = made.folder / "heatmaps" / "vgg16" / row["variant"] / "seed-0"
    (place / f"{row['view_id']}.matched.png").write_bytes((place / f"{row['view_id']}.png").read_bytes())
    known = {"view_id": row["view_id"], "network": "vgg16", "variant": row["variant"], "seed": 0}
    rows = [
        {**known, "kind": kind, "pointing_game": hit, "average_precision": value}
        for kind, hit, value in (("native", 1, 0.41), ("matched", 0, 0.13))
    ]
    rows = [{**one, "map": "vgg16"} for one in rows]
    store.write_csv(made.folder / "results" / "localisation_views.csv", pd.DataFrame(rows))
    measured = made.folder / "results" / "localisation.json"
    store.write_manifest(measured, {"weights": {"vgg16": ["ee" * 32]}}, {})
    empty = pd.DataFrame({"map": ["centre blob"], "kind": ["native"], "measure": ["energy"]})
    store.write_csv(made.folder / "results" / "localisation.csv", empty)
    assert "on the mask" not in write_report(*made.arguments()).read_text()  # measured of maps of earlier weights
    store.write_manifest(measured, {"weights": {"vgg16": ["cd" * 32]}}, {})
    page = write_report(*made.arguments()).read_text()
    captions = re.findall(r"<figcaption><b>VGG16</b>.*?</figcaption>", page)
    assert len(captions) == len(re.findall(r"<figcaption><b>VGG16</b>", plain)) + 1
    native, matched = (next(text for text in captions if words in text) for words in ("precision 0.41", "precision 0.13"))
    assert "peak on the mask" in native and "at equal stride" not in native
    assert "peak beside the mask" in matched and "at equal stride" in matched
    assert 'alt="Heat map of VGG16 at equal stride' in page
