"""The views of a fold whose calcifications are known to the pixel. Needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tramtrack.explain.masks import MaskError
from tramtrack.explain.overlay import prepared_mask
from tramtrack.imaging.geometry import Geometry
from tramtrack.progress import announce, track


@dataclass(frozen=True)
class Known:
    """``table`` has a row a view (view_id, woman, file, fold), ``marked`` (n,) says in which any pixel is marked."""

    table: pd.DataFrame
    marked: np.ndarray
    packed: tuple[np.ndarray, ...]
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def files(self) -> list[Path]:
        """The prepared files."""
        return [Path(file) for file in self.table["file"]]

    def mask(self, number: int) -> np.ndarray:
        """The mask of the view in row ``number`` on the prepared grid: bool (rows, columns)."""
        return np.unpackbits(self.packed[number], count=self.size[0] * self.size[1]).reshape(self.size).astype(bool)

    @property
    def share(self) -> float:
        """The marked share of all pixels."""
        pixels = sum(int(np.unpackbits(packed).sum()) for packed in self.packed)
        return pixels / (len(self) * self.size[0] * self.size[1])

    @property
    def sha256(self) -> str:
        """Hash of the views and their masks."""
        drawn = hashlib.sha256()
        for view_id, packed in zip(self.table["view_id"], self.packed, strict=True):
            drawn.update(str(view_id).encode() + packed.tobytes())
        return drawn.hexdigest()


def find_known(views: pd.DataFrame, geometry: Mapping[str, Geometry], size: tuple[int, int], what: str) -> Known:
    """Those of ``views`` (view_id, woman, file, fold, mask, bac_view) that have a mask, or are known to be without BAC.

    ``size`` is that of a prepared view. Left out, the first of each kind told of: a mask that cannot be read or does not fit
    its view, one that marks nothing in a view with BAC, and boxes, which are no outline.
    """
    rows, packed, marked = [], [], []
    boxes = 0
    for number, row in enumerate(track(views.to_dict("records"), what)):
        path = str(row["mask"])
        if path.lower().endswith(".csv"):
            boxes += 1
            continue
        negative = row["bac_view"] is not pd.NA and row["bac_view"] == 0
        if not path and not negative:
            continue
        try:
            mask = prepared_mask(Path(path), geometry[str(row["view_id"])]) if path else np.zeros(size, dtype=bool)
        except MaskError as error:
            announce(f"{error}; the view takes no part in the segmentation")
            continue
        if path and not mask.any() and not negative:
            announce(f"{path}: marks nothing inside its view, whose label is BAC or not known; the view takes no part")
            continue
        rows.append(number)
        packed.append(np.packbits(mask))
        marked.append(bool(mask.any()))
    if boxes:
        announce(f"{boxes} views have boxes, which are no outline; they take no part in the segmentation")
    table = views.iloc[rows][["view_id", "woman", "file", "fold"]].reset_index(drop=True)
    return Known(table, np.array(marked, dtype=bool), tuple(packed), size)
