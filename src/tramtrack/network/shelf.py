"""Keep weights at hand: bring a file of one's own into the cache, and check what the cache and the local folder hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network.build import network_facts
from tramtrack.network.places import UNSTATED, cache_folder, find_local, origin_of, places
from tramtrack.network.registry import NetworkFacts, file_stem
from tramtrack.network.weight_files import read_local, save_safetensors
from tramtrack.network.weight_set import WeightSet
from tramtrack.network.weights import Fetched, fetch


@dataclass(frozen=True)
class Checked:
    """The outcome for one file: ``problem`` is empty where hash and layers are as they should be."""

    network: str
    path: Path
    arrays: int
    problem: str


def fetch_into(name: str, weights_dir: Path | None = None) -> Fetched:
    """Fetch the weights of network ``name`` into the cache, or into ``weights_dir``; what is there already is only read.

    Raises as ``obtain`` does.
    """
    if weights_dir is not None:
        there = find_local(network_facts(name), _made(weights_dir))
        if there is not None:
            return Fetched(read_local(network_facts(name), there), there, new=False)
    return fetch(name, weights_dir or cache_folder())


def verify(names: Sequence[str], weights_dir: Path | None = None) -> Iterator[Checked]:
    """Read every file that the local folder and the cache hold for these networks, and check its hash, layers and numbers."""
    for name in names:
        for path in places(network_facts(name), weights_dir).values():
            arrays, problem = 0, ""
            try:
                arrays = len(read_local(network_facts(name), path).tensors)
            except TramtrackError as error:
                problem = str(error)
            except OSError as error:
                problem = f"{path}: {error.strerror or error}"
            yield Checked(name, path, arrays, problem)


def import_file(
    name: str,
    path: Path,
    *,
    source: str = "",
    licence: str = "",
    trained_on: str = "",
    weights_dir: Path | None = None,
    replace_kept: bool = False,
) -> tuple[WeightSet, Path]:
    """Bring ``path`` into the cache, or into ``weights_dir``, as the weights of network ``name``; returns them and their file.

    Any kind of ``read_local`` is read, and written as safetensors with its origin. ``source``, ``licence`` and ``trained_on``
    say what the file does not; what nobody says is "not stated". Raises TramtrackError naming the file and the layer where it
    is another network's or damaged, and where other weights are kept already, unless ``replace_kept``; UsageError where the
    origin is known and what is said differs.
    """
    network = network_facts(name)
    if not path.is_file():
        raise TramtrackError(f"{path}: expected a file with weights, found {'a folder' if path.is_dir() else 'none'}")
    weights = _with_origin(read_local(network, path), path, {"source": source, "licence": licence, "trained_on": trained_on})
    folder = _made(weights_dir or cache_folder())
    target = folder / f"{file_stem(name)}.safetensors"
    there = find_local(network, folder)
    if there is not None and not replace_kept:
        _require_same(network, there, weights, path)
    return weights, save_safetensors(weights, target)


def _with_origin(weights: WeightSet, path: Path, stated: dict[str, str]) -> WeightSet:
    """``weights`` with what the user states where the file says nothing. Raises UsageError where it says something else."""
    unknown = {"source": f"local file {path.name}", "licence": UNSTATED, "trained_on": UNSTATED}
    for key, text in stated.items():
        known = weights.provenance[key]
        if text and known not in (unknown[key], text):
            option = f"--{key.replace('_', '-')}"
            raise UsageError(f'{path}: {option} says "{text}", its hash or its header says "{known}"; leave {option} out')
    origin = weights.provenance | {key: text for key, text in stated.items() if text}
    return WeightSet(weights.network, weights.tensors, **origin)


def _require_same(network: NetworkFacts, there: Path, weights: WeightSet, path: Path) -> None:
    kept = origin_of(network, there)
    if kept["sha256"] != weights.sha256:
        raise TramtrackError(
            f"{there}: holds other weights of {network.title} already ({kept['source']}, sha256 {kept['sha256'][:12]}…); "
            f"--replace puts those of {path} in their place"
        )


def _made(folder: Path) -> Path:
    if folder.exists() and not folder.is_dir():
        raise TramtrackError(f"{folder}: expected a folder to keep weights in, found a file; name another by --weights-dir")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
