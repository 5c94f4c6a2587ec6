"""The study's protocol on VGG16 at 512x256: tramtrack against Keras, with the same result.

Eighty prepared synthetic views (56 to train on, 12 to validate, 12 to test), 20 epochs, last convolution and a new head
trained, everything before frozen. Three ways, taking turns once a seed in one run, each side's best seed counts:

- tramtrack: a run as `tramtrack train` makes it, from prepared files to weights and predictions in its folder, its kept
  activations computed anew for every seed; then the scores of the test views;
- Keras, model.fit: what a straightforward script does, a forward pass through the frozen base for every view and epoch;
- Keras on precomputed features: base.predict once, then fit of the tail.

All three start from the same base, head, order of batches and settings (dropout 0, because the ways draw masks from different
streams; one learning rate; the last epoch's weights), so their scores must agree. Keras has its images in memory.

The limit printed is model.fit's time over the time that the protocol's multiplications alone would take at the matrix rate
measured in the same run. Goals: at least 14 times model.fit; rank correlation of the scores of all views at least .99 and
AUC of the 24 views not trained on within .01, each for every seed. The figure is the ratio to model.fit. The python of Keras
is named by TRAMTRACK_PEERS_PYTHON: `make bench NAME=study_vs_keras`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor
from peer import Keras, head_arrays, keras, matrix_rate, pretrained, write_weights
from tramtrack.evaluation.resampling import estimate
from tramtrack.network.build import skeleton
from tramtrack.network.weight_set import WeightSet
from tramtrack.protocol import Prepare, Protocol, Training, Transfer
from tramtrack.training.hardware import choose_device, dtype_name, resolve_dtype
from tramtrack.training.loop import class_weights, draw
from tramtrack.training.rebuild import predict_views
from tramtrack.training.record import RunKey
from tramtrack.training.run import train_run
from tramtrack.training.setup import Fold, make_classifier, set_up
from tramtrack.training.transfer import Classifier
from views import SIZE, grey, prepared_views

NETWORK = "vgg16"
WAYS = {"model.fit": "Keras, model.fit", "features": "Keras on precomputed features"}
GOAL, RANKS, AUC_DIFFERENCE = 14.0, 0.99, 0.01


@dataclass
class Found:
    """Of one way: seconds and logits (80,) a seed."""

    seconds: list[float] = field(default_factory=list)
    logits: list[np.ndarray] = field(default_factory=list)

    @property
    def best(self) -> float:
        """The least seconds of any seed."""
        return min(self.seconds)


def protocol(epochs: int) -> Protocol:
    """The study's protocol as both sides can follow it to the bit of their arithmetic."""
    training = Training(epochs=epochs, patience=0, keep="last", learning_rate=1e-4, convolution_learning_rate=1e-4)
    prepare = Prepare(height=SIZE[0], width=SIZE[1])
    return Protocol(name="study-vs-keras", prepare=prepare, transfer=Transfer(dropout=0.0), training=training)


def key_of(seed: int) -> RunKey:
    """The run of one seed."""
    return RunKey(NETWORK, "last-conv", seed)


def tramtrack_way(weights: WeightSet | None, seed: int, settings: Protocol, views: pd.DataFrame, folder: Path) -> np.ndarray:
    """A whole run and the scores of the test views: logits (80,) in the order of ``views``."""
    scored = views[views["fold"] != "test"].reset_index(drop=True)
    setup = set_up(key_of(seed), weights, Fold(scored), settings, {"prepared": "benchmark"})
    run = train_run(setup, folder / "runs", folder / f"cache-{seed}")
    known = run.predictions().set_index("view_id")["logit"]
    test = views[views["fold"] == "test"]
    logits = predict_views(run, settings, list(test["file"]), "test views")
    everything = pd.concat([known, pd.Series(logits, index=test["view_id"])])
    return everything[views["view_id"]].to_numpy(dtype=np.float64)


def write_task(path: Path, model: Classifier, seed: int, settings: Protocol, views: pd.DataFrame) -> None:
    """What Keras needs to do the same: labels, folds, order of the batches in each epoch, settings, the head's weights."""
    folds = {name: np.flatnonzero(views["fold"] == name) for name in ("training", "validation")}
    labels = views["label"].to_numpy(dtype=np.float32)
    count, training = len(folds["training"]), settings.training
    generators = [torch.Generator().manual_seed(draw(seed, epoch, 0)) for epoch in range(1, training.epochs + 1)]
    weighing = class_weights(torch.tensor(labels[folds["training"]]), training.class_weighting)
    np.savez(
        path,
        **folds,
        labels=labels,
        orders=np.stack([torch.randperm(count, generator=generator).numpy() for generator in generators]),
        batch_size=training.batch_size,
        class_weights=np.array(weighing),
        learning_rate=training.learning_rate,
        weight_decay=training.weight_decay,
        **head_arrays(model.head),
    )


def multiplications(settings: Protocol, views: pd.DataFrame) -> float:
    """Operations (two a multiply-add) that the protocol cannot do without: the trunk once a view, then the tail.

    A training step of the tail is a forward pass and the gradient of the weights; nothing needs the gradient of its input.
    """
    backbone = skeleton(NETWORK).eval()
    counts = []
    with torch.device("meta"), torch.inference_mode():
        for boundary in (backbone.boundary, None):
            with FlopCounterMode(display=False) as counter:
                x = torch.empty((1, 3, *SIZE))
                backbone.trunk(x, boundary) if boundary else backbone(x)
            counts.append(counter.get_total_flops())
    trunk, tail = counts[0], counts[1] - counts[0]
    folds = views["fold"].value_counts()
    tails = settings.training.epochs * (2 * folds["training"] + folds["validation"]) + len(views)
    return float(len(views) * trunk + tails * tail)


def agreement(ours: Found, theirs: Found, views: pd.DataFrame) -> tuple[float, float]:
    """The worst of the seeds that both have: rank correlation of all logits, difference of AUC on the views not trained on."""
    unseen = (views["fold"] != "training").to_numpy()
    labels = views["label"].to_numpy()[unseen] > 0.5
    ranks, differences = [], []
    for mine, other in zip(ours.logits, theirs.logits, strict=False):
        ranks.append(float(spearmanr(mine, other).statistic))
        aucs = [estimate("auc_roc", labels, logits[unseen].astype(np.float64)) for logits in (mine, other)]
        differences.append(abs(aucs[0] - aucs[1]))
    return min(ranks), max(differences)


def run_ways(
    side: Keras, weights: WeightSet | None, settings: Protocol, views: pd.DataFrame, folder: Path, seeds: int, fits: int
) -> tuple[dict[str, Found], float]:
    """Every way once a seed, in turns, model.fit for the first ``fits`` seeds alone.

    Returns what was found and the best matrix rate (GFLOP/s) seen between the turns.
    """
    found = {way: Found() for way in ("tramtrack", *WAYS)}
    np.save(folder / "grey.npy", grey(list(views["file"])))
    write_weights(make_classifier(key_of(0), weights, settings).backbone, folder / "weights.npz")
    side.ask("load", network=NETWORK, weights=folder / "weights.npz", grey=folder / "grey.npy")
    rate, dtype = 0.0, resolve_dtype(settings.training.dtype, choose_device())
    for seed in range(seeds):
        rate = max([rate, *(matrix_rate(dtype) for _ in range(5))])
        started = time.perf_counter()
        logits = tramtrack_way(weights, seed, settings, views, folder)
        found["tramtrack"].seconds.append(time.perf_counter() - started)
        found["tramtrack"].logits.append(logits)
        write_task(folder / "task.npz", make_classifier(key_of(seed), weights, settings), seed, settings, views)
        for way in WAYS if seed < fits else ("features",):
            answer = side.ask("fit", way=way, task=folder / "task.npz", save=folder / "logits.npy")
            found[way].seconds.append(answer["seconds"])
            found[way].logits.append(np.load(folder / "logits.npy"))
        print(
            f"seed {seed}: "
            + ", ".join(f"{way} {each.seconds[seed]:.1f} s" for way, each in found.items() if len(each.seconds) > seed),
            flush=True,
        )
    return found, rate


def main() -> None:
    """Run all ways, print times, ratios, the limit and the agreement, and the JSON line."""
    parser = argparse.ArgumentParser(description="The study's protocol on VGG16: tramtrack against Keras, in turns.")
    parser.add_argument("--epochs", type=int, default=20, help="passes over the training views (default 20)")
    parser.add_argument("--seeds", type=int, default=5, help="turns of each way, each from its own seed (default 5)")
    parser.add_argument("--fits", type=int, help="of them with model.fit, which takes by far the longest (default: all)")
    parser.add_argument("--folder", type=Path, help="where the views are made and kept (default: a temporary folder)")
    chosen = parser.parse_args()
    fits = chosen.seeds if chosen.fits is None else chosen.fits
    if chosen.epochs < 1 or not 1 <= fits <= chosen.seeds:
        parser.error("expected at least one epoch, one seed, and for model.fit at least one and no more than those")
    if choose_device().type != "cpu":
        raise SystemExit("this comparison is of processors; hide the CUDA devices with CUDA_VISIBLE_DEVICES=")
    settings = protocol(chosen.epochs)
    dtype = dtype_name(resolve_dtype(settings.training.dtype, choose_device()))
    print(f"on {processor()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads; auto is {dtype}")
    with tempfile.TemporaryDirectory() as made, keras() as side:
        about = side.ask("about")
        print(f"torch {torch.__version__}, keras {about['keras']}, tensorflow {about['tensorflow']}", flush=True)
        views = prepared_views(chosen.folder or Path(made))
        print(", ".join(f"{name} {count} views" for name, count in views["fold"].value_counts().items()))
        found, rate = run_ways(side, pretrained(NETWORK), settings, views, Path(made), chosen.seeds, fits)
    ideal = multiplications(settings, views) / rate / 1e9
    ours = found["tramtrack"]
    print(f"\n{chosen.epochs} epochs, {chosen.seeds} seeds, each way's best: tramtrack {ours.best:.1f} s")
    equal = True
    for way, name in WAYS.items():
        ranks, difference = agreement(ours, found[way], views)
        equal &= ranks >= RANKS and difference <= AUC_DIFFERENCE
        ratio = found[way].best / ours.best
        turns = len(found[way].seconds)
        same = f"rank correlation {ranks:.4f}, AUC within {difference:.4f}"
        print(f"{name}, {turns} seeds: {found[way].best:.1f} s, {ratio:.2f} times; {same}")
    figure, limit = found["model.fit"].best / ours.best, found["model.fit"].best / ideal
    print(f"the multiplications alone at {rate:.0f} GFLOP/s ({dtype}): {ideal:.1f} s; the limit is {limit:.1f} times model.fit")
    complete = chosen.epochs == 20 and fits == 5
    print(
        f"goal {GOAL:.0f} times model.fit: {'reached' if figure >= GOAL else 'missed'}; same scores: {'yes' if equal else 'no'}"
    )
    finish("study_vs_keras", figure, "times Keras model.fit", GOAL, complete and figure >= GOAL and equal)


if __name__ == "__main__":
    main()
