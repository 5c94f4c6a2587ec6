"""Which views are known to the pixel, and what is said of those that are not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack.segmentation.known import find_known

SIZE = (64, 48)


def test_a_view_with_a_mask_and_a_view_without_bac_are_known(views, geometry):
    views.loc[0, "bac_view"] = pd.NA
    known = find_known(views.head(4), geometry, SIZE, "masks")
    assert list(known.table["view_id"]) == ["v1", "v2", "v3"]  # whether v0 has BAC is not known
    assert known.marked.tolist() == [True, False, True]
    with Image.open(views.loc[1, "mask"]) as image:
        assert np.array_equal(known.mask(0), np.asarray(image) > 0)
    assert not known.mask(1).any() and known.mask(1).shape == SIZE


def test_a_mask_that_does_not_serve_is_told_of_and_the_others_go_on(views, geometry, tmp_path, capsys):
    Image.fromarray(np.ones((10, 20), dtype=np.uint8)).save(tmp_path / "small.png")
    Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(tmp_path / "empty.png")
    pd.DataFrame([[1, 1, 5, 5]], columns=["top", "left", "bottom", "right"]).to_csv(tmp_path / "boxes.csv", index=False)
    for number, name in ((1, "small.png"), (3, "empty.png"), (5, "boxes.csv"), (7, "gone.png")):
        views.loc[number, "mask"] = str(tmp_path / name)
    known = find_known(views.head(10), geometry, SIZE, "masks")
    assert list(known.table["view_id"]) == ["v0", "v2", "v4", "v6", "v8", "v9"]
    said = capsys.readouterr().err
    assert "small.png: expected a mask of 64 x 48 pixels, as its view has, received 10 x 20" in said
    assert "empty.png: marks nothing inside its view" in said
    assert "1 views have boxes" in said
    assert "gone.png: expected a mask, cannot read it" in said


def test_an_empty_mask_of_a_view_without_bac_says_what_its_label_says(views, geometry, tmp_path):
    Image.fromarray(np.zeros(SIZE, dtype=np.uint8)).save(tmp_path / "empty.png")
    views.loc[0, "mask"] = str(tmp_path / "empty.png")
    known = find_known(views.head(1), geometry, SIZE, "masks")
    assert len(known) == 1 and not known.marked.any()


def test_the_hash_is_of_views_and_masks(views, geometry, tmp_path):
    first = find_known(views, geometry, SIZE, "masks").sha256
    assert find_known(views, geometry, SIZE, "masks").sha256 == first
    with Image.open(views.loc[1, "mask"]) as image:
        mask = np.asarray(image).copy()
    mask[0, 0] = 255
    Image.fromarray(mask).save(views.loc[1, "mask"])
    assert find_known(views, geometry, SIZE, "masks").sha256 != first
    assert find_known(views.drop(index=0), geometry, SIZE, "masks").sha256 not in (first, "")


@pytest.mark.parametrize("number", (1, 2))
def test_the_files_are_those_of_the_views(views, geometry, number):
    known = find_known(views.iloc[[number]], geometry, SIZE, "masks")
    assert known.files == [views.loc[number, "file"]]
