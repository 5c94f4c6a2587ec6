"""Where a patch lies."""

from __future__ import annotations

import numpy as np

from tramtrack.segmentation.patches import cut

GREY = np.zeros((40, 30), dtype=np.float32)
GREY[5:35, :12] = 100  # the breast
MASK = np.zeros((40, 30), dtype=bool)
MASK[20:22, 3] = True


def cuts(mask, size, on_bac, count=200):
    rng = np.random.default_rng(1)
    return [cut(GREY, mask, size, on_bac, rng) for _ in range(count)]


def test_a_patch_has_its_size_and_its_mask_is_the_mask_there():
    numbered = np.arange(GREY.size).reshape(GREY.shape)
    rng = np.random.default_rng(0)
    for _ in range(100):
        grey, mask = cut(numbered, MASK, 8, 0.5, rng)
        assert grey.shape == mask.shape == (8, 8)
        assert np.array_equal(mask, MASK.ravel()[grey])


def test_the_share_on_bac_is_kept_and_the_others_lie_in_the_breast():
    assert all(mask.any() for _, mask in cuts(MASK, 8, 1.0))
    hits = np.mean([mask.any() for _, mask in cuts(MASK, 4, 0.5, 2000)])
    anywhere = np.mean([mask.any() for _, mask in cuts(MASK, 4, 0.0, 2000)])
    assert anywhere < 0.1 and abs(hits - (0.5 + 0.5 * anywhere)) < 0.04
    assert all(grey.any() for grey, _ in cuts(MASK, 8, 0.0))


def test_a_patch_larger_than_the_view_is_the_view():
    for grey, mask in cuts(MASK, 1000, 0.5, 3):
        assert grey.shape == (40, 30) and mask.sum() == 2


def test_a_view_without_breast_or_mask_still_gives_a_patch():
    grey, mask = cut(np.zeros((40, 30)), np.zeros((40, 30), dtype=bool), 8, 1.0, np.random.default_rng(0))
    assert grey.shape == mask.shape == (8, 8)
