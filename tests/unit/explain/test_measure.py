"""From maps and masks to the tables in results/ and the section in the report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack import store
from tramtrack.explain.atlas import Atlas
from tramtrack.explain.burden_source import Source
from tramtrack.explain.measure import measure_maps
from tramtrack.explain.place import block_average
from tramtrack.imaging.geometry import fit
from tramtrack.protocol import Evaluation, Prepare, Protocol
from tramtrack.training.record import Run

ROWS, COLUMNS = 128, 64
PROTOCOL = Protocol(prepare=Prepare(height=ROWS, width=COLUMNS), evaluation=Evaluation(resamples=200))
NAMES = [f"v{number}" for number in range(8)]


def run(network: str, weights: str = "ab") -> Run:
    identity = {"network": network, "variant": "last-conv", "seed": 0, "weights": "pretrained"}
    return Run(Path(), identity, {"weights_file_sha256": weights})


@pytest.fixture
def arguments(tmp_path):
    """Eight views of four women; vgg16's map has cells of 8 pixels and lies on the mask, xception's of 16 lies beside it."""
    rng = np.random.default_rng(0)
    geometry, masks, fine, coarse, files = {}, {}, [], [], []
    for number, name in enumerate(NAMES):
        spacing = None if number == 0 else 0.5
        geometry[name] = fit((ROWS, COLUMNS), (0, 0, ROWS, COLUMNS), False, (ROWS, COLUMNS), spacing)
        mask = np.zeros((ROWS, COLUMNS), dtype=bool)
        row = int(rng.integers(20, 100))
        mask[row : row + 6, 20:24] = True
        masks[name] = mask
        prepared = np.full((ROWS, COLUMNS), 9000, dtype=np.uint16)
        Image.fromarray(prepared).save(tmp_path / f"{name}.png")
        files.append(tmp_path / f"{name}.png")
        values = rng.random((ROWS // 8, COLUMNS // 8)).astype(np.float32) * 0.1
        values[(row + 3) // 8, 2] = 5
        fine.append(values)
        coarse.append(rng.random((ROWS // 16, COLUMNS // 16)).astype(np.float32))
    coarse[3] *= 0
    views = pd.DataFrame({"view_id": NAMES, "woman": [f"w{n // 2}" for n in range(8)], "file": files})
    logits = np.zeros(8, dtype=np.float32)
    named = {
        "vgg16": [(run("vgg16"), Atlas(tuple(NAMES), np.stack(fine), logits, 1.0, "block5_conv3"))],
        "xception": [(run("xception"), Atlas(tuple(NAMES), np.stack(coarse), logits, 1.0, "out"))],
    }
    return named, views, masks, geometry, PROTOCOL, tmp_path / "results"


def test_maps_are_measured_native_and_at_equal_stride_beside_the_baselines(arguments):
    said = measure_maps(*arguments)
    folder = arguments[-1]
    assert said is not None and said["strides"] == {"vgg16": 8, "xception": 16}
    assert (said["views"], said["women"], said["tolerance"]) == (8, 4, "2 mm or 8 pixels")
    views = pd.read_csv(folder / "localisation_views.csv")
    assert len(views) == 8 * 2 * 4
    first = views[views["view_id"] == "v0"].iloc[0]
    assert (first["tolerance"], first["unit"]) == (8, "pixels")
    assert (views.loc[views["view_id"] == "v1", "tolerance"] == 4).all()
    means = pd.read_csv(folder / "localisation.csv").set_index(["map", "kind", "measure"])
    vgg16 = means.loc["vgg16"]["estimate"]
    assert vgg16["native", "pointing_game"] == 1
    assert vgg16["native", "mass"] > vgg16["matched", "mass"] > means.loc[("xception", "matched", "mass"), "estimate"]
    assert means.loc[("xception", "native", "rank"), "estimate"] == means.loc[("xception", "matched", "rank"), "estimate"]
    assert means.loc[("xception", "native", "rank"), "empty"] == 1
    pairs = pd.read_csv(folder / "localisation_pairs.csv")
    assert len(pairs) == 6 * 2 * 5
    assert len(said["sentences"]) == 2 and said["sentences"][0].startswith("vgg16: its native maps lie better than those of ")
    assert said["sentences"][1].startswith("vgg16 against xception, native maps: ")


def test_runs_trained_at_stride_16_stand_beside_and_a_network_that_has_it_is_measured_as_it_is(arguments):
    named, *others = arguments
    half = {name: [(runs[0][0], _averaged(runs[0][1]))] for name, runs in named.items()}  # strides 16 and 32
    finer = dataclasses.replace(
        named["xception"][0][0], identity={**run("xception").identity, "variant": "last-conv+stride-16"}
    )
    said = measure_maps(half, *others, trained={"xception": [(finer, named["vgg16"][0][1])]})
    assert said is not None and said["strides"] == {"vgg16": 16, "xception": 32}
    assert said["variants"]["stride-16"] == {"vgg16": ["vgg16", "last-conv"], "xception": ["xception", "last-conv+stride-16"]}
    views = pd.read_csv(arguments[-1] / "localisation_views.csv")
    trained = views[views["kind"] == "stride-16"].set_index("map")
    assert set(trained.index) == {"vgg16", "xception", "centre blob", "vessel filter"} and len(trained) == 8 * 4
    assert (trained.loc["xception", "variant"] == "last-conv+stride-16").all() and (trained.loc["vgg16", "stride"] == 16).all()
    native = views[views["kind"] == "native"].set_index("map")
    assert (trained.loc["vgg16", "mass"].to_numpy() == native.loc["vgg16", "mass"].to_numpy()).all()
    assert trained.loc["xception", "mass"].mean() > 3 * native.loc["xception", "mass"].mean()
    assert "trained at stride 16" in said["sentences"][-1]
    again = measure_maps(half, *others)
    assert again is not None and "stride-16" not in again["variants"]


def _averaged(atlas: Atlas) -> Atlas:
    return dataclasses.replace(atlas, maps=np.stack([block_average(values, 2) for values in atlas.maps]))


def test_the_tables_are_kept_until_a_map_or_a_mask_changes(arguments):
    named, _, masks, *_, folder = arguments
    measure_maps(*arguments)
    before = (folder / "localisation_views.csv").read_bytes()
    (folder / "localisation_views.csv").write_text("as it was")
    measure_maps(*arguments)
    assert (folder / "localisation_views.csv").read_text() == "as it was"
    masks["v7"] = np.roll(masks["v7"], 5, axis=1)
    measure_maps(*arguments)
    assert (folder / "localisation_views.csv").read_bytes() not in (before, b"as it was")
    atlas = named["vgg16"][0][1]
    named["vgg16"] = [(run("vgg16", "cd"), atlas)]
    identity = store.read_identity(folder / "localisation.json")
    measure_maps(*arguments)
    assert store.read_identity(folder / "localisation.json") != identity


def test_a_control_is_measured_and_never_ranked(arguments):
    named, *others = arguments
    control = {"vgg16 (random weights)": named["vgg16"], "xception": named["xception"]}
    said = measure_maps(control, *others)
    assert said is not None and said["sentences"] == []
    folder = arguments[-1]
    assert "vgg16 (random weights)" in set(pd.read_csv(folder / "localisation.csv")["map"])
    pairs = pd.read_csv(folder / "localisation_pairs.csv")
    assert set(pairs["map_a"]) | set(pairs["map_b"]) == {"xception", "centre blob", "vessel filter"}


def test_maps_beside_the_networks_are_measured_and_change_nothing_else(arguments):
    _, _, masks, *_, folder = arguments
    alone = measure_maps(*arguments)
    means, pairs = (pd.read_csv(folder / f"localisation{end}.csv") for end in ("", "_pairs"))
    source = Source("segmentation", "segmentation", {"weights": "ef"}, lambda name: masks[name].astype(np.float32), 1.0)
    said = measure_maps(*arguments, beside=[source])
    assert said is not None and alone is not None and said["sentences"] == alone["sentences"]
    assert said["beside"] == ["segmentation"] and said["strides"] == alone["strides"]
    beside = pd.read_csv(folder / "localisation.csv")
    added = beside[beside["map"] == "segmentation"].set_index(["kind", "measure"])["estimate"]
    assert beside[beside["map"] != "segmentation"].reset_index(drop=True).equals(means)
    assert pd.read_csv(folder / "localisation_pairs.csv").equals(pairs)
    assert added["native", "pointing_game"] == 1 and added["native", "mass"] == 1
    assert added["matched", "mass"] < 1
    views = pd.read_csv(folder / "localisation_views.csv")
    assert sorted(views.loc[views["map"] == "segmentation", "stride"].unique()) == [1, 16]


def test_without_masks_nothing_is_measured(arguments):
    named, views, _, geometry, protocol, folder = arguments
    assert measure_maps(named, views, {}, geometry, protocol, folder) is None
    assert not folder.exists()


def test_what_was_measured_goes_with_the_masks_or_the_maps(arguments):
    """Tables of masks that are no longer there, or of maps that were not made, are nobody's."""
    named, views, masks, geometry, protocol, folder = arguments
    for of_named, of_masks in ((named, {}), ({}, masks)):
        assert measure_maps(*arguments) is not None and len(list(folder.glob("localisation*"))) == 4
        assert measure_maps(of_named, views, of_masks, geometry, protocol, folder) is None
        assert list(folder.glob("localisation*")) == []
