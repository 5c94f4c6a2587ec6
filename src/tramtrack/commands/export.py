"""The verbs that hand trained runs on: ``tramtrack export`` and ``tramtrack card``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tramtrack.console import say

RunFolder = Annotated[Path, typer.Argument(help="A run's folder, the one above it (all seeds together), or an export.")]
Also = Annotated[
    list[Path] | None, typer.Option("--also", help="A further run of the study that answers together; may be repeated.")
]


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", help="The folder to write; it must not be there yet.")],
    also: Also = None,
    onnx: Annotated[bool, typer.Option("--onnx/--no-onnx", help="Also as ONNX, for any runtime (extra export).")] = True,
) -> None:
    """Trained runs as one portable folder: weights, ONNX, protocol, model card, and all that an answer needs."""
    from tramtrack.prediction.exported import fingerprint
    from tramtrack.prediction.exporting import export_runs

    export_runs([run, *(also or [])], out, onnx)
    say(f"{out} answers by itself: tramtrack predict {out} EXAM --out DIR")
    say(f"whoever gets it can compare the SHA-256 of export.json with yours: {fingerprint(out)}")


def card(run: RunFolder, also: Also = None) -> None:
    """Print the model card of trained runs, or of an exported folder, whose files are checked first."""
    from tramtrack.prediction.card import card_of
    from tramtrack.prediction.exported import CARD, fingerprint, is_export, open_panel

    panel = open_panel([run, *(also or [])])
    if is_export(run):
        text = (run / CARD).read_text(encoding="utf-8", errors="replace")
        say("".join(letter for letter in text if letter == "\n" or letter.isprintable()))  # a stranger's, on your terminal
        say(f"SHA-256 of export.json: {fingerprint(run)}")
        return
    say(card_of(panel))
