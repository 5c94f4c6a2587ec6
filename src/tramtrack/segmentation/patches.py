"""Which part of a training view an epoch sees. Needs no torch."""

from __future__ import annotations

import numpy as np


def cut(
    grey: np.ndarray, mask: np.ndarray, size: int, on_bac: float, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A patch of a view (rows, columns) and of its mask, at most ``size`` x ``size``: two views into them.

    With chance ``on_bac`` its centre is a marked pixel, where there is any; else any pixel of the breast, which is not black.
    It is moved inwards where it would reach over the edge.
    """
    on_mask = generator.random() < on_bac and mask.any()
    candidates = np.flatnonzero(mask if on_mask else grey > 0)
    centre = int(generator.choice(candidates)) if len(candidates) else 0
    row, column = divmod(centre, grey.shape[1])
    rows, columns = min(size, grey.shape[0]), min(size, grey.shape[1])
    top = min(max(0, row - rows // 2), grey.shape[0] - rows)
    left = min(max(0, column - columns // 2), grey.shape[1] - columns)
    part = np.s_[top : top + rows, left : left + columns]
    return grey[part], mask[part]
