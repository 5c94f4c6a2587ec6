"""What heat maps cost: the pass that scores views, that pass with maps, and pytorch-grad-cam on the same views, in turns.

The cost of our maps is what score and map take longer than the score alone, behind one frozen trunk, and the 12 validation
views of the display scale, spread over the 576 views of the demo's cohort. pytorch-grad-cam gets the same network, views and
threads, in float32. Also printed: what its epsilon of 1e-6 leaves of the maximum of the map of a 1536x768 view, how far the
two maps correlate, and how far the peak of the resident memory grows over 1,000 images. Runs in the torchvision environment,
which `make bench NAME=gradcam` makes; with --memory it measures the memory alone, and needs no other library.

Goal: the maps cost at most 15 % of the forward pass with every network, and at least 5 times less than pytorch-grad-cam. With
--memory: the peak grows by at most a tenth of what the activations under the maps would take if they were kept.
"""

from __future__ import annotations

import argparse
import math
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor
from tramtrack.explain.atlas import SCALE_VIEWS
from tramtrack.explain.methods import Explainer
from tramtrack.network.build import build
from tramtrack.protocol import Transfer
from tramtrack.training.hardware import choose_device, resolve_dtype
from tramtrack.training.transfer import Classifier

ROUNDS, BATCH, STUDY_VIEWS, IMAGES, WARM = 5, 8, 576, 1000, 100
MEMORY_SIZE = (256, 128)
STUDY_SIZE = (1536, 768)
"""Rows and columns of the preset of the study, at which the effect of an epsilon is shown."""


class Plain(nn.Module):
    """The classifier as pytorch-grad-cam wants it: (N, 1) out, and a module whose output is the map's layer."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.layer = nn.Identity()

    def forward(self, grey: Tensor) -> Tensor:
        """Grey views (N, 1, H, W) to logits (N, 1)."""
        return self.model.score(self.layer(self.model.cam_map(self.model.trunk(grey))))[:, None]


def least_seconds(sides: list[Callable[[], object]], rounds: int) -> list[float]:
    """The least seconds of each side, taken in turns."""
    best = [math.inf] * len(sides)
    for _ in range(rounds):
        for number, side in enumerate(sides):
            started = time.perf_counter()
            side()
            best[number] = min(best[number], time.perf_counter() - started)
    return best


def one_network(name: str, grey: Tensor, rounds: int) -> tuple[float, float]:
    """The maps' share of the forward pass in the study's own dtype, and how many times dearer pytorch-grad-cam is."""
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model = Classifier(build(name), Transfer(), torch.Generator().manual_seed(0)).eval()
    plain, device = Plain(model), choose_device("cpu")
    cam = pytorch_grad_cam.GradCAMPlusPlus(plain, [plain.layer])
    targets = [ClassifierOutputTarget(0)] * len(grey)
    shares: dict[torch.dtype, float] = {}
    dearer = math.inf
    for dtype in dict.fromkeys((resolve_dtype("auto", device), torch.float32)):
        trunk = model.fast_trunk(device, dtype)

        with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype.itemsize == 2):
            state = trunk(grey)

        def before(trunk=trunk, dtype=dtype) -> object:
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype.itemsize == 2):
                return trunk(grey)

        def score(state=state, dtype=dtype) -> object:
            with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype.itemsize == 2):
                return model(state)

        def score_and_map(state=state, dtype=dtype) -> object:
            return Explainer().maps(model, grey, lambda _: state, dtype)

        sides: list[Callable[[], object]] = [before, score, score_and_map]
        if dtype == torch.float32:
            sides.append(lambda: cam(input_tensor=grey, targets=targets))
        best = least_seconds(sides, rounds)
        forward = best[0] + best[1]
        cost = max(best[2] - best[1], 0.0) + forward * SCALE_VIEWS / STUDY_VIEWS
        shares[dtype] = cost / forward
        forward_ms = 1000 * forward / len(grey)
        line = f"{name:12} {str(dtype)[6:]:9} forward {forward_ms:7.1f} ms a view, maps {100 * shares[dtype]:5.1f} % of it"
        if dtype == torch.float32:
            dearer = best[3] / cost
            line += f"; pytorch-grad-cam {1000 * best[3] / len(grey):7.1f} ms a view, {dearer:.1f} times the maps' cost"
        print(line, flush=True)
    large = torch.randint(0, 65536, (1, 1, *STUDY_SIZE), generator=torch.Generator().manual_seed(0)).float()
    print(f"{'':12} {epsilon_effect(model, large)}")
    return max(shares.values()), dearer


def epsilon_effect(model: Classifier, grey: Tensor) -> str:
    """What an epsilon of 1e-6 in the denominator does to the map of one view."""
    features = model.cam_map(model.trunk(grey)).detach().double().requires_grad_(True)
    wide = model.double()
    (gradients,) = torch.autograd.grad(wide.score(features).sum(), features)
    model.float()
    squared, kept = gradients**2, features.detach()
    below = 2 * squared + (kept * gradients**3).sum(dim=(2, 3), keepdim=True)
    maps = []
    for epsilon in (0.0, 1e-6):
        alpha = torch.where(below != 0, squared / torch.where(below != 0, below + epsilon, 1.0), 0.0)
        weights = (alpha * gradients.clamp(min=0)).sum(dim=(2, 3))
        maps.append(torch.einsum("nk,nkhw->nhw", weights, kept)[0].numpy())
    exact, changed = maps
    correlation = float(np.corrcoef(exact.ravel(), changed.ravel())[0, 1])
    largest = float(gradients.abs().max())
    return (
        f"map of {exact.shape[0]} x {exact.shape[1]}: largest gradient {largest:.1e}; with an epsilon of 1e-6 its maximum is "
        f"{changed.max() / exact.max():.1e} of the exact one, correlation {correlation:.2f}"
    )


def memory_growth(images: int) -> tuple[float, float]:
    """MiB that the peak of the resident memory grows by from the 100th to the last of ``images`` maps, and how many MiB the
    activations under these maps would take if they were kept."""
    model = Classifier(build("mobilenetv2"), Transfer(), torch.Generator().manual_seed(0)).eval()
    trunk = model.fast_trunk(torch.device("cpu"), torch.float32)
    generator = torch.Generator().manual_seed(0)
    peaks = []
    for number in range(images):
        grey = torch.randint(0, 65536, (1, 1, *MEMORY_SIZE), generator=generator).float()
        Explainer().maps(model, grey, trunk)
        if number in (WARM - 1, images - 1):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10)
    with torch.no_grad():
        kept = model.cam_map(trunk(grey)).nbytes * (images - WARM) / 2**20
    print(
        f"memory over {images} images of {MEMORY_SIZE[0]} x {MEMORY_SIZE[1]}: peak {peaks[0]:.1f} MiB after the {WARM}th, "
        f"{peaks[1]:.1f} MiB after the {images}th; activations kept would be {kept:.1f} MiB"
    )
    return peaks[1] - peaks[0], kept


def main() -> None:
    """Print a line a network and dtype, the memory, and the JSON line; the figure is the largest share."""
    parser = argparse.ArgumentParser(description="What heat maps cost.")
    parser.add_argument("--networks", default="vgg16,mobilenet,resnet50v2,densenet121", help="networks, with random weights")
    parser.add_argument("--size", default="512x256", help="rows x columns of a view (default 512x256, the demo's)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"turns of which the least counts (default {ROUNDS})")
    parser.add_argument("--memory", action="store_true", help="only how far the peak memory grows over the images")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"images of the memory's figure (default {IMAGES})")
    chosen = parser.parse_args()
    if chosen.images <= WARM:
        parser.error(f"--images: expected more than {WARM}, received {chosen.images}")
    if chosen.memory:
        grown, kept = memory_growth(chosen.images)
        finish("gradcam-memory", grown, "MiB", round(kept / 10, 1), grown <= kept / 10)
        return
    rows, columns = map(int, chosen.size.split("x"))
    print(f"on {processor()}, {torch.get_num_threads()} threads, {rows} x {columns}, torch {torch.__version__}")
    grey = torch.randint(0, 65536, (BATCH, 1, rows, columns), generator=torch.Generator().manual_seed(0)).float()
    figures = [one_network(name, grey, chosen.rounds) for name in chosen.networks.split(",")]
    share, dearer = max(figure[0] for figure in figures), min(figure[1] for figure in figures)
    memory_growth(chosen.images)
    print(
        f"the maps cost at most {100 * share:.1f} % of a forward pass, and pytorch-grad-cam at least {dearer:.1f} times as much"
    )
    finish("gradcam", share, "of a forward pass", 0.15, share <= 0.15 and dearer >= 5)


if __name__ == "__main__":
    main()
