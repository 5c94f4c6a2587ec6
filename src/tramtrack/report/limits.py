"""What a study cannot say, in sentences that each follow from a fact in its files."""

from __future__ import annotations

from tramtrack.network.registry import IMAGENET
from tramtrack.report.cells import percent
from tramtrack.report.claim_tables import not_separated
from tramtrack.report.flow import PUBLISHED_PREVALENCE, Flow
from tramtrack.report.reading import Material, known, title
from tramtrack.training.record import PRETRAINED

ALIKE = 1.02
"""Numbers of trained weights no further apart than this are the same: equal-slice and equal-adapter hold 1 %."""
POLICIES = {
    "last-conv": "The study's strategy trains the last convolution.",
    "last-block": "The policy last-block trains the last block.",
    "full": "The policy full trains the whole network.",
}
NORMALISATION = {
    "frozen": "keeps its statistics from photographs while it sees mammograms",
    "adapt": "got its statistics from the training fold, while its scales are those that photographs gave",
    "train": "learns from the statistics of each batch, the frozen layers around it from nothing",
}


def limits(material: Material, flow: Flow) -> list[tuple[str, str]]:
    """(Heading, sentences) for everything that cannot be concluded from this cohort."""
    found = [*_cohort_limits(material, flow), *_score_limits(material, flow), *_network_limits(material)]
    if len(material.heatmaps):
        found.append(
            (
                "Where the calcifications are",
                "A heat map shows what moved the score. It is no segmentation and no measurement of calcium, "
                "and a map that fits the outline does not prove that the score is right for the right reason.",
            )
        )
    return found


def _cohort_limits(material: Material, flow: Flow) -> list[tuple[str, str]]:
    found = []
    if material.synthetic:
        found.append(
            (
                "Anything about real mammograms",
                "The images are synthetic. They show that the steps work from end to end. They do not show how well any "
                "network finds breast arterial calcifications in women.",
            )
        )
    evaluated = flow.fold(material.fold)
    if evaluated.enriched:
        found.append(
            (
                "Performance in screening",
                f"The cohort is enriched: {evaluated.with_bac} of {evaluated.women} women in the {material.fold} fold have "
                f"BAC ({percent(evaluated.prevalence)}; {percent(PUBLISHED_PREVALENCE)} in the published study). F1 depends "
                "on the prevalence and is not comparable with the published figures.",
            )
        )
    makers = sorted({str(name) for name in material.analysed["manufacturer"] if str(name)})
    if not material.synthetic:
        source = f"come from one manufacturer ({makers[0]})" if len(makers) == 1 else "are one cohort"
        found.append(
            ("Other hospitals and devices", f"All views {source}, split at random. There was no test on another site's images.")
        )
    if flow.inherited:
        found.append(
            (
                "The effect of exact labels",
                f"{flow.inherited} of {flow.fold('training').views} training views had no label of their own and took that of "
                "their breast or woman. In the published study about one view in four of a positive woman showed no BAC, so "
                "some of these labels are wrong.",
            )
        )
    unknown = next(level.unknown for level in flow.levels if level.unit == "woman")
    if unknown:
        found.append(
            ("Women without a label", f"{unknown} women could not take part, because it is not known whether they have BAC.")
        )
    return found


def _score_limits(material: Material, flow: Flow) -> list[tuple[str, str]]:
    found = []
    evaluated, validation = flow.fold(material.fold), flow.fold("validation")
    scores = material.results.scores
    aucs = scores[(scores["fold"] == material.fold) & (scores["unit"] == "woman") & (scores["metric"] == "auc_roc")]
    widths = [float(row["high"]) - float(row["low"]) for row in aucs.to_dict("records") if known(row["low"])]
    level = f"{100 * material.protocol.evaluation.confidence:g}\u00a0%"
    text = f"The {material.fold} fold holds {evaluated.with_bac} women with BAC and {evaluated.without_bac} without."
    if widths:
        spread = f"{min(widths):.2f}" if len(widths) == 1 else f"{min(widths):.2f} to {max(widths):.2f}"
        text += f" The {level} intervals of the AUC by woman are {spread} wide."
    found.append(("Exact figures", text))
    groups = not_separated(material)
    if groups:
        named = "; ".join(", ".join(group) for group in groups)
        found.append(
            (
                "Which of these networks is better",
                f"Not separated on AUC-ROC by woman: {named}. Not separated does not mean equal: a real difference may be "
                "there that so few women cannot show.",
            )
        )
    found.append(
        (
            "Sensitivity and specificity elsewhere",
            f"The thresholds were chosen on {validation.women} validation women, {validation.with_bac} of them with BAC. "
            "F1, sensitivity and specificity move with the threshold; the AUC does not.",
        )
    )
    if material.fold != "test":
        found.append(
            (
                "Performance on new women",
                f"{'The test fold was opened before, for other runs.' if material.looks else 'The test fold is still sealed.'} "
                "The figures are of validation, on which epochs and thresholds were chosen, so they flatter the networks.",
            )
        )
    if len(material.looks) > 1:
        found.append(
            (
                "An untouched test",
                f"The test fold was looked at {len(material.looks)} times. Whatever was decided after the first look may fit "
                "these women by chance.",
            )
        )
    return found


def _network_limits(material: Material) -> list[tuple[str, str]]:
    found = []
    seeds = material.protocol.training.seeds
    if len(seeds) == 1:
        found.append(
            (
                "How much luck there was in training",
                f"Each network was trained once (seed {seeds[0]}). How far its figures move under another seed is not known, "
                "and the intervals do not include it.",
            )
        )
    known_runs = [run for run in material.runs if run.weights == PRETRAINED and run.facts is not None]
    normalised = {run.key.network: bool(run.facts and run.facts.batchnorm_layers) for run in known_runs}
    trained = {run.key.network: int(run.information["parameters"]["base_trained"]) for run in known_runs}
    transfer = material.protocol.transfer
    least, most = min(trained, key=trained.__getitem__, default=""), max(trained, key=trained.__getitem__, default="")
    if transfer.policy in POLICIES and trained and trained[most] > ALIKE * trained[least]:
        found.append(
            (
                "Whether the architecture decided",
                f"{POLICIES[transfer.policy]} That is "
                f"{trained[least]:,} weights in {title(least)} and {trained[most]:,} in {title(most)}, "
                f"{trained[most] / trained[least]:.1f} times as many.",
            )
        )
    frozen = [name for name in trained if normalised[name]]
    if frozen:
        free = [title(name) for name in trained if not normalised[name]]
        rest = f" {', '.join(free)} {'has' if len(free) == 1 else 'have'} no such layer." if free else ""
        found.append(
            (
                "What batch normalisation did",
                f"{', '.join(title(name) for name in frozen)}: the batch normalisation {NORMALISATION[transfer.batchnorm]}."
                f"{rest} This is confounded with the comparison.",
            )
        )
    other = [run for run in known_runs if run.information.get("weights_trained_on") not in (IMAGENET, None)]
    if other:
        named = "; ".join(
            f"{title(run.key.network)}: {run.information['weights_trained_on']}"
            for run in {run.key.network: run for run in other}.values()
        )
        found.append(("The plain ImageNet network", f"These weights are not the plain ones. {named}."))
    return found
