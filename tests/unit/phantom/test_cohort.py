"""A synthetic cohort on disk: the same bits for a seed, resumed where it stopped, with labels that agree with the masks."""

from __future__ import annotations

import hashlib
import json
import re
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from tramtrack.cohort.findings import OF_A_PHANTOM, read_findings
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.cohort_tables import CohortSummary
from tramtrack.phantom.planning import conditional_bernoulli, draw_women, intercept, log_odds, plan_draws
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.store import IdentityMismatch

SMALL = PhantomSettings(rows=320, columns=240, pitch_mm=0.8)


def fingerprint(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a cohort, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> CohortSummary:
    folder = tmp_path_factory.mktemp("cohort") / "four"
    return write_cohort(folder, women=4, prevalence=0.5, seed=9001, workers=1, settings=SMALL)


def test_summary_and_tables(made: CohortSummary) -> None:
    labels, truth = pd.read_csv(made.folder / "labels.csv"), pd.read_csv(made.folder / "truth.csv")
    assert list(labels.columns) == ["woman", "exam", "side", "view", "bac", "mask"]
    assert (made.women, made.positive_women, made.views, made.made) == (4, 2, 16, 4)
    assert labels.groupby("woman")["bac"].max().sum() == 2
    assert made.positive_views == labels["bac"].sum() >= 2
    assert (labels[["woman", "side", "view", "bac"]] == truth[["woman", "side", "view", "bac"]]).all(axis=None)
    assert (truth["calcium"].eq("visible") == truth["bac"].eq(1)).all()
    assert truth[truth["calcium"] == "none"]["length_mm"].eq(0).all()
    negative = truth[truth.groupby("woman")["bac"].transform("max") == 0]
    assert not negative["calcium"].eq("visible").any()
    assert negative[["round", "cluster", "rod", "eggshell"]].to_numpy().sum() > 0
    assert (truth["station"].map(len) > 0).all() and truth["age"].between(40, 84).all()
    women = pd.read_csv(made.folder / "women.csv")
    assert list(women["woman"]) == list(labels["woman"].unique())
    assert women["bac_woman"].sum() == 2
    assert women.loc[women["bac_woman"] == 1, "csbi"].between(1, 3).all()
    assert women.loc[women["bac_woman"] == 0, ["csbi", "calcified_vessels"]].eq(0).all(axis=None)
    assert "4 synthetic women, 2 with BAC" in str(made)


def test_findings_take_the_truth_and_tell_calcium_below_visibility_apart(made: CohortSummary) -> None:
    truth = pd.read_csv(made.folder / "truth.csv")
    assert set(OF_A_PHANTOM) <= set(truth.columns)
    faint = truth["calcium"] == "below-visibility"
    assert (truth["faint_calcium"] == faint.astype(int)).all() and faint.sum() == made.below_visibility_views
    views = truth[["woman", "exam", "side", "view"]].assign(view_id=[f"v{n:02d}" for n in range(len(truth))])
    found, without = read_findings(made.folder / "truth.csv", views)
    assert without == []
    assert found["burden_mm2"].tolist() == truth["area_mm2"].tolist()
    assert found["length_mm"].tolist() == truth["visible_length_mm"].tolist()
    for kind in OF_A_PHANTOM:
        assert found[f"distractor_{kind}"].tolist() == truth[kind].tolist(), kind


def test_every_column_of_the_truth_is_explained(made: CohortSummary) -> None:
    page = (Path(__file__).parents[3] / "docs/explanation/phantom.md").read_text()
    section = page.split("## What lies on disk")[1].split("\n## ")[0]
    named = set(re.findall(r"`([a-z0-9_]+)`", section.split("| column of `truth.csv`")[1].split("`women.csv` has")[0]))
    columns = set(pd.read_csv(made.folder / "truth.csv").columns)
    assert named - {"visible", "none"} == columns
    assert set(pd.read_csv(made.folder / "women.csv").columns) <= columns
    records = [json.loads(path.read_text()) for path in (made.folder / "women").iterdir()]
    items = [item for record in records for view in record["views"] for item in (*view["segments"], *view["objects"])]
    keys = {key for item in items for key in item}
    assert {"segment", "object"} < keys and all(f"`{key}`" in section for key in keys), keys


def test_what_counts_as_visible_is_stated(made: CohortSummary) -> None:
    page = (Path(__file__).parents[3] / "docs/explanation/phantom.md").read_text()
    stated = json.loads((made.folder / "manifest.json").read_text())["identity"]
    usual = PhantomSettings()
    assert (stated["settings.visible_cnr"], stated["settings.visible_area_mm2"]) == (usual.visible_cnr, usual.visible_area_mm2)
    assert f"`visible_cnr` ({usual.visible_cnr:g})" in page and f"`visible_area_mm2` ({usual.visible_area_mm2:g} mm2)" in page


def test_masks_agree_with_labels(made: CohortSummary) -> None:
    labels = pd.read_csv(made.folder / "labels.csv", keep_default_na=False)
    truth = pd.read_csv(made.folder / "truth.csv")
    for row, area in zip(labels.itertuples(), truth["area_mm2"], strict=True):
        assert (row.mask != "") == (row.bac == 1)
        if row.bac:
            mask = np.asarray(Image.open(made.folder / row.mask))
            image = pydicom.dcmread(made.folder / "dicom" / row.woman / f"{row.side}{row.view}.dcm").pixel_array
            assert mask.dtype == np.uint8
            assert mask.shape == image.shape == (320, 240)
            assert set(np.unique(mask)) == {0, 255}
            assert (mask > 0).sum() * 0.8**2 == pytest.approx(area, abs=1e-3)
            assert area > SMALL.visible_area_mm2
            assert np.median(image[mask > 0]) > np.median(image[image > 0])
    assert len(list((made.folder / "masks").iterdir())) == labels["bac"].sum()


def test_records_hold_segments_once_and_objects_with_boxes(made: CohortSummary) -> None:
    for path in (made.folder / "women").iterdir():
        record = json.loads(path.read_text())
        segments = {item["segment"]: item for view in record["views"] for item in view["segments"]}
        assert len({item["vessel"] for item in segments.values()}) >= record["calcified_vessels"]
        assert {item["form"] for item in segments.values()} <= {"punctate", "coarse", "tram-track", "ring"}
        assert record["calcium_mg"] == pytest.approx(sum(item["mass_mg"] for item in segments.values()), abs=1e-3)
        for view in record["views"]:
            assert view["visible_length_mm"] <= view["length_mm"] + 1e-6
            for item in view["objects"]:
                top, left, bottom, right = item["box"]
                assert top < bottom and left < right and right > 0 and left < 240


def test_calcium_under_the_mask_is_brighter_than_without_it(made: CohortSummary, tmp_path: Path) -> None:
    """The same seed with all visible and no mineral left gives the same breast without calcium."""
    faint = replace(SMALL, hydroxyapatite=(1e-6, 1e-6), visible_cnr=1e-9, visible_area_mm2=1e-9, faint_share=0.0)
    write_cohort(tmp_path / "faint", women=4, prevalence=0.5, seed=9001, workers=1, settings=faint)
    labels, other = pd.read_csv(made.folder / "labels.csv"), pd.read_csv(tmp_path / "faint" / "labels.csv")
    gains = []
    for row, faint_row in zip(labels.itertuples(), other.itertuples(), strict=True):
        if row.bac:
            name = f"{row.side}{row.view}.dcm"
            bright = pydicom.dcmread(made.folder / "dicom" / row.woman / name).pixel_array.astype(int)
            plain = pydicom.dcmread(tmp_path / "faint" / "dicom" / faint_row.woman / name).pixel_array.astype(int)
            mask = np.asarray(Image.open(made.folder / row.mask)) > 0
            gains.append((bright - plain)[mask].mean())
            assert np.median(np.abs(bright - plain)[~mask]) <= 5
    assert min(gains) > 20


def test_chest_wall_is_left_in_left_views(made: CohortSummary) -> None:
    for path in (made.folder / "dicom").rglob("*.dcm"):
        image = pydicom.dcmread(path).pixel_array
        at_wall, at_air = (0, -1) if path.name.startswith("L") else (-1, 0)
        assert (image[:, at_wall] > 0).mean() > 0.4
        assert np.median(image[:, at_air]) < 500
        assert image.max() <= 4095


def test_another_seed_gives_other_images(made: CohortSummary, tmp_path: Path) -> None:
    write_cohort(tmp_path, women=1, prevalence=0.0, seed=9003, workers=1, settings=SMALL)
    pixels = [
        {hashlib.sha256(pydicom.dcmread(path).pixel_array.tobytes()).hexdigest() for path in folder.rglob("*.dcm")}
        for folder in (made.folder, tmp_path)
    ]
    assert [len(hashes) for hashes in pixels] == [16, 4]
    assert not pixels[0] & pixels[1]


def test_resume_makes_only_what_is_missing(tmp_path: Path) -> None:
    out = tmp_path / "cohort"
    keywords = {"women": 3, "prevalence": 1 / 3, "seed": 9004, "workers": 1, "settings": SMALL}
    assert write_cohort(out, **keywords).made == 3
    before = fingerprint(out)
    assert write_cohort(out, **keywords).made == 0
    victim, cut = sorted((out / "dicom").rglob("*.dcm"))[::4][:2]
    untouched = sorted((out / "dicom").rglob("*.dcm"))[9]
    stamp = untouched.stat().st_mtime_ns
    victim.unlink()
    cut.write_bytes(cut.read_bytes()[:1000])
    for folder in (victim.parent, out / "masks", out / "women", out):
        (folder / ".LCC.dcm.77-00ff00ff.part").write_bytes(b"what a kill left")
    assert write_cohort(out, **keywords).made == 2
    assert fingerprint(out) == before
    (out / "women" / f"{victim.parent.name}.json").unlink()  # her files were written, her record was not: a kill between
    assert write_cohort(out, **keywords).made == 1
    assert fingerprint(out) == before
    assert untouched.stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seed": 9005}, "seed"),
        ({"settings": replace(SMALL, rods=9.0)}, "settings.rods"),
        ({"women": 5}, "women"),
        ({"format": "png"}, "format"),
    ],
)
def test_another_cohort_in_the_folder_is_refused_by_field(made: CohortSummary, change: dict, field: str) -> None:
    keywords = {"women": 4, "prevalence": 0.5, "seed": 9001, "workers": 1, "settings": SMALL, **change}
    with pytest.raises(IdentityMismatch, match=field):
        write_cohort(made.folder, **keywords)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("women", 0),
        ("women", 2.5),
        ("prevalence", -0.1),
        ("prevalence", 1.5),
        ("prevalence", "0.5"),
        ("seed", -1),
        ("workers", 0),
        ("positive_views", 1000),
        ("format", "jpeg"),
    ],
)
def test_bad_parameters_are_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    keywords = {"women": 2, "prevalence": 0.5, "seed": 9001, "workers": 1, "settings": SMALL, name: value}
    with pytest.raises(UsageError, match=name.replace("_", ".")):
        write_cohort(tmp_path / "none", **keywords)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["dicom/1.dcm", "labels.csv", "masks/1.png", "plan.json"])
def test_a_folder_with_somebody_elses_files_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"found {name.partition('/')[0]} without manifest.json"):
        write_cohort(tmp_path, women=1, seed=9001, settings=SMALL)
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_woman_who_cannot_be_made_is_named_whatever_the_processes(tmp_path: Path, workers: int) -> None:
    settings = replace(SMALL, hydroxyapatite=(1e-9, 1e-9), segments=(0.1, 0.1), segment_length_mm=(1, 1))
    with pytest.raises(TramtrackError, match=r"^phantom cohort: woman SYN-\w+-000[12] could not be made \(phantom: no visible"):
        write_cohort(tmp_path, women=2, prevalence=1.0, seed=9001, workers=workers, settings=settings)


def test_exact_prevalence_and_odds_by_age() -> None:
    drawn = [draw_women(np.random.default_rng(seed), 400, 133, PhantomSettings()) for seed in range(9000, 9030)]
    assert all(sum(bac for _, bac in women) == 133 for women in drawn)
    ages, bac = (np.array([woman[part] for women in drawn for woman in women], float) for part in (0, 1))
    slope, intercept = 0.0, 0.0
    design = np.stack([np.ones_like(ages), (ages - 59) / 10], 1)
    for _ in range(20):
        p = 1 / (1 + np.exp(-(intercept + slope * design[:, 1])))
        step = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design, design.T @ (bac - p))
        intercept, slope = intercept + step[0], slope + step[1]
    assert np.exp(slope) == pytest.approx(2.2, rel=0.08)


def test_conditional_flips_match_enumeration() -> None:
    log_odds = np.array([0.0, 1.0, 2.0])
    rng = np.random.default_rng(9001)
    share = np.mean([conditional_bernoulli(rng, log_odds, 1) for _ in range(6000)], axis=0)
    assert share == pytest.approx(np.exp(log_odds) / np.exp(log_odds).sum(), abs=0.025)
    assert conditional_bernoulli(rng, log_odds, 3).all()
    assert not conditional_bernoulli(rng, log_odds, 0).any()


def test_flips_of_many_women_take_little_memory_and_are_those_of_the_whole_table() -> None:
    log_odds = np.random.default_rng(9120).normal(size=1000)
    tracemalloc.start()
    chosen = conditional_bernoulli(np.random.default_rng(9121), log_odds, 400)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert chosen.sum() == 400
    assert peak < 1001 * 401 * 8 / 6  # of the whole table of ways
    ways = np.full((1001, 401), -np.inf)
    ways[1000, 0] = 0.0
    for i in range(999, -1, -1):
        ways[i] = ways[i + 1]
        ways[i, 1:] = np.logaddexp(ways[i, 1:], log_odds[i] + ways[i + 1, :-1])
    rng, left = np.random.default_rng(9121), 400
    for i in range(1000):
        comes_up = bool(left) and np.log(rng.random()) < log_odds[i] + ways[i + 1, left - 1] - ways[i, left]
        assert chosen[i] == comes_up
        left -= comes_up


def test_intercept_gives_the_prevalence() -> None:
    ages = np.array([45, 50, 60, 60, 70, 80])
    settings = PhantomSettings()
    at_mean = intercept(ages, 0.13, settings)
    probability = 1 / (1 + np.exp(-log_odds(ages, settings, at_mean)))
    assert probability.mean() == pytest.approx(0.13, abs=1e-9)
    odds = probability / (1 - probability)
    assert odds[4] / odds[3] == pytest.approx(2.2)
    assert intercept(ages, 0.0, settings) is None


@pytest.mark.parametrize("odds_ratio", [1e-60, 1e9, 1e60])
def test_intercept_is_found_whatever_the_odds_ratio(odds_ratio: float) -> None:
    ages, settings = np.array([70, 75, 84]), replace(PhantomSettings(), odds_ratio_per_decade=odds_ratio)
    at_mean = intercept(ages, 0.5, settings)
    assert at_mean is not None
    assert (1 / (1 + np.exp(-log_odds(ages, settings, at_mean)))).mean() == pytest.approx(0.5)


def test_positive_views_are_met_exactly_whatever_the_processes(tmp_path: Path) -> None:
    keywords = {"women": 2, "prevalence": 1.0, "seed": 9001, "settings": SMALL, "positive_views": 5}
    made = write_cohort(tmp_path / "one", workers=1, **keywords)
    assert (made.positive_women, made.positive_views) == (2, 5)
    write_cohort(tmp_path / "two", workers=2, **keywords)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")


def test_no_two_cohorts_share_an_instance(tmp_path: Path) -> None:
    """Counted positive views change what is drawn, and so who it is of."""
    instances = []
    for positive_views in (None, 2):
        folder = tmp_path / str(positive_views)
        write_cohort(folder, women=1, prevalence=1.0, seed=9001, workers=1, settings=SMALL, positive_views=positive_views)
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
        instances.append({uid for header in headers for uid in (header.SOPInstanceUID, header.StudyInstanceUID)})
    assert [len(found) for found in instances] == [5, 5] and not instances[0] & instances[1]


def test_png_with_a_table_holds_the_same_pixels(tmp_path: Path) -> None:
    for form in ("png", "dicom"):
        write_cohort(tmp_path / form, women=1, prevalence=0.0, seed=9001, workers=1, settings=SMALL, format=form)
    table = pd.read_csv(tmp_path / "png" / "views.csv")
    assert {"woman", "exam", "side", "view", "file", "spacing_mm", "age_years", "synthetic"} == set(table.columns)
    for row in table.itertuples():
        image = np.asarray(Image.open(tmp_path / "png" / row.file)).astype(np.uint16)
        dicom = pydicom.dcmread(tmp_path / "dicom" / "dicom" / row.woman / f"{row.side}{row.view}.dcm").pixel_array
        assert (image >> 4 == dicom).all()
        assert row.spacing_mm == 0.8


def test_magnification_enters_the_spacing(tmp_path: Path) -> None:
    settings = replace(SMALL, magnification=1.1, pitch_mm=1.0)
    write_cohort(tmp_path, women=1, prevalence=1.0, seed=9001, workers=1, settings=settings)
    dataset = pydicom.dcmread(next((tmp_path / "dicom").rglob("*.dcm")))
    assert dataset.EstimatedRadiographicMagnificationFactor == pytest.approx(1.1)
    truth = pd.read_csv(tmp_path / "truth.csv")
    assert truth["spacing_mm"].iloc[0] == pytest.approx(float(dataset.ImagerPixelSpacing[0]) / 1.1)


def plan(target: int, shown: dict[int, list[int]]) -> dict[int, int]:
    """A plan for women whose draws show in these numbers of views."""

    def look(units):
        for unit in reversed(units):  # in any order
            yield unit, [shown[unit.number][draw % 20] for draw in range(unit.first, unit.first + unit.count)]

    return plan_draws([(number, 60) for number in shown], 9001, target, SMALL, look)


@pytest.mark.parametrize("target", range(10, 38, 3))
def test_a_plan_meets_every_total_and_changes_no_more_women_than_it_must(target: int) -> None:
    rng = np.random.default_rng(9001)
    shown = {number: [int(views) for views in rng.integers(0, 5, 20)] for number in range(10)}
    draws = plan(target, shown)
    assert sum(shown[number][draw] for number, draw in draws.items()) == target
    assert all(shown[number][draw] > 0 for number, draw in draws.items())
    natural = {number: next(draw for draw, views in enumerate(of) if views) for number, of in shown.items()}
    missing = abs(target - sum(shown[number][draw] for number, draw in natural.items()))
    assert sum(draws[number] != natural[number] for number in shown) <= missing
    assert plan(target, shown) == draws
