"""A run before any work: its views, what decides its result, and the network that it begins with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from tramtrack.errors import UsageError
from tramtrack.network.build import build, skeleton
from tramtrack.network.registry import is_challenger
from tramtrack.network.weight_set import WeightSet, load, require_batchnorm_policy
from tramtrack.protocol import Protocol, Transfer
from tramtrack.training.hardware import choose_device, dtype_name, resolve_dtype
from tramtrack.training.loop import Examples
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Keep, RunKey
from tramtrack.training.transfer import Classifier


@dataclass(frozen=True)
class Fold:
    """The views of training and validation: a table with one row a view, its prepared file and its training label.

    Columns: those of predictions.csv but logit and score, and ``file`` (Path of the prepared view) and ``label`` (0.0, 1.0).
    """

    table: pd.DataFrame

    def examples(self, fold: str) -> Examples:
        """Positions in the table and labels of one fold's views that carry a training label."""
        chosen = (self.table["fold"] == fold) & self.table["label"].notna()
        labels = torch.tensor(self.table.loc[chosen, "label"].to_numpy(dtype=np.float32))
        return Examples(torch.from_numpy(np.flatnonzero(chosen.to_numpy())), labels)


@dataclass(frozen=True)
class Setup:
    """What a run is made of. ``identity`` decides its result; ``keeps``: whether the trunk's activations are kept on disk.

    ``dtype`` and ``device`` are those that it computes in and on.
    """

    key: RunKey
    weights: WeightSet | None
    fold: Fold
    protocol: Protocol
    identity: Mapping[str, Any]
    keeps: bool
    dtype: torch.dtype
    device: torch.device

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of its views."""
        return self.protocol.prepare.height, self.protocol.prepare.width


def set_up(
    key: RunKey,
    weights: WeightSet | None,
    fold: Fold,
    protocol: Protocol,
    hashes: Mapping[str, str],
    keep: Keep = "auto",
    device: str = "auto",
) -> Setup:
    """The run of ``key`` on this machine; ``hashes`` are those of the cohort's folds and prepared views.

    ``keep`` says whether activations are kept: "on", "off", or "auto" (where the policy allows it). ``device``: see
    `choose_device`. Raises UsageError as `keeps_activations`, and where the device is not there.
    """
    on = choose_device(device)
    dtype = resolve_dtype(protocol.training.dtype, on)
    keeps = keeps_activations(key.network, protocol.transfer, keep)
    return Setup(key, weights, fold, protocol, run_identity(key, weights, protocol, hashes, keeps, dtype), keeps, dtype, on)


def run_identity(
    key: RunKey, weights: WeightSet | None, protocol: Protocol, hashes: Mapping[str, str], keeps: bool, dtype: torch.dtype
) -> dict[str, Any]:
    """What decides a run's result; compared on resume. ``hashes`` are those of the cohort's folds and prepared views.

    Whether activations are kept changes a result by rounding only, unless views are varied: then it decides which variants
    there are.
    """
    variants = protocol.augmentation.variants
    return {
        "network": key.network,
        "variant": key.variant,
        "seed": key.seed,
        "protocol": protocol.sha256,
        "dtype": dtype_name(dtype),
        "weights": PRETRAINED if weights else RANDOM_WEIGHTS,
        "weights_source": weights.source if weights else f"{_initialisation(key.network)}, seed {key.seed}",
        "weights_sha256": weights.sha256 if weights else "",
        "variants": (f"{variants} kept" if keeps else "fresh every epoch") if variants else "none",
        **hashes,
    }


def _initialisation(network: str) -> str:
    return "timm's initialisation" if is_challenger(network) else "Glorot initialisation"


def make_classifier(key: RunKey, weights: WeightSet | None, protocol: Protocol) -> Classifier:
    """The network as a run begins with it, on the CPU: pretrained or drawn by the run's seed, with a new head."""
    require_batchnorm_policy(weights, protocol.transfer.batchnorm)
    generator = torch.Generator().manual_seed(key.seed)
    backbone = build(key.network, generator)
    if weights:
        load(backbone, weights)
    return Classifier(backbone, protocol.transfer, generator)


def keeps_activations(network: str, transfer: Transfer, keep: Keep) -> bool:
    """Whether the activations of ``network`` are kept under a policy; asked before any work.

    Raises UsageError where they are asked for and cannot be, and where the network is not known or cannot follow the policy.
    """
    changes = Classifier(skeleton(network), transfer, torch.Generator()).trunk_changes
    if keep == "on" and changes:
        raise UsageError(f"--cache on: activations cannot be kept, because {changes}; use --cache off or auto")
    return keep != "off" and not changes
