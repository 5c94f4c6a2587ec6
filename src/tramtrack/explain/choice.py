"""Which test views are shown: each network's hits, misses and false alarms, the worst first, shown for all networks alike."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Chosen:
    """A view to show; ``because`` names the networks and what they made of it, such as "vgg16 false alarm"."""

    view_id: str
    because: tuple[str, ...]


def call(score: float, label: int, threshold: float) -> str:
    """What a threshold makes of a score: hit, miss, false alarm or correct rejection."""
    if label == 1:
        return "hit" if score >= threshold else "miss"
    return "false alarm" if score >= threshold else "correct rejection"


def choose_views(predictions: pd.DataFrame, thresholds: dict[str, float], of_each_kind: int) -> list[Chosen]:
    """Up to ``of_each_kind`` hits, misses and false alarms of each network, without repeats.

    ``predictions`` has network, view_id, score and bac (the label that counts, missing where not known) of test views;
    ``thresholds`` one a network. Hits are the surest first; misses and false alarms those that are furthest on the wrong
    side of the threshold.
    """
    reasons: dict[str, list[str]] = {}
    for network, table in predictions.groupby("network", sort=False):
        threshold = thresholds[str(network)]
        known = table[table["bac"].notna()]
        kinds = [call(row["score"], int(row["bac"]), threshold) for row in known.to_dict("records")]
        ranked = known.assign(kind=kinds, distance=(known["score"] - threshold).abs())
        for kind in ("hit", "miss", "false alarm"):
            best = ranked[ranked["kind"] == kind].sort_values(["distance", "view_id"], ascending=[False, True])
            for view_id in best["view_id"].head(of_each_kind):
                reasons.setdefault(str(view_id), []).append(f"{network} {kind}")
    return [Chosen(view_id, tuple(why)) for view_id, why in reasons.items()]
