"""How many weights each transfer policy trains in each network, counted on networks without weights."""

from __future__ import annotations

from typing import get_args

import torch

from tramtrack.network.build import skeleton
from tramtrack.network.registry import NETWORKS
from tramtrack.protocol import Transfer
from tramtrack.sections import Policy
from tramtrack.training.transfer import Classifier


def count_trained(transfer: Transfer) -> list[dict[str, str | int]]:
    """One row a network: name, the weights of its base, those that each policy trains of it, and those of the new layers.

    ``transfer`` gives the head and the BatchNorm policy; its own policy does not matter.
    """
    rows = []
    for name in NETWORKS:
        row: dict[str, str | int] = {"network": name}
        for policy in get_args(Policy):
            settings = transfer.model_copy(update={"policy": policy})
            counts = Classifier(skeleton(name), settings, torch.Generator()).counts()
            row = {**row, "base": counts["base"], policy: counts["base_trained"], "new layers": counts["head"]}
        rows.append(row)
    return rows
