"""Weights and images that any numpy makes alike from a name, so that both sides of a comparison can have the same ones.

Only the raw bits of PCG64 are used, whose stream numpy keeps stable across versions. Nothing here imports torch or Keras.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

GOLDEN_SIZES = ((96, 80), (75, 89))
PARITY_SIZES = ((224, 224), (512, 256), (333, 251))
SAMPLES = 8
DIGITS = 11
"""Decimal digits of a map's largest magnitude to which its golden numbers are rounded; what is behind varies by machine."""

Layer = tuple[str, str, tuple[tuple[str, tuple[int, ...]], ...]]


def uniform(label: str, shape: tuple[int, ...], low: float, high: float) -> np.ndarray:
    """Float64 numbers in [low, high) of the given shape, decided by ``label`` alone."""
    seed = int.from_bytes(hashlib.sha256(label.encode()).digest()[:8], "little")
    bits = np.random.PCG64(seed).random_raw(int(np.prod(shape)))
    return ((bits >> np.uint64(11)) * 2.0**-53 * (high - low) + low).reshape(shape)


def weights(network: str, layers: Iterable[Layer]) -> dict[str, np.ndarray]:
    """One float64 array a variable in Keras layout, by ``place/variable``; ``place`` counts the layers with weights."""
    made = {}
    for place, (_, _, variables) in enumerate(layers):
        for variable, shape in variables:
            made[f"{place}/{variable}"] = _variable(f"{network}/{place}/{variable}", variable, shape)
    return made


def grey(label: str, images: int, height: int, width: int) -> np.ndarray:
    """16-bit grey images (images, height, width), values 0 to 65535 as float64 whole numbers."""
    return np.floor(uniform(label, (images, height, width), 0, 65536))


def summary(feature_map: np.ndarray) -> dict[str, object]:
    """A few numbers that tell an (N, H, W, C) map: its shape, largest magnitude, mean, and evenly spread values."""
    flat = np.ascontiguousarray(feature_map, dtype=np.float64).ravel()
    places = np.linspace(0, flat.size - 1, SAMPLES).astype(int)
    largest = float(np.abs(flat).max())
    decimals = _decimals(largest)
    return {
        "shape": list(feature_map.shape),
        "largest": round(largest, decimals),
        "mean": round(float(flat.mean()), decimals),
        "values": [round(float(value), decimals) for value in flat[places]],
    }


def same_cases(kept: list[dict[str, Any]], found: list[dict[str, Any]]) -> bool:
    """Whether two lists of golden cases say the same, but for at most one unit of a number's last kept digit."""
    if len(kept) != len(found):
        return False
    return all(k.keys() == f.keys() and all(_same(k[key], f[key]) for key in f) for k, f in zip(kept, found, strict=True))


def _same(kept: Any, found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(kept, dict):
        return bool(kept == found)
    if kept.keys() != found.keys() or kept["shape"] != found["shape"]:
        return False
    unit = 10.0 ** -_decimals(found["largest"])
    pairs = zip(
        [kept["largest"], kept["mean"], *kept["values"]], [found["largest"], found["mean"], *found["values"]], strict=True
    )
    return all(abs(k - f) <= 1.5 * unit for k, f in pairs)


def _decimals(largest: float) -> int:
    """Decimals behind the point that DIGITS digits of ``largest`` leave."""
    return DIGITS - 1 - math.floor(math.log10(largest)) if largest else DIGITS


def _variable(label: str, variable: str, shape: tuple[int, ...]) -> np.ndarray:
    if variable in ("gamma", "moving_variance"):
        return uniform(label, shape, 0.5, 1.5)
    if len(shape) == 1:
        return uniform(label, shape, -0.2, 0.2)
    fan_in = shape[0] * shape[1] * (shape[2] if shape[3] > 1 else 1)
    limit = (3 / fan_in) ** 0.5  # small enough that biases still count at the end of 152 layers
    return uniform(label, shape, -limit, limit)
