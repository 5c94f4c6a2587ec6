"""What is to be trained: which variants of which networks, and whether each can be, asked before any work."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tramtrack.errors import UsageError
from tramtrack.network.build import network_facts, skeleton
from tramtrack.network.places import places
from tramtrack.network.registry import file_stem, title
from tramtrack.network.weight_set import CannotFollow, require_batchnorm_policy
from tramtrack.network.weights import WeightsUnavailable, obtain
from tramtrack.progress import track
from tramtrack.protocol import Protocol, Transfer
from tramtrack.training.activations import bytes_a_view, require_room
from tramtrack.training.hardware import resolve_dtype
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Keep, RunKey
from tramtrack.training.setup import Fold, keeps_activations
from tramtrack.training.transfer import Classifier
from tramtrack.training.variants import Variant, crossed, followed, in_words, variants


@dataclass(frozen=True)
class Wanted:
    """A variant of a network that is to be trained; ``name`` is network/variant, of the protocol's own variant the network."""

    network: str
    variant: Variant
    name: str

    def left_out_as(self, wanted: Sequence[Wanted]) -> str:
        """By which name it is left out: as the network, which stands for all its variants, where it is the only one wanted."""
        alone = all(other.network != self.network or other == self for other in wanted)
        return self.name if alone else self.full_name

    @property
    def full_name(self) -> str:
        """network/variant, also of the protocol's own variant."""
        return f"{self.network}/{self.variant.name()}"

    def runs(self, folder: Path, weights: str) -> list[Path]:
        """Where the run of each seed lies in a study's ``folder``; ``weights`` is PRETRAINED or RANDOM_WEIGHTS."""
        seeds = self.variant.protocol.training.seeds
        return [RunKey(self.network, self.variant.name(weights), seed).folder(folder.absolute() / "runs") for seed in seeds]

    def is_finished(self, folder: Path, weights: str) -> bool:
        """Whether every seed has its run there."""
        return all((run / "run.json").exists() for run in self.runs(folder, weights))


def plan_variants(networks: Sequence[str], protocol: Protocol, cache: Keep) -> tuple[list[Wanted], dict[str, CannotFollow]]:
    """What is to be trained, and by name what is not and why; asked before any work.

    Raises UsageError where a network cannot follow the protocol's own variant, or activations are asked for that no run of a
    listed variant can keep.
    """
    wanted: list[Wanted] = []
    refused: dict[str, CannotFollow] = {}
    own, *others = variants(protocol)
    factors = crossed(protocol)
    for network in networks:
        keeps_activations(network, own.protocol.transfer, cache)
        wanted.append(Wanted(network, own, network))
        for variant in others:
            name = f"{network}/{variant.name()}"
            levels, why = followed(network_facts(network), variant.levels, factors)
            if why:
                refused[name] = CannotFollow(f"{title(network)}: {why}; its {in_words(levels, own.levels)} stands for it")
                continue
            try:
                keeps_activations(network, variant.protocol.transfer, "auto")
            except UsageError as error:
                refused[name] = CannotFollow(str(error))
                continue
            keeps_activations(network, variant.protocol.transfer, cache)
            wanted.append(Wanted(network, variant, name))
    return wanted, refused


def plan_weights(
    wanted: Sequence[Wanted], weights: str, weights_dir: Path | None, folder: Path
) -> tuple[list[Wanted], dict[str, WeightsUnavailable | CannotFollow]]:
    """Of what is to be trained that which its weights can follow, and by name why the rest cannot; asked before any work.

    Weights that are at hand are read, so that a broken file or another network's stops here and not after hours of training.
    Whether BatchNorm was folded stands in the weights themselves, so those of networks of which a variant adapts or trains
    BatchNorms are obtained here too. All are let go again: `train_variants` obtains them at their turn. What is finished in
    the study's ``folder`` needs none. Raises TramtrackError naming the file and the layer.
    """
    networks = dict.fromkeys(one.network for one in wanted) if weights == "pretrained" else {}
    here = [name for name in networks if places(network_facts(name), weights_dir)]
    to_fetch = [name for name in networks if name not in here and _moves_batchnorm(name, wanted)]
    refused: dict[str, WeightsUnavailable | CannotFollow] = {}
    for network in itertools.chain(track(here, "checking weights"), to_fetch):  # a download has a bar of its own
        try:
            weight_set = obtain(network, weights_dir=weights_dir)
        except WeightsUnavailable as error:
            refused |= dict.fromkeys(need_weights(network, wanted, folder), error)
            continue
        for one in wanted:
            if one.network == network:
                try:
                    require_batchnorm_policy(weight_set, one.variant.protocol.transfer.batchnorm)
                except CannotFollow as error:
                    refused[one.left_out_as(wanted)] = error
    return [one for one in wanted if not refused.keys() & {one.network, one.full_name}], refused


def need_weights(network: str, wanted: Sequence[Wanted], folder: Path) -> list[str]:
    """What is left out where ``network`` has no weights: it, or where some of its variants are finished each that is not."""
    mine = [one for one in wanted if one.network == network]
    unfinished = [one.full_name for one in mine if not one.is_finished(folder, PRETRAINED)]
    return [network] if len(unfinished) == len(mine) else unfinished


def require_room_for_each(
    wanted: Sequence[Wanted],
    weights: str,
    cache: Keep,
    views: Callable[[Variant], tuple[Fold, Mapping[str, str]]],
    folder: Path,
    device: torch.device | None,
) -> None:
    """Raise TramtrackError where the disk would not hold the activations of some wanted variant; asked before any training.

    ``device`` is where they will be computed, which decides their dtype; None is a cluster, whose machines may choose the
    shorter one. What is finished needs none; what an interrupted command left of the network's is counted as free.
    """
    kind = PRETRAINED if weights == "pretrained" else RANDOM_WEIGHTS
    for one in track(wanted, "checking room for activations"):
        protocol = one.variant.protocol
        if one.is_finished(folder, kind) or not keeps_activations(
            one.network, protocol.transfer, "off" if cache == "off" else "auto"
        ):
            continue
        fold, _ = views(one.variant)
        count = len(fold.table) + protocol.augmentation.variants * len(fold.examples("training"))
        auto = resolve_dtype("auto", device) if device else torch.bfloat16
        dtype = auto if protocol.training.dtype == "auto" else getattr(torch, protocol.training.dtype)
        left = sum(path.stat().st_size for path in (folder / "cache" / file_stem(one.network)).rglob("*.bin"))
        each = _bytes_a_view(one.network, protocol.transfer, (protocol.prepare.height, protocol.prepare.width), dtype)
        require_room(folder, count * each, title(one.network), left)


@functools.cache
def _bytes_a_view(network: str, transfer: Transfer, size: tuple[int, int], dtype: torch.dtype) -> int:
    model = Classifier(skeleton(network), transfer, torch.Generator()).eval()
    return bytes_a_view(model, size, dtype)


def _moves_batchnorm(network: str, wanted: Sequence[Wanted]) -> bool:
    """Whether a wanted variant adapts or trains BatchNorms that ``network`` has."""
    policies = {one.variant.protocol.transfer.batchnorm for one in wanted if one.network == network}
    return bool(policies - {"frozen"}) and network_facts(network).batchnorm_layers > 0
