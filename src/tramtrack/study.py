"""A Study: the folder in which the stages meet, and the order in which they run.

Every stage reads files and writes files; this one only knows which. A stage whose files are there and still fit is skipped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from tramtrack import study_maps, study_runs
from tramtrack.cohort.cohort import analysed_views
from tramtrack.errors import TramtrackError
from tramtrack.evaluation.claims import Claim
from tramtrack.imaging.geometry import Geometry
from tramtrack.judgement import results
from tramtrack.judgement.results import Results
from tramtrack.status import stages
from tramtrack.study_files import StudyFiles
from tramtrack.training import ledger
from tramtrack.training.record import Keep, Run

if TYPE_CHECKING:
    from tramtrack.explain.burden_stage import BurdenTables


class Study(StudyFiles):
    """A study in ``folder``. ``protocol`` is a preset, a TOML file or a Protocol; without one, the folder's own is used.

    ``device`` is where networks run: "auto" (CUDA where there is one, else the CPU), "cpu", "cuda" or "cuda:1". ``engine`` is
    where the units of the study run: this machine if None (one run a GPU where there are several), or `tramtrack.engine.ray`.
    ``factors`` and ``repeats``, variants and splits to run beside, take the place of the protocol's and are kept.
    """

    def train(
        self, network: str, weights: str = "pretrained", weights_dir: Path | None = None, cache: Keep = "auto"
    ) -> list[Run]:
        """Train ``network`` once for each seed and each variant of the protocol; finished runs are kept. Returns the Runs.

        ``weights``: "pretrained", or "random" for a control that is never ranked. ``cache``: whether the activations of the
        frozen trunk are kept on disk ("on", "off", or "auto": where the policy allows it). Raises WeightsUnavailable,
        CannotFollow, Diverged, WorkerDied.
        """
        return list(self.train_each([network], weights, weights_dir, cache))

    def train_each(
        self, networks: Sequence[str], weights: str = "pretrained", weights_dir: Path | None = None, cache: Keep = "auto"
    ) -> Iterator[Run]:
        """Train several networks as `train` does one; gives each Run as the last seed of its variant ends.

        What cannot be trained (no weights, a policy that they cannot follow, a loss that diverges, no memory, workers that die)
        is left out with the reason, and raised once the others are done: the error itself where nothing else was asked for.
        """
        return study_runs.train(self, list(dict.fromkeys(networks)), weights, weights_dir, cache)

    def calibrate(self) -> dict[str, int]:
        """Score the women of the calibration fold with every finished run, once, into calibration/; scores that are kept stay.

        Only conformal calls of new exams are made from them, see `tramtrack.predict`. Returns how many women with and without
        BAC there are. Raises TramtrackError where the protocol keeps no calibration fold or no run is finished.
        """
        return study_runs.calibrate(self)

    def evaluate(self, networks: Sequence[str] | None = None, *, unseal: bool = False) -> Results:
        """Score the finished runs; the test fold only with ``unseal``, and then the look is logged.

        ``networks`` limits the evaluation to these; an unfinished one among them is refused, one that is left out is named
        with the reason. Once the test fold was opened with just these runs, its results are kept, with or without ``unseal``.
        Raises TramtrackError.
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

        A network whose weights cannot be had or cannot follow the protocol, or of which one seed's loss diverges, finds no
        memory or loses its worker again and again, is left out whole, with the reason; the others go on. Where no heat map can
        be made, the report is written all the same.
        """
        names = list(dict.fromkeys(networks))
        reasons = study_runs.train_all(self, names, weights, weights_dir, cache)
        left_out = ledger.left_out(self.folder, self.protocol)  # a network that was finished before needs no weights any more
        if all(ledger.is_left_out(name, left_out, self.protocol) for name in names):
            raise TramtrackError("no network could be trained. " + " ".join(reasons.values()))
        for repeat in self.repeats():
            study_runs.train_all(repeat, names, weights, weights_dir, cache)
        if self.protocol.split.calibration:
            self.calibrate()
        found = self.evaluate(names, unseal=True)
        try:
            self.explain()
        except TramtrackError:
            self.report()  # without heat maps; why there are none is said after it
            raise
        self.report()
        return found

    def status(self) -> list[dict[str, str]]:
        """How far each stage is: stage, state, detail."""
        folder = self.folder
        if not folder.is_dir():
            raise TramtrackError(f"{folder}: expected a study's folder, found none; `tramtrack ingest` makes one")
        cohort = repr(self.cohort) if (folder / "cohort" / "views.csv").exists() else None
        folds = self.folds() if (folder / "cohort" / "split.json").exists() else None
        left_out = ledger.left_out(folder, self.protocol)
        for repeat in sorted((folder / "repeats").glob("*")):
            of_split = ledger.left_out(repeat, self.protocol)
            left_out |= {f"repeats/{repeat.name} {name}": why for name, why in of_split.items()}
        return stages(folder, cohort, folds, left_out)
