"""Where weight files lie, under which names, and what a file says of its origin. Needs no deep-learning framework."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
from safetensors import safe_open

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network import downloads
from tramtrack.network.registry import IMAGENET, NetworkFacts, file_stem, is_challenger

WEIGHTS_DIR = "TRAMTRACK_WEIGHTS_DIR"
CACHE = "TRAMTRACK_CACHE"
UNSTATED = "not stated"


def local_names(network: NetworkFacts) -> list[str]:
    """The file names under which a local folder may hold a network's weights, first choice first; a challenger's: timm's."""
    endings = (".safetensors", ".weights.h5", ".keras", ".h5", *([] if network.batchnorm_layers else [".onnx"]))
    if is_challenger(network.name):
        return [f"{file_stem(network.name)}.safetensors", f"{network.tag}.safetensors"]
    own = [f"{network.name}{ending}" for ending in endings]
    return [own[0], network.official_file, *own[1:], *(known.file_name for known in network.known_files)]


def find_local(network: NetworkFacts, folder: Path) -> Path | None:
    """The first of ``local_names`` in ``folder``, or None. Raises TramtrackError if ``folder`` is no folder."""
    if not folder.is_dir():
        raise TramtrackError(f"{folder}: expected a folder with weights (--weights-dir or {WEIGHTS_DIR}), found none")
    return next((folder / name for name in local_names(network) if (folder / name).is_file()), None)


def local_folder(weights_dir: Path | None = None) -> Path | None:
    """The local folder that is looked into first: ``weights_dir``, else that in TRAMTRACK_WEIGHTS_DIR, else None."""
    return weights_dir or _folder_from_environment(WEIGHTS_DIR)


def cache_folder(cache_dir: Path | None = None) -> Path:
    """Where fetched weights are kept: ``cache_dir``, else ``weights`` in TRAMTRACK_CACHE or the platform's cache folder."""
    if cache_dir is not None:
        return cache_dir
    return (_folder_from_environment(CACHE) or Path(platformdirs.user_cache_dir("tramtrack"))) / "weights"


def places(network: NetworkFacts, weights_dir: Path | None = None) -> dict[str, Path]:
    """The files that hold a network's weights now, by "local folder" and "cache"; a run uses the first."""
    found = {}
    folder = local_folder(weights_dir)
    local = find_local(network, folder) if folder is not None else None
    if local is not None:
        found["local folder"] = local
    cached = cache_folder() / f"{file_stem(network.name)}.safetensors"
    if cached.exists():
        found["cache"] = cached
    return found


def origin_of(network: NetworkFacts, path: Path) -> dict[str, str]:
    """``source``, ``sha256``, ``licence`` and ``trained_on`` of a weights file; its arrays are not read.

    A safetensors file that tramtrack wrote says so in its header. A file with the hash of the official or of a known file is
    recognised whatever it is called; of any other, licence and training data are "not stated". Raises TramtrackError where
    the header cannot be read or was written for another network, WrongHash where a file has the official name and not the
    hash that Keras publishes.
    """
    unstated = {"source": f"local file {path.name}", "licence": UNSTATED, "trained_on": UNSTATED}
    if path.suffix == ".safetensors":
        metadata = read_header(network, path)
        stated = {key: metadata.get(key, other) for key, other in unstated.items()}
        return {**stated, "sha256": metadata.get("sha256") or store.file_sha256(path)}
    digest = store.file_sha256(path)
    for known in network.known_files:
        if known.sha256 == digest:
            return {"source": known.source, "licence": known.licence, "trained_on": known.trained_on, "sha256": digest}
    if network.official_hash and path.name == network.official_file:
        downloads.check_hash(path, network.official_hash, str(path))
    if network.official_hash and downloads.has_hash(path, network.official_hash):
        licence = network.official_licence
        return {"source": network.official_url, "licence": licence, "trained_on": IMAGENET, "sha256": digest}
    return {**unstated, "sha256": digest}


def read_header(network: NetworkFacts, path: Path) -> dict[str, str]:
    """What stands in a safetensors file's header beside the arrays. Raises TramtrackError where it is another network's."""
    with opened_safetensors(path) as file:
        metadata: dict[str, str] = file.metadata() or {}
    written_for = metadata.get("network", network.name)
    if written_for != network.name:
        raise TramtrackError(f"{path}: expected weights of {network.name}, received those of {written_for}")
    return metadata


@contextmanager
def opened_safetensors(path: Path) -> Iterator[Any]:
    """An open safetensors file whose arrays are read as numpy. Raises TramtrackError where it is none."""
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except TramtrackError:
        raise
    except Exception as error:  # the reader raises its own kind, OSError, and TypeError for a dtype numpy does not have
        raise TramtrackError(
            f"{path}: expected safetensors, found something else ({error}); remove it or restore it"
        ) from error


def _folder_from_environment(variable: str) -> Path | None:
    value = os.environ.get(variable, "")
    return Path(value).expanduser() if value else None
