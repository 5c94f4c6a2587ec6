"""Whether two images are one exposure: a hash that survives windowing, scaling and recompression, and a registration.

The hash only finds candidates. What confirms them is fine texture, which no two breasts share however alike they are in shape.
"""

from __future__ import annotations

import numpy as np
import scipy.fft
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from tramtrack.imaging.breast import Breast
from tramtrack.imaging.reduce import reduced

HASH_SIDE = 16
"""The hash has a bit for each of 16 x 16 low frequencies."""
THUMBNAIL = (256, 128)
"""Rows and columns of the picture that is registered."""
NEAR_BITS = 72
"""Hashes that differ in at most so many of 256 bits make candidates. Ours; benchmarks/duplicates.py measures it."""
SAME_TEXTURE = 0.3
"""Registered textures that correlate at least so much are one exposure. Ours; benchmarks/duplicates.py measures it."""


def thumbnail(values: np.ndarray, breast: Breast) -> np.ndarray:
    """The breast of a picture (rows, columns), float32: cropped, hung from the left, 256 x 128, ranks in [0, 1], else 0."""
    top, left, bottom, right = breast.crop
    crop = np.where(breast.mask_of_crop, values[top:bottom, left:right], 0)
    if breast.chest_wall == "right":
        crop = crop[:, ::-1]
    grey = np.round(reduced(np.ascontiguousarray(crop, dtype=np.float32), *THUMBNAIL), 6)  # what was one grey stays one
    inside = grey > 0
    ranks = np.zeros(grey.shape, dtype=np.float32)
    if inside.any():  # ranks are the same whatever the window
        order = np.argsort(grey[inside], kind="stable")
        rank = np.empty(len(order), dtype=np.float32)
        rank[order] = np.arange(1, len(order) + 1) / len(order)
        ranks[inside] = rank
    return ranks


def perceptual_hash(small: np.ndarray) -> str:
    """64 hex digits: for each low frequency of a thumbnail whether it is above the median of all."""
    low = scipy.fft.dctn(small.astype(np.float64), norm="ortho")[:HASH_SIDE, :HASH_SIDE]
    return np.packbits(low > np.median(low)).tobytes().hex()


def near_pairs(hashes: list[str], groups: list[str], most_bits: int = NEAR_BITS) -> list[tuple[int, int, int]]:
    """(first, second, bits) of all pairs of hashes that differ in few bits and belong to different groups (women)."""
    if len(hashes) < 2:
        return []
    words = np.array([np.frombuffer(bytes.fromhex(text), dtype=np.uint64) for text in hashes]).reshape(len(hashes), -1)
    group = np.unique(groups, return_inverse=True)[1]
    found = []
    for index in range(len(words) - 1):
        bits = np.bitwise_count(words[index + 1 :] ^ words[index]).sum(axis=1)
        for offset in np.nonzero((bits <= most_bits) & (group[index + 1 :] != group[index]))[0]:
            found.append((index, index + 1 + int(offset), int(bits[offset])))
    return found


def same_texture(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation in [-1, 1] of two thumbnails' fine texture once the second is shifted onto the first."""
    pair = [_texture(small) for small in (first, second)]
    shift = phase_cross_correlation(pair[0], pair[1], upsample_factor=4)[0]
    moved = ndimage.shift(pair[1], shift, order=1)
    both = (pair[0] != 0) & (moved != 0)
    if both.sum() < 100 or min(pair[0][both].std(), moved[both].std()) < 1e-9:
        return 0.0
    return float(np.corrcoef(pair[0][both], moved[both])[0, 1])


def _texture(small: np.ndarray) -> np.ndarray:
    inside = ndimage.binary_erosion(small > 0, iterations=4)
    return np.where(inside, ndimage.gaussian_filter(small, 1) - ndimage.gaussian_filter(small, 5), 0)
