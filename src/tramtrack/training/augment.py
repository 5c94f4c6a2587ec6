"""Variants of training views that a mammographer accepts: small turns, shifts, sizes and exposures; nothing bends a vessel.

Every draw comes from a key alone (a seed and what it is for), so that the same variant can be made again. Flips only top to
bottom and only of CC views: a breast always hangs from the left edge, and an MLO view has an upper side. Turns and sizes are
about the middle of that edge, the chest wall, so that the breast stays in the picture but for a few per cent at the rim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tramtrack.protocol import Augmentation

WHITE = 65535.0


@dataclass(frozen=True)
class Draw:
    """One variant: degrees; shares of height, width, size and white; the grey values' stretch; mirrored top to bottom."""

    rotation: float
    shift_down: float
    shift_right: float
    scale: float
    brightness: float
    contrast: float
    flip: bool


def draw(settings: Augmentation, key: Sequence[int], position: str) -> Draw:
    """The variant that ``key`` (whole numbers >= 0) gives for a view of ``position`` (CC or MLO)."""
    rng = np.random.default_rng(np.random.SeedSequence(tuple(key)))
    rotation, down, right, scale, brightness, contrast = rng.uniform(-1, 1, 6).tolist()
    flipped = bool(rng.random() < 0.5)
    return Draw(
        rotation * settings.rotation,
        down * settings.shift,
        right * settings.shift,
        1 + scale * settings.scale,
        brightness * settings.brightness,
        1 + contrast * settings.contrast,
        flipped and settings.flip_cc and position == "CC",
    )


def vary(grey: Tensor, draws: Sequence[Draw | None]) -> Tensor:
    """Grey views (N, 1, H, W), 0 to 65535, each as its draw says (None leaves it as it is); the same shape and dtype.

    One bicubic resampling a view, so that fine calcifications are blurred no more than once; outside the view is black.
    Computed in the input's own dtype also under autocast: half precision would move pixels. The exposure changes where the
    breast is (where the view is not black, resampled alike), and the black around it stays black.
    """
    with torch.autocast(grey.device.type, enabled=False):
        return _vary(grey, draws)


def _vary(grey: Tensor, draws: Sequence[Draw | None]) -> Tensor:
    chosen = [place for place, one in enumerate(draws) if one is not None]
    if not chosen:
        return grey
    drawn = [one for one in draws if one is not None]
    height, width = grey.shape[2:]
    matrices = torch.tensor([_to_source(one, height, width) for one in drawn], dtype=grey.dtype, device=grey.device)
    grid = F.affine_grid(matrices, [len(drawn), 1, height, width], align_corners=False)
    moved = F.grid_sample(grey[chosen], grid, mode="bicubic", padding_mode="zeros", align_corners=False)
    around = _breast(grey[chosen]).to(grey.dtype)
    breast = F.grid_sample(around, grid, mode="bilinear", padding_mode="zeros", align_corners=False) > 0.5
    contrast, brightness = (
        torch.tensor([getattr(one, name) for one in drawn], dtype=grey.dtype, device=grey.device).view(-1, 1, 1, 1)
        for name in ("contrast", "brightness")
    )
    exposed = (moved - WHITE / 2) * contrast + WHITE / 2 + brightness * WHITE
    varied = grey.clone()
    varied[chosen] = torch.where(breast, exposed, 0.0).clamp(0, WHITE)
    return varied


def _breast(grey: Tensor) -> Tensor:
    """Where views are not black, (N, 1, H, W) bool; a black pixel amid others counts as breast."""
    filled = F.max_pool2d((grey > 0).to(torch.float32), 5, 1, padding=2)
    return -F.max_pool2d(-filled, 5, 1, padding=2) > 0.5


def _to_source(one: Draw, height: int, width: int) -> list[list[float]]:
    """Where a pixel of the variant comes from, in the -1 to 1 coordinates (x, y) of ``affine_grid``.

    The inverse of: mirror, enlarge and turn about the middle of the left edge, shift. A turn keeps angles in pixels, not in
    shares.
    """
    cosine, sine = math.cos(math.radians(one.rotation)), math.sin(math.radians(one.rotation))
    aspect = height / width
    rows = [[cosine / one.scale, sine * aspect / one.scale], [-sine / aspect / one.scale, cosine / one.scale]]
    if one.flip:
        rows[1] = [-value for value in rows[1]]
    pivot = -1.0  # x of the left edge
    right, down = 2 * one.shift_right, 2 * one.shift_down
    return [[a, b, (pivot if number == 0 else 0.0) - a * (pivot + right) - b * down] for number, (a, b) in enumerate(rows)]
