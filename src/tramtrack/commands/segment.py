"""The verb for the segmentation baseline: ``tramtrack segment``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from tramtrack.commands.options import AsJson, Device, StudyFolder
from tramtrack.console import print_json, say, table

NAMES = {"dice": "Dice", "average_precision": "average precision"}


def segment(
    study: StudyFolder,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="A preset or a .toml file; default: the study's own.")
    ] = None,
    unseal: Annotated[bool, typer.Option("--unseal", help="Segment the test fold as well; the look is logged.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a U-Net on the training fold's masks, and measure it: what heat maps of classifiers can be held against."""
    from tramtrack.study import Study

    rows = json.loads(Study(study, protocol, device=device).segment(unseal).to_json(orient="records"))
    if as_json:
        print_json(rows)
        return
    shown = [
        {
            "fold": row["fold"],
            "measure": NAMES[row["measure"]],
            "mean": f"{row['estimate']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
            "by chance": "" if row["chance"] is None else f"{row['chance']:.3f}",
            "views": str(row["views"]),
            "women": str(row["women"]),
        }
        for row in rows
    ]
    table(shown, "Views with BAC, by woman, with intervals")
    if not rows:
        say("nothing was measured: no mask of these views lies on its breast")
        return
    say(f"a pixel is called from a probability of {rows[0]['threshold']:g}, chosen on validation")
    say(f"the maps are in {study / 'segmentation' / 'maps'}")
