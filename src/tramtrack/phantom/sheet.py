"""A contact sheet of real and synthetic views, shuffled, with its key in a file of its own: look before you count."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.imaging.pixels import PICTURE_SUFFIXES, PixelError
from tramtrack.imaging.prepare import prepare_picture
from tramtrack.phantom.insertion_files import open_image
from tramtrack.phantom.likeness import page_margin
from tramtrack.phantom.settings import require_whole
from tramtrack.progress import track
from tramtrack.protocol import Prepare
from tramtrack.store import write_bytes, write_csv

TILE = (640, 320)
"""Height and width of one view on the sheet, pixels."""

COLUMNS = 6


@dataclass(frozen=True)
class Sheet:
    """Where the sheet and its key (number, kind, file) lie, and what was left out with its reason."""

    picture: Path
    key: Path
    left_out: tuple[str, ...]

    def __str__(self) -> str:
        out = f"; left out: {'; '.join(self.left_out)}" if self.left_out else ""
        return f"{self.picture}: look first, then open {self.key}{out}"


def contact_sheet(real: Path | str, synthetic: Path | str, out: Path | str, seed: int = 1, views: int = 24) -> Sheet:
    """Draw up to ``views`` images, half from each folder (all below it, DICOM, PNG and TIFF), prepare and shuffle them.

    ``out`` is the sheet, a PNG; its key is written beside it as .key.csv. Raises UsageError for a folder without images, and
    TramtrackError where none of a folder's can be shown.
    """
    real, synthetic, out = Path(real), Path(synthetic), Path(out)
    require_whole("seed", seed, 0)
    require_whole("views", views, 2)
    if out.suffix.lower() != ".png":
        raise UsageError(f"--out: expected a name that ends in .png, received {out.name}")
    rng = np.random.default_rng(seed)
    chosen = []
    for kind, folder in (("real", real), ("synthetic", synthetic)):
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".dcm", *PICTURE_SUFFIXES)]
        files = [path for path in files if not path.stem.endswith("_mask") and path.parent.name != "masks"]
        if not files:
            raise UsageError(f"{folder}: expected a folder with DICOM, PNG or TIFF images, found none")
        picked = rng.permutation(len(files))[: views // 2]
        chosen += [(kind, files[index]) for index in picked]
    tiles, rows, left_out = [], [], []
    for index in track(rng.permutation(len(chosen)), "Preparing views"):
        kind, path = chosen[index]
        try:
            tiles.append(_tile(path))
        except (PixelError, TramtrackError) as error:
            left_out.append(str(error) if str(path) in str(error) else f"{path}: {error}")
            continue
        rows.append({"number": len(tiles), "kind": kind, "file": str(path)})
    for kind, folder in (("real", real), ("synthetic", synthetic)):
        if kind not in {row["kind"] for row in rows}:
            raise TramtrackError(f"{folder}: none of its images can be shown ({'; '.join(left_out)})")
    key = out.with_suffix(".key.csv")
    write_csv(key, pd.DataFrame(rows, columns=["number", "kind", "file"]))
    return Sheet(write_bytes(out, _png(tiles)), key, tuple(left_out))


def _tile(path: Path) -> np.ndarray:
    """One view as the networks see it, uint8 of TILE."""
    picture = open_image(path).picture
    prepared = prepare_picture(picture[page_margin(picture)], Prepare(height=TILE[0], width=TILE[1]))
    return (prepared.pixels >> 8).astype(np.uint8)


def _png(tiles: list[np.ndarray]) -> bytes:
    """The tiles in rows of COLUMNS, each with its number."""
    lines = -(-len(tiles) // COLUMNS)
    canvas = Image.new("L", (COLUMNS * (TILE[1] + 4), max(lines, 1) * (TILE[0] + 4)), 40)
    draw = ImageDraw.Draw(canvas)
    for index, tile in enumerate(tiles):
        left, top = index % COLUMNS * (TILE[1] + 4), index // COLUMNS * (TILE[0] + 4)
        canvas.paste(Image.fromarray(tile), (left, top))
        draw.text((left + TILE[1] - 34, top + 6), str(index + 1), fill=255, font_size=22)
    stream = io.BytesIO()
    canvas.save(stream, format="PNG")
    return stream.getvalue()
