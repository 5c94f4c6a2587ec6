"""A small classifier and activations to train on, in memory and in seconds."""

from __future__ import annotations

import pytest
import torch

from tramtrack.network.build import build
from tramtrack.protocol import Transfer
from tramtrack.training.activations import Activations
from tramtrack.training.loop import Examples
from tramtrack.training.states import Kept
from tramtrack.training.transfer import Classifier

SIZE = (64, 32)
VIEWS = 12
SETTINGS = Transfer(widths=(8, 4), dropout=0.2)


def make_classifier(network: str = "vgg16", seed: int = 3, **transfer: object) -> Classifier:
    generator = torch.Generator().manual_seed(seed)
    settings = SETTINGS.model_copy(update=transfer)
    return Classifier(build(network, generator), settings, generator)


@pytest.fixture(name="make_classifier")
def make_classifier_fixture():
    return make_classifier


@pytest.fixture(scope="session")
def grey():
    """Grey views (12, 1, 64, 32), 0 to 65535; the odd ones have a bright block."""
    images = torch.rand((VIEWS, 1, *SIZE), generator=torch.Generator().manual_seed(1)) * 30000
    images[1::2, :, 20:40, 8:24] += 35000
    return images


@pytest.fixture(scope="session")
def examples():
    """All views but the last four to train on, those to validate; odd ones are positive."""
    positions = torch.arange(VIEWS)
    labels = (positions % 2).float()
    return Examples(positions[:8], labels[:8]), Examples(positions[8:], labels[8:])


@pytest.fixture
def states_of(grey):
    """What a model's trunk makes of the views, kept in memory, at most 4 at once."""

    def compute(model: Classifier, at_once: int = 4, device: str | torch.device = "cpu") -> Kept:
        with torch.inference_mode():
            state = model.trunk(grey.to(next(model.parameters()).dtype))
        kept = Activations([tensor.permute(0, 2, 3, 1).contiguous().clone() for tensor in state])
        return Kept(kept, torch.device(device), at_once)

    return compute
