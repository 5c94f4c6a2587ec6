"""A run whose network is kept ready: views in, scores and heat maps out of one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError

from tramtrack.errors import TramtrackError, gpu_failure, out_of_memory
from tramtrack.explain.atlas import display_scale, explainer_of
from tramtrack.protocol import Protocol
from tramtrack.training.hardware import choose_device
from tramtrack.training.loader import batches
from tramtrack.training.rebuild import rebuild
from tramtrack.training.record import Run

VIEWS_AT_ONCE = 1
"""One view in flight: what is held of a VGG's first maps is a quarter of what an exam's four views would need."""


@dataclass(frozen=True)
class Map:
    """One run's map of one view: ``values`` (h, w) float32 >= 0 on the cells of ``layer``; ``scale`` is shown brightest."""

    values: np.ndarray
    scale: float
    method: str
    layer: str


class Reader:
    """The network of ``run``, rebuilt once; ``protocol`` is the one that it was trained under.

    ``scale`` is the value that its maps show brightest, where it is known; else it is taken from the prepared views
    ``validation``, once a map is asked for. Raises TramtrackError where the run's weights were changed, or do not fit.
    """

    def __init__(self, run: Run, protocol: Protocol, validation: Sequence[Path], scale: float | None, device: str) -> None:
        self.run, self._validation, self._scale = run, validation, scale
        self._device, self._dtype = choose_device(device), getattr(torch, run.identity["dtype"])
        self._explainer = explainer_of(protocol)
        try:
            self.model = rebuild(run, protocol, self._device)
        except (RuntimeError, SafetensorError) as error:  # what torch and safetensors raise over other tensors than expected
            if out_of_memory(error) or gpu_failure(error):
                raise
            what = f"{run.folder}: its weights do not fit {run.key.network}"
            raise TramtrackError(f"{what} ({str(error).strip().splitlines()[0]}); ask for them anew") from error
        self._trunk = self.model.fast_trunk(self._device, self._dtype)

    def scores(self, files: Sequence[Path]) -> np.ndarray:
        """Scores (n,) float64 in [0, 1] of prepared views. Raises TramtrackError where one is no number."""
        logits = []
        with torch.inference_mode(), torch.autocast(self._device.type, self._dtype, enabled=self._dtype.itemsize == 2):
            for grey in batches(files, VIEWS_AT_ONCE, self._device):
                logits.append(self.model(self._trunk(grey)).float().cpu().numpy())
        return self._finite(np.concatenate(logits))

    def look(self, files: Sequence[Path]) -> tuple[np.ndarray, list[Map]]:
        """The same scores, and the heat map of each view."""
        scale = self.scale()
        logits, maps = [], []
        layer = self._explainer.name_of_layer(self.model)
        for grey in batches(files, VIEWS_AT_ONCE, self._device):
            values, found = self._explainer.maps(self.model, grey, self._trunk, self._dtype)
            maps += [Map(one, scale, self._explainer.method, layer) for one in values.float().cpu().numpy()]
            logits.append(found.float().cpu().numpy())
        scores = self._finite(np.concatenate(logits)) if self._explainer.is_cheap else self.scores(files)
        return scores, maps

    def scale(self) -> float:
        """The value that this run's maps show brightest, the same for every exam; see `display_scale`."""
        if self._scale is None:
            gone = [file for file in self._validation if not file.exists()]
            if gone or not self._validation:
                raise TramtrackError(
                    f"{gone[0] if gone else self.run.folder}: heat maps are shown on a scale that prepared validation views "
                    "give, and this one is not there; run `tramtrack prepare` on the study, or ask for no heat maps"
                )
            self._scale = display_scale(
                self._explainer, self.model, self._trunk, self._validation, self._dtype, self._device, self.run.key.network
            )
        return self._scale

    def _finite(self, logits: np.ndarray) -> np.ndarray:
        if not np.isfinite(logits).all():
            raise TramtrackError(f"{self.run.folder}: this run gives no number for a view of this exam")
        return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))
