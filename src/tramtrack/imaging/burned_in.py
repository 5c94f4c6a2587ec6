"""Text that is burned into an image beside the breast: rows of small, sharp, bright signs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import label, regionprops

LONGEST_SIDE = 1600
LEAST_SIGNS = 6
"""So many signs in a row make text; the letters of a lead marker are fewer."""


def has_text(picture: np.ndarray, breast: np.ndarray) -> bool:
    """Whether a picture (rows, columns), float32 in [0, 1], shows a line of text outside ``breast``, bool of the same shape.

    A line is at least six bright components of like height side by side. It may be missed where it is very small (below 6
    rows of 1,600) or fainter than half of the picture's range.
    """
    step = max(1, -(-max(picture.shape) // LONGEST_SIDE))
    values, inside = np.ascontiguousarray(picture[::step, ::step]), breast[::step, ::step]
    low, high = float(values.min()), float(values.max())
    bright = (values > low + 0.5 * (high - low)) & ~inside
    if not bright.any():  # mostly so, and then nothing need be grown
        return False
    bright &= ~ndimage.binary_dilation(inside, iterations=4)
    if not bright.any() or bright.mean() > 0.2:
        return False
    boxes = [region.bbox for region in regionprops(label(bright))]
    signs = [box for box in boxes if 6 <= box[2] - box[0] <= 80 and box[3] - box[1] <= 2 * (box[2] - box[0])]
    return any(_signs_beside(box, signs) >= LEAST_SIGNS for box in signs)


def _signs_beside(first: tuple[int, ...], signs: list[tuple[int, ...]]) -> int:
    """How many signs stand in one line with ``first``, beginning with it and going right without a wide gap."""
    height = first[2] - first[0]
    line = sorted(
        (box for box in signs if abs(box[2] - first[2]) < 0.35 * height and 0.5 * height <= box[2] - box[0] <= 1.6 * height),
        key=lambda box: box[1],
    )
    count, end = 0, first[1]
    for box in line:
        if box[1] < first[1]:
            continue
        if box[1] - end > 1.5 * height:
            break
        count, end = count + 1, max(end, box[3])
    return count
