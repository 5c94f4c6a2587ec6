"""The contact sheet: as many real as synthetic views, shuffled by the seed, the key tells which is which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from pretend import mammogram
from tramtrack.cli import app
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.sheet import TILE, contact_sheet


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for kind, count in (("real", 3), ("synthetic", 4)):
        (tmp_path / kind / "masks").mkdir(parents=True)
        for number in range(count):
            grey = np.rint(mammogram(9160 + number) * 255).astype(np.uint8)
            Image.fromarray(grey).save(tmp_path / kind / f"{number}.png")
        Image.fromarray(grey).save(tmp_path / kind / "masks" / "a.png")
        Image.fromarray(grey).save(tmp_path / kind / "a_mask.png")
    return tmp_path / "real", tmp_path / "synthetic"


def test_the_key_names_every_view_in_its_place(folders: tuple[Path, Path], tmp_path: Path) -> None:
    sheet = contact_sheet(*folders, tmp_path / "out" / "sheet.png", seed=9161, views=6)
    key = pd.read_csv(sheet.key)
    assert sorted(key["kind"]) == ["real"] * 3 + ["synthetic"] * 3 and list(key["number"]) == [1, 2, 3, 4, 5, 6]
    assert not key["file"].str.contains("mask").any() and key["file"].is_unique
    picture = np.asarray(Image.open(sheet.picture))
    assert picture.shape == (TILE[0] + 4, 6 * (TILE[1] + 4)) and picture.max() > 200
    again = contact_sheet(*folders, tmp_path / "again.png", seed=9161, views=6)
    assert again.picture.read_bytes() == sheet.picture.read_bytes()
    orders = {
        tuple(pd.read_csv(contact_sheet(*folders, tmp_path / "b.png", seed, 6).key)["kind"]) for seed in range(9162, 9165)
    }
    assert len(orders) > 1


def test_what_cannot_be_shown_is_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "broken.png").write_bytes(b"none")
    sheet = contact_sheet(*folders, tmp_path / "sheet.png", views=8)
    assert len(sheet.left_out) == 1 and "broken.png" in str(sheet)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "none.png").write_bytes(b"none")
    with pytest.raises(TramtrackError, match=r"bad: none of its images can be shown \(.*none\.png"):
        contact_sheet(str(tmp_path / "bad"), str(folders[1]), str(tmp_path / "bad.png"), views=4)
    assert not (tmp_path / "bad.png").exists()
    Image.fromarray(np.zeros((300, 200), np.uint8)).save(folders[0] / "black.png")
    sheet = contact_sheet(*folders, tmp_path / "sheet.png", views=20)
    assert f"{folders[0] / 'black.png'}: expected a breast" in str(sheet) and str(sheet).count("broken.png") == 1


def test_the_command_line_refuses_by_name(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    real, synthetic = map(str, folders)
    for words, said in (
        ([real, str(tmp_path / "empty"), "--out", str(tmp_path / "s.png")], "expected a folder with DICOM, PNG or TIFF images"),
        ([real, synthetic, "--out", str(tmp_path / "s.jpg")], "expected a name that ends in .png, received s.jpg"),
        (
            [real, synthetic, "--out", str(tmp_path / "s.png"), "--views", "1"],
            "views: expected a whole number of at least 2, received 1",
        ),
    ):
        done = CliRunner().invoke(app, ["phantom", "sheet", *words])
        assert isinstance(done.exception, UsageError) and said in str(done.exception)
