"""The trust tests tell a map that follows the network and the calcification from one that does not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pretend import mammogram
from tramtrack.errors import TramtrackError
from tramtrack.explain.doses import DOSES, dose_series, insertion_series, removal_series
from tramtrack.explain.localisation import breast_of, make_target
from tramtrack.explain.methods import Explainer
from tramtrack.explain.trust import dosed, flipped, likeness, maps_of, randomised, repeated
from tramtrack.network.build import build
from tramtrack.protocol import Transfer
from tramtrack.training.transfer import Classifier


@pytest.fixture(scope="module")
def views():
    """Four views of tissue with grain, and on each a bright line with its mask."""
    rng = np.random.default_rng(0)
    grey = 12000 + 3000 * rng.random((4, 128, 64))
    masks = np.zeros(grey.shape, dtype=bool)
    for number in range(4):
        masks[number, 20 + 10 * number : 60 + 10 * number, 20:23] = True
    grey[masks] += 30000
    grey[:, :, 60:] = 0
    return grey.astype(np.uint16), masks


def classifier(seed: int = 0) -> Classifier:
    generator = torch.Generator().manual_seed(seed)
    return Classifier(build("vgg16", generator), Transfer(widths=(16, 8)), generator).eval()


class Bright:
    """An explainer that needs no network: its map is the brightness of 8x8 cells, its score their sum above the tissue."""

    def maps(self, model: object, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        cells = (torch.nn.functional.avg_pool2d(batch, 8)[:, 0] / 65535 - 0.25).clamp(min=0)
        return cells, cells.sum(dim=(1, 2))


def test_less_calcification_is_a_part_of_more_and_the_rest_looks_like_tissue(views):
    grey, masks = views
    series = list(dose_series(grey[0], masks[0]))
    assert np.array_equal(series[-1], grey[0])
    left = [int((picture[masks[0]] > 30000).sum()) for picture in series]
    assert left == sorted(left) and left[0] == 0 and left[-1] == masks[0].sum() and left[2] == masks[0].sum() // 2
    far = np.ones_like(masks[0])
    far[15:65, 15:28] = False
    for picture in series:
        assert np.array_equal(picture[far], grey[0][far])
    filled, tissue = series[0][masks[0]].astype(float), grey[0][far & (grey[0] > 0)].astype(float)
    assert abs(filled.mean() - tissue.mean()) < 1000 and 0.3 < filled.std() / tissue.std() < 2
    assert np.array_equal(list(dose_series(grey[0], masks[0]))[1], series[1])


def cases(series):
    return [(one, make_target(one.mask, breast_of(one.view), 4.0)) for one in series]


def follow(explainer, series):
    return {outcome.stage: outcome.values for outcome in dosed(explainer, classifier(), "removal", cases(series))}


def test_score_and_map_that_follow_the_dose_are_told_from_those_that_do_not(views):
    grey, masks = views
    series = [removal_series(one, mask, breast_of(one), 9160) for one, mask in zip(grey, masks, strict=True)]
    found = follow(Bright(), series)
    assert (found["score"] > 0.95).all() and (found["map"] > 0.95).all()

    class Blind(Bright):
        def maps(self, model: object, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.ones((len(batch), 16, 8)), torch.zeros(len(batch))

    found = follow(Blind(), series)
    assert not found["score"].any() and not found["map"].any()
    assert len(DOSES) == 5 and list(dosed(Bright(), classifier(), "removal", [])) == []


def test_a_network_that_sees_the_filling_alone_does_not_pass(views):
    grey, masks = views

    class Edited(Bright):
        """Its score falls with every pixel that differs from the tissue's own, wherever it lies: it sees edits."""

        def maps(self, model: object, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            changed = (batch[:, 0] != batch[-1:, 0]).float()
            return torch.nn.functional.avg_pool2d(1 - changed[:, None], 8)[:, 0], -changed.sum(dim=(1, 2))

    series = [removal_series(one, mask, breast_of(one), 9160) for one, mask in zip(grey, masks, strict=True)]
    bare = [dataclasses.replace(one, controls=()) for one in series]
    assert (follow(Edited(), bare)["score"] > 0.95).all()  # without a control it would be believed
    assert (abs(follow(Edited(), series)["score"]) < 0.95).all()


def test_the_control_of_a_removal_fills_as_much_elsewhere_in_the_breast(views):
    grey, masks = views
    for seed in range(9161, 9171):
        one = removal_series(grey[0], masks[0], breast_of(grey[0]), seed)
        assert not ((one.control_pictures()[0] != grey[0]) & (one.pictures()[0] != grey[0])).any()
    one = removal_series(grey[0], masks[0], breast_of(grey[0]), 9161)
    taken, controls = one.pictures(), one.control_pictures()
    assert np.array_equal(taken[-1], grey[0]) and np.array_equal(controls[-1], grey[0])
    for dose in range(4):
        edited, elsewhere = taken[dose] != grey[0], controls[dose] != grey[0]
        assert not (edited & elsewhere).any() and not (elsewhere & (grey[0] == 0)).any()
        assert abs(int(edited.sum()) - int(elsewhere.sum())) < 0.05 * edited.sum() + 3
    assert np.array_equal(removal_series(grey[0], masks[0], breast_of(grey[0]), 9161).control_pictures(), controls)
    assert not np.array_equal(removal_series(grey[0], masks[0], breast_of(grey[0]), 9162).control_pictures(), controls)
    with pytest.raises(TramtrackError, match="no room for the same filling"):
        removal_series(grey[0], masks[0], masks[0], 9161)


def test_an_artery_is_put_in_by_its_mineral_and_starts_from_its_bare_tube():
    prepared = np.rint(mammogram() * 60000).astype(np.uint16)
    one = insertion_series(prepared, None, 9163)
    pictures = one.pictures().astype(float)
    inside = [picture[one.mask].mean() for picture in pictures]
    assert np.all(np.diff(inside) > 0) and one.mask.any() and one.control_pictures() is None
    steps = np.diff(inside)
    assert steps.max() < 2 * steps.min()  # in equal parts, but for the bend of a display's curve
    assert not (pictures[0] == prepared).all()  # the tube without mineral is there
    touched = (pictures != prepared).any(axis=0)
    assert touched.mean() < 0.1 and (prepared[touched] > 0).all() and touched[one.mask].all()
    with pytest.raises(TramtrackError):
        insertion_series(np.zeros_like(prepared), None, 9163)


def test_likeness_is_of_the_breasts_cells_and_nothing_is_like_an_empty_map(views):
    grey, _ = views
    rng = np.random.default_rng(1)
    one = rng.random((4, 16, 8))
    other = one.copy()
    other[:, :, 7] = rng.random((4, 16))  # half of these cells' pixels lie outside the breast
    assert likeness(one, other, grey) == pytest.approx(1)
    assert likeness(one, -one, grey) == pytest.approx(-1)
    assert abs(likeness(one, rng.random(one.shape), grey)).max() < 0.35
    assert not likeness(one, np.zeros_like(one), grey).any()


def test_a_map_of_brightness_stays_when_the_network_is_random_and_is_found_out(views):
    grey, _ = views
    stages = list(randomised(Bright(), classifier(), "vgg16", grey[:1], seed=5))
    assert [stages[0].stage, stages[-1].stage] == ["the new layers", "everything"]
    assert all(outcome.values == pytest.approx(1) for outcome in stages)


def test_every_weight_is_random_in_the_end_and_a_real_map_changes_on_the_way(views):
    grey, _ = views
    model = classifier()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    stages = list(randomised(Explainer(), model, "vgg16", grey[:1], seed=5))
    generator = torch.Generator().manual_seed(5)
    random = Classifier(build("vgg16", generator), Transfer(widths=(16, 8)), generator)
    for name, parameter in random.named_parameters():
        assert torch.equal(model.get_parameter(name), parameter), name
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    assert len(stages) == 11 and len({float(outcome.values[0]) for outcome in stages}) == 11


def test_a_map_that_moves_with_its_image_passes_the_flip_and_one_that_stays_does_not(views):
    grey, _ = views
    assert flipped(Bright(), classifier(), grey).values == pytest.approx(1)

    class Stays(Bright):
        def maps(self, model: object, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            ramp = torch.arange(128.0).view(1, 16, 8).expand(len(batch), 16, 8)
            return ramp, torch.zeros(len(batch))

    assert flipped(Stays(), classifier(), grey).values.max() < -0.9


def test_seeds_are_compared_in_pairs(views):
    grey, _ = views
    maps, _ = maps_of(Bright(), classifier(), grey)
    found = list(repeated({3: maps, 4: maps, 5: -maps}, grey))
    assert [outcome.stage for outcome in found] == ["seeds 3 and 4", "seeds 3 and 5", "seeds 4 and 5"]
    assert found[0].values.mean() == pytest.approx(1) and found[1].values.mean() == pytest.approx(-1)
