"""The runs of one network as units that an engine may run anywhere: activations first, in shares, then the seeds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tramtrack.engine import Job, Place, Task
from tramtrack.network.weight_set import WeightSet
from tramtrack.protocol import Protocol
from tramtrack.training.memory import within_memory
from tramtrack.training.record import Keep, Run, RunKey
from tramtrack.training.run import keep_share, train_run
from tramtrack.training.setup import Fold, Setup, set_up


@dataclass(frozen=True)
class Plan:
    """What the runs of one network and variant have in common; the seeds are the protocol's. See `set_up`."""

    network: str
    variant: str
    weights: WeightSet | None
    fold: Fold
    protocol: Protocol
    hashes: Mapping[str, str]
    runs: Path
    cache: Path
    keep: Keep

    def key(self, seed: int) -> RunKey:
        """The run of one seed."""
        return RunKey(self.network, self.variant, seed)

    def setup(self, seed: int, device: str) -> Setup:
        """What the run of one seed is made of, on a device. Raises as `set_up`."""
        return set_up(self.key(seed), self.weights, self.fold, self.protocol, self.hashes, self.keep, device)

    def cache_of(self, seed: int) -> Path:
        """Where its activations are kept: with random weights each seed has its own, because each has its own trunk."""
        return self.cache if self.weights else self.cache / f"seed-{seed}"


def network_job(plan: Plan, shares: int) -> Job:
    """The runs of a plan, its activations laid out and computed in so many shares before; with 0 the first seed computes them.

    More than one task at a time needs shares. The cache's removal after the job is the caller's.
    """
    seeds = plan.protocol.training.seeds
    unfinished = [seed for seed in seeds if not (plan.key(seed).folder(plan.runs) / "run.json").exists()]
    shared = shares > 0 and plan.weights is not None and plan.keep != "off" and bool(unfinished)
    name = plan.network
    stages = [[Task(f"{name}: seed {seed}", train_seed, (seed, not shared)) for seed in seeds]]
    if shared:
        first = unfinished[0]
        layout = Task(f"{name}: room for activations", keep_one, (first, (shares, shares)))
        parts = [Task(f"{name}: activations, share {k + 1}", keep_one, (first, (k, shares))) for k in range(shares)]
        stages = [[layout], parts, *stages]
    return Job(name, plan, stages)


def train_seed(place: Place, plan: Plan, seed: int, begin: bool) -> Run:
    """Train one seed; ``begin`` false where its activations are laid out already.

    Raises as `set_up` and `train_run`, and OutOfMemory.
    """
    _use(place)
    cache = plan.cache_of(seed)

    def train() -> Run:
        return train_run(plan.setup(seed, place.device), plan.runs, cache, begin=begin)

    run = within_memory(train, f"seed {seed}", place.device)
    if plan.weights is None:
        shutil.rmtree(cache, ignore_errors=True)
    return run


def keep_one(place: Place, plan: Plan, seed: int, share: tuple[int, int]) -> None:
    """Compute one share of the activations that all seeds of a plan train on.

    Raises as `set_up` and `keep_share`, and OutOfMemory.
    """
    _use(place)

    def keep() -> None:
        keep_share(plan.setup(seed, place.device), plan.runs, plan.cache_of(seed), share)

    within_memory(keep, "its activations", place.device)


def _use(place: Place) -> None:
    if place.threads:
        torch.set_num_threads(place.threads)
