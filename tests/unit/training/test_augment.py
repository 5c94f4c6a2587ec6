"""Variants are small, repeatable, and do what their names say."""

from __future__ import annotations

import math

import pytest
import torch

from tramtrack.protocol import Augmentation
from tramtrack.training.augment import Draw, draw, vary

SETTINGS = Augmentation(variants=3)
STILL = Draw(0.0, 0.0, 0.0, 1.0, 0.0, 1.0, False)


def view(height=60, width=40):
    """A dark breast with one bright block at rows 10 to 19, columns 8 to 15."""
    image = torch.full((1, 1, height, width), 20000.0)
    image[..., 10:20, 8:16] = 50000
    return image


def changed(**fields):
    return vary(view(), [Draw(**{**STILL.__dict__, **fields})])


def centre(image):
    bright = (image[0, 0] - 25000).clamp(min=0)  # resampling overshoots a little at edges
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) + 0.5 for n in bright.shape), indexing="ij")
    return float((rows * bright).sum() / bright.sum()), float((columns * bright).sum() / bright.sum())


def test_no_change_is_no_change():
    assert torch.allclose(changed(), view(), atol=0.5)
    assert vary(view(), [None]) is not None and torch.equal(vary(view(), [None]), view())


def test_a_shift_is_a_share_of_the_size():
    assert centre(changed(shift_down=0.1, shift_right=-0.1)) == pytest.approx((15 + 6, 12 - 4), abs=0.05)


@pytest.mark.parametrize("degrees", (20.0, -10.0))
def test_a_turn_is_about_the_middle_of_the_chest_wall_and_keeps_lengths(degrees):
    """The block's centre lies 15 rows above and 12 columns right of it."""
    down, right = centre(changed(rotation=degrees))
    assert math.hypot(down - 30, right) == pytest.approx(math.hypot(15, 12), abs=0.2)
    turned = math.atan2(down - 30, right) - math.atan2(-15, 12)
    assert abs(math.degrees(turned)) == pytest.approx(abs(degrees), abs=0.7)


def test_enlarging_moves_away_from_the_chest_wall():
    assert centre(changed(scale=1.2)) == pytest.approx((30 - 15 * 1.2, 12 * 1.2), abs=0.1)


def test_half_precision_around_it_moves_nothing():
    large = torch.rand((1, 1, 768, 384), generator=torch.Generator().manual_seed(0)) * 65535
    one = [draw(SETTINGS, (1,), "CC")]
    with torch.autocast("cpu", torch.bfloat16):
        found = vary(large, one)
    assert torch.equal(found, vary(large, one))


def test_no_specks_around_a_breast_and_none_left_dark_in_it():
    """Resampling overshoots at the skin; brightness must not light that up, and must lift black pixels in the breast."""
    image = torch.zeros((1, 1, 60, 40))
    rows, columns = torch.meshgrid(torch.arange(60.0), torch.arange(40.0), indexing="ij")
    inside = ((rows - 30) / 24) ** 2 + (columns / 30) ** 2 < 1
    image[0, 0][inside] = 30000
    image[0, 0, 30, 10] = 0
    lit = vary(image, [Draw(4.0, 0.0, 0.0, 1.0, 0.05, 1.0, False)])[0, 0]
    still = vary(image, [Draw(4.0, 0.0, 0.0, 1.0, 0.0, 1.0, False)])[0, 0]
    faint = still < 15000
    around = faint & (columns > 14)
    assert float((lit - still)[around].max()) <= 0.05 * 65535 * 0.5 + 1 or int(((lit - still) > 1)[around].sum()) < 12
    assert float(lit[28:34, 7:14].min()) > 0.04 * 65535


def test_mirrored_top_to_bottom():
    assert centre(changed(flip=True)) == pytest.approx((45, 12), abs=0.05)


def test_exposure_changes_the_breast_and_not_the_black():
    image = view()
    image[..., 30:, :] = 0
    brighter = vary(image, [Draw(0, 0, 0, 1, 0.05, 1.0, False)])
    assert torch.allclose(brighter[..., :29, :], (image + 0.05 * 65535).clamp(max=65535)[..., :29, :], atol=1)
    assert (brighter[..., 31:, :] == 0).all()
    steeper = changed(contrast=1.1)
    assert float(steeper.max() - steeper.min()) == pytest.approx(30000 * 1.1, rel=1e-3)


def test_values_stay_grey_values():
    for number in range(20):
        varied = vary(view(), [draw(SETTINGS, (number,), "CC")])
        assert varied.min() >= 0 and varied.max() <= 65535 and varied.shape == view().shape


def test_draws_repeat_keep_their_limits_and_spare_mlo_views():
    draws = [draw(SETTINGS, (7, number), "CC") for number in range(400)]
    assert draws[3] == draw(SETTINGS, (7, 3), "CC") != draws[4]
    for name, limit in (("rotation", 5), ("shift_down", 0.03), ("shift_right", 0.03), ("brightness", 0.05)):
        values = [getattr(one, name) for one in draws]
        assert 0.95 * limit < max(values) <= limit and -limit <= min(values) < -0.95 * limit, name
    assert 150 < sum(one.flip for one in draws) < 250
    assert not any(draw(SETTINGS, (7, number), "MLO").flip for number in range(50))


def test_each_view_gets_its_own():
    two = torch.cat((view(), view()))
    varied = vary(two, [None, Draw(0, 0.1, 0, 1, 0, 1, False)])
    assert torch.equal(varied[:1], view())
    assert torch.equal(varied[1:], changed(shift_down=0.1))
