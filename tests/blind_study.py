"""A study folder with views, and maps of three networks that nobody trained, for tests of the blind reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
from PIL import Image

from tramtrack import store
from tramtrack.errors import UsageError
from tramtrack.explain import atlas, blind
from tramtrack.explain.atlas import Atlas
from tramtrack.protocol import Protocol
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Run

NETWORKS = ("vgg16", "xception", "mobilenetv2")
ROWS, COLUMNS = 96, 48


def runs() -> list[Run]:
    """Two seeds of each network, and a control with random weights."""
    made = [_run(name, seed, PRETRAINED) for name in NETWORKS for seed in (0, 1)]
    return [*made, _run("densenet121", 0, RANDOM_WEIGHTS)]


def _run(network: str, seed: int, weights: str) -> Run:
    variant = "last-conv" if weights == PRETRAINED else "last-conv+random-weights"
    identity = {"network": network, "variant": variant, "seed": seed, "weights": weights}
    return Run(Path(f"{network}-{seed}"), identity, {"weights_file_sha256": store.text_sha256(f"{network} {seed}")})


def views(folder: Path, women: int = 5) -> pd.DataFrame:
    """Two views with BAC of each of ``women`` women in test and in validation, and one without."""
    rng, rows = np.random.default_rng(9140), []
    (folder / "prepared").mkdir(parents=True, exist_ok=True)
    for fold in ("test", "validation"):
        for woman in range(women):
            for number, label in enumerate((1.0, 1.0, 0.0)):
                name = f"{fold}view{woman}{number}"
                file = folder / "prepared" / f"{name}.png"
                Image.fromarray(rng.integers(3000, 50000, (ROWS, COLUMNS)).astype(np.uint16)).save(file)
                rows.append({"view_id": name, "woman": f"{fold}woman{woman}", "fold": fold, "label": label, "file": str(file)})
    return pd.DataFrame(rows)


def page(
    folder: Path,
    count: int = 4,
    seed: int | None = 9141,
    synthetic: bool = True,
    fold: str = "test",
    without: tuple[str, ...] = (),
) -> Path:
    """The blind page of that study; networks ``without`` cannot have a map."""

    def maps(run: Run, protocol: Protocol, files: dict[str, Path], *_: Any) -> Atlas:
        if run.key.network in without:
            raise UsageError(f"{run.key.network}: no such layer")
        rng = np.random.default_rng(len(run.key.network))
        values = rng.random((len(files), 6, 3)).astype(np.float32)
        return Atlas(tuple(files), values, np.zeros(len(files), dtype=np.float32), 1.0, "layer")

    with patch.object(atlas, "make_heatmaps", maps):
        return blind.make_blind(
            runs(), Protocol(), views(folder), folder, fold=fold, synthetic=synthetic, count=count, seed=seed
        )
