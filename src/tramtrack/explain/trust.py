"""Whether a network's maps can be trusted: do they go when the network is random, and do they follow the calcification?

Every test compares maps over the cells of the breast by Spearman's rank correlation; a map without spread, such as one of
zeros, correlates with nothing (0). Sources: Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018 (randomisation,
permuted labels); Arun et al., Radiology: Artificial Intelligence 2021;3:e200267 (repeatability).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from tramtrack.explain.doses import DOSES, Series
from tramtrack.explain.localisation import Target
from tramtrack.explain.methods import Explainer
from tramtrack.explain.place import to_prepared
from tramtrack.network.build import build
from tramtrack.training.transfer import Classifier

STAGES = 10
"""Depths at which the maps of a network made random from the top downwards are compared."""
AT_ONCE = 4


@dataclass(frozen=True)
class Outcome:
    """One test of one network's maps: ``stage`` is what was done, ``values`` has a number a view."""

    test: str
    stage: str
    values: np.ndarray


def maps_of(explainer: Explainer, model: Classifier, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps (n, h, w) and logits (n,) of prepared views (n, rows, columns) uint16, in float32."""
    device = next(model.parameters()).device
    maps, logits = [], []
    for start in range(0, len(grey), AT_ONCE):
        batch = torch.from_numpy(grey[start : start + AT_ONCE].astype(np.float32))[:, None].to(device)
        values, scores = explainer.maps(model, batch)
        maps.append(values.float().cpu().numpy())
        logits.append(scores.float().cpu().numpy())
    return np.concatenate(maps), np.concatenate(logits)


def likeness(one: np.ndarray, other: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each pair of maps (n, h, w) over the cells that lie in the breast: float64 (n,)."""
    found = []
    for first, second, prepared in zip(one, other, grey, strict=True):
        sizes = zip(prepared.shape, first.shape, strict=True)
        rows, columns = (np.linspace(0, size, cells + 1)[:-1].astype(int) for size, cells in sizes)
        inside = np.add.reduceat(np.add.reduceat(prepared > 0, rows, axis=0, dtype=int), columns, axis=1)
        cells = inside > 0.5 * inside.max()
        pair = first[cells], second[cells]
        spread = all(np.ptp(values) > 0 for values in pair)
        found.append(float(stats.spearmanr(*pair).statistic) if spread else 0.0)
    return np.array(found)


def randomised(explainer: Explainer, model: Classifier, network: str, grey: np.ndarray, seed: int) -> Iterator[Outcome]:
    """The maps' likeness to the trained network's as its weights become random, from the head down to the first layer.

    The random weights are those that training from scratch would begin with. The model is changed.
    """
    trained, _ = maps_of(explainer, model, grey)
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    random = Classifier(build(network, generator), model.settings, generator).to(device)
    for name in ("head", "adapter"):
        part = getattr(model, name)
        if part is not None:
            part.load_state_dict(getattr(random, name).state_dict())
    yield Outcome("randomisation", "the new layers", likeness(trained, maps_of(explainer, model, grey)[0], grey))
    weighted = [name for name in model.backbone.step_names if list(model.backbone.steps[name].parameters())][::-1]
    stops = set(np.unique(np.linspace(0, len(weighted) - 1, min(STAGES, len(weighted))).round().astype(int)).tolist())
    for place, step in enumerate(weighted):
        model.backbone.steps[step].load_state_dict(random.backbone.steps[step].state_dict())
        if place in stops:
            stage = "everything" if place == len(weighted) - 1 else f"down to {step}"
            yield Outcome("randomisation", stage, likeness(trained, maps_of(explainer, model, grey)[0], grey))


def flipped(explainer: Explainer, model: Classifier, grey: np.ndarray) -> Outcome:
    """The likeness of a view's map to that of its top-to-bottom mirror image, mirrored back."""
    straight, _ = maps_of(explainer, model, grey)
    mirrored, _ = maps_of(explainer, model, np.ascontiguousarray(grey[:, ::-1]))
    return Outcome("flip", "top to bottom", likeness(straight, mirrored[:, ::-1], grey))


def repeated(maps: Mapping[int, np.ndarray], grey: np.ndarray) -> Iterator[Outcome]:
    """The likeness of the maps of each two seeds."""
    seeds = list(maps)
    for place, first in enumerate(seeds):
        for second in seeds[place + 1 :]:
            yield Outcome("repeatability", f"seeds {first} and {second}", likeness(maps[first], maps[second], grey))


def dosed(explainer: Explainer, model: Classifier, test: str, cases: Sequence[tuple[Series, Target]]) -> Iterator[Outcome]:
    """How score and map follow the dose, beyond what the control does: Spearman's correlation, over the doses of a view, with
    the logit and with the sum of the map near the calcification, each less the control's. A view where that stays the same
    has 0."""
    scores, sums = [], []
    for series, target in cases:
        followed = _responses(explainer, model, series.pictures(), target)
        controls = series.control_pictures()
        if controls is not None:
            followed = followed - _responses(explainer, model, controls, target)
        scores.append(_follows(followed[0]))
        sums.append(_follows(followed[1]))
    if cases:
        yield Outcome(test, "score", np.array(scores))
        yield Outcome(test, "map", np.array(sums))


def _responses(explainer: Explainer, model: Classifier, pictures: np.ndarray, target: Target) -> np.ndarray:
    """The logits, and the sums of the map near the target: float64 (2, doses)."""
    maps, logits = maps_of(explainer, model, pictures)
    near = [float(to_prepared(values, *pictures.shape[1:])[target.near].sum()) for values in maps]
    return np.stack((logits.astype(np.float64), np.array(near)))


def _follows(values: np.ndarray) -> float:
    return float(stats.spearmanr(DOSES, values).statistic) if np.ptp(values) > 0 else 0.0
