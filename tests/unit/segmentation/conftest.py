"""A small study for the segmentation: views of noise, half of them with a bright bar and its mask."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from killed import dying
from tramtrack.imaging.geometry import fit
from tramtrack.protocol import Evaluation, Prepare, Protocol, Segmentation

ROWS, COLUMNS = 64, 48
SETTINGS = Segmentation(
    channels=(4, 4, 8, 8, 8), patch=32, epochs=12, learning_rate=0.01, batch_size=3, patience=0, on_bac=0.5, seed=0
)
PROTOCOL = Protocol(prepare=Prepare(height=ROWS, width=COLUMNS), evaluation=Evaluation(resamples=200), segmentation=SETTINGS)


@pytest.fixture
def protocol() -> Protocol:
    """Views of 64 x 48 pixels, a U-Net of 8,185 weights."""
    return PROTOCOL


@pytest.fixture
def views(tmp_path) -> pd.DataFrame:
    """Eighteen views of nine women, six a fold; every other one has BAC and a mask."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(18):
        grey = rng.integers(5000, 20000, (ROWS, COLUMNS)).astype(np.uint16)
        mask = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
        if number % 2:
            top, left = rng.integers(5, 50), rng.integers(5, 30)
            mask[top : top + 8, left : left + 3] = 255
            grey[mask > 0] = 60000
            Image.fromarray(mask).save(tmp_path / f"mask{number}.png")
        Image.fromarray(grey).save(tmp_path / f"{number}.png")
        about = {"view_id": f"v{number}", "woman": f"w{number // 2}", "fold": ("training", "validation", "test")[number // 6]}
        path = str(tmp_path / f"mask{number}.png") if number % 2 else ""
        rows.append({**about, "file": tmp_path / f"{number}.png", "mask": path, "bac_view": number % 2})
    return pd.DataFrame(rows).astype({"bac_view": "Int64"})


@pytest.fixture
def geometry(views):
    """The prepared grid is the original one, at 0.5 mm."""
    return {view_id: fit((ROWS, COLUMNS), (0, 0, ROWS, COLUMNS), False, (ROWS, COLUMNS), 0.5) for view_id in views["view_id"]}


@pytest.fixture
def dies_after(monkeypatch):
    """``with dies_after(n):`` a training that ends right behind its n-th checkpoint."""
    from tramtrack.segmentation import loop

    return dying(loop, monkeypatch)
