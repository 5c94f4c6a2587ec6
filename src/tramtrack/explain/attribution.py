"""Integrated Gradients and occlusion of the logit, by Captum: cross-checks that look at the image and at no layer.

Sources: Sundararajan, Taly and Yan, Axiomatic attribution for deep networks, ICML 2017; Zeiler and Fergus, Visualizing and
understanding convolutional networks, ECCV 2014. Captum: Kokhlikyan et al., arXiv 2009.07896, BSD. Needs the extra `explain`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from torch import Tensor

from tramtrack.errors import UsageError
from tramtrack.training.transfer import Classifier

STEPS = 32
"""Points of the path from black to the image (Gauss-Legendre); two networks may need more to add up as well."""
WINDOW = 64
"""Rows and columns that occlusion blackens at a time, in prepared pixels; it moves by half."""
AT_ONCE = 4


def integrated_gradients(model: Classifier, grey: Tensor) -> Tensor:
    """What each pixel of grey views (N, 1, H, W) adds to the logit against a black image: (N, 1, H, W) float32, signed.

    The sum over a view is its logit less that of black, up to the number of steps.
    """
    method = _captum().IntegratedGradients(lambda x: model(model.trunk(x)), multiply_by_inputs=True)
    found: Tensor = method.attribute(grey.float(), baselines=0.0, n_steps=STEPS, internal_batch_size=AT_ONCE)
    return found.detach().float()


def occlusion(model: Classifier, grey: Tensor) -> Tensor:
    """How far the logit falls where a window is black, averaged over the windows that hold a pixel: (N, 1, H, W), signed."""
    method = _captum().Occlusion(lambda x: model(model.trunk(x)))
    rows, columns = (min(WINDOW, size) for size in grey.shape[2:])
    found: Tensor = method.attribute(
        grey.float(),
        sliding_window_shapes=(1, rows, columns),
        strides=(1, max(1, rows // 2), max(1, columns // 2)),
        baselines=0.0,
        perturbations_per_eval=AT_ONCE,
    )
    return found.detach().float()


def _captum() -> ModuleType:
    try:
        return importlib.import_module("captum.attr")
    except ImportError as error:
        raise UsageError(
            f'integrated-gradients and occlusion need Captum ({error}); pip install ".[explain]" in the folder of tramtrack'
        ) from error
