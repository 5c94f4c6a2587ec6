"""Whose exams an external validation refuses, those of its runs' own study, the test fold's with them; and its subgroups."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from tramtrack import store
from tramtrack.cohort.exam import STANDARD_VIEWS, View
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.judgement.scoring import Chosen
from tramtrack.prediction import panel as panels
from tramtrack.prediction.external import FOLD, _views, subgroups, validate
from tramtrack.prediction.panel import Panel
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run, read_predictions, write_predictions

FOLDS = {"w-training": "training", "w-validation": "validation", "w-test": "test", "w-dropped": "dropped"}


def cohort(folder: Path, pixels: dict[str, str]) -> Path:
    """A study's folder with an ingested, labelled exam of each woman; ``pixels`` says from whom her images are."""
    views, labels = [], []
    for woman, source in pixels.items():
        for side, position in STANDARD_VIEWS:
            view = View(woman, "e", side, position, f"{woman}.png", "", pixels_sha256=f"{source} {side} {position}")
            views.append({"view_id": view.view_id, **view.__dict__, "synthetic": "yes", "manufacturer": "A"})
            labels.append({"view_id": view.view_id, "bac_view": 0, "bac_breast": 0, "bac_woman": 0, "mask": ""})
    tables = {"views": views, "labels": labels}
    for name, rows in tables.items():
        store.write_csv(folder / "cohort" / f"{name}.csv", pd.DataFrame(rows))
    (folder / "cohort" / "exclusions.csv").write_text("file,reason,detail\n")
    store.write_manifest(folder / "cohort" / "manifest.json", {"stage": "ingest"}, {})
    return folder


@pytest.fixture(params=["sealed", "opened"])
def panel(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Panel:
    """Runs of a study of four women, whose test fold nobody has looked at, or somebody has."""
    study = cohort(tmp_path / "own", {woman: woman for woman in FOLDS})
    folds = [{"woman": woman, "fold": fold, "bac_woman": 0, "detail": ""} for woman, fold in FOLDS.items()]
    store.write_csv(study / "cohort" / "folds.csv", pd.DataFrame(folds))
    opened = SimpleNamespace(unsealed=True) if request.param == "opened" else None
    monkeypatch.setattr(panels, "load_results", lambda folder: opened)
    seen, protocol = panels._seen(study), Protocol()
    assert bool(seen.sealed) == (request.param == "sealed")
    return Panel((), (protocol,), study, protocol, "maximum", Chosen({}, {}), {}, seen, "none", None, (), (), ())


@pytest.mark.parametrize("woman", ["w-training", "w-validation", "w-test"])
def test_a_woman_of_the_runs_own_study_is_refused(panel: Panel, tmp_path: Path, woman: str) -> None:
    site = cohort(tmp_path / "site", {"new": "new", woman: "images made anew"})
    with pytest.raises(TramtrackError, match="site: 1 of its women took part in the runs' own study"):
        _views(panel, site)


def test_an_image_of_the_test_fold_is_refused_under_another_name(panel: Panel, tmp_path: Path) -> None:
    site = cohort(tmp_path / "site", {"new": "new", "renamed": "w-test"})
    with pytest.raises(TramtrackError, match="site: 1 of its women took part in the runs' own study"):
        _views(panel, site)


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_name_that_the_file_cannot_have_is_said_before_anything_is_scored(panel: Panel, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="expected a name of 1 to 100 characters"):
        validate(panel, tmp_path / "nothing", name)


def test_other_women_are_scored(panel: Panel, tmp_path: Path) -> None:
    assert len(_views(panel, cohort(tmp_path / "site", {"new": "new", "newer": "newer"}))) == 8
    of_exported = replace(panel, seen=replace(panel.seen, women={}, pixels={}, tested=frozenset()))
    assert len(_views(of_exported, cohort(tmp_path / "other", {"w-test": "w-test"}))) == 4


def test_the_site_finds_its_women_by_age_and_vendor_beside_age_alone(panel: Panel, tmp_path: Path) -> None:
    """Scores that order the women of vendor A rightly and those of B wrongly; age alone orders all of them rightly."""
    site = cohort(tmp_path / "site", {f"w{number:02}": f"w{number:02}" for number in range(16)})
    number = {f"w{number:02}": number for number in range(16)}
    views, labels = (pd.read_csv(site / "cohort" / f"{name}.csv", dtype=str) for name in ("views", "labels"))
    women = views["woman"].map(number)
    bac = (women >= 8).astype(int)
    views = views.assign(manufacturer=women.map(lambda one: "AB"[one % 2]), age_years=(45 + women).astype(str))
    store.write_csv(site / "cohort" / "views.csv", views)
    store.write_csv(site / "cohort" / "labels.csv", labels.assign(bac_view=bac, bac_breast=bac, bac_woman=bac))
    logits = ((bac == (women % 2 == 0)) * 4 - 2 + women / 1000).to_numpy()
    known = _views(panel, site)
    write_predictions(tmp_path / "predictions.csv", known.assign(fold=FOLD), logits)
    together = Run(tmp_path, {"network": "both", "variant": "last-conv", "seed": "0 + 1", "weights": "pretrained"}, {})
    table = subgroups(together, read_predictions(tmp_path / "predictions.csv"), known, panel)
    found = table.set_index(["network", "factor", "group"])
    of_runs = found.loc["both"]
    assert of_runs.loc[("vendor", "A"), "estimate"] == 1 and of_runs.loc[("vendor", "B"), "estimate"] == 0
    assert found.loc[("age alone", "all", "all"), "estimate"] == 1 and "vendor alone" not in found.index.get_level_values(0)
    assert set(of_runs.index.get_level_values(0)) == {"all", "age", "vendor", "projection"} and set(found["fold"]) == {FOLD}
