"""Look-alike images of two women, and factors other than calcium that tell who has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from mammogram import breast_picture
from tramtrack.cohort import warnings as warnings_module
from tramtrack.cohort.warnings import confounders, look_alikes, warning_table
from tramtrack.errors import TramtrackError
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.similarity import near_pairs, perceptual_hash, thumbnail
from tramtrack.workers import Failure


@pytest.fixture(autouse=True)
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """No worker processes: what they do is tested elsewhere. What was decoded, in order."""
    files: list[str] = []

    def here(task, units, **_):  # type: ignore[no-untyped-def]
        files.extend(units)
        return ((unit, task(unit)) for unit in units)

    monkeypatch.setattr(warnings_module, "run_each", here)
    return files


def textured(seed: int) -> np.ndarray:
    """A breast of many scales, as real tissue has, on black."""
    outline = breast_picture(640, 480) > 0
    rng = np.random.default_rng(seed)
    scales = sum(ndimage.gaussian_filter(rng.normal(size=outline.shape), s) * s for s in (2, 4, 8, 16, 32))
    return np.where(outline, np.clip(0.5 + scales * 0.12, 0.05, 1), 0).astype(np.float32)


def cohort(tmp_path: Path, pictures: list[np.ndarray]) -> pd.DataFrame:
    rows = []
    for number, picture in enumerate(pictures):
        file = tmp_path / f"{number}.png"
        Image.fromarray(np.rint(picture * 65535).astype(np.uint16)).save(file)
        code = perceptual_hash(thumbnail(picture, find_breast(picture)))
        rows.append({"woman": f"W{number}", "file": str(file), "pixels_sha256": str(number), "perceptual_hash": code})
    return pd.DataFrame(rows)


def test_a_copy_that_was_windowed_scaled_and_turned_is_confirmed(tmp_path: Path) -> None:
    first = textured(1)
    changed = np.where(first > 0, np.clip(first * 0.7 + 0.1, 0, 1), 0)
    changed = np.asarray(Image.fromarray(ndimage.rotate(changed, 0.7, reshape=False, order=1)).resize((360, 480)))
    (found,) = look_alikes(cohort(tmp_path, [first, np.clip(changed, 0, 1), textured(3)]))
    assert found.women == ("W0", "W1") and found.confirmed and found.texture > 0.5


def test_alike_in_shape_and_not_in_texture_is_only_a_warning(tmp_path: Path) -> None:
    views = cohort(tmp_path, [textured(1), textured(2)])
    views["perceptual_hash"] = views["perceptual_hash"].iloc[0]
    (found,) = look_alikes(views)
    assert not found.confirmed and abs(found.texture) < 0.2
    blank = dict.fromkeys(("manufacturer", "model", "site", "acquired", "contradictions", "burned_in"), "")
    views = views.assign(**blank, view_id=["first", "second"], bac_woman=pd.array([pd.NA, pd.NA], dtype="Int64"))
    (row,) = warning_table(views, views, [found]).to_dict("records")
    assert row["kind"] == "look-alike images of two women, different on a closer look"
    assert row["what"].startswith("first and second: ")
    (row,) = warning_table(views, views, [replace(found, texture=0.9)]).to_dict("records")
    assert row["kind"] == "look-alike images of two women, one exposure, one of them in no fold"
    (row,) = warning_table(views.assign(pixels_sha256="x"), views, []).to_dict("records")
    assert row["kind"] == "the same image under two women, one in no fold" and row["what"] == "first and second"
    uid = {"sop_instance_uid": "1.2", "sha256": "f", "exam": "1.2.840.1.2.3.4"}
    (row,) = warning_table(views.assign(**uid, pixels_sha256="x"), views, []).to_dict("records")
    assert row["kind"] == "the same SOP instance under two women, one in no fold" and row["what"] == "first and second"
    (row,) = warning_table(views.assign(exam="1.2.840.1.2.3.4"), views, []).to_dict("records")
    assert row["kind"] == "the same exam under two women, one in no fold" and row["what"] == "first and second"
    assert warning_table(views.assign(exam="2024-03"), views, []).empty, "names in tables may be alike for two women"


def test_the_same_woman_and_identical_pixels_are_not_looked_at(tmp_path: Path) -> None:
    views = cohort(tmp_path, [textured(1), textured(1)])
    assert len(look_alikes(views)) == 1
    assert look_alikes(views.assign(woman="W")) == [] and look_alikes(views.assign(pixels_sha256="x")) == []


def test_each_file_of_many_pairs_is_decoded_once(tmp_path: Path, decoded: list[str]) -> None:
    views = cohort(tmp_path, [textured(number) for number in range(3)] + [textured(0)])
    views["perceptual_hash"] = views["perceptual_hash"].iloc[0]
    found = look_alikes(views)
    assert sorted(decoded) == sorted(views["file"]) and len(found) == 6
    assert [one.women for one in found if one.confirmed] == [("W0", "W3")]
    assert [one.texture for one in found if one.confirmed] == [pytest.approx(1)]


def test_a_file_that_is_gone_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    views = cohort(tmp_path, [textured(1), textured(1)])
    broken = lambda task, units, **_: ((unit, Failure("error", "no such file")) for unit in units)  # noqa: E731
    monkeypatch.setattr(warnings_module, "run_each", broken)
    with pytest.raises(TramtrackError, match=r"0\.png: cannot be read any more \(no such file\); ingest again"):
        look_alikes(views)


def test_near_pairs_counts_bits() -> None:
    hashes = ["00" * 32, "01" + "00" * 31, "ff" * 32]
    assert near_pairs(hashes, ["a", "b", "c"], 5) == [(0, 1, 1)]
    assert near_pairs(hashes, ["a", "a", "c"], 5) == [] and len(near_pairs(hashes, ["a", "b", "c"], 256)) == 3
    assert near_pairs([], []) == []


def women(labels: np.ndarray, **columns: object) -> pd.DataFrame:
    number = len(labels)
    names = [f"W{index:03}" for index in range(number)]
    blank = dict.fromkeys(("manufacturer", "model", "site", "acquired", "contradictions", "burned_in"), "")
    table = pd.DataFrame(
        {
            "woman": names,
            "view_id": names,
            "file": names,
            "pixels_sha256": names,
            "bac_woman": pd.array(labels, dtype="Int64"),
            **blank,
        }
    )
    return table.assign(**columns)


def test_a_vendor_that_predicts_the_label_is_warned_with_its_auc() -> None:
    rng = np.random.default_rng(1)
    labels = (np.arange(120) % 3 == 0).astype(int)
    telling = np.where(rng.random(120) < 0.85, labels, 1 - labels)
    views = women(labels, manufacturer=np.where(telling, "A", "B"), site=np.where(rng.random(120) < 0.5, "S-1", "S-2"))
    found = confounders(views).set_index("factor")
    assert list(found.index) == ["vendor", "site"]
    assert found.loc["vendor", "auc"] > 0.8 and found.loc["vendor", "suspicious"] and not found.loc["site", "suspicious"]
    (row,) = warning_table(views, views, []).to_dict("records")
    assert row["kind"] == "predicts the label" and row["what"].startswith("vendor: AUC 0.8")


def test_many_rare_years_are_no_warning_and_a_number_of_views_is() -> None:
    labels = (np.arange(60) % 2).astype(int)
    rng = np.random.default_rng(2)
    years = women(labels, acquired=[f"{2000 + year}0101" for year in rng.integers(0, 20, 60)])
    row = confounders(years).set_index("factor").loc["year"]
    assert row["auc"] > 0.6 and not row["suspicious"]  # in sample so many levels always tell something apart
    more = pd.concat([women(labels), women(labels)[lambda table: table["bac_woman"] == 1]])
    assert confounders(more).set_index("factor").loc["views", "auc"] == 1.0
