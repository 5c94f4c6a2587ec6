"""A Study: the folder in which the stages meet, and the order in which they run.

Every stage reads files and writes files; this one only knows which. A stage whose files are there and still fit is skipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tramtrack import store, study_maps, study_runs
from tramtrack.cohort.cohort import Cohort, analysed_views, known_as, load_cohort, make_cohort, require_same_intake
from tramtrack.cohort.folds import deal, read_folds
from tramtrack.cohort.privacy import choose
from tramtrack.cohort.repeats import share_cohort, share_prepared
from tramtrack.cohort.split import CALIBRATION, FOLDS
from tramtrack.engine import Engine
from tramtrack.errors import TramtrackError
from tramtrack.evaluation.claims import Claim
from tramtrack.imaging.gallery import prepare_views
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement import results
from tramtrack.judgement.results import Results
from tramtrack.protocol import Factors, Protocol
from tramtrack.status import stages
from tramtrack.training import ledger
from tramtrack.training.record import (
    Keep,
    Run,
    load_run,
)
from tramtrack.training.variants import variants, without_weights

if TYPE_CHECKING:
    from tramtrack.explain.burden_stage import BurdenTables

SCORED = ("training", "validation")


class Study:
    """A study in ``folder``. ``protocol`` is a preset, a TOML file or a Protocol; without one, the folder's own is used.

    ``device`` is where networks run: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:1". ``engine`` is
    where the units of the study run: this machine if None (one run a GPU where there are several), or `tramtrack.engine.ray`.
    ``factors`` and ``repeats``, variants and splits to run beside, take the place of the protocol's and are kept.
    """

    def __init__(
        self,
        folder: str | Path,
        protocol: str | Path | Protocol | None = None,
        *,
        device: str = "auto",
        engine: Engine | None = None,
        factors: Factors | None = None,
        repeats: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.device = device
        self.engine = engine
        self._factors, self._repeats = factors, repeats
        self._wanted = protocol if isinstance(protocol, Protocol) or protocol is None else Protocol.load(protocol)

    def __repr__(self) -> str:
        return f"Study({str(self.folder)!r}, protocol={self.protocol.name!r})"

    @property
    def protocol(self) -> Protocol:
        """The protocol asked for; it must be the one that the folder was begun with. Raises IdentityMismatch."""
        path = self.folder / "protocol.toml"
        if not path.exists():
            return self._with_beside(self._wanted or Protocol.load("mobini-2024"))
        kept = Protocol.from_toml(path.read_text(encoding="utf-8"), str(path))
        if self._wanted and self._wanted.sha256 != kept.sha256:
            differing = "; ".join(kept.differences(self._wanted))
            raise store.IdentityMismatch(
                f"{self.folder}: this study has another protocol ({differing}: the folder's against the one asked for); "
                "use another study folder, or leave --protocol out"
            )
        return self._with_beside(kept)

    def _with_beside(self, protocol: Protocol) -> Protocol:
        """``protocol`` with what was asked for beside its runs in place of its own: variants, splits, burden, segmentation."""
        asked = self._wanted or protocol
        repeats = self._repeats or max(asked.split.repeats, protocol.split.repeats)
        factors = self._factors or (protocol.factors if asked.factors == Factors() else asked.factors)
        split = protocol.split.model_copy(update={"repeats": repeats})
        beside = {"factors": factors, "split": split, "burden": asked.burden, "segmentation": asked.segmentation}
        return protocol.model_copy(update=beside)

    def ingest(
        self,
        source: str | Path,
        labels: str | Path | None = None,
        processes: int = 2,
        key: str | Path | None = None,
        adjudication: str | Path | None = None,
        findings: str | Path | None = None,
    ) -> Cohort:
        """Find the views in ``source`` (a folder, or a CSV that names woman, exam, side, view, file) and their labels.

        Women, exams, instances and institutions are known by keyed hashes alone, synthetic ones aside; the key is the user's
        own, or that in the file ``key`` outside the study's folder, made where there is none; "none" keeps the names that the
        files give. ``adjudication`` is cohort/disagreements.csv, its last column filled in.
        ``findings`` is a table of what views show beside their label: burden_mm2, length_mm and counts of distractors.
        Where the study's protocol is stated by now, views are prepared by it in the same pass over the files.
        """
        table = Path(labels) if labels else None
        settled = Path(adjudication) if adjudication else None
        protocol, folder = self.protocol, self.folder / "cohort"
        seen = Path(findings) if findings else None
        stated = self._wanted is not None or (self.folder / "protocol.toml").exists()
        prepare = protocol.prepare if stated else None
        secret = choose(key, self.folder, known_as(folder))
        cohort = make_cohort(
            Path(source), folder, table, processes, protocol.intake, secret, protocol.labels, settled, prepare, seen
        )
        if self._wanted is not None:
            self._keep_protocol()
        return cohort

    @property
    def cohort(self) -> Cohort:
        """The cohort as ingested. Raises TramtrackError where there is none."""
        return load_cohort(self.folder / "cohort")

    def split(self) -> pd.DataFrame:
        """Deal women to folds, once for each repeat; returns folds.csv: woman, fold, bac_woman, detail. Raises Leak."""
        cohort = self.cohort
        if not cohort.labelled:
            raise TramtrackError(
                f"{self.folder}: the cohort has no labels; run `tramtrack ingest ... --labels labels.csv --study {self.folder}`"
            )
        folder = self.folder / "cohort"
        require_same_intake(folder, self.protocol.intake, self.protocol.labels)
        self._keep_protocol()
        dealt = deal(folder, analysed_views(cohort.views, self.protocol.intake), self.protocol.split)
        for repeat in self.repeats():
            repeat.split()
        return dealt

    def repeats(self) -> list[Study]:
        """The other splits of the same cohort, as studies of their own below repeats/; as many as split.repeats, less one."""
        found = []
        for number in range(1, self.protocol.split.repeats):
            place = self.folder / "repeats" / str(number)
            share_cohort(self.folder / "cohort", place / "cohort")
            dealt = self.protocol.split.model_copy(update={"seed": self.protocol.split.seed + number, "repeats": 1})
            protocol = self.protocol.model_copy(update={"split": dealt})
            found.append(Study(place, protocol, device=self.device, engine=self.engine))
        return found

    def folds(self) -> pd.DataFrame:
        """folds.csv as written by `split`."""
        return read_folds(self.folder / "cohort")

    def views(self, size: str = "") -> pd.DataFrame:
        """The views that take part, one row each with fold, labels, training label and the prepared file.

        ``size``: HEIGHTxWIDTH, where it is not the protocol's own.
        """
        views = analysed_views(self.cohort.views, self.protocol.intake).merge(
            self.folds()[["woman", "fold"]], on="woman", validate="many_to_one"
        )
        views = views[views["fold"].isin((*FOLDS, CALIBRATION))].reset_index(drop=True)
        label = views["bac_view"].astype("Float64")
        if self.protocol.labels.views_without_label == "inherit":
            label = label.fillna(views["bac_breast"].astype("Float64")).fillna(views["bac_woman"].astype("Float64"))
        views = self.with_findings(views)
        files = [self.prepared(size) / f"{view_id}.png" for view_id in views["view_id"]]
        return views.assign(label=label.astype(float), original=views["file"], file=files)

    def scored_views(self, size: str = "") -> pd.DataFrame:
        """Those of `views` that a run sees: of the training and validation folds."""
        table = self.views(size)
        return table[table["fold"].isin(SCORED)].reset_index(drop=True)

    def with_findings(self, views: pd.DataFrame) -> pd.DataFrame:
        """``views`` with the columns of --findings, where such a table was given."""
        path = self.folder / "cohort" / "findings.csv"
        if not path.exists():
            return views
        return views.merge(pd.read_csv(path, dtype={"view_id": str}), on="view_id", how="left", validate="one_to_one")

    def prepare(self, processes: int = 2) -> pd.DataFrame:
        """Prepare every view of the folds, in each size that the factors name as well; returns geometry.csv of its own size."""
        self.split()
        rows = self.views().assign(file=lambda table: table["original"])
        engine = self.engine.on_cpus() if self.engine is not None and self.engine.is_cluster else None
        records = rows.to_dict("records")
        views = store.text_sha256("\n".join(rows["view_id"] + " " + rows["sha256"]))
        sizes = {variant.size: variant.protocol.prepare for variant in variants(self.protocol)}
        tables = {}
        for size, settings in sizes.items():
            identity = {"prepare": settings.model_dump(mode="json"), "views": views}
            tables[size] = prepare_views(records, self.prepared(size), settings, identity, processes, engine)
        before = [self]
        for repeat in self.repeats():
            for size, other in product(sizes, before):
                share_prepared(other.prepared(size), repeat.prepared(size))
            repeat.prepare(processes)
            before.append(repeat)
        return tables[""]

    def prepared(self, size: str = "") -> Path:
        """Where the prepared views of a size lie; those of the protocol's own ("") in prepared/ itself."""
        return self.folder / "prepared" / size

    def train(
        self, network: str, weights: str = "pretrained", weights_dir: Path | None = None, cache: Keep = "auto"
    ) -> list[Run]:
        """Train ``network`` once for each seed and each variant of the protocol; finished runs are kept. Returns the Runs.

        ``weights``: "pretrained", or "random" for a control that is never ranked. ``cache``: whether the activations of the
        frozen trunk are kept on disk ("on", "off", or "auto": where the policy allows it). Raises WeightsUnavailable.
        """
        return study_runs.train(self, network, weights, weights_dir, cache)

    def calibrate(self) -> dict[str, int]:
        """Score the women of the calibration fold with every finished run, once, into calibration/; scores that are kept stay.

        Only conformal calls of new exams are made from them, see `tramtrack.predict`. Returns how many women with and without
        BAC there are. Raises TramtrackError where the protocol keeps no calibration fold or no run is finished.
        """
        return study_runs.calibrate(self)

    def evaluate(self, networks: Sequence[str] | None = None, *, unseal: bool = False) -> Results:
        """Score the finished runs; the test fold only with ``unseal``, and then the look is logged.

        ``networks`` limits the evaluation to these; an unfinished one among them is refused. Once the test fold was opened
        with just these runs, its results are kept, with or without ``unseal``. Raises TramtrackError.
        """
        return study_runs.evaluate(self, networks, unseal)

    def compare(self) -> results.Claims:
        """What the paired comparisons of the last evaluation carry; printing it shows the sentences."""
        return self.last_evaluation().carried()

    def claim(self, sentence: str) -> Claim:
        """The verdict on a sentence such as "vgg16 > mobilenetv2 on f1 in test by woman", from the last evaluation.

        The sealed test fold stays sealed: a claim on it is refused. Raises TramtrackError, UsageError.
        """
        from tramtrack.judgement.claiming import answer_claim

        return answer_claim(sentence, self.protocol, self.last_evaluation().folder)

    def last_evaluation(self) -> Results:
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
        """Heat maps of each network's hits, misses and false alarms in the test fold; returns their folder.

        A segmentation whose test views were unsealed is measured beside them; so are, where the factors have them, the maps of
        runs at stride 16, see `explain_runs`.
        """
        return study_maps.explain(self)

    def explain_views(self, view_ids: Sequence[str], method: str | None = None, layer: str | None = None) -> pd.DataFrame:
        """The maps of single views under every network, on the original images; see `explain_views`.

        ``method`` and ``layer`` are the protocol's where not given. Views of the test fold need it unsealed.
        """
        return study_maps.explain_views(self, view_ids, method, layer)

    def blind(self, views: int = 12, seed: int | None = None) -> Path:
        """One page on which readers rate the networks' maps without knowing whose they are; returns its path, see `make_blind`.

        Up to ``views`` views with BAC, of the test fold once it is unsealed and of validation before.
        """
        return study_maps.blind(self, views, seed)

    def ratings(self, files: Sequence[str | Path]) -> dict[str, Any]:
        """Take the ratings of a blind reading into results/blind_*.csv; returns what can be said, see `import_ratings`."""
        return study_maps.ratings(self, files)

    def trust(self, permuted: bool = False, weights_dir: Path | None = None) -> pd.DataFrame:
        """Test on validation views whether the networks' maps can be trusted; returns results/trust.csv, see `judge_maps`.

        With ``permuted`` each network is also trained once on permuted labels, into trust/, and its maps are compared.
        """
        return study_maps.trust(self, permuted, weights_dir)

    def burden(self) -> BurdenTables:
        """How much calcification the evaluated networks' maps amount to: results/burden.csv and what follows from it.

        Calibrated on validation, on views whose area is known from a mask or from --findings; test views are measured once the
        fold is unsealed. A segmentation stands beside the networks, and what their maps cost in accuracy against it. Sources
        that others have measured into results/burden/ join the tables. Raises TramtrackError.
        """
        return study_maps.burden(self)

    def burden_views(self) -> tuple[pd.DataFrame, dict[str, Geometry], pd.DataFrame]:
        """The views whose burden is measured, their Geometry by view_id, and their truth; the same for every source of maps.

        Validation, and test once it is unsealed; and the other exams of these women, prepared in prepared/other-exams/.
        """
        return study_maps.burden_views(self)

    def associate(self, outcomes: str | Path, source: str | None = None, key: str | Path | None = None) -> pd.DataFrame:
        """The age-adjusted association of women's burden with ``outcomes``, a CSV: woman, and a column an outcome.

        Of one ``source`` of burden, that of the best run on validation where none is named; ``key`` as for `ingest`. Writes
        results/associations.csv, see `tramtrack.judgement.association.associate`. Raises TramtrackError, UsageError.
        """
        return study_maps.associate(self, outcomes, source, key)

    def segment(self, unseal: bool = False) -> pd.DataFrame:
        """Train the segmentation baseline on the training fold's masks; returns results/segmentation.csv, see `segment_study`.

        The test fold is segmented only with ``unseal``, and then the look is logged.
        """
        return study_maps.segment(self, unseal)

    def report(self, export: bool = False) -> Path:
        """Write report/index.html, one file that opens without a network; returns its path.

        With ``export`` also report/tables/ (CSV, LaTeX, HTML) and report/figures/ (SVG, PDF at journal size).
        """
        from tramtrack.report.page import write_report

        self.last_evaluation()
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
        names = list(dict.fromkeys(networks))
        left_out = study_runs.train_all(self, names, weights, weights_dir, cache)
        for repeat in self.repeats():
            study_runs.train_all(repeat, names, weights, weights_dir, cache)
        finished = [name for name in names if name not in left_out]
        if not finished:
            raise TramtrackError("no network could be trained. " + " ".join(left_out.values()))
        if self.protocol.split.calibration:
            self.calibrate()
        found = self.evaluate(finished, unseal=True)
        self.explain()
        self.report()
        return found

    def runs(self) -> list[Run]:
        """The finished runs: the eleven networks in the registry's order, then challengers by name; by variant and seed."""
        return ledger.finished_runs(self.folder)

    def own_runs(self) -> list[Run]:
        """The finished runs of the protocol's own variant, whose heat maps are made."""
        own = variants(self.protocol)[0].name()
        return [run for run in self.runs() if without_weights(run.key.variant) == own]

    def best(self) -> Run:
        """The pretrained run with the highest AUC-ROC by woman on validation; the test fold has no say in it."""
        found = results.best_on_validation(ledger.listed_runs(self.folder, self.protocol), self.protocol.evaluation)
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
        return stages(folder, cohort, folds, ledger.left_out(self.folder, self.protocol))

    def _keep_protocol(self) -> None:
        path = self.folder / "protocol.toml"
        text = self.protocol.to_toml()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            store.write_text(path, text)
