"""The gallery: the worst misses and false alarms come first whichever network they are of, and the cut comes after that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tramtrack import store
from tramtrack.report import pictures
from tramtrack.report.page import write_report
from tramtrack.report.pictures import heatmap_groups
from tramtrack.report.reading import read_material

SCORES = {  # by view what two networks and a control make of it, at thresholds of 0.5, 0.4 and 0.5
    "miss of the first": (1, 0.40, 0.90, 0.50),
    "worse miss of the second": (1, 0.95, 0.10, 0.50),
    "miss of both": (1, 0.30, 0.35, 0.00),
    "hit": (1, 0.60, 0.99, 0.00),
    "surer hit": (1, 0.90, 0.80, 0.00),
    "alarm of the first": (0, 0.60, 0.10, 0.99),
    "worse alarm of the second": (0, 0.10, 0.80, 0.10),
    "alarm of the control": (0, 0.10, 0.10, 0.99),
}
RUNS = (("vgg16", "last-conv", 0.5), ("mobilenetv2", "last-conv", 0.4), ("xception", "last-conv+random-weights", 0.5))


def called(bac: int, score: float, threshold: float) -> str:
    return {(1, True): "hit", (1, False): "miss", (0, True): "false alarm", (0, False): "correct rejection"}[
        bac, score >= threshold
    ]


def test_the_worst_come_first_before_the_cut(study_folder: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    material = read_material(*study_folder.fabricate(tmp_path / "study").arguments())
    names = dict(zip(material.analysed["view_id"], SCORES, strict=False))
    rows = [
        {"view_id": view_id, "network": network, "variant": variant, "seed": 0, "unit": "view", "bac": bac, "score": score,
         "threshold": cut, "call": called(bac, score, cut), "because": ""}
        for view_id, (bac, *scores) in zip(names, SCORES.values(), strict=True)
        for (network, variant, cut), score in zip(RUNS, scores, strict=True)
    ]  # fmt: skip
    material = replace(material, heatmaps=pd.DataFrame(rows))

    def shown() -> dict[str, list[str]]:
        return {group.name: [names[view.view_id] for view in group.views] for group in heatmap_groups(material)}

    assert shown() == {
        "Hits": ["surer hit", "hit"],
        "Misses": ["worse miss of the second", "miss of both", "miss of the first"],
        "False alarms": ["worse alarm of the second", "alarm of the first"],
        "Correct rejections": ["alarm of the control"],
    }
    monkeypatch.setattr(pictures, "SHOWN_OF_EACH_GROUP", 1)
    assert shown()["Misses"] == ["worse miss of the second"] and shown()["Hits"] == ["surer hit"]
    assert {group.name: group.chosen for group in heatmap_groups(material)}["Misses"] == 3


def test_method_layer_and_stride_are_those_of_the_maps_that_were_made(
    study_folder: ModuleType, tmp_path: Path, few_figures: None
) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    page = " ".join(write_report(*made.arguments()).read_text().split())
    assert "Grad-CAM++ on test views" in page and "views, hits, misses and false alarms." in page
    assert "Target layer: block5_conv3 of VGG16, out_relu of MobileNetV2, block14_sepconv2_act of Xception." in page
    assert "spans 16 pixels in VGG16; 32 pixels in MobileNetV2, Xception" in page
    for network in ("vgg16", "mobilenetv2", "xception"):
        (folder,) = (made.folder / "heatmaps" / network).glob("*/seed-0")
        np.savez(folder / "maps.npz", map=np.ones((2, 32, 16), np.float32))
        method = {"method": "occlusion", "layer": "cam", "weights": "cd" * 32}
        store.write_manifest(folder / "manifest.json", method, {"layer": "input", "scale": 1.0})
    page = " ".join(write_report(*made.arguments()).read_text().split())
    assert "Occlusion on test views" in page and "Occlusion of" in page and "Grad-CAM++ on" not in page
    assert "Target layer" not in page and "One cell of the map spans" not in page


def titles_of(made: Any) -> set[str]:
    groups = heatmap_groups(read_material(*made.arguments()))
    return {shown.title for group in groups for view in group.views for shown in view.maps}


def test_maps_of_runs_that_are_not_evaluated_here_are_not_shown(study_folder: ModuleType, tmp_path: Path) -> None:
    made = study_folder.fabricate(tmp_path / "study")
    before = titles_of(made)
    (manifest,) = made.folder.glob("heatmaps/vgg16/last-conv/seed-0/manifest.json")
    of_old = {**store.read_json(manifest)["identity"], "weights": "ee" * 32}
    store.write_manifest(manifest, of_old, store.read_json(manifest)["information"])
    assert "VGG16" in before and titles_of(made) == before - {"VGG16"}
