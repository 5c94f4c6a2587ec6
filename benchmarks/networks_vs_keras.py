"""Forward pass and full training step of the eleven networks at 512x256: ours against keras.applications on TensorFlow.

Five rounds in one run; in each, every side takes its turn on the same images and weights, and each side's best round counts.
Keras runs as its users run it, compiled by default: its forward pass is the faster of ``predict`` and the called model. Ours
is the trunk as a study runs it, from grey values on, and the tail, in the dtype that "auto" chooses here and in float32. The
training step is that of the whole network with the study's head: all weights, batch statistics, AdamW. Before anything is
timed, features and first losses of both sides must agree, or the script stops.

Beside that: the machine's matrix rate in the same dtypes and rounds and the share of it that VGG16 reaches, and what bfloat16
does to scores (the study's protocol trained on 56 synthetic views, scores of 80 views in both dtypes).

Goals: forward at least 1.2 times Keras for every network and 2.0 in geometric mean, training at least 1.5 times for every
network, VGG16 at 75 % of the bfloat16 matrix rate, bfloat16 scores of rank correlation .999 and AUC within .005. The figure
is the geometric mean of the forward ratios; ``met`` is true only for all eleven networks and all goals. The python of Keras
is named by TRAMTRACK_PEERS_PYTHON: `make bench NAME=networks_vs_keras`.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor
from peer import Keras, head_arrays, keras, lively, matrix_rate, pretrained, write_weights
from tramtrack.evaluation.resampling import estimate
from tramtrack.network.build import build
from tramtrack.network.registry import NETWORKS
from tramtrack.network.weight_set import WeightSet, load
from tramtrack.protocol import Training, Transfer
from tramtrack.training.activations import Activations
from tramtrack.training.hardware import choose_device, dtype_name, resolve_dtype
from tramtrack.training.loop import Examples, make_optimiser, predict, train, weighted_loss
from tramtrack.training.resources import multiply_adds
from tramtrack.training.states import Kept
from tramtrack.training.transfer import Classifier
from views import SIZE, grey, prepared_views

HEAD = Transfer(dropout=0.0)
WHOLE = Transfer(dropout=0.0, policy="full")
STEP = Training(learning_rate=1e-5, convolution_learning_rate=1e-5, weight_decay=0.0)
TRAINED = Training(epochs=12, patience=0, keep="last")
BATCH = 8
FORWARD, FORWARD_MEAN, STEPS, MATRIX_SHARE = 1.2, 2.0, 1.5, 0.75
RANKS, AUC_CHANGE = 0.999, 0.005
CPU = torch.device("cpu")


@dataclass
class Best:
    """The least seconds that each way of doing the same thing took."""

    seconds: dict[str, float] = field(default_factory=dict)

    def take(self, way: str, seconds: float) -> None:
        """Keep ``seconds`` if they are the least so far."""
        self.seconds[way] = min(self.seconds.get(way, math.inf), seconds)

    def least(self, prefix: str) -> float:
        """The least seconds of the ways whose names begin with ``prefix``."""
        return min(seconds for way, seconds in self.seconds.items() if way.startswith(prefix))


@dataclass(frozen=True)
class Row:
    """One network: views a second of both sides, and ratios (ours over Keras)."""

    name: str
    forward: float
    forward_float32: float
    step: float
    step_float32: float
    ours: float
    keras: float


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def classifier(name: str, weights: WeightSet, transfer: Transfer) -> Classifier:
    """The network under ``transfer`` with the study's head, channels_last, as `tramtrack.training` places it."""
    generator = torch.Generator().manual_seed(0)
    backbone = load(build(name, generator), weights)
    model = Classifier(backbone, transfer, generator)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def time_forward(side: Keras, model: Classifier, pictures: torch.Tensor, dtypes: list[torch.dtype], rounds: int) -> Best:
    """Forward passes over the same images, sides taking turns; the features of both sides must agree."""
    best = Best()
    trunks = {dtype: model.fast_trunk(CPU, dtype) for dtype in dtypes}

    def run(dtype: torch.dtype) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            return model.backbone.tail(trunks[dtype](pictures), model.boundary)

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        kept = Path(folder) / "features.npy"
        side.ask("forward", way="predict", save=kept)
        theirs, ours = np.load(kept).transpose(0, 3, 1, 2), run(torch.float32).numpy()
        difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        if difference > 1e-3:
            raise SystemExit(f"{model.backbone.name}: features differ from Keras's by {difference:.1e} of their scale")
        side.ask("forward", way="call")
        for _ in range(rounds):
            for way in ("predict", "call"):
                best.take(f"keras {way}", side.ask("forward", way=way)["seconds"])
            for dtype in dtypes:
                best.take(f"ours {dtype_name(dtype)}", timed(lambda dtype=dtype: run(dtype)))  # type: ignore[misc]
    return best


def time_step(side: Keras, model: Classifier, pictures: torch.Tensor, dtypes: list[torch.dtype], rounds: int) -> Best:
    """Full training steps on the same images from the same weights, sides taking turns; the first losses must agree."""
    best = Best()
    with tempfile.TemporaryDirectory() as folder:
        head = Path(folder) / "head.npz"
        np.savez(head, **head_arrays(model.head))
        side.ask("ready_to_step", head=head, learning_rate=STEP.learning_rate)
    x, labels = model.backbone.prepare_input(pictures), (torch.arange(len(pictures)) % 2).float()
    model.requires_grad_(True)
    model.train()
    model.backbone.train()  # batch statistics, as in Keras where everything is trainable
    optimiser = make_optimiser(model, STEP)

    def step(dtype: torch.dtype) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = model(model.backbone.trunk(x, model.boundary))
        loss = weighted_loss(logits, labels, (1.0, 1.0))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.item()

    ours, theirs = step(torch.float32), side.ask("step")["loss"]
    if abs(ours - theirs) > 1e-2 * max(abs(theirs), 1.0):
        raise SystemExit(f"{model.backbone.name}: the first loss is {ours:.4f}, Keras's is {theirs:.4f}")
    for _ in range(rounds):
        best.take("keras", side.ask("step")["seconds"])
        for dtype in dtypes:
            best.take(f"ours {dtype_name(dtype)}", timed(lambda dtype=dtype: step(dtype)))  # type: ignore[misc]
    return best


def scores_in_both(model: Classifier, views: pd.DataFrame) -> tuple[float, float]:
    """Spearman's correlation of the scores of all views in float32 and in bfloat16, and the change of their AUC.

    The last convolution and the head are trained in float32 on the training fold first; then the whole network scores
    every view twice, once in each dtype.
    """
    pictures = torch.from_numpy(grey(list(views["file"])))[:, None]
    parts: dict[torch.dtype, Kept] = {}
    for dtype in (torch.float32, torch.bfloat16):
        trunk = model.fast_trunk(CPU, dtype)
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            states = [trunk(batch) for batch in pictures.split(BATCH)]
        crossing = [torch.cat([state[k] for state in states]) for k in range(len(states[0]))]
        activations = Activations([tensor.permute(0, 2, 3, 1).contiguous().clone() for tensor in crossing])
        parts[dtype] = Kept(activations, CPU, BATCH)
    folds = {}
    for fold in ("training", "validation"):
        positions = torch.from_numpy(np.flatnonzero(views["fold"] == fold))
        folds[fold] = Examples(positions, torch.tensor(views["label"].to_numpy(dtype=np.float32))[positions])
    with tempfile.TemporaryDirectory() as folder:
        train(
            *(model, parts[torch.float32], folds["training"], folds["validation"], TRAINED),
            **{"seed": 0, "dtype": torch.float32, "device": CPU, "checkpoint": Path(folder) / "checkpoint"},  # type: ignore[arg-type]
        )
    everything = torch.arange(len(views))
    logits = [predict(model, parts[dtype], everything, dtype=dtype, device=CPU) for dtype in parts]
    labels = views["label"].to_numpy() > 0.5
    exact, rough = (estimate("auc_roc", labels, found.astype(np.float64)) for found in logits)
    return float(spearmanr(*logits).statistic), abs(exact - rough)


def compare(side: Keras, name: str, weights: WeightSet, views: pd.DataFrame, folder: Path, rounds: int) -> Row:
    """Both sides of one network, timed and printed."""
    dtypes = sorted({torch.float32, resolve_dtype("auto", CPU)}, key=str)
    auto = f"ours {dtype_name(resolve_dtype('auto', CPU))}"
    pictures = grey(list(views["file"][:BATCH]))
    np.save(folder / "grey.npy", pictures)
    model = classifier(name, weights, HEAD)
    write_weights(model.backbone, folder / "weights.npz")
    side.ask("load", network=name, weights=folder / "weights.npz", grey=folder / "grey.npy")
    batch = torch.from_numpy(pictures)[:, None]
    forward = time_forward(side, model, batch, dtypes, rounds)
    step = time_step(side, classifier(name, weights, WHOLE), batch, dtypes, rounds)
    row = Row(
        name,
        forward.least("keras") / forward.seconds[auto],
        forward.least("keras") / forward.seconds["ours float32"],
        step.seconds["keras"] / step.seconds[auto],
        step.seconds["keras"] / step.seconds["ours float32"],
        BATCH / forward.seconds[auto],
        BATCH / forward.least("keras"),
    )
    print(
        f"{name:12}{row.ours:10.1f}{row.keras:10.1f}{row.forward:10.2f}{row.forward_float32:10.2f}"
        f"{row.step:12.2f}{row.step_float32:10.2f}   {missed(row)}".rstrip(),
        flush=True,
    )
    return row


def missed(row: Row) -> str:
    """Which of its goals a network misses, in words."""
    found = [f"forward under {FORWARD}"] if row.forward < FORWARD else []
    return ", ".join(found + ([f"training under {STEPS}"] if row.step < STEPS else []))


def main() -> None:
    """Compare, print the table, the matrix rate, what bfloat16 does to scores, and the JSON line."""
    parser = argparse.ArgumentParser(description="The eleven networks against Keras on TensorFlow, sides interleaved.")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="which networks, separated by commas (default all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--folder", type=Path, help="where the views are made and kept (default: a temporary folder)")
    parser.add_argument("--scores", choices=["yes", "no"], default="yes", help="compare scores in both dtypes (default yes)")
    chosen = parser.parse_args()
    names = chosen.networks.split(",")
    if unknown := [name for name in names if name not in NETWORKS]:
        parser.error(f"no network {unknown[0]}; there are {', '.join(NETWORKS)}")
    if chosen.rounds < 1:
        parser.error("expected at least one round")
    if choose_device() != CPU:
        raise SystemExit("this comparison is of processors; hide the CUDA devices with CUDA_VISIBLE_DEVICES=")
    auto = resolve_dtype("auto", CPU)
    print(f"on {processor()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads")
    print(f"auto is {dtype_name(auto)}; {SIZE[0]}x{SIZE[1]}, batches of {BATCH}, {chosen.rounds} rounds")
    rows, scores, rates = [], {}, Best()
    with tempfile.TemporaryDirectory() as made, keras() as side:
        folder = Path(made)
        about = side.ask("about")
        print(f"torch {torch.__version__}, keras {about['keras']}, tensorflow {about['tensorflow']}", flush=True)
        views = prepared_views(chosen.folder or folder)
        weights = {name: pretrained(name) or lively(name) for name in names}
        print(f"\n{'':12}{'views/s forward':>20}{'ratio':>10}{'float32':>10}{'step ratio':>12}{'float32':>10}")
        print(f"{'':12}{'ours':>10}{'keras':>10}")
        for name in names:
            for dtype in {torch.float32, auto}:
                for _ in range(chosen.rounds):
                    rates.take(dtype_name(dtype), 1 / matrix_rate(dtype))
            rows.append(compare(side, name, weights[name], views, folder, chosen.rounds))
        if chosen.scores == "yes":
            for name in names:
                scores[name] = scores_in_both(classifier(name, weights[name], HEAD), views)
    finish_with(rows, scores, {dtype: 1 / seconds for dtype, seconds in rates.seconds.items()})


def finish_with(rows: list[Row], scores: dict[str, tuple[float, float]], rates: dict[str, float]) -> None:
    """Print what the rows come to against the goals, and the JSON line."""
    means = {what: geometric_mean([getattr(row, what) for row in rows]) for what in ("forward", "forward_float32", "step")}
    print(f"\ngeometric mean: forward {means['forward']:.2f} (goal {FORWARD_MEAN}), float32 against float32", end=" ")
    print(f"{means['forward_float32']:.2f}; training step {means['step']:.2f}")
    print("; ".join(f"matrix product {dtype}: {rate:.0f} GFLOP/s" for dtype, rate in rates.items()))
    met = {
        "all eleven networks": len(rows) == len(NETWORKS),
        "forward": all(row.forward >= FORWARD for row in rows) and means["forward"] >= FORWARD_MEAN,
        "training": all(row.step >= STEPS for row in rows),
    }
    vgg = next((row for row in rows if row.name == "vgg16"), None)
    if vgg:
        speed = vgg.ours * 2 * multiply_adds("vgg16", SIZE) / 1e9
        shares = {dtype: speed / rate for dtype, rate in rates.items()}
        print(f"VGG16 forward: {speed:.0f} GFLOP/s,", ", ".join(f"{100 * s:.0f} % of {d}" for d, s in shares.items()))
        met["VGG16's share of the bfloat16 matrix rate"] = shares.get("bfloat16", 0.0) >= MATRIX_SHARE
    for name, (ranks, change) in scores.items():
        print(f"{name:12} scores in bfloat16: rank correlation {ranks:.5f}, AUC changes by {change:.4f}")
    met["scores in bfloat16"] = bool(scores) and all(r >= RANKS and a <= AUC_CHANGE for r, a in scores.values())
    print("met:", ", ".join(goal for goal, reached in met.items() if reached) or "nothing")
    print("missed or not shown:", ", ".join(goal for goal, reached in met.items() if not reached) or "nothing")
    finish("networks_vs_keras", means["forward"], "times Keras, forward, geometric mean", FORWARD_MEAN, all(met.values()))


def geometric_mean(values: list[float]) -> float:
    """The geometric mean of positive numbers."""
    return math.exp(sum(map(math.log, values)) / len(values))


if __name__ == "__main__":
    main()
