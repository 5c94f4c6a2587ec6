"""All runs of a study: which variants of which networks, planned before any work, and carried out by an engine."""

from __future__ import annotations

import functools
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tramtrack.engine import Engine, Failure, Job, WorkerDied
from tramtrack.errors import OutOfMemory, UsageError
from tramtrack.network.build import network_facts, skeleton
from tramtrack.network.places import places
from tramtrack.network.registry import file_stem, title
from tramtrack.network.weights import CannotFollow, WeightSet, WeightsUnavailable, obtain, require_batchnorm_policy
from tramtrack.progress import track
from tramtrack.protocol import Protocol, Transfer
from tramtrack.training.activations import bytes_a_view, require_room
from tramtrack.training.hardware import resolve_dtype
from tramtrack.training.loop import Diverged
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Keep, Run, RunKey, finished_run
from tramtrack.training.run import Fold, keeps_activations
from tramtrack.training.transfer import Classifier
from tramtrack.training.units import Plan, network_job
from tramtrack.training.variants import Variant, crossed, followed, in_words, variants

LEAVES_OUT = (WeightsUnavailable, CannotFollow, Diverged, OutOfMemory, WorkerDied)
"""Errors that leave a network or one of its variants out, while the others go on."""


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
            refused |= dict.fromkeys(_need_weights(network, wanted, folder), error)
            continue
        for one in wanted:
            if one.network == network:
                try:
                    require_batchnorm_policy(weight_set, one.variant.protocol.transfer.batchnorm)
                except CannotFollow as error:
                    refused[one.left_out_as(wanted)] = error
    return [one for one in wanted if not refused.keys() & {one.network, one.full_name}], refused


def _need_weights(network: str, wanted: Sequence[Wanted], folder: Path) -> list[str]:
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


def train_variants(
    wanted: Sequence[Wanted],
    weights: str,
    weights_dir: Path | None,
    cache: Keep,
    engine: Engine,
    views: Callable[[Variant], tuple[Fold, Mapping[str, str]]],
    folder: Path,
) -> Iterator[tuple[str, list[Run] | Exception]]:
    """The runs of each wanted variant as its last seed ends, or why there are none; see `plan_weights` for what is wanted.

    ``views`` gives a variant's training and validation views, and the hashes of folds and prepared files; ``folder`` is the
    study's. A network without weights gives what is finished of it. Where runs follow one another, the activations of one
    variant are there for the next of the same network; what fits no more is replaced.
    """
    unavailable: dict[str, Exception] = {}
    begun: dict[Job, Wanted] = {}
    loaded: dict[str, WeightSet] = {}  # of the network that is at its turn
    one_after_the_other = not engine.is_cluster and engine.slots == 1
    remaining = {one.network: sum(other.network == one.network for other in wanted) for one in wanted}

    def jobs() -> Iterator[Job]:
        for one in wanted:
            if one.network in unavailable:
                continue
            try:
                if weights == "pretrained" and one.network not in loaded:
                    loaded.clear()
                    loaded[one.network] = obtain(one.network, weights_dir=weights_dir)
            except WeightsUnavailable as error:
                unavailable[one.network] = error
                continue
            weight_set = loaded.get(one.network)
            variant = one.variant.name(PRETRAINED if weight_set else RANDOM_WEIGHTS)
            kept = (folder / "cache" / file_stem(one.network)).absolute()
            kept = kept if one_after_the_other else kept / variant
            fold, hashes = views(one.variant)
            runs = (folder / "runs").absolute()
            plan = Plan(one.network, variant, weight_set, fold, one.variant.protocol, hashes, runs, kept, cache)
            job = network_job(plan, 0 if one_after_the_other else max(1, engine.slots))  # a cluster may be without machines now
            begun[job] = one
            yield job

    for job, outcome in engine.run(jobs()):
        network = job.shared.network
        remaining[network] -= 1
        failed = isinstance(outcome, Failure) and not isinstance(outcome.error, LEAVES_OUT)
        if not failed and not one_after_the_other:
            shutil.rmtree(job.shared.cache, ignore_errors=True)  # others need the room
        if not failed and not remaining[network]:
            shutil.rmtree(folder / "cache" / file_stem(network), ignore_errors=True)
        one = begun.pop(job)
        if isinstance(outcome, Failure):
            yield one.left_out_as(wanted), outcome.error
        else:
            yield one.name, outcome
    for network, error in unavailable.items():
        yield from _without_weights(network, error, wanted, folder)


def _without_weights(
    network: str, error: Exception, wanted: Sequence[Wanted], folder: Path
) -> Iterator[tuple[str, list[Run] | Exception]]:
    """What `train_variants` gives of a network without weights: of no use is then whatever was kept for it."""
    shutil.rmtree(folder / "cache" / file_stem(network), ignore_errors=True)
    for one in wanted:
        if one.network == network and one.is_finished(folder, PRETRAINED):
            yield one.name, [finished_run(run) for run in one.runs(folder, PRETRAINED)]
    for name in _need_weights(network, wanted, folder):
        yield name, error
