"""The verbs for other sites: ``tramtrack validate`` and ``tramtrack pool``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from tramtrack.commands.options import AsJson, Device, Processes
from tramtrack.console import print_json, say, table


def validate(
    run: Annotated[Path, typer.Argument(help="An exported folder, or a run's folder.")],
    study: Annotated[Path, typer.Argument(help="This site's study: ingested, with labels.")],
    site: Annotated[str, typer.Option("--site", help="What this site is called in the file that it sends back.")],
    device: Device = "auto",
    processes: Processes = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the file instead of a table.")] = False,
) -> None:
    """How well runs from elsewhere do on this site's exams, and one small signed file of numbers to send back."""
    from tramtrack.prediction.exported import open_panel
    from tramtrack.prediction.external import external_folder
    from tramtrack.prediction.external import validate as validate_runs
    from tramtrack.prediction.site_file import FEWEST, sign, write_signed

    panel = open_panel([run])
    numbers, scores = validate_runs(panel, study, site, device, processes)
    folder = external_folder(panel, study)
    signed = sign(numbers, study)
    file = write_signed(folder / "validation.json", signed)
    if as_json:
        print_json(signed.model_dump(mode="json"))
        return
    rows = [
        {
            "unit": row["unit"],
            "metric": row["metric"],
            "estimate": f"undefined: {row['reason']}" if row["reason"] else f"{row['estimate']:.3f}",
            "interval": "" if row["reason"] else f"{row['low']:.3f} to {row['high']:.3f}",
            "units": str(row["n"]),
            "with BAC": str(row["positives"]),
        }
        for row in scores.to_dict("records")
    ]
    table(rows, f"On this site's exams; all tables are in {folder}")
    say(f"to send back: {file}, in which counts of fewer than {FEWEST} women are left out, and no woman or image is named")
    say(f"tell whoever gets it your public key by another way: {signed.public_key}")


def pool(
    files: Annotated[list[Path], typer.Argument(help="The files that sites sent back.")],
    unit: Annotated[Literal["view", "breast", "woman"], typer.Option("--unit", help="Whose AUC is pooled.")] = "woman",
    key: Annotated[
        list[str] | None, typer.Option("--key", help="A public key that may sign; may be repeated. Default: any.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One AUC from several sites by random effects on its logit, and how much the sites differ."""
    from tramtrack.evaluation.pooling import as_shares
    from tramtrack.prediction.sites import pool_sites

    found = pool_sites(files, unit, tuple(key or ()))
    shares = as_shares(found.pooled)
    if as_json:
        print_json({**asdict(found), "auc_roc": shares})
        return
    rows = [
        {
            "site": site.name,
            "AUC-ROC": site.reason if site.auc is None else f"{site.auc:.3f} ({site.low:.3f} to {site.high:.3f})",
            "with BAC": "" if site.positives is None else str(site.positives),
            "without": "" if site.negatives is None else str(site.negatives),
            "signed by": site.public_key[:16],
        }
        for site in found.sites
    ]
    table(rows, f"By {unit}")
    pooled = found.pooled
    say(f"pooled AUC-ROC {shares['estimate']:.3f} ({shares['low']:.3f} to {shares['high']:.3f}) from {pooled.sites} sites")
    differ = f"standard deviation of the logit between sites {pooled.tau:.2f}, I2 {pooled.i_squared:.0%}"
    say(f"{differ}, Q {pooled.q:.1f} (p {pooled.p:.2g})")
    if shares["new_low"] is None:
        say("of a new site nothing can be said from fewer than three")
    else:
        say(f"a new site's true AUC-ROC is expected between {shares['new_low']:.3f} and {shares['new_high']:.3f}")
