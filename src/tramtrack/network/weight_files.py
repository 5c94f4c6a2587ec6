"""Files of weights: the kinds that are read, and the one that is written. Nothing foreign is executed, no pickle is read."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network.build import skeleton
from tramtrack.network.challenger import Challenger
from tramtrack.network.downloads import WrongHash
from tramtrack.network.keras_files import read_keras
from tramtrack.network.onnx_files import read_onnx
from tramtrack.network.places import opened_safetensors, origin_of, read_header
from tramtrack.network.registry import NetworkFacts, is_challenger
from tramtrack.network.weight_set import WeightSet, check_layers

_PICKLE_ENDINGS = (".pt", ".pth", ".pkl", ".pickle")


def read_local(network: NetworkFacts, path: Path) -> WeightSet:
    """The weights of ``network`` from a file of any kind that is read here, with their origin as ``origin_of`` gives it.

    Kinds: the three Keras layouts, safetensors, and for networks without BatchNorm ONNX. Raises TramtrackError naming the
    file, and the layer that is missing or has another shape; a pickle is refused unread.
    """
    _refuse_pickle(path)
    if path.suffix == ".safetensors":
        return read_safetensors(network, path)
    if is_challenger(network.name):
        raise TramtrackError(f"{path}: expected safetensors with timm's names as weights of {network.title}")
    layers = skeleton(network.name).keras_layers()
    origin = origin_of(network, path)
    if path.suffix == ".onnx":
        if network.batchnorm_layers:
            raise TramtrackError(
                f"{path}: ONNX is read for networks without BatchNorm only: converters fold it into the convolutions of "
                f"{network.title}; bring a Keras file or safetensors"
            )
        tensors = read_onnx(path.read_bytes(), layers, str(path))
    else:
        tensors = read_keras(path, layers, str(path))
    check_layers(tensors, layers, str(path))
    return WeightSet(network.name, tensors, **origin)


def _refuse_pickle(path: Path) -> None:
    """Raise TramtrackError for a pickle, by its ending or its first bytes, before anything reads it."""
    with path.open("rb") as stream:
        start = stream.read(2)
    pickled = path.suffix.lower() in _PICKLE_ENDINGS
    if path.suffix != ".safetensors":
        pickled |= start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")
        if zipfile.is_zipfile(path):  # as torch.save writes it
            with zipfile.ZipFile(path) as archive:
                pickled |= any(name.endswith("data.pkl") for name in archive.namelist())
    if pickled:
        raise TramtrackError(
            f"{path}: a pickle, as torch.save writes it: opening one can run any program, so none is opened; save the arrays "
            "as safetensors, each called <Keras layer>/<variable>, kernels as (rows, columns, in, out), and bring that file"
        )


def save_safetensors(weights: WeightSet, path: Path) -> Path:
    """Write ``weights`` atomically; the header holds their origin, a hash of the content, and the start of each array's."""
    digests = {key: _array_sha256(array) for key, array in weights.tensors.items()}
    metadata = {"network": weights.network, **weights.provenance, "content_sha256": _content_sha256(weights.tensors)}
    return store.write_bytes(path, save(weights.tensors, metadata={**metadata, "array_sha256": json.dumps(digests)}))


def read_safetensors(network: NetworkFacts, path: Path) -> WeightSet:
    """Weights from a safetensors file: with the origin in its header if tramtrack wrote it, else as a local file.

    Raises WrongHash naming the layer if the content is not what the header says, TramtrackError if it is no safetensors file
    or another network's.
    """
    metadata, backbone = read_header(network, path), skeleton(network.name)
    with opened_safetensors(path) as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    if isinstance(backbone, Challenger) and "network" not in metadata:
        tensors = {_from_state_name(key): array for key, array in tensors.items() if backbone.is_read(key)}
    if "content_sha256" in metadata and metadata["content_sha256"] != _content_sha256(tensors):
        what = _first_changed(tensors, json.loads(metadata.get("array_sha256", "{}")))
        raise WrongHash(f"{path}: wrong hash: {what} is not what was written; remove the file and try again")
    check_layers(tensors, backbone.keras_layers(), str(path))
    return WeightSet(network.name, tensors, **origin_of(network, path))


def _from_state_name(key: str) -> str:
    """timm's name of a weight, such as stem.0.weight, as ``<module>/<variable>``; one of the model itself has no module."""
    module, _, variable = key.rpartition(".")
    return f"{module}/{variable}"


def _array_sha256(array: np.ndarray) -> str:
    """The first 16 hex digits: enough to tell which array changed once the hash of the whole content says that one did."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()[:16]


def _first_changed(tensors: dict[str, np.ndarray], written: dict[str, str]) -> str:
    """The layer and variable whose array is not the one that was written, where the header can tell."""
    for key in sorted({*written, *tensors} if written else ()):
        if key not in tensors or _array_sha256(tensors[key]) != written.get(key):
            layer, _, variable = key.partition("/")
            return f"layer {layer}: {variable}"
    return "the content"


def _content_sha256(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        array = np.ascontiguousarray(tensors[key])
        digest.update(json.dumps([key, array.dtype.str, array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()
