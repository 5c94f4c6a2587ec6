"""Dealing women to folds: what the folds hold, who is dropped, and the leaks that stop a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mammogram import breast_stored, mammogram, write
from tramtrack import study_files
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.folds import deal
from tramtrack.cohort.split import (
    CALIBRATION,
    DROPPED,
    FOLDS,
    UNLABELLED,
    Leak,
    require_no_copies,
    require_no_leak,
    split_women,
)
from tramtrack.cohort.warnings import LookAlike
from tramtrack.errors import TramtrackError
from tramtrack.protocol import Split
from tramtrack.study import Study


def cohort(positive: int, negative: int, unknown: int = 0, views: int = 4, positive_views: int = 3) -> pd.DataFrame:
    """Women with ``views`` views each; of a positive woman's, ``positive_views`` are positive and the others negative."""
    rows = []
    for number in range(positive + negative + unknown):
        label = 1 if number < positive else 0 if number < positive + negative else pd.NA
        for view in range(views):
            bac = (1 if view < positive_views else 0) if label is not pd.NA and label == 1 else label
            rows.append({"woman": f"W{number:04d}", "file": f"{number}-{view}", "bac_view": bac, "bac_woman": label})
    table = pd.DataFrame(rows).astype({"bac_view": "Int64", "bac_woman": "Int64"})
    return table.assign(sha256=table["file"] + "s", pixels_sha256=table["file"] + "p")


def sizes(folds: pd.DataFrame) -> dict[tuple[str, int], int]:
    return folds.dropna(subset="bac_woman").groupby(["fold", "bac_woman"]).size().to_dict()


def test_the_studys_way() -> None:
    """1,493 women, 194 positive, 70/15/15: training ends at a third positive, validation and test stay natural."""
    folds = split_women(cohort(194, 1299), Split())
    counted = sizes(folds)
    assert [counted[fold, 1] for fold in FOLDS] == [136, 29, 29]
    assert [counted[fold, 0] for fold in FOLDS[1:]] == [195, 195]
    assert counted["training", 1] / (counted["training", 1] + counted["training", 0]) == pytest.approx(0.33, abs=0.002)
    assert counted["training", 0] + counted[DROPPED, 0] == 909
    assert (DROPPED, 1) not in counted
    dropped = folds[folds["fold"] == DROPPED]
    assert dropped["detail"].str.contains("training prevalence of 0.33").all()


def test_a_part_for_calibration_is_natural_and_leaves_the_others() -> None:
    """Without a share there is none, and the folds are as ever; with one, only women of the test fold change."""
    without = split_women(cohort(194, 1299), Split()).set_index("woman")["fold"]
    assert CALIBRATION not in set(without)
    settings = Split(test=0.05, calibration=0.1)
    folds = split_women(cohort(194, 1299), settings)
    counted = sizes(folds)
    assert (counted[CALIBRATION, 1], counted[CALIBRATION, 0]) == (19, 130)
    fold = folds.set_index("woman")["fold"]
    assert set(without[fold == CALIBRATION]) == {"test"} and (without[fold != CALIBRATION] == fold[fold != CALIBRATION]).all()
    with pytest.raises(TramtrackError, match="the calibration fold would have no woman with BAC"):
        split_women(cohort(12, 80), Split(training=0.6, validation=0.2, calibration=0.02, test=0.18))


def test_an_image_in_test_and_calibration_is_a_leak() -> None:
    views = cohort(20, 60)
    folds = split_women(views, Split(training=0.6, calibration=0.1))
    one, two = (views.index[views["woman"].isin(folds["woman"][folds["fold"] == name])][0] for name in (CALIBRATION, "test"))
    views.loc[two, "pixels_sha256"] = views.loc[one, "pixels_sha256"]
    with pytest.raises(Leak, match="the same image stands in two folds"):
        require_no_leak(views, folds)


def test_prevalence_of_views() -> None:
    views = cohort(40, 260)
    settings = Split(training_prevalence=0.24, training_prevalence_of="views")
    folds = split_women(views, settings)
    training = views[views["woman"].isin(folds["woman"][folds["fold"] == "training"])]
    share = (training["bac_view"] == 1).mean()
    assert share <= 0.24 and share == pytest.approx(0.24, abs=0.006)
    assert not (folds["fold"][folds["bac_woman"] == 1] == DROPPED).any()


def test_prevalence_of_views_needs_labels_of_views() -> None:
    views = cohort(20, 80)
    views.loc[views["bac_woman"] == 1, "bac_view"] = pd.NA
    with pytest.raises(TramtrackError, match="training prevalence is stated for views, but of woman W"):
        split_women(views, Split(training_prevalence_of="views"))
    assert len(split_women(views, Split(training_prevalence_of="women"))) == 100


@pytest.mark.parametrize(("wanted", "dropped"), [(0.0, 0), (0.05, 0), (1.0, 55)])
def test_limits_of_the_dropping(wanted: float, dropped: int) -> None:
    folds = split_women(cohort(20, 80), Split(training_prevalence=wanted))
    assert (folds["fold"] == DROPPED).sum() == dropped
    assert ((folds["fold"] == "training") & (folds["bac_woman"] == 0)).sum() == 56 - dropped


def test_unknown_women_are_in_no_fold() -> None:
    folds = split_women(cohort(10, 30, unknown=5), Split())
    unknown = folds[folds["bac_woman"].isna()]
    assert len(unknown) == 5 and (unknown["fold"] == UNLABELLED).all()
    assert unknown["detail"].eq("it is not known whether this woman has BAC").all()
    assert (folds["fold"] == UNLABELLED).sum() == 5


def test_the_seed_decides_and_global_seeds_do_not() -> None:
    views = cohort(30, 90)
    np.random.seed(1)  # noqa: NPY002
    first = split_women(views, Split(seed=1))
    np.random.seed(2)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    pd.testing.assert_frame_equal(first, split_women(views, Split(seed=1)))
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002
    assert not first["fold"].equals(split_women(views, Split(seed=2))["fold"])
    shuffled = views.sample(frac=1, random_state=0)
    pd.testing.assert_frame_equal(first, split_women(shuffled, Split(seed=1)))


@pytest.mark.parametrize(
    ("positive", "negative", "message"),
    [
        (0, 20, r"no woman with BAC: the cohort has 0 such women of 20"),
        (20, 0, r"no woman without BAC: the cohort has 0 such women of 20"),
        (2, 20, r"the test fold would have no woman with BAC: the cohort has 2 such women of 22"),
    ],
)
def test_one_class_in_a_fold_is_an_error(positive: int, negative: int, message: str) -> None:
    with pytest.raises(TramtrackError, match=message):
        split_women(cohort(positive, negative), Split())


def test_a_fold_of_one_class_says_how_many_women_are_not_known() -> None:
    with pytest.raises(TramtrackError, match=r"0 such women of 26, 6 of them not known; label more of them"):
        split_women(cohort(20, 0, unknown=6), Split())


def leak_after(change: dict[str, str], from_fold: str, to_fold: str) -> str:
    """The message of the leak after a view of ``to_fold`` takes over columns from one of ``from_fold``."""
    views = cohort(10, 30)
    folds = split_women(views, Split(training_prevalence=0))
    require_no_leak(views, folds)
    first = views.index[views["woman"].isin(folds["woman"][folds["fold"] == from_fold])][0]
    second = views.index[views["woman"].isin(folds["woman"][folds["fold"] == to_fold])][-1]
    for column in change:
        views.loc[second, column] = views.loc[first, column]
    with pytest.raises(Leak) as caught:
        require_no_leak(views, folds)
    assert views.loc[first, "file"] in str(caught.value) and views.loc[second, "file"] in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("column", ["sha256", "pixels_sha256"])
@pytest.mark.parametrize("pair", [("training", "test"), ("validation", "training"), ("test", "validation")])
def test_a_file_or_an_image_in_two_folds_is_a_leak(column: str, pair: tuple[str, str]) -> None:
    message = leak_after({column: ""}, *pair)
    assert f"the same {'file' if column == 'sha256' else 'image'} stands in two folds" in message
    assert pair[0] in message and pair[1] in message


def test_a_woman_in_two_rows_is_a_leak() -> None:
    views = cohort(10, 30)
    folds = split_women(views, Split())
    twice = pd.concat([folds, folds.head(1).assign(fold="test")])
    with pytest.raises(Leak, match="woman W0000 stands in two rows"):
        require_no_leak(views, twice)


@pytest.mark.parametrize("column", ["pixels_sha256", "sop_instance_uid", "exam"])
def test_what_stands_under_two_women_of_one_fold_is_a_leak(column: str) -> None:
    views = cohort(10, 30)
    folds = split_women(views, Split(training_prevalence=0))
    training = views.index[views["woman"].isin(folds["woman"][folds["fold"] == "training"])]
    views[column] = [f"1.2.840.1.5.6.7.{number}" for number in range(len(views))]
    require_no_leak(views, folds)
    views.loc[training[[0, -1]], column] = "1.2.840.99999.1.2.3.4"
    with pytest.raises(Leak, match="under two women of the training fold"):
        require_no_leak(views, folds)


def test_exams_of_a_table_may_be_called_alike() -> None:
    views = cohort(10, 30).assign(exam="first")
    require_no_leak(views, split_women(views, Split(training_prevalence=0)))


def look_alike(texture: float) -> LookAlike:
    return LookAlike("a.dcm", "b.dcm", ("W1", "W2"), 20, texture)


def test_a_confirmed_copy_is_a_leak_and_an_unconfirmed_one_is_not() -> None:
    folds = pd.DataFrame({"woman": ["W1", "W2"], "fold": ["training", "training"]})
    require_no_copies([look_alike(0.1)], folds)
    with pytest.raises(Leak, match="one exposure under two women, W1 and W2"):
        require_no_copies([look_alike(0.1), look_alike(0.9)], folds)
    require_no_copies([look_alike(0.9)], folds.assign(fold=["training", "unlabelled"]))  # as with identical pixels


def test_a_leak_through_an_exam_that_is_not_analysed_is_found(tmp_path: Path) -> None:
    views = cohort(10, 30).assign(perceptual_hash="", acquired="2020", site="", contradictions="", burned_in="")
    views = views.assign(manufacturer="", model="", view_id=[str(number) for number in range(len(views))])
    women = list(dict.fromkeys(views["woman"]))
    later = views[views["woman"] == women[0]].head(1).assign(exam="later", acquired="2022")
    later["pixels_sha256"] = views.loc[views["woman"] == women[-1], "pixels_sha256"].iloc[0]  # of another woman's only exam
    every = pd.concat([views, later], ignore_index=True)
    for name in ("views.csv", "labels.csv"):
        (tmp_path / name).write_text("x")
    with pytest.raises(Leak, match="the same image stands"):
        deal(tmp_path, every, views, Split(training_prevalence=0), list)
    assert not (tmp_path / "folds.csv").exists()
    assert len(deal(tmp_path, views, views, Split(training_prevalence=0), list)) == 40


def test_an_image_that_is_in_no_fold_is_no_leak() -> None:
    views = cohort(10, 30, unknown=1)
    folds = split_women(views, Split(training_prevalence=0))
    views.loc[views["bac_woman"].isna(), "pixels_sha256"] = "same"
    require_no_leak(views, folds)
    views["pixels_sha256"] = ""  # not known is not the same
    require_no_leak(views, folds)


def test_what_is_alike_is_looked_for_once_for_all_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "run_each", lambda task, units, **_: ((unit, task(unit)) for unit in units))
    looked: list[int] = []

    def none_alike(views: pd.DataFrame) -> list[LookAlike]:
        looked.append(len(views))
        return []

    monkeypatch.setattr(study_files, "look_alikes", none_alike)
    rows = ["woman,bac"]
    for number in range(20):
        write(mammogram(breast_stored(seed=number), woman=f"W{number}", exam=str(number)), tmp_path / "in" / f"{number}.dcm")
        rows.append(f"W{number},{number % 2}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    study = Study(tmp_path / "study", repeats=3)
    study.ingest(tmp_path / "in", tmp_path / "labels.csv", key="none")
    first = study.split()
    others = [pd.read_csv(path) for path in sorted((study.folder / "repeats").glob("*/cohort/folds.csv"))]
    assert looked == [20] and len(others) == 2
    assert all(list(other["fold"]) != list(first["fold"]) for other in others)
    study.split()
    assert looked == [20]  # what was dealt stays
