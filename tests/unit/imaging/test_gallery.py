"""All views prepared: files and geometry, resumed where it stopped, and never from a file that has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from mammogram import mammogram, write
from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.imaging import gallery
from tramtrack.imaging.gallery import load_geometry, prepare_views
from tramtrack.imaging.prepare import prepare_file, read_prepared
from tramtrack.protocol import Prepare

SETTINGS = Prepare(height=64, width=32)
IDENTITY = {"prepare": SETTINGS.model_dump(mode="json")}


@pytest.fixture
def views(tmp_path: Path) -> list[dict]:
    rows = []
    for number, spacing in enumerate((0.07, None, float("nan"))):
        path = write(mammogram(woman=f"W{number}"), tmp_path / "in" / f"{number}.dcm")
        rows.append(
            {"view_id": f"W{number}_e_L_CC", "file": str(path), "sha256": store.file_sha256(path), "spacing_mm": spacing}
        )
    return rows


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were prepared, in this process and not in workers."""
    done: list[str] = []

    def run_here(task, units, **_):  # type: ignore[no-untyped-def]
        for unit in units:
            done.append(Path(unit.file).name)
            try:
                yield unit, task(unit)
            except TramtrackError as error:
                yield unit, gallery.Failure("error", str(error))

    monkeypatch.setattr(gallery, "run_each", run_here)
    return done


def test_in_worker_processes(tmp_path: Path, views: list[dict]) -> None:
    table = prepare_views(views, tmp_path / "out", SETTINGS, IDENTITY)
    assert list(table["view_id"]) == [view["view_id"] for view in views]
    geometry = load_geometry(tmp_path / "out")
    for view in views:
        direct = prepare_file(Path(view["file"]), SETTINGS)
        path = tmp_path / "out" / f"{view['view_id']}.png"
        assert (read_prepared(path) == direct.pixels).all()
        found = geometry[view["view_id"]]
        assert {**vars(found), "spacing_mm": None} == vars(direct.geometry)
        assert isinstance(found.flipped, bool)
        assert table.set_index("view_id").loc[view["view_id"], "sha256"] == store.file_sha256(path)
    assert [geometry[view["view_id"]].spacing_mm for view in views] == [0.07, None, None]


def test_goes_on_where_it_stopped(tmp_path: Path, views: list[dict], prepared: list[str]) -> None:
    out = tmp_path / "out"
    whole = prepare_views(views, tmp_path / "other", SETTINGS, IDENTITY)
    prepared.clear()
    prepare_views(views[:2], out, SETTINGS, IDENTITY)
    (out / "W1_e_L_CC.png").unlink()
    with (out / "prepared.jsonl").open("a") as stream:
        stream.write('{"view_id": "W2_')
    prepared.clear()
    table = prepare_views(views, out, SETTINGS, IDENTITY)
    assert prepared == ["1.dcm", "2.dcm"]
    pd.testing.assert_frame_equal(table, whole)
    assert (out / "geometry.csv").read_bytes() == (tmp_path / "other" / "geometry.csv").read_bytes()
    prepared.clear()
    prepare_views(views, out, SETTINGS, IDENTITY)
    assert prepared == []


def test_another_protocol_is_named(tmp_path: Path, views: list[dict], prepared: list[str]) -> None:
    prepare_views(views, tmp_path / "out", SETTINGS, IDENTITY)
    with pytest.raises(store.IdentityMismatch, match="prepare"):
        prepare_views(views, tmp_path / "out", SETTINGS, {"prepare": {}})


def test_a_changed_or_missing_file_is_named_and_the_others_are_kept(
    tmp_path: Path, views: list[dict], prepared: list[str]
) -> None:
    shutil.copy(views[1]["file"], views[0]["file"])
    with pytest.raises(TramtrackError, match=r"1 of 3 views could not be prepared.*0\.dcm: its content is no longer"):
        prepare_views(views, tmp_path / "out", SETTINGS, IDENTITY)
    assert not (tmp_path / "out" / "W0_e_L_CC.png").exists()
    prepared.clear()
    views[0]["sha256"] = store.file_sha256(Path(views[0]["file"]))
    prepare_views(views, tmp_path / "out", SETTINGS, IDENTITY)
    assert prepared == ["0.dcm"]
