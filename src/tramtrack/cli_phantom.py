"""``tramtrack phantom``: synthetic mammograms with calcified arteries and their exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tramtrack.console import say

phantom_app = typer.Typer(help="Synthetic mammograms with calcified arteries.", no_args_is_help=True, rich_markup_mode=None)


@phantom_app.command("cohort")
def phantom_cohort(
    out: Annotated[Path, typer.Argument(help="The folder to write dicom/, masks/, labels.csv and truth.csv into.")],
    women: Annotated[int, typer.Option("--women", help="Number of women, four views each.")] = 144,
    prevalence: Annotated[float, typer.Option("--prevalence", help="Share of women with BAC, 0 to 1.")] = 1 / 3,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files.")] = 2024,
    processes: Annotated[int, typer.Option("--processes", min=1, max=256, help="Worker processes.")] = 2,
) -> None:
    """Write a synthetic cohort as DICOM, with exact masks and labels; goes on where it stopped."""
    from tramtrack.phantom.cohort import write_cohort

    say(str(write_cohort(out, women=women, prevalence=prevalence, seed=seed, workers=processes)))
