"""What a finished run left in its folder: which it was, what it measured, its history and its predictions. Needs no torch.

``run.json`` is written last: a folder that has it is finished. ``weights.safetensors`` holds the whole network as trained,
``history.csv`` an epoch a row, ``predictions.csv`` the scores of training and validation views and never of test views.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network.registry import NETWORKS, NetworkFacts, file_stem
from tramtrack.protocol import Transfer

Keep = Literal["auto", "on", "off"]
"""Whether the activations of a frozen trunk are kept on disk while its runs need them; auto: where the policy allows it."""

RANDOM_WEIGHTS = "random weights"
PRETRAINED = "pretrained"
PREDICTION_COLUMNS = [
    "view_id",
    "woman",
    "exam",
    "side",
    "view",
    "fold",
    "bac_view",
    "bac_breast",
    "bac_woman",
    "logit",
    "score",
]


@dataclass(frozen=True)
class RunKey:
    """Which run: network, variant (transfer policy, and whether the weights are random) and seed."""

    network: str
    variant: str
    seed: int

    def folder(self, runs: Path) -> Path:
        """Where this run lies below ``runs``."""
        return runs / file_stem(self.network) / self.variant / f"seed-{self.seed}"


def variant_name(transfer: Transfer, weights: str, size: str = "") -> str:
    """The variant's folder name: the policy and whatever is not the study's; random weights stand in it, so no path hides them.

    ``size`` is HEIGHTxWIDTH where the views are not of the protocol's own size. Such as last-conv, or
    equal-slice+batchnorm-adapt+stride-16+size-512x256+random-weights.
    """
    parts: list[str] = [transfer.policy]
    parts += [f"batchnorm-{transfer.batchnorm}"] if transfer.batchnorm != "frozen" else []
    parts += ["stride-16"] if transfer.stride == 16 else []
    parts += [f"size-{size}"] if size else []
    parts += ["random-weights"] if weights != PRETRAINED else []
    return "+".join(parts)


@dataclass(frozen=True)
class Epoch:
    """One row of history.csv: mean losses over the views, and the seconds of its training steps (information)."""

    epoch: int
    training_loss: float
    validation_loss: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Run:
    """A finished run, as its folder tells it."""

    folder: Path
    identity: dict[str, Any]
    information: dict[str, Any]

    def __repr__(self) -> str:
        best, epochs = self.information["best_epoch"], self.information["epochs"]
        return f"Run({self.key.network}, {self.key.variant}, seed {self.key.seed}; best epoch {best} of {epochs})"

    @property
    def key(self) -> RunKey:
        """Network, variant and seed."""
        return RunKey(self.identity["network"], self.identity["variant"], self.identity["seed"])

    @property
    def weights(self) -> str:
        """ "pretrained" or "random weights"."""
        return str(self.identity["weights"])

    @property
    def facts(self) -> NetworkFacts | None:
        """What is known of its network: the registry's, or of a challenger what timm said when it was trained."""
        if "challenger" in self.information:
            return NetworkFacts(**self.information["challenger"] | {"known_files": ()})
        return NETWORKS.get(self.key.network)

    def history(self) -> list[Epoch]:
        """The epochs, first to last."""
        table = pd.read_csv(self.folder / "history.csv")
        return [
            Epoch(int(r["epoch"]), r["training_loss"], r["validation_loss"], r["seconds"]) for r in table.to_dict("records")
        ]

    def predictions(self) -> pd.DataFrame:
        """Scores of training and validation views."""
        return read_predictions(self.folder / "predictions.csv")


def require_own_weights(run: Run) -> Path:
    """The weights file of a run. Raises TramtrackError where it is not the one that the run wrote."""
    path = run.folder / "weights.safetensors"
    if not path.exists() or store.file_sha256(path) != run.information["weights_file_sha256"]:
        raise TramtrackError(f"{path}: not the weights that this run wrote; remove the run's folder to train it again")
    return path


def load_run(folder: Path) -> Run | None:
    """The finished run in ``folder``, or None."""
    path = folder / "run.json"
    if not path.exists():
        return None
    content = store.read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), dict) for part in ("identity", "information")):
        raise TramtrackError(f"{path}: expected a run's identity and information, found something else; train the run again")
    return Run(folder, content["identity"], content["information"])


def finished_run(folder: Path) -> Run:
    """The run in ``folder``, which is known to be finished."""
    run = load_run(folder)
    assert run is not None
    return run


def write_predictions(path: Path, table: pd.DataFrame, logits: np.ndarray) -> None:
    """Scores of views as CSV: what the view is, its labels, its fold, logit and score (the logit's sigmoid)."""
    scored = table.assign(logit=logits.astype(np.float64), score=1.0 / (1.0 + np.exp(-logits.astype(np.float64))))
    store.write_csv(path, scored[PREDICTION_COLUMNS])


def read_predictions(path: Path) -> pd.DataFrame:
    """A predictions table back; labels are Int64, missing where not known, and a score that is no number is NaN."""
    types = {"view_id": str, "woman": str, "exam": str, "bac_view": "Int64", "bac_breast": "Int64", "bac_woman": "Int64"}
    missing = {name: [""] for name in ("bac_view", "bac_breast", "bac_woman", "logit", "score")}  # a woman may be called NA
    return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=missing)
