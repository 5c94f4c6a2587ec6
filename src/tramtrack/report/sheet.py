"""The reporting sheet: what guidelines for studies of artificial intelligence ask, as far as the run itself can answer.

The topics are those of CLAIM (2024 update), TRIPOD+AI and STARD-AI, in our own words and without their item numbers; an
answer is made of this study's files alone, and what they cannot know is a question to the author.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from tramtrack.report.cells import percent
from tramtrack.report.claim_tables import reader_rows
from tramtrack.report.flow import Flow
from tramtrack.report.pictures import method_of
from tramtrack.report.provenance_tables import label_table, machine_rows
from tramtrack.report.reading import Material, title
from tramtrack.report.score_tables import rule_text
from tramtrack.training.record import PRETRAINED
from tramtrack.training.variants import crossed


@dataclass(frozen=True)
class Entry:
    """One topic: what the run answers ("" where nothing), and what is left to the author ("" where nothing)."""

    part: str
    topic: str
    answer: str
    question: str


def sheet(material: Material, flow: Flow) -> list[Entry]:
    """All topics in the order of a paper."""
    parts = {
        "Title and introduction": _introduction(material),
        "Data": _data(material, flow),
        "Reference standard": _reference(material, flow),
        "Models and training": _models(material),
        "Evaluation": _evaluation(material, flow),
        "Results": _results(material, flow),
        "Open science": _open(material),
    }
    return [Entry(part, *entry) for part, entries in parts.items() for entry in entries]


Entries = Iterator[tuple[str, str, str]]


def _introduction(material: Material) -> Entries:
    yield "Title and abstract", "", "Do they name the kind of model, the target condition and the design?"
    yield "Clinical background and intended use", "", "Who is to use such a model, where in the pathway, and on whose decision?"
    names = list(dict.fromkeys(title(run.key.network) for run in material.runs if run.weights == PRETRAINED))
    aim = f"To compare {len(names)} networks ({', '.join(names)}) under one protocol in finding breast arterial calcifications."
    yield "Aims and hypotheses", aim if names else "", "Which hypothesis was fixed before the test fold was opened?"


def _data(material: Material, flow: Flow) -> Entries:
    yield "Prospective or retrospective", "", "Were the exams collected for this study or before it?"
    years = sorted({str(day)[:4] for day in material.analysed["acquired"].fillna("").astype(str) if str(day)[:4].isdecimal()})
    makers = sorted({str(name) for name in material.analysed["manufacturer"].fillna("") if str(name)})
    when = f", acquired {years[0]} to {years[-1]}" if years else ""
    source = (
        f"{flow.files} files, {flow.exams} exams of {flow.women} women{when}; vendors: {', '.join(makers) or 'not stated'}."
    )
    yield "Source of the data", source, "Which sites and setting, and how were the women recruited?"
    reasons = "; ".join(f"{count} {reason}" for reason, count in flow.reasons.items())
    yield (
        "Eligibility and exclusions",
        f"{flow.excluded} files excluded{f' ({reasons})' if reasons else ''}; {flow.later_exams} later exams left out.",
        "Which women were eligible before any file was chosen?",
    )
    size = material.protocol.prepare
    yield (
        "Preparation of the images",
        f"Cropped to the breast, grey values between the {size.darkest_percentile:g}th and the {size.brightest_percentile:g}th "
        f"percentile, scaled into {size.height} x {size.width} pixels; each step is in prepared/geometry.csv.",
        "",
    )
    dropped = sum(fold.women for fold in flow.folds if fold.name == "dropped")
    subset = (
        f"{dropped} training women without BAC were left out at random for the training prevalence." if dropped else "None."
    )
    yield "Selection of subsets", subset, ""
    path = material.folder / "cohort" / "identifying.csv"
    left = len(pd.read_csv(path)) if path.exists() else None
    told = "" if left is None else f"{left} files still carry attributes that may identify somebody (tramtrack audit)."
    yield "De-identification", told, "How, when and by whom were the files de-identified?"
    unknown = sum(fold.women for fold in flow.folds if fold.name == "unlabelled")
    inherited = f" {flow.inherited} training views took the label of their breast or woman." if flow.inherited else ""
    yield "Missing data", f"{unknown} women without a known label are in no fold; nothing was imputed.{inherited}", ""
    held = "; ".join(f"{fold.name} {fold.women} women, {fold.with_bac} with BAC" for fold in flow.folds if fold.takes_part)
    seed = material.protocol.split.seed
    yield "Partitions", f"By woman, at random (seed {seed}): {held}. No woman, exam, file or image stands in two folds.", ""
    yield (
        "Sample size",
        f"The {material.fold} fold is what the cohort holds.",
        "How was it chosen?",
    )


def _reference(material: Material, flow: Flow) -> Entries:
    table = label_table(material)
    read = f"Labels from {table['file']} (SHA-256 {table['sha256'][:12]})." if table else ""
    rule = f" Several readings become one by the rule {material.protocol.labels.consensus}." if reader_rows(material) else ""
    yield "Reference standard", read + rule, "What counts as BAC, and why is that the standard?"
    yield "Readers", "", "How many, how experienced, with which tools, and blinded to what?"
    kappas = "; ".join(f"{row['readers']} by {row['unit']}: {row['kappa']}" for row in reader_rows(material))
    variability = f"Kappa of {kappas}." if kappas else ""
    yield (
        "Agreement between readers",
        variability,
        "" if kappas else "There is one reading: how far would others agree?",
    )
    known = "; ".join(f"{level.unit}: {level.with_bac} with, {level.without_bac} without" for level in flow.levels)
    yield "Level of the labels", f"{known}. {flow.masks} views have a mask.", ""


def _models(material: Material) -> Entries:
    protocol, transfer, training = material.protocol, material.protocol.transfer, material.protocol.training
    weights = {title(run.key.network): run.information["parameters"] for run in material.runs}
    counts = "; ".join(f"{name}: {own['base_trained']:,} of {own['base']:,}" for name, own in weights.items())
    units = " and ".join(map(str, transfer.widths))
    yield (
        "Architecture and what is trained",
        f"Policy {transfer.policy}, BatchNorm {transfer.batchnorm}, stride {transfer.stride}; two fully connected layers of "
        f"{units} units behind {transfer.pooling} pooling. Trained weights of the base: {counts}.",
        "",
    )
    yield "Initial weights", "Source, hash, licence and training data of each network stand under Provenance.", ""
    varied = f"{protocol.augmentation.variants} variants of a view" if protocol.augmentation.variants else "no augmentation"
    yield (
        "Training",
        f"{training.optimiser}, learning rates {training.learning_rate:g} (new layers) and "
        f"{training.convolution_learning_rate:g} (base), batches of {training.batch_size}, at most {training.epochs} epochs, "
        f"class weighting {training.class_weighting}; {varied}; seeds {', '.join(map(str, training.seeds))}.",
        "",
    )
    epoch = "of the lowest validation loss" if training.keep == "best" else "of the last epoch"
    yield "Choice of the final model", f"Per run the weights {epoch}; none by test.", ""
    facts = "; ".join(f"{row['runs']}: {row['facts']}" for row in machine_rows(material))
    yield "Software and hardware", facts, ""


def _evaluation(material: Material, flow: Flow) -> Entries:
    settings = material.protocol.evaluation
    yield (
        "Measures and their uncertainty",
        f"Primary: AUC-ROC by woman; secondary: F1, sensitivity, specificity, PPV, NPV, partial AUC, average precision, Brier. "
        f"{100 * settings.confidence:g} % intervals from {settings.resamples:,} resamples of women.",
        "",
    )
    yield "Threshold", f"{rule_text(material.protocol)}, chosen on validation for each unit; scores by woman are the "\
        f"{material.summary['aggregation']} of her views'.", ""  # fmt: skip
    yield (
        "Comparisons",
        "All pairs on the same women; simultaneous intervals (max-T), Holm's p; exact McNemar tests beside.",
        "",
    )
    yield "Calibration and usefulness", "Recalibrated once on validation; calibration and decision curves are shown.", ""
    factors = material.tables["subgroups"]["factor"].drop_duplicates().tolist()
    parts = [str(name) for name in factors if name != "all"]
    yield (
        "Subgroups and fairness",
        f"AUC by {', '.join(parts)}; baselines of age alone and vendor alone." if parts else "",
        "Which groups that the files do not name (ethnicity, deprivation, sites) should have been looked at?",
    )
    found = "; ".join(f"{name}: {', '.join(levels)}" for name, levels in crossed(material.protocol).items())
    splits = int(material.summary.get("splits", 1))
    robust = [f"Settings crossed: {found}." if found else "", f"{splits} splits of the women." if splits > 1 else ""]
    yield "Robustness", " ".join(part for part in robust if part), "" if any(robust) else "Was any setting or split varied?"
    shown = material.heatmaps["view_id"].nunique() if len(material.heatmaps) else 0
    yield "Explanation", f"{method_of(material)} of {shown} views, hits, misses and false alarms." if shown else "", ""
    yield "Test on data from elsewhere", "None: the folds are one cohort's.", "Is there an external cohort?"
    looks = len(material.looks)
    sealed = f"The test fold was looked at {looks} time{'s' if looks != 1 else ''}; each look was logged before it was taken."
    yield "Protection of the test data", sealed if looks else "The test fold is sealed.", ""


def _results(material: Material, flow: Flow) -> Entries:
    yield "Flow of participants", "Drawn under Cohort, with counts that add up." if not flow.problems else "", ""
    yield "Characteristics by fold", "Table 1 under Cohort.", ""
    evaluated = flow.fold(material.fold)
    yield (
        "Performance",
        f"In {material.fold}, {evaluated.with_bac} of {evaluated.women} women with BAC ({percent(evaluated.prevalence)}): the "
        "comparison table, with intervals.",
        "",
    )
    yield (
        "Failures",
        "The misses and false alarms furthest from the threshold are under Heat maps.",
        "What do they have in common?",
    )
    yield "Limits", "What cannot be concluded stands at the end of the report.", "Which further limits do you know of?"
    yield "Meaning for practice", "", "What would change for a woman or a reader?"


def _open(material: Material) -> Entries:
    yield "Ethics approval and consent", "", "Which committee, which number, which consent?"
    yield "Registration and protocol", f"Protocol {material.protocol.name}, SHA-256 {material.protocol.sha256[:12]}.", \
        "Was it registered, where and when?"  # fmt: skip
    yield "Availability of code, models and data", "", "Where can others get them, and under which terms?"
    yield "Patient and public involvement", "", "Who was involved, and in what?"
    yield "Funding and interests", "", "Who paid, and who has which interest?"
