"""Single views under every network: drawn on their originals; one that cannot be drawn is told of and the others go on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack.commands.maps import explain
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.explain.atlas import Atlas
from tramtrack.explain.single import explain_views
from tramtrack.imaging.prepare import png_bytes, prepare_file
from tramtrack.judgement.results import test_file as scores_file
from tramtrack.protocol import Explain, Prepare, Protocol, Transfer

PROTOCOL = Protocol(prepare=Prepare(height=64, width=48), transfer=Transfer(widths=(16, 8)))


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_run):
    """One run, and views v0 (validation, with a mask), v1 (validation), v2 (test) on originals of 300 x 220 pixels."""
    folder = tmp_path_factory.mktemp("single")
    (folder / "protocol.toml").write_text(PROTOCOL.to_toml())
    down, across = np.ogrid[:300, :220]
    breast = ((down - 150) / 130) ** 2 + (across / 170) ** 2 < 1
    rows, geometry = [], {}
    for number, fold in enumerate(("validation", "validation", "test")):
        name = f"v{number}"
        grain = np.random.default_rng(number).integers(15000, 30000, breast.shape)
        Image.fromarray((grain * breast).astype(np.uint16)).save(folder / f"{name}-original.png")
        prepared = prepare_file(folder / f"{name}-original.png", PROTOCOL.prepare, 0.8)
        (folder / f"{name}.png").write_bytes(png_bytes(prepared.pixels))
        geometry[name] = prepared.geometry
        mask = np.zeros(breast.shape, dtype=np.uint8)
        mask[100:140, 60:64] = 255
        Image.fromarray(mask).save(folder / f"{name}-mask.png")
        rows.append(
            {"view_id": name, "woman": name, "fold": fold, "file": folder / f"{name}.png",
             "original": folder / f"{name}-original.png", "mask": str(folder / f"{name}-mask.png") if number == 0 else ""}
        )  # fmt: skip
    return [write_run(folder / "run", 1, PROTOCOL)], pd.DataFrame(rows), geometry, folder


def explained(study, view_ids, **settings):
    runs, views, geometry, folder = study
    protocol = PROTOCOL.model_copy(update={"explain": Explain(**settings)})
    return explain_views(runs, protocol, views, geometry, folder, view_ids)


def test_views_are_drawn_at_the_originals_size_and_measured_where_there_is_a_mask(study):
    table = explained(study, ["v1", "v0", "v1"])
    assert list(table["view_id"]) == ["v1", "v0"] and (table["stride"] == 32).all()
    assert table["average_precision"].isna().tolist() == [True, False]
    folder = study[-1] / "heatmaps" / "views"
    for view_id, picture in zip(table["view_id"], table["picture"], strict=True):
        with Image.open(folder / view_id / picture) as drawn:
            assert drawn.size == (220, 300)
    again = pd.read_csv(folder / "v0" / "maps.csv")
    assert again["score"].iloc[0] == pytest.approx(table["score"].iloc[1]) and 0 < again["score"].iloc[0] < 1
    assert (study[-1] / "heatmaps" / "mobilenet" / "last-conv" / "seed-1" / "maps.npz").exists()


def test_a_map_of_zeros_is_called_empty(study, monkeypatch, capsys):
    made = Atlas(("v0", "v1"), np.zeros((2, 2, 2), np.float32), np.zeros(2, np.float32), 1.0, "relu")
    made.maps[1, 0, 0] = 1
    monkeypatch.setattr("tramtrack.explain.atlas.make_heatmaps", lambda *arguments: made)
    table = explained(study, ["v0", "v1"], layer="conv_pw_13")
    assert list(table["empty"]) == [1, 0]
    given = SimpleNamespace(explain_views=lambda *arguments: table)
    monkeypatch.setattr("tramtrack.commands.maps.open_study", lambda *arguments, **options: given)
    explain(study[-1], view=["v0", "v1"])
    said = " ".join(capsys.readouterr().out.split())
    assert "v0: the heat map of mobilenet at stride 32 is empty" in said and "v1: the heat map" not in said


def test_a_network_without_the_layer_is_told_of_and_the_others_go_on(study, write_run, capsys):
    (own,), views, geometry, folder = study
    other = write_run(folder / "other", 1, PROTOCOL, network="mobilenetv2")
    protocol = PROTOCOL.model_copy(update={"explain": Explain(layer="conv_pw_13")})
    table = explain_views([other, own], protocol, views, geometry, folder, ["v0"])
    assert list(table["network"]) == ["mobilenet"] and "; the other networks go on" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match=r"no network can have a heat map\. MobileNetV2: layer conv_pw_13"):
        explain_views([other], protocol, views, geometry, folder, ["v0"])


def test_another_layer_is_kept_apart_from_the_studys_own_maps(study):
    table = explained(study, ["v0"], method="grad-cam", layer="stride-8")
    assert list(table["stride"]) == [8] and "grad-cam-stride-8-8" in table["picture"].iloc[0]
    assert (study[-1] / "heatmaps" / "mobilenet" / "last-conv" / "seed-1" / "grad-cam-stride-8" / "maps.npz").exists()


def test_a_sealed_view_and_one_that_is_not_there_are_refused(study, tmp_path):
    with pytest.raises(UsageError, match="view v2: the test fold is sealed"):
        explained(study, ["v0", "v2"])
    with pytest.raises(UsageError, match="view v9: not in the folds"):
        explained(study, ["v9"])
    scored = scores_file(study[-1] / "results", study[0][0])
    scored.parent.mkdir(parents=True)
    scored.touch()
    assert list(explained(study, ["v2"])["view_id"]) == ["v2"]
    scored.unlink()


def test_an_original_without_a_breast_is_told_of_and_the_others_go_on(study, tmp_path):
    runs, views, geometry, folder = study
    Image.fromarray(np.zeros((300, 220), dtype=np.uint16)).save(tmp_path / "black.png")
    views = views.assign(original=[tmp_path / "black.png", *views["original"][1:]])
    done = folder / "heatmaps" / "views" / "v1" / "maps.csv"
    done.unlink(missing_ok=True)
    with pytest.raises(TramtrackError, match=r"1 of 2 views could not be shown, .*; first: v0: expected a breast"):
        explain_views(runs, PROTOCOL, views, geometry, folder, ["v0", "v1"])
    assert done.exists()


def test_a_mask_of_another_size_is_told_of_and_the_view_is_drawn_without(study, tmp_path, capsys):
    runs, views, geometry, folder = study
    Image.fromarray(np.full((9, 9), 255, dtype=np.uint8)).save(tmp_path / "small.png")
    views = views.assign(mask=[str(tmp_path / "small.png"), "", ""])
    table = explain_views(runs, PROTOCOL, views, geometry, folder, ["v0"])
    assert table["average_precision"].isna().all()
    assert "expected a mask of 300 x 220 pixels, as its view has, received 9 x 9" in capsys.readouterr().err
