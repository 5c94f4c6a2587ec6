"""A small classifier and activations to train on, in memory and in seconds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from killed import dying
from tramtrack.network.build import build
from tramtrack.protocol import Transfer
from tramtrack.training import loop
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
def dies_after(monkeypatch):
    """``with dies_after(n):`` a training that ends right behind its n-th checkpoint."""
    return dying(loop, monkeypatch)


@pytest.fixture
def states_of(grey):
    """What a model's trunk makes of the views, kept in memory, at most 4 at once."""

    def compute(model: Classifier, at_once: int = 4, device: str | torch.device = "cpu") -> Kept:
        with torch.inference_mode():
            state = model.trunk(grey.to(next(model.parameters()).dtype))
        kept = Activations([tensor.permute(0, 2, 3, 1).contiguous().clone() for tensor in state])
        return Kept(kept, torch.device(device), at_once)

    return compute


@pytest.fixture
def views(tmp_path) -> pd.DataFrame:
    """Eight prepared views, four to train on and four to validate, every other one positive."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        Image.fromarray(generator.integers(0, 65536, (64, 32), dtype=np.uint16)).save(path)
        label, fold = number % 2, "training" if number < 4 else "validation"
        row = {"view_id": f"v{number}", "woman": f"w{number}", "exam": "e", "side": "L", "view": "CC", "fold": fold}
        labels = {"bac_view": label, "bac_breast": label, "bac_woman": label}
        rows.append({**row, **labels, "file": path, "label": float(label)})
    return pd.DataFrame(rows)
