"""The same network trained on labels that mean nothing: what its maps show, they show without having learnt it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack.errors import TramtrackError
from tramtrack.network.registry import file_stem
from tramtrack.network.weights import obtain
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run
from tramtrack.training.run import train_run
from tramtrack.training.setup import Fold, set_up

SEED = 27
"""Of the dealing of labels; the run's own seed stays that of the run which it is compared with."""


def permute_labels(table: pd.DataFrame) -> pd.DataFrame:
    """The table of views (fold, label) with the known labels of each fold's views dealt anew among them.

    Those of validation as well: they choose the epoch that is kept, and true ones would teach the control something.
    """
    labels = table["label"].to_numpy(dtype=float, copy=True)
    generator = np.random.default_rng(SEED)
    for fold in sorted(table["fold"].unique()):
        chosen = ((table["fold"] == fold) & table["label"].notna()).to_numpy()
        labels[chosen] = generator.permutation(labels[chosen])
    return table.assign(label=labels)


def train_permuted(
    run: Run, protocol: Protocol, table: pd.DataFrame, folder: Path, weights_dir: Path | None = None, device: str = "auto"
) -> Run:
    """A run like ``run`` on permuted labels, in ``folder``/runs; a finished one is kept.

    ``table`` holds the views of training and validation as in `Fold`. It begins from the pretrained weights that ``run`` began
    from. Raises TramtrackError where these are not to be had any more.
    """
    weights = obtain(run.key.network, weights_dir=weights_dir)
    if weights.sha256 != run.identity["weights_sha256"]:
        raise TramtrackError(
            f"{run.key.network}: its run began from other pretrained weights ({run.identity['weights_source']}) than are at "
            f"hand ({weights.source}); name their folder by --weights-dir"
        )
    key = replace(run.key, variant=f"{run.key.variant}+permuted-labels")
    hashes = {name: run.identity[name] for name in ("folds", "prepared")} | {"labels": f"permuted, seed {SEED}"}
    cache = (folder / "cache" / file_stem(run.key.network)).absolute()
    fold = Fold(permute_labels(table.assign(file=[Path(file).absolute() for file in table["file"]])))
    trained = train_run(set_up(key, weights, fold, protocol, hashes, device=device), (folder / "runs").absolute(), cache)
    shutil.rmtree(cache, ignore_errors=True)
    return trained
