"""The maps of a run are kept in one file with the logits of the same pass, on one scale from validation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tramtrack.explain import atlas as made
from tramtrack.explain.atlas import make_heatmaps, read_atlas
from tramtrack.explain.methods import Explainer
from tramtrack.protocol import Explain, Prepare, Protocol, Transfer
from tramtrack.store import IdentityMismatch
from tramtrack.training.rebuild import predict_views, rebuild

PROTOCOL = Protocol(prepare=Prepare(height=64, width=32), transfer=Transfer(widths=(16, 8)))


@pytest.fixture(scope="module", params=("float32", "bfloat16"))
def study(request, tmp_path_factory, write_run):
    """A run, and eleven prepared views: nine to explain and two of validation."""
    folder = tmp_path_factory.mktemp("atlas")
    rng = np.random.default_rng(0)
    files = {}
    for number in range(11):
        files[f"v{number}"] = folder / f"v{number}.png"
        Image.fromarray(rng.integers(0, 65536, (64, 32)).astype(np.uint16)).save(files[f"v{number}"])
    validation = [files.pop("v9"), files.pop("v10")]
    return write_run(folder, 1, PROTOCOL, request.param), files, validation


def test_the_logits_are_those_of_the_scores_to_the_bit_and_the_scale_is_validations(study, tmp_path):
    run, files, validation = study
    atlas = make_heatmaps(run, PROTOCOL, files, validation, tmp_path)
    assert np.array_equal(atlas.scores(list(files)), predict_views(run, PROTOCOL, list(files.values()), "views"))
    assert atlas.maps.shape == (9, 2, 1) and atlas.layer == "conv_pw_13_relu"
    of_validation = make_heatmaps(run, PROTOCOL, dict(zip("ab", validation, strict=True)), validation, tmp_path / "other")
    assert atlas.scale == pytest.approx(float(np.percentile(of_validation.maps, 99.5)))
    back = read_atlas(tmp_path)
    assert back.view_ids == atlas.view_ids == tuple(files) and back.scale == atlas.scale
    assert np.array_equal(back.maps, atlas.maps) and np.array_equal(back["v4"], atlas.maps[4])


def test_maps_that_are_there_are_kept_and_others_join_them(study, tmp_path, monkeypatch):
    run, files, validation = study
    first = make_heatmaps(run, PROTOCOL, {"v3": files["v3"]}, validation, tmp_path)
    both = make_heatmaps(run, PROTOCOL, {"v3": files["v3"], "v5": files["v5"]}, validation, tmp_path)
    assert both.view_ids == ("v3", "v5") and np.array_equal(both["v3"], first["v3"])
    monkeypatch.setattr(made, "rebuild", lambda *_: pytest.fail("computed again"))
    assert make_heatmaps(run, PROTOCOL, {"v5": files["v5"]}, validation, tmp_path).view_ids == both.view_ids
    other = PROTOCOL.model_copy(update={"explain": Explain(method="grad-cam")})
    with pytest.raises(IdentityMismatch, match="remove this folder to make the heat maps anew"):
        make_heatmaps(run, other, files, validation, tmp_path)


def test_the_protocols_method_and_layer_are_used(study, tmp_path):
    run, files, validation = study
    wanted = PROTOCOL.model_copy(update={"explain": Explain(method="grad-cam", layer="stride-16")})
    atlas = make_heatmaps(run, wanted, {"v1": files["v1"]}, validation, tmp_path)
    model = rebuild(run, PROTOCOL, torch.device("cpu"))
    grey = torch.from_numpy(np.asarray(Image.open(files["v1"])).astype(np.float32))[None, None]
    dtype = getattr(torch, run.identity["dtype"])
    expected, _ = Explainer("grad-cam", "stride-16").maps(model, grey, None, dtype)
    assert atlas.layer == "conv_pw_11" and atlas.maps.shape == (1, 4, 2)
    assert np.allclose(atlas.maps[0], expected[0].numpy(), rtol=1e-4, atol=1e-7)
