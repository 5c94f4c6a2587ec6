"""The thirteen real full views and their changed twins, prepared as a network sees them.

The artery of P_00646 is filled in, and as a control equal bands elsewhere; the other views get an artery with calcium, and as a
control the same tube without. A twin is cropped and stretched as its own view is: calcium sets the brightest grey of a breast,
so that without it all other greys would move as well, and the change would no longer be the artery's alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from paired_changes import ARTERY_FILLED, AS_IT_IS, BAC_INSERTED, BAND_FILLED, TUBE_INSERTED
from realism import ARTERY, INSERTED, real_files, real_path, without_page
from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.imaging.pixels import read_picture
from tramtrack.imaging.prepare import png_bytes, prepare_picture
from tramtrack.phantom.insertion import Insertion
from tramtrack.phantom.insertion_files import insert_file
from tramtrack.phantom.removal import equal_band, fill_band
from tramtrack.phantom.vessel_paths import survey
from tramtrack.progress import track
from tramtrack.protocol import Prepare

HALF_WIDTH = 14.0
"""Half the width of the band that is filled in, pixels of P_00646: its artery with a margin."""
BANDS = (9141, 9142, 9143)
"""A seed for each equal band elsewhere."""
VIEWS = 13
KIND_WITH_BAC = "film with BAC"


@dataclass(frozen=True)
class _Wanted:
    """A picture to be made: of which file and view, its label (BAC: 1), what is changed, and how.

    ``make`` takes and gives a picture (rows, columns) without the page, float32 in [0, 1].
    """

    file: Path
    view: str
    label: int
    change: str
    number: int
    make: Callable[[np.ndarray], np.ndarray]


def write_views(folder: Path, size: Prepare) -> pd.DataFrame:
    """Prepare all pictures into ``folder``, those that are missing; a row each: view, label, change, file and its sha256.

    Raises TramtrackError where a sample is absent, and IdentityMismatch where ``folder`` was made under other settings.
    """
    with tempfile.TemporaryDirectory() as temporary:
        found = real_files(Path(temporary) / "real")
        sources = [(kind, file) for kind in found for file in found[kind]]
        if len(sources) != VIEWS or len(found.get(KIND_WITH_BAC, ())) != 1:
            raise TramtrackError(
                f"expected {VIEWS} real views, one of them with BAC, found {len(sources)}; run `make samples`, "
                "and set TRAMTRACK_SHARED to the folder that holds data/"
            )
        identity = {
            "prepare": size.model_dump(mode="json"),
            "sources": [store.file_sha256(file) for _, file in sources],
            "artery": ARTERY.tolist(),
            "half_width": HALF_WIDTH,
            "bands": list(BANDS),
            "insertion": list(INSERTED),
            "twins": "cropped and stretched as their own view",
        }
        if not store.require_same_identity(folder / "manifest.json", identity, "use another folder, or remove this one"):
            store.write_manifest(folder / "manifest.json", identity, {})
        rows = []
        for wanted in track(list(_wanted(sources, Path(temporary))), "Real views and their twins"):
            file = folder / f"{wanted.view} {wanted.change} {wanted.number}.png".replace(" ", "-")
            if not file.exists():
                picture = without_page(wanted.file)[0]
                store.write_bytes(file, png_bytes(prepare_picture(wanted.make(picture), size, like=picture).pixels))
            rows.append([wanted.view, wanted.label, wanted.change, file, store.file_sha256(file)])
    return pd.DataFrame(rows, columns=["view", "label", "change", "file", "sha256"])


def _wanted(sources: list[tuple[str, Path]], temporary: Path) -> Iterator[_Wanted]:
    number = 0
    for kind, file in sources:
        with_bac = kind == KIND_WITH_BAC
        picture = partial(_Wanted, file, "P_00646" if with_bac else f"{kind} {file.stem}", int(with_bac))
        yield picture(AS_IT_IS, 0, lambda same: same)
        if with_bac:
            corner = without_page(file)[1]
            yield picture(ARTERY_FILLED, 0, partial(_filled, corner=corner))
            for place, seed in enumerate(BANDS):
                yield picture(BAND_FILLED, place, partial(_filled, corner=corner, seed=seed))
            continue
        for change in (BAC_INSERTED, TUBE_INSERTED):
            wanted = Insertion(INSERTED[0] + number, INSERTED[1], is_control=change == TUBE_INSERTED)
            yield picture(change, 0, partial(_inserted, file=file, folder=temporary / "inserted", wanted=wanted))
        number += 1


def _filled(picture: np.ndarray, corner: tuple[int, int], seed: int | None = None) -> np.ndarray:
    """P_00646 with the band of its artery filled in, or with a ``seed`` an equal band elsewhere."""
    seen = survey(picture)
    path = real_path(seen, corner)
    if seed is not None:
        path = equal_band(seen, path, HALF_WIDTH, np.random.default_rng(seed))
    return np.clip(fill_band(picture, path, HALF_WIDTH), 0, 1).astype(np.float32)


def _inserted(picture: np.ndarray, file: Path, folder: Path, wanted: Insertion) -> np.ndarray:
    """A file's picture with a tube in it, cut as it is itself."""
    rows, columns = without_page(file)[1]
    whole = read_picture(insert_file(file, folder, wanted).image).values
    return whole[rows : rows + picture.shape[0], columns : columns + picture.shape[1]]
