"""A network as ONNX gives the scores of the network itself."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from tramtrack.errors import TramtrackError
from tramtrack.imaging.prepare import png_bytes
from tramtrack.network.build import build
from tramtrack.prediction import onnx_export
from tramtrack.protocol import Transfer
from tramtrack.training.transfer import Classifier

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
SIZE = (64, 48)


def test_onnx_runtime_gives_the_networks_scores(tmp_path, monkeypatch):
    """VGG16, whose wide convolutions are Winograd's, with random weights and a last layer that spreads three views' logits."""
    drawn, generator = np.random.default_rng(9104), torch.Generator().manual_seed(9103)
    model = Classifier(build("vgg16", generator), Transfer(widths=(16, 8)), generator).eval()
    views = [tmp_path / f"{number}.png" for number in range(3)]
    pictures = [drawn.integers(0, 65536, SIZE, dtype=np.uint16) // (number + 1) for number in range(3)]
    for view, picture in zip(views, pictures, strict=True):
        view.write_bytes(png_bytes(picture))
    grey = torch.from_numpy(np.stack(pictures)[:, None].astype(np.float32))
    with torch.no_grad():
        logits = model(model.trunk(grey))
        model.head.output.weight.div_(logits.std())
        model.head.output.bias.fill_(-float(logits.mean() / logits.std()))
        own = torch.sigmoid(model(model.trunk(grey))).numpy()
    assert np.ptp(own) > 0.3, "a dead network answers everything alike"
    path = tmp_path / "model.onnx"
    worst = onnx_export.write_onnx(model, SIZE, views, path)
    assert worst <= 1e-3 and not list(tmp_path.glob("*.data"))
    onnx.checker.check_model(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = [float(session.run(None, {"grey": one[None].numpy()})[0][0]) for one in grey]
    assert found == pytest.approx(own.tolist(), abs=1e-3)
    model.head.output.bias.data.add_(1)  # the file that is there is another network's now
    monkeypatch.setattr(torch.onnx, "export", lambda *arguments, **settings: None)
    with pytest.raises(
        TramtrackError, match=r"ONNX Runtime differs from the network by 0\.\d+ in a score, expected at most 0.001"
    ):
        onnx_export.write_onnx(model, SIZE, views, path)
