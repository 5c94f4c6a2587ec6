"""A run's network as one ONNX file, for any runtime; checked against the network before it is handed over."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.prepare import read_prepared
from tramtrack.network.layers import Conv
from tramtrack.network.winograd import TrainedConv
from tramtrack.training.transfer import Classifier

TOLERANCE = 1e-3
"""How far a score of ONNX Runtime may lie from the network's own in float32."""
CHECKED_VIEWS = 4


class _Scoring(nn.Module):
    """Grey values (1, 1, H, W) float32, 0 to 65535, to the score (1,) in [0, 1]."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, grey: Tensor) -> Tensor:
        return torch.sigmoid(self.model(self.model.trunk(grey)))


def write_onnx(model: Classifier, size: tuple[int, int], views: Sequence[Path], path: Path) -> float:
    """Write ``model`` as ONNX for prepared views of ``size`` (rows, columns): input grey, output score, weights inside.

    Then scores up to four prepared ``views`` by ONNX Runtime, and returns the largest difference from the network in float32.
    Raises UsageError without the extra export, TramtrackError where a score differs by more than TOLERANCE.
    """
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  torch writes ONNX through it
    except ImportError as error:
        raise UsageError(
            f"ONNX needs {error.name}: pip install 'tramtrack[export]', or export without it (--no-onnx)"
        ) from error
    scoring = _Scoring(_direct(model)).eval().float()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        torch.onnx.export(
            scoring,
            (torch.zeros(1, 1, *size),),
            path,
            input_names=["grey"],
            output_names=["score"],
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for view in views[:CHECKED_VIEWS]:
        grey = read_prepared(view)[None, None].astype(np.float32)
        with torch.inference_mode():
            own = scoring(torch.from_numpy(grey)).numpy()
        worst = max(worst, float(np.abs(session.run(None, {"grey": grey})[0] - own).max()))
    if not worst <= TOLERANCE:
        raise TramtrackError(
            f"{path}: ONNX Runtime differs from the network by {worst:.2g} in a score, expected at most {TOLERANCE:g}; "
            "use other versions of torch, onnxscript and onnxruntime, or export without it (--no-onnx)"
        )
    return worst


def _direct(model: Classifier) -> Classifier:
    """A copy on the CPU whose convolutions are all torch's own: Winograd's do not trace."""
    plain = copy.deepcopy(model).cpu()
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, TrainedConv):
                with torch.device("meta"):
                    direct = Conv(layer.in_channels, layer.out_channels, 3, bias=layer.bias is not None)
                direct.weight, direct.bias = layer.weight, layer.bias
                parent.add_module(name, direct)
    return plain


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages that are not there and on torch's own deprecations."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
