"""The verbs for amounts: ``tramtrack burden`` and ``tramtrack associate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tramtrack.commands.options import AsJson, Device, Key, StudyFolder
from tramtrack.console import print_json, say, short, table


def burden(
    study: StudyFolder,
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """How much calcification the heat maps amount to, in mm2 and mm, calibrated on validation and held against the truth.

    Goes on where it stopped. Needs views of validation whose area is known: from masks in the label table, or from --findings.
    """
    from tramtrack.judgement.burden import BANDS, PROXY
    from tramtrack.judgement.burden_cost import sentence
    from tramtrack.study import Study

    found = Study(study, device=device).burden()
    if as_json:
        tables = {"agreement": found.agreement, "bands": found.bands, "women": found.women, "cost": found.cost}
        rows = {name: json.loads(part.to_json(orient="records")) for name, part in tables.items()}
        print_json({**rows, "unmeasured": dict(found.unmeasured), "note": PROXY})
        return
    agreement = json.loads(found.agreement.to_json(orient="records"))
    fold = "test" if any(row["fold"] == "test" for row in agreement) else "validation"
    shown = [row for row in agreement if row["fold"] == fold]
    table([_agreement(row) for row in shown], f"Measured against true amounts, {fold} fold, with intervals by woman")
    bands = json.loads(found.bands[found.bands["fold"] == fold].to_json(orient="records"))
    counts = [{band: str(row[band]) for band in BANDS} for row in bands]
    named = [{"source": row["source"], "true mm2": row["true_band"]} | of for row, of in zip(bands, counts, strict=True)]
    table(named, "Women by band: the true one in rows, the measured one in columns")
    for row in json.loads(found.cost[found.cost["fold"] == fold].to_json(orient="records")):
        say(sentence(row, f"{row['source']} against the segmentation"))
    for source, reason in found.unmeasured.items():
        say(f"no burden of {source}: {reason.removeprefix(f'{source}: ')}")
    if not shown:
        say(f"no view of the {fold} fold has a known area, so nothing says how right these amounts are")
    say(PROXY)
    say(
        "the tables are burden.csv, burden_agreement.csv, burden_bands.csv, burden_cost.csv and women_burden.csv in "
        f"{study / 'results'}"
    )


def associate(
    study: StudyFolder,
    outcomes: Annotated[Path, typer.Argument(help="A CSV: woman (the PatientID), and a column an outcome, 0/1 or a number.")],
    source: Annotated[
        str | None,
        typer.Option("--source", help="Whose burden, as in women_burden.csv; default: the best run on validation."),
    ] = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """The association of women's burden with your outcomes, adjusted for age: in this cohort, and no risk of anybody."""
    from tramtrack.judgement.association import IN_THIS_COHORT
    from tramtrack.study import Study

    rows = json.loads(Study(study).associate(outcomes, source, key).to_json(orient="records"))
    if as_json:
        print_json(rows)
        return
    columns = ("outcome", "model", "term", "measure", "estimate", "low", "high", "p", "n", "events", "reason")
    table([{name: short(row[name]) for name in columns} for row in rows], f"Burden of {rows[0]['source']} and outcomes")
    say(IN_THIS_COHORT)


def _agreement(row: dict[str, Any]) -> dict[str, str]:
    unit = "mm2" if row["unit"] == "mm" and row["measured"] == "area" else row["unit"]
    pair = row["measured"] if row["measured"] == row["true"] else f"{row['measured']} against {row['true']}"
    return {
        "source": row["source"],
        "of": f"{'views' if row['of'] == 'view' else 'women'}, {row['among']}",
        "what": pair,
        "rho": _between(row["rho"], row["rho_low"], row["rho_high"], 2),
        "bias": _between(row["bias"], row["bias_low"], row["bias_high"], 1),
        "limits": "" if row["lower"] is None else f"{row['lower']:.1f} to {row['upper']:.1f} {unit}",
        "n": str(row["n"]),
        "women": str(row["women"]),
        "": row["reason"],
    }


def _between(value: float | None, low: float | None, high: float | None, decimals: int) -> str:
    if value is None:
        return ""
    return f"{value:.{decimals}f}" + ("" if low is None else f" ({low:.{decimals}f} to {high:.{decimals}f})")
