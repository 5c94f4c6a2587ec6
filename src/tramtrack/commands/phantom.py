"""``tramtrack phantom``: synthetic mammograms with calcified arteries and their exact truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tramtrack.commands.insert import phantom_insert, phantom_sheet
from tramtrack.commands.options import Processes
from tramtrack.console import print_json, say
from tramtrack.errors import UsageError

if TYPE_CHECKING:
    from tramtrack.phantom.settings import PhantomSettings

phantom_app = typer.Typer(help="Synthetic mammograms with calcified arteries.", no_args_is_help=True, rich_markup_mode=None)
phantom_app.command("insert")(phantom_insert)
phantom_app.command("sheet")(phantom_sheet)

Detector = Annotated[
    str | None,
    typer.Option("--detector", help="The matrix: 0.15, 0.1 or 0.2 (mm), that of station A, B, C or D, or own: each woman's."),
]
Matrix = Annotated[str | None, typer.Option("--matrix", help="Rows and columns of your own, 1536x768; with --pitch.")]
Pitch = Annotated[float | None, typer.Option("--pitch", help="Distance between pixels at the detector, mm; with --matrix.")]
FilmShare = Annotated[float | None, typer.Option("--film-share", help="Share of women imaged on film, 0 to 1.")]
ImplantShare = Annotated[float | None, typer.Option("--implant-share", help="Share of women with implants, 0 to 1.")]
Magnification = Annotated[float | None, typer.Option("--magnification", help="Of the breast at the detector, 1 to 2.")]
Others = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="Any other setting, as name=value: visible_cnr=12, segments=1,3; a name that is none shows the nearest."
    ),
]


@phantom_app.command("cohort")
def phantom_cohort(
    out: Annotated[Path, typer.Argument(help="The folder to write images, masks/, labels.csv and truth.csv into.")],
    preset: Annotated[
        str, typer.Option("--preset", help="demo or mobini-2024 (1,493 women, 194 with BAC, 581 views).")
    ] = "demo",
    women: Annotated[
        int | None, typer.Option("--women", help="Number of women, four views each; default: the preset's.")
    ] = None,
    prevalence: Annotated[
        float | None, typer.Option("--prevalence", help="Share of women with BAC, 0 to 1; default: the preset's.")
    ] = None,
    positive_views: Annotated[
        int | None, typer.Option("--positive-views", help="Exactly so many views show BAC; default: the preset's, or as drawn.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same files.")] = 2024,
    format: Annotated[
        Literal["dicom", "png"], typer.Option("--format", help="DICOM files, or 16-bit PNG with a table that ingest reads.")
    ] = "dicom",
    detector: Detector = None,
    matrix: Matrix = None,
    pitch: Pitch = None,
    film_share: FilmShare = None,
    implant_share: ImplantShare = None,
    magnification: Magnification = None,
    others: Others = None,
    processes: Processes = 2,
) -> None:
    """Write a synthetic cohort with exact masks, labels and truth; goes on where it stopped."""
    from tramtrack.phantom.cohort import write_cohort
    from tramtrack.phantom.presets import preset as named

    chosen = named(preset)
    if chosen.positive_views is not None and positive_views is None and (women, prevalence) != (None, None):
        raise UsageError(
            f"phantom cohort: --preset {preset}: expected its own women and prevalence with its {chosen.positive_views} "
            "positive views, received others; give --positive-views too, or use another preset"
        )
    settings = _settings(
        chosen.settings,
        detector,
        matrix,
        pitch,
        others,
        film_share=film_share,
        implant_share=implant_share,
        magnification=magnification,
    )
    summary = write_cohort(
        out,
        women=chosen.women if women is None else women,
        prevalence=chosen.prevalence if prevalence is None else prevalence,
        seed=seed,
        workers=processes,
        settings=settings,
        positive_views=chosen.positive_views if positive_views is None else positive_views,
        format=format,
    )
    say(str(summary))


@phantom_app.command("view")
def phantom_view(
    out: Annotated[Path, typer.Argument(help="The folder to write the image, its mask and its truth into.")],
    side: Annotated[Literal["L", "R"], typer.Option("--side", help="L or R.")] = "L",
    view: Annotated[Literal["CC", "MLO"], typer.Option("--view", help="CC or MLO.")] = "CC",
    age: Annotated[int, typer.Option("--age", help="Her age in years.")] = 60,
    bac: Annotated[bool, typer.Option("--bac/--no-bac", help="Whether at least one of her four views shows BAC.")] = True,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same woman.")] = 2024,
    detector: Detector = None,
    matrix: Matrix = None,
    pitch: Pitch = None,
    film_share: FilmShare = None,
    implant_share: ImplantShare = None,
    magnification: Magnification = None,
    others: Others = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the view's truth as JSON.")] = False,
) -> None:
    """Write one view of one woman, for a look: DICOM, 8-bit PNG, mask and truth.json."""
    from tramtrack.phantom.one_view import write_view
    from tramtrack.phantom.presets import preset

    settings = _settings(
        preset("demo").settings, detector, matrix, pitch, others,
        film_share=film_share, implant_share=implant_share, magnification=magnification,
    )  # fmt: skip
    truth = write_view(out, side=side, view=view, age=age, bac=bac, seed=seed, settings=settings)
    if as_json:
        print_json(truth)
        return
    say(
        f"{out}: {side} {view} of a woman of {age}, density {truth['density']}, station {truth['station']}: "
        f"calcium {truth['calcium']}, {truth['visible_length_mm']:.1f} mm and {truth['area_mm2']:.1f} mm2 visible, "
        f"{truth['mass_mg']:.2f} mg; her CSBI grade {truth['csbi']}"
    )


def _settings(
    base: PhantomSettings,
    detector: str | None,
    matrix: str | None,
    pitch: float | None,
    others: list[str] | None,
    **shares: float | None,
) -> PhantomSettings:
    """The preset's settings with what the command line changed. Raises UsageError naming what cannot be meant."""
    from tramtrack.phantom.stations import matrix_of

    changed: dict[str, Any] = {name: value for name, value in shares.items() if value is not None}
    if (matrix is None) != (pitch is None):
        raise UsageError("phantom: --matrix and --pitch: expected both or neither, received one")
    if matrix is not None and detector is not None:
        raise UsageError("phantom: expected --detector, or --matrix and --pitch, received both")
    if matrix is not None:
        rows, _, columns = matrix.lower().partition("x")
        if not (rows.isdecimal() and columns.isdecimal()):
            raise UsageError(f"phantom: --matrix: expected rows x columns, such as 1536x768, received {matrix!r}")
        changed |= {"rows": int(rows), "columns": int(columns), "pitch_mm": pitch, "own_matrix": False}
    elif detector is not None:
        grid = matrix_of(detector)
        changed["own_matrix"] = grid is None
        changed |= {} if grid is None else {"rows": grid.rows, "columns": grid.columns, "pitch_mm": grid.pitch_mm}
    return base.with_text(others or [], **changed)
