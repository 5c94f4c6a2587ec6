"""``tramtrack phantom insert`` and ``sheet``: an artery into a real mammogram; real and synthetic views side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tramtrack.console import say


def phantom_insert(
    image: Annotated[Path, typer.Argument(help="A mammogram: DICOM, PNG or TIFF. It is never modified.")],
    out: Annotated[Path, typer.Option("--out", help="The folder to write image, mask and truth into.")],
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files; it also chooses the vessel.")],
    path: Annotated[
        Path | None, typer.Option("--path", help="A CSV of column,row in the image's pixels; default: a vessel is found.")
    ] = None,
    control: Annotated[bool, typer.Option("--control", help="The same tube without calcium.")] = False,
    diameter: Annotated[float | None, typer.Option("--diameter", help="Outer diameter, mm; needs a pixel spacing.")] = None,
    diameter_px: Annotated[float | None, typer.Option("--diameter-px", help="Outer diameter in pixels.")] = None,
    severity: Annotated[float, typer.Option("--severity", help="0 (faint, sparse) to 1 (dense, complete).")] = 0.5,
) -> None:
    """Put a calcified artery into a real mammogram, with its exact mask and truth."""
    from tramtrack.phantom.insertion import Insertion
    from tramtrack.phantom.insertion_files import insert_file

    wanted = Insertion(seed, severity, diameter, diameter_px, control)
    say(str(insert_file(image, out, wanted, path)))


def phantom_sheet(
    real: Annotated[Path, typer.Argument(help="A folder with real mammograms: DICOM, PNG or TIFF.")],
    synthetic: Annotated[Path, typer.Argument(help="A folder with synthetic ones, such as a cohort's dicom/.")],
    out: Annotated[Path, typer.Option("--out", help="The sheet, a PNG; its key is written beside it.")],
    seed: Annotated[int, typer.Option("--seed", help="Chooses and shuffles the views.")] = 1,
    views: Annotated[int, typer.Option("--views", help="How many, half of each kind.")] = 24,
) -> None:
    """Draw real and synthetic views side by side, shuffled, with the key in a file of its own."""
    from tramtrack.phantom.sheet import contact_sheet

    say(str(contact_sheet(real, synthetic, out, seed, views)))
