"""A tiny fabricated study folder in the real file formats: no image of anybody, no training, written in a second."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tramtrack import store
from tramtrack.cohort.cohort import Cohort, load_cohort
from tramtrack.cohort.exam import STANDARD_VIEWS, View
from tramtrack.explain.choice import call, choose_views
from tramtrack.imaging.geometry import fit
from tramtrack.judgement import results
from tramtrack.judgement.architectures import SplitResult
from tramtrack.network.registry import IMAGENET, NETWORKS
from tramtrack.protocol import Evaluation, Factors, Protocol, Split, Training
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, Run, RunKey, load_run, read_predictions, write_predictions

ODD_WOMAN = "<script>document.title='taken over'</script>"
ODD_FILE = "<img src=x onerror=alert(1)>.dcm"
ROWS, COLUMNS = 64, 32
RUNS = (("vgg16", PRETRAINED, 1.6), ("mobilenetv2", PRETRAINED, 0.9), ("xception", RANDOM_WEIGHTS, 0.0))
PROTOCOL = Protocol(
    name="tiny",
    split=Split(training=0.5, validation=0.25, test=0.25),
    training=Training(epochs=3),
    evaluation=Evaluation(resamples=200),
)


@dataclass(frozen=True)
class Fabricated:
    """What `write_report` is called with."""

    folder: Path
    protocol: Protocol
    cohort: Cohort
    analysed: pd.DataFrame
    folds: pd.DataFrame

    def arguments(self) -> tuple[Path, Protocol, Cohort, pd.DataFrame, pd.DataFrame]:
        return self.folder, self.protocol, self.cohort, self.analysed, self.folds


CROSSED = PROTOCOL.model_copy(update={"factors": Factors.from_texts(["policy=equal-slice", "stride=16"])})
SPLITS = [SplitResult({"vgg16": 0.8 + k / 50, "mobilenetv2": 0.7 - k / 50}, 6, 8) for k in range(2)]
_MADE: dict[tuple[bool, bool, bool, int, bool], Fabricated] = {}
"""Studies made in this session; another one like them is a copy, which is many times faster."""


def fabricate(
    folder: Path, *, synthetic: bool = True, one_class: bool = False, unseal: bool = True, looks: int = 1, crossed: bool = False
) -> Fabricated:
    """24 women: 8 training, 6 validation, 6 test, 2 dropped, 2 without a label. ``one_class``: all test women have BAC.

    ``crossed``: both pretrained networks under equal-slice as well, none at stride 16, and two further splits of the women.
    """
    kind = (synthetic, one_class, unseal, looks, crossed)
    if kind not in _MADE:
        place = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        _MADE[kind] = _fabricate(Path(place) / "study", *kind)
    made = _MADE[kind]
    shutil.copytree(made.folder, folder, dirs_exist_ok=True)
    return Fabricated(folder, *made.arguments()[1:])


def _fabricate(folder: Path, synthetic: bool, one_class: bool, unseal: bool, looks: int, crossed: bool) -> Fabricated:
    protocol = CROSSED if crossed else PROTOCOL
    folds = _write_cohort(folder, synthetic, one_class)
    cohort = load_cohort(folder / "cohort")
    analysed = cohort.views[cohort.views["exam"] == "first"].reset_index(drop=True)
    views = analysed.merge(folds[["woman", "fold"]], on="woman")
    taking_part = views[views["fold"].isin(("training", "validation", "test"))].reset_index(drop=True)
    runs = [_write_run(folder, taking_part, *run) for run in RUNS]
    own = list(runs)
    runs += [_write_run(folder, taking_part, *run, variant="equal-slice") for run in RUNS[:2]] if crossed else []
    test = taking_part[taking_part["fold"] == "test"].reset_index(drop=True)

    def score_test(run: Run, path: Path) -> pd.DataFrame:
        write_predictions(path, test, _logits(test, run.key.network))
        return read_predictions(path)

    left_out = {"vgg19": "no pretrained weights could be had; name a folder by --weights-dir"}
    for look in range(looks):
        chosen = runs[: len(runs) - looks + 1 + look]
        results.evaluate(
            chosen, protocol, folder / "results", score_test=score_test if unseal else None, left_out=left_out,
            synthetic=synthetic, views=taking_part, splits=SPLITS if crossed else (),
        )  # fmt: skip
    if unseal:
        _write_pictures(folder, test, own)
    return Fabricated(folder, protocol, cohort, analysed, folds)


def _women() -> list[tuple[str, str, int | None]]:
    plan = [("training", 8), ("validation", 6), ("test", 6), ("dropped", 2), ("unlabelled", 2)]
    women: list[tuple[str, str, int | None]] = []
    for fold, count in plan:
        for number in range(count):
            label = None if fold == "unlabelled" else 0 if fold == "dropped" else number % 2
            women.append((f"{fold}-{number}", fold, label))
    return [(ODD_WOMAN if name == "test-1" else name, fold, label) for name, fold, label in women]


def _write_cohort(folder: Path, synthetic: bool, one_class: bool) -> pd.DataFrame:
    views, labels, folds = [], [], []
    for name, fold, label in _women():
        label = 1 if one_class and fold == "test" else label
        folds.append({"woman": name, "fold": fold, "bac_woman": label, "detail": ""})
        for exam in ("first", "second") if name == "training-0" else ("first",):
            for side, position in STANDARD_VIEWS:
                view = View(name, exam, side, position, f"in/{len(views)}.dcm", f"{len(views):064x}", synthetic=synthetic)
                bac = label if label != 1 else int(side == "L")
                mask = folder / "masks" / f"{view.view_id}.png"
                if bac == 1 and fold == "test":
                    mask.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.pad(np.full((6, 6), 255, np.uint8), ((20, 38), (6, 20)))).save(mask)
                row: dict[str, Any] = {"view_id": view.view_id, **view.__dict__, "synthetic": "yes" if synthetic else "no"}
                views.append(
                    {
                        **row,
                        "manufacturer": f"maker {len(views) % 8 // 4}",
                        "age_years": 48 + len(views) % 32,
                        "acquired": "20200101" if exam == "first" else "20210101",
                    }
                )
                labels.append(
                    {"view_id": view.view_id, "bac_view": bac, "bac_breast": bac, "bac_woman": label,
                     "mask": str(mask) if mask.exists() else ""}
                )  # fmt: skip
    cohort = folder / "cohort"
    store.write_csv(cohort / "views.csv", pd.DataFrame(views))
    whole = {"bac_view": "Int64", "bac_breast": "Int64", "bac_woman": "Int64"}
    store.write_csv(cohort / "labels.csv", pd.DataFrame(labels).astype(whole))
    store.write_manifest(cohort / "labels.json", {"sha256": "ef" * 32}, {"file": "labels <1>.csv"})
    excluded = [{"file": f"in/{ODD_FILE}", "reason": "unreadable", "detail": "cut <b>off</b>"}]
    excluded += [{"file": f"in/note{n}.txt", "reason": "not an image file", "detail": ""} for n in range(2)]
    store.write_csv(cohort / "exclusions.csv", pd.DataFrame(excluded))
    store.write_csv(cohort / "unmatched.csv", pd.DataFrame([{"kind": "label row without a view", "what": "line 9: woman <x>"}]))
    store.write_manifest(cohort / "manifest.json", {"stage": "ingest"}, {"files": len(views) + len(excluded)})
    table = pd.DataFrame(folds).astype({"bac_woman": "Int64"})
    store.write_csv(cohort / "folds.csv", table)
    return table


def _logits(table: pd.DataFrame, network: str) -> np.ndarray:
    strength = {name: value for name, _, value in RUNS}[network]
    rng = np.random.default_rng(len(network))
    return strength * table["bac_view"].astype(float).to_numpy() + rng.normal(0, 1, len(table))


def _write_run(folder: Path, views: pd.DataFrame, network: str, weights: str, _: float, variant: str = "last-conv") -> Run:
    key = RunKey(network, variant if weights == PRETRAINED else "last-conv+random-weights", 0)
    place = key.folder(folder / "runs")
    sealed = views[views["fold"] != "test"].reset_index(drop=True)
    write_predictions(place / "predictions.csv", sealed, _logits(sealed, network))
    history = [(1, 0.9, 0.8, 1.0), (2, 0.6, 0.7, 1.0), (3, 0.4, 0.75, 1.0)]
    columns = ["epoch", "training_loss", "validation_loss", "seconds"]
    store.write_csv(place / "history.csv", pd.DataFrame(history, columns=columns))
    known, source = NETWORKS[network], f"fabricated {network}" if weights == PRETRAINED else "random"
    trained_on = IMAGENET if weights == PRETRAINED else weights
    if network == "mobilenetv2":
        trained_on = f"{IMAGENET}; then on <dogs>"
    store.write_manifest(
        place / "run.json",
        {
            "network": network, "variant": key.variant, "seed": 0, "protocol": PROTOCOL.sha256, "dtype": "float32",
            "weights": weights, "weights_source": source, "weights_sha256": "ab" * 32,
        },
        {
            "weights_file_sha256": "cd" * 32, "weights_licence": "none", "weights_trained_on": trained_on,
            "parameters": {"base": known.parameters, "base_trained": known.last_conv_parameters, "head": 100},
            "multiply_adds": known.parameters * 100, "best_epoch": 2, "epochs": 3,
            "activations": "kept", "seconds_an_epoch_uncached": 9.0,
            "seconds_an_epoch_cached": 1.0, "milliseconds_a_view": 5.0, "peak_memory_mb": 300.0,
            "machine": {"device": "cpu: fabricated"}, "versions": {"tramtrack": "0"},
        },
    )  # fmt: skip
    run = load_run(place)
    assert run is not None
    return run


def _write_pictures(folder: Path, test: pd.DataFrame, runs: list[Run]) -> None:
    predictions = {run.key: read_predictions(run.key.folder(folder / "results" / "test") / "predictions.csv") for run in runs}
    stacked = pd.concat(
        [table.assign(network=key.network, bac=table["bac_view"]) for key, table in predictions.items()], ignore_index=True
    )
    chosen = choose_views(stacked, {run.key.network: 0.5 for run in runs}, 2)
    rng = np.random.default_rng(1)
    geometry, rows = [], []
    for view in chosen:
        place = fit((ROWS, COLUMNS), (0, 0, ROWS, COLUMNS), False, (ROWS, COLUMNS))
        geometry.append({"view_id": view.view_id, **place.__dict__})
        grey = rng.integers(0, 65535, (ROWS, COLUMNS)).astype(np.uint16)
        (folder / "prepared").mkdir(exist_ok=True)
        Image.fromarray(grey).save(folder / "prepared" / f"{view.view_id}.png")
        for key, table in predictions.items():
            row = table[table["view_id"] == view.view_id].iloc[0]
            target = key.folder(folder / "heatmaps")
            target.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (ROWS, COLUMNS, 3)).astype(np.uint8)).save(target / f"{view.view_id}.png")
            rows.append(
                {
                    "view_id": view.view_id, "network": key.network, "variant": key.variant, "seed": 0,
                    "unit": "view", "bac": int(row["bac_view"]), "score": row["score"], "threshold": 0.5,
                    "call": call(row["score"], int(row["bac_view"]), 0.5), "because": "; ".join(view.because),
                }
            )  # fmt: skip
    for run in runs:
        target = run.key.folder(folder / "heatmaps")
        facts = NETWORKS[run.key.network]
        cells = (1, PROTOCOL.prepare.height // facts.stride, PROTOCOL.prepare.width // facts.stride)
        np.savez(target / "maps.npz", view_id=np.array(["v"]), map=np.ones(cells, np.float32), logit=np.zeros(1))
        identity = {"weights": "cd" * 32, "method": "grad-cam++", "layer": "cam"}
        store.write_manifest(target / "manifest.json", identity, {"scale": 1.0, "layer": facts.cam_layer})
    store.write_csv(folder / "prepared" / "geometry.csv", pd.DataFrame(geometry))
    store.write_csv(folder / "heatmaps" / "views.csv", pd.DataFrame(rows))
