"""All runs of a study, carried out by an engine: each wanted variant of a network with all its seeds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tramtrack.engine import Engine, Failure, Job, WorkerDied
from tramtrack.errors import OutOfMemory
from tramtrack.network.registry import file_stem
from tramtrack.network.weight_set import CannotFollow, WeightSet
from tramtrack.network.weights import WeightsUnavailable, obtain
from tramtrack.training.loop import Diverged
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Keep, Run, finished_run
from tramtrack.training.setup import Fold
from tramtrack.training.units import Plan, network_job
from tramtrack.training.variants import Variant
from tramtrack.training.wanted import Wanted, need_weights

LEAVES_OUT = (WeightsUnavailable, CannotFollow, Diverged, OutOfMemory, WorkerDied)
"""Errors that leave a network or one of its variants out, while the others go on."""


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
    for name in need_weights(network, wanted, folder):
        yield name, error
