"""A Study: the folder in which the stages meet, and the order in which they run.

Every stage reads files and writes files; this one only knows which. A stage whose files are there and still fit is skipped.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from tramtrack import results, store
from tramtrack.cohort.cohort import Cohort, analysed_views, load_cohort, make_cohort, require_same_intake
from tramtrack.cohort.split import FOLDS, require_no_copies, require_no_leak, split_women
from tramtrack.cohort.warnings import look_alikes, warning_table
from tramtrack.engine import Engine, Failure, Job, WorkerDied
from tramtrack.engine.local import Local
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.claims import Claim
from tramtrack.imaging.gallery import load_geometry, prepare_views
from tramtrack.network.registry import file_stem, place, title
from tramtrack.protocol import Protocol
from tramtrack.results import Results
from tramtrack.status import stages
from tramtrack.training.record import (
    PRETRAINED,
    RANDOM_WEIGHTS,
    Keep,
    Run,
    load_run,
    read_predictions,
    variant_name,
    write_predictions,
)

SCORED = ("training", "validation")
SHARED_STORAGE_SECONDS = 120.0
"""How long a network file system may take to show here what another machine has written."""


class Study:
    """A study in ``folder``. ``protocol`` is a preset, a TOML file or a Protocol; without one, the folder's own is used.

    ``device`` is where networks run: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:1". ``engine`` is
    where the units of the study run: this machine if None (one run a GPU where there are several), or `tramtrack.engine.ray`.
    """

    def __init__(
        self,
        folder: str | Path,
        protocol: str | Path | Protocol | None = None,
        *,
        device: str = "auto",
        engine: Engine | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.device = device
        self._engine = engine
        self._wanted = protocol if isinstance(protocol, Protocol) or protocol is None else Protocol.load(protocol)

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r}, protocol={self.protocol.name!r})"

    @property
    def protocol(self) -> Protocol:
        """The protocol asked for; it must be the one that the folder was begun with. Raises IdentityMismatch."""
        path = self.folder / "protocol.toml"
        if not path.exists():
            return self._wanted or Protocol.load("mobini-2024")
        kept = Protocol.from_toml(path.read_text(encoding="utf-8"), str(path))
        if self._wanted and self._wanted.sha256 != kept.sha256:
            differing = "; ".join(kept.differences(self._wanted))
            raise store.IdentityMismatch(
                f"{self.folder}: this study has another protocol ({differing}: the folder's against the one asked for); "
                "use another study folder, or leave --protocol out"
            )
        return kept

    def ingest(
        self,
        source: str | Path,
        labels: str | Path | None = None,
        processes: int = 2,
        key: str | Path | None = None,
        adjudication: str | Path | None = None,
    ) -> Cohort:
        """Find the views in ``source`` (a folder, or a CSV that names woman, exam, side, view, file) and their labels.

        ``key`` names a file outside the study's folder, made where there is none: with it women, exams, instances and
        institutions are known by keyed hashes alone. ``adjudication`` is cohort/disagreements.csv, its last column filled in.
        """
        table = Path(labels) if labels else None
        secret, settled = (Path(path) if path else None for path in (key, adjudication))
        protocol, folder = self.protocol, self.folder / "cohort"
        return make_cohort(Path(source), folder, table, processes, protocol.intake, secret, protocol.labels, settled)

    @property
    def cohort(self) -> Cohort:
        """The cohort as ingested. Raises TramtrackError where there is none."""
        return load_cohort(self.folder / "cohort")

    def split(self) -> pd.DataFrame:
        """Deal women to folds, once; returns folds.csv: woman, fold, bac_woman, detail. Raises Leak."""
        cohort = self.cohort
        if not cohort.labelled:
            raise TramtrackError(
                f"{self.folder}: the cohort has no labels; run `tramtrack ingest ... --labels labels.csv --study {self.folder}`"
            )
        folder = self.folder / "cohort"
        require_same_intake(folder, self.protocol.intake, self.protocol.labels)
        self._keep_protocol()
        analysed = analysed_views(cohort.views, self.protocol.intake)
        identity = {
            "split": self.protocol.split.model_dump(mode="json"),
            "views": store.file_sha256(folder / "views.csv"),
            "labels": store.file_sha256(folder / "labels.csv"),
        }
        advice = "the cohort or its labels have changed since the split; use another study folder for them"
        if not store.require_same_identity(folder / "split.json", identity, advice):
            folds = split_women(analysed, self.protocol.split)
            require_no_leak(analysed, folds)
            alike = look_alikes(analysed)
            require_no_copies(alike)
            store.write_csv(folder / "warnings.csv", warning_table(analysed, alike))
            store.write_csv(folder / "folds.csv", folds)
            counts = folds["fold"].value_counts().to_dict()
            dealt = store.file_sha256(folder / "folds.csv")
            store.write_manifest(folder / "split.json", identity, {"folds_sha256": dealt, **counts})
        dealt = store.read_json(folder / "split.json")["information"]["folds_sha256"]
        if store.file_sha256(folder / "folds.csv") != dealt:
            raise TramtrackError(
                f"{folder / 'folds.csv'}: changed since the women were dealt; restore it, or begin a new study"
            )
        require_no_leak(analysed, self.folds())
        return self.folds()

    def folds(self) -> pd.DataFrame:
        """folds.csv as written by `split`."""
        types = {"woman": str, "bac_woman": "Int64"}
        path = self.folder / "cohort" / "folds.csv"  # a woman may be called NA: only an empty label is missing
        return pd.read_csv(path, dtype=types, keep_default_na=False, na_values={"bac_woman": [""]})

    def views(self) -> pd.DataFrame:
        """The views that take part, one row each with fold, labels, training label and the prepared file."""
        views = analysed_views(self.cohort.views, self.protocol.intake).merge(
            self.folds()[["woman", "fold"]], on="woman", validate="many_to_one"
        )
        views = views[views["fold"].isin(FOLDS)].reset_index(drop=True)
        label = views["bac_view"].astype("Float64")
        if self.protocol.labels.views_without_label == "inherit":
            label = label.fillna(views["bac_breast"].astype("Float64")).fillna(views["bac_woman"].astype("Float64"))
        files = [self.folder / "prepared" / f"{view_id}.png" for view_id in views["view_id"]]
        return views.assign(label=label.astype(float), original=views["file"], file=files)

    def prepare(self, processes: int = 2) -> pd.DataFrame:
        """Prepare every view of the folds; returns geometry.csv."""
        self.split()
        rows = self.views().assign(file=lambda table: table["original"])
        identity = {
            "prepare": self.protocol.prepare.model_dump(mode="json"),
            "views": store.text_sha256("\n".join(rows["view_id"] + " " + rows["sha256"])),
        }
        engine = self._engine.on_cpus() if self._engine is not None and self._engine.is_cluster else None
        records = rows.to_dict("records")
        return prepare_views(records, self.folder / "prepared", self.protocol.prepare, identity, processes, engine)

    def train(
        self, network: str, weights: str = "pretrained", weights_dir: Path | None = None, cache: Keep = "auto"
    ) -> list[Run]:
        """Train ``network`` once for each seed of the protocol; finished runs are kept. Returns the Runs.

        ``weights``: "pretrained", or "random" for a control that is never ranked. ``cache``: whether the activations of the
        frozen trunk are kept on disk ("on", "off", or "auto": where the policy allows it). Raises WeightsUnavailable.
        """
        ((_, outcome),) = self._train([network], weights, weights_dir, cache)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _train(
        self, networks: Sequence[str], weights: str, weights_dir: Path | None, cache: Keep
    ) -> Iterator[tuple[str, list[Run] | Exception]]:
        """The runs of each network as its last one ends, or why there are none."""
        from tramtrack.network.weights import CannotFollow, WeightsUnavailable, obtain, require_batchnorm_policy
        from tramtrack.training.hardware import devices_of
        from tramtrack.training.loop import Diverged
        from tramtrack.training.run import Fold, keeps_activations
        from tramtrack.training.units import Plan, network_job

        if weights not in ("pretrained", "random"):
            raise UsageError(f"weights {weights}: expected pretrained or random")
        if cache not in ("auto", "on", "off"):
            raise UsageError(f"cache {cache}: expected auto, on or off")
        for name in networks:
            keeps_activations(name, self.protocol.transfer, cache)  # refuses before any work what cannot be
        engine: Engine = self._engine or Local(devices_of(self.device))
        geometry = self.prepare()
        views = self.views()
        hashes = {
            "folds": store.file_sha256(self.folder / "cohort" / "folds.csv"),
            "prepared": store.text_sha256("\n".join(geometry["sha256"])),
        }
        chosen = views[views["fold"].isin(SCORED)].reset_index(drop=True)
        fold = Fold(chosen.assign(file=[Path(file).absolute() for file in chosen["file"]]))
        runs = (self.folder / "runs").absolute()
        unavailable: dict[str, WeightsUnavailable | CannotFollow] = {}

        def jobs() -> Iterator[Job]:
            for name in networks:
                try:
                    weight_set = obtain(name, weights_dir=weights_dir) if weights == "pretrained" else None
                    require_batchnorm_policy(weight_set, self.protocol.transfer.batchnorm)
                except (WeightsUnavailable, CannotFollow) as error:
                    unavailable[name] = error
                    continue
                variant = variant_name(self.protocol.transfer, PRETRAINED if weight_set else RANDOM_WEIGHTS)
                kept = (self.folder / "cache" / file_stem(name)).absolute()
                plan = Plan(name, variant, weight_set, fold, self.protocol, hashes, runs, kept, cache)
                yield network_job(plan, engine.slots if engine.is_cluster or engine.slots > 1 else 0)

        for job, outcome in engine.run(jobs()):
            if not isinstance(outcome, Failure) or isinstance(outcome.error, (Diverged, WorkerDied)):  # others need the room
                shutil.rmtree(self.folder / "cache" / file_stem(job.name), ignore_errors=True)
            if not isinstance(outcome, Failure):
                yield job.name, [self._arrived(run) for run in outcome]
            else:
                yield job.name, outcome.error
        yield from unavailable.items()

    def _arrived(self, run: Run) -> Run:
        """The run as this machine sees its folder. Raises TramtrackError where it is on storage of another machine."""
        folder = self.folder / "runs" / run.folder.relative_to((self.folder / "runs").absolute())
        deadline = time.monotonic() + SHARED_STORAGE_SECONDS
        while (found := load_run(folder)) is None:
            if time.monotonic() > deadline:
                raise TramtrackError(
                    f"{folder}: a machine of the cluster finished this run, but it is not here; the study's folder must lie on "
                    "storage that all machines share, under the same path"
                )
            time.sleep(1.0)
        return found

    def evaluate(self, networks: Sequence[str] | None = None, *, unseal: bool = False) -> Results:
        """Score the finished runs; the test fold only with ``unseal``, and then the look is logged.

        ``networks`` limits the evaluation to these; an unfinished one among them is refused. Once the test fold was opened
        with just these runs, its results are kept, with or without ``unseal``. Raises TramtrackError.
        """
        from tramtrack.explain.atlas import explainer_of, is_kept, make_heatmaps
        from tramtrack.training.hardware import devices_of
        from tramtrack.training.run import predict_views

        devices_of(self.device)  # refuses one that is not there before the test fold is looked at
        self.split()
        runs = self._finished(networks)
        kept = results.load_results(self.folder / "results")
        if not unseal and kept is not None and kept.unsealed and kept.runs == results.hashes_of(runs):
            return kept
        views = self.views()
        test = views[views["fold"] == "test"].reset_index(drop=True)
        validation = list(views.loc[views["fold"] == "validation", "file"])
        cheap = explainer_of(self.protocol).is_cheap

        def is_scored(run: Run, path: Path) -> bool:
            identity = {"weights": run.information["weights_file_sha256"]}
            advice = "these test scores are of an earlier run; remove their folder to score anew"
            return store.require_same_identity(path.parent / "manifest.json", identity, advice)

        def score_test(run: Run, path: Path) -> pd.DataFrame:
            if not is_scored(run, path):
                files = dict(zip(test["view_id"], test["file"], strict=True))
                if cheap:  # the pass that scores a view holds all that its heat map needs
                    place = run.key.folder(self.folder / "heatmaps")
                    what = "test views with their heat maps"
                    atlas = make_heatmaps(run, self.protocol, files, validation, place, self.device, what)
                    logits = atlas.scores(list(files))
                else:
                    what = f"{run.key.network}: seed {run.key.seed}, test views"
                    logits = predict_views(run, self.protocol, list(files.values()), what, self.device)
                write_predictions(path, test, logits)
                identity = {"weights": run.information["weights_file_sha256"]}
                store.write_manifest(path.parent / "manifest.json", identity, {"views": len(test)})
            return read_predictions(path)

        if unseal:
            for run in runs:  # before the look is logged: a look that cannot be taken is none
                is_scored(run, results.test_file(self.folder / "results", run))
                is_kept(run, self.protocol, run.key.folder(self.folder / "heatmaps"))
        return results.evaluate(
            runs,
            self.protocol,
            self.folder / "results",
            score_test=score_test if unseal else None,
            left_out=self._left_out(),
            synthetic=self.cohort.synthetic,
            views=views,
        )

    def _finished(self, networks: Sequence[str] | None) -> list[Run]:
        """The finished runs of these networks (all if None), every seed of each, made from the folds as they are."""
        runs = [run for run in self.runs() if networks is None or run.key.network in networks]
        missing = sorted(set(networks or ()) - {run.key.network for run in runs})
        for network, variant in dict.fromkeys((run.key.network, run.key.variant) for run in runs):
            done = {run.key.seed for run in runs if (run.key.network, run.key.variant) == (network, variant)}
            missing += [f"{network} seed {seed}" for seed in self.protocol.training.seeds if seed not in done]
        if missing:
            raise TramtrackError(f"{self.folder}: not finished yet: {', '.join(missing)}; run `tramtrack run {self.folder}`")
        if not runs:
            raise TramtrackError(f"{self.folder}: no finished run to evaluate; run `tramtrack run {self.folder}`")
        folds = store.file_sha256(self.folder / "cohort" / "folds.csv")
        other = [str(run.folder) for run in runs if run.identity["folds"] != folds]
        if other:
            raise TramtrackError(f"{other[0]}: trained on other folds than this study has now; remove it to train it again")
        return runs

    def compare(self) -> results.Claims:
        """What the paired comparisons of the last evaluation carry; printing it shows the sentences."""
        return self._results().carried()

    def claim(self, sentence: str) -> Claim:
        """The verdict on a sentence such as "vgg16 > mobilenetv2 on f1 in test by woman", from the last evaluation.

        The sealed test fold stays sealed: a claim on it is refused. Raises TramtrackError, UsageError.
        """
        from tramtrack.claiming import answer_claim

        return answer_claim(sentence, self.protocol, self._results().folder)

    def _results(self) -> Results:
        """The last evaluation, if the cohort and the runs are still those it was made of. Raises TramtrackError."""
        found = results.load_results(self.folder / "results")
        if found is None:
            raise TramtrackError(f"{self.folder}: nothing is evaluated yet; run `tramtrack run {self.folder}`")
        self.split()
        for name, weights in found.runs.items():
            run = load_run(self.folder / "runs" / name)
            if run is None or run.information["weights_file_sha256"] != weights:
                raise TramtrackError(
                    f"{self.folder}: the results are of a run {name} that is gone or was trained again; "
                    f"run `tramtrack run {self.folder}` again"
                )
        return found

    def explain(self) -> Path:
        """Heat maps of each network's hits, misses and false alarms in the test fold; returns their folder."""
        from tramtrack.explain.stage import explain_runs

        evaluated = self._results().runs
        runs = [run for run in self.runs() if results.name_of(run) in evaluated]
        geometry = load_geometry(self.folder / "prepared")
        return explain_runs(runs, self.protocol, self.views(), geometry, self.folder, self.device)

    def explain_views(self, view_ids: Sequence[str], method: str | None = None, layer: str | None = None) -> pd.DataFrame:
        """The maps of single views under every network, on the original images; see `explain_views`.

        ``method`` and ``layer`` are the protocol's where not given. Views of the test fold need it unsealed.
        """
        from tramtrack.explain.methods import Explainer
        from tramtrack.explain.single import explain_views

        given = {"method": method, "layer": layer}
        asked = {name: value for name, value in given.items() if value is not None}
        protocol = self.protocol
        settings = protocol.explain.model_copy(update=asked)
        Explainer(settings.method, settings.layer)  # refuses what is not known before any work
        changed = protocol.model_copy(update={"explain": settings})
        geometry = load_geometry(self.folder / "prepared")
        return explain_views(self.runs(), changed, self.views(), geometry, self.folder, view_ids, self.device)

    def trust(self, permuted: bool = False, weights_dir: Path | None = None) -> pd.DataFrame:
        """Test on validation views whether the networks' maps can be trusted; returns results/trust.csv, see `judge_maps`.

        With ``permuted`` each network is also trained once on permuted labels, into trust/, and its maps are compared.
        """
        from tramtrack.explain.trust_stage import judge_maps

        runs = [run for run in self.runs() if run.weights == PRETRAINED]
        if not runs:
            raise TramtrackError(
                f"{self.folder}: no pretrained run whose maps could be tested; run `tramtrack run {self.folder}`"
            )
        trained = self._permuted(runs, weights_dir) if permuted else {}
        geometry = load_geometry(self.folder / "prepared")
        return judge_maps(runs, trained, self.protocol, self.views(), geometry, self.folder / "results", self.device)

    def _permuted(self, runs: Sequence[Run], weights_dir: Path | None) -> dict[str, Run]:
        """By contestant a run like its first one, but for the training labels, which are dealt anew among the views."""
        from tramtrack.explain.permuted import train_permuted

        table = self.views()
        table = table[table["fold"].isin(SCORED)].reset_index(drop=True)
        trained: dict[str, Run] = {}
        for run, name in zip(runs, results.names_of(runs), strict=True):
            if name not in trained:
                trained[name] = train_permuted(run, self.protocol, table, self.folder / "trust", weights_dir, self.device)
        return trained

    def report(self, export: bool = False) -> Path:
        """Write report/index.html, one file that opens without a network; returns its path.

        With ``export`` also report/tables/ (CSV, LaTeX, HTML) and report/figures/ (SVG, PDF at journal size).
        """
        from tramtrack.report.page import write_report

        self._results()
        cohort = self.cohort
        analysed = analysed_views(cohort.views, self.protocol.intake)
        return write_report(self.folder, self.protocol, cohort, analysed, self.folds(), exported=export)

    def run(
        self, networks: Sequence[str], *, weights: str = "pretrained", weights_dir: Path | None = None, cache: Keep = "auto"
    ) -> Results:
        """Everything from the split to the report; goes on where it stopped. The test fold is scored once, at the end.

        A network whose weights cannot be had or cannot follow the protocol, whose loss diverges, or whose worker dies again and
        again, is left out with the reason; the others go on.
        """
        from tramtrack.network.weights import CannotFollow, WeightsUnavailable
        from tramtrack.training.loop import Diverged

        names = list(dict.fromkeys(networks))
        reasons: dict[str, str] = {}
        for name, outcome in self._train(names, weights, weights_dir, cache):
            if isinstance(outcome, (WeightsUnavailable, CannotFollow, Diverged, WorkerDied)):
                reasons[name] = str(outcome).removeprefix(f"{title(name)}: ")
            elif isinstance(outcome, Exception):
                raise outcome
        left_out = {name: reasons[name] for name in names if name in reasons}
        store.write_json(self.folder / "runs" / "left_out.json", left_out)
        finished = [name for name in names if name not in left_out]
        if not finished:
            raise TramtrackError("no network could be trained. " + " ".join(left_out.values()))
        found = self.evaluate(finished, unseal=True)
        self.explain()
        self.report()
        return found

    def runs(self) -> list[Run]:
        """The finished runs: the eleven networks in the registry's order, then challengers by name; by variant and seed."""
        found = [load_run(path.parent) for path in (self.folder / "runs").glob("*/*/seed-*/run.json")]
        return sorted(
            (run for run in found if run is not None),
            key=lambda run: (place(run.key.network), run.key.variant, run.key.seed),
        )

    def best(self) -> Run:
        """The pretrained run with the highest AUC-ROC by woman on validation; the test fold has no say in it."""
        found = results.best_on_validation(self.runs(), self.protocol.evaluation)
        if found is None:
            raise TramtrackError(f"{self.folder}: no pretrained run with a validation AUC")
        return found

    def status(self) -> list[dict[str, str]]:
        """How far each stage is: stage, state, detail."""
        folder = self.folder
        if not folder.is_dir():
            raise TramtrackError(f"{folder}: expected a study's folder, found none; `tramtrack ingest` makes one")
        cohort = repr(self.cohort) if (folder / "cohort" / "views.csv").exists() else None
        folds = self.folds() if (folder / "cohort" / "split.json").exists() else None
        return stages(folder, cohort, folds, self._left_out())

    def _left_out(self) -> dict[str, str]:
        """Networks that could not take part, with the reason; one that has a finished run by now is no longer left out."""
        path = self.folder / "runs" / "left_out.json"
        finished = {run.key.network for run in self.runs()}
        return {name: why for name, why in store.read_json(path).items() if name not in finished} if path.exists() else {}

    def _keep_protocol(self) -> None:
        path = self.folder / "protocol.toml"
        if not path.exists():
            store.write_text(path, self.protocol.to_toml())
