"""The probability maps of a segmentation, a file a view. Needs no torch."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tramtrack import store


@dataclass(frozen=True)
class Maps:
    """The maps in ``folder`` by view_id, as <view_id>.npz with ``probability`` float16 (rows, columns), prepared grid."""

    folder: Path

    def __contains__(self, view_id: str) -> bool:
        return self._file(view_id).exists()

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.folder.glob("*.npz")))

    def __getitem__(self, view_id: str) -> np.ndarray:
        """The probability of BAC in each prepared pixel: float32 (rows, columns) in [0, 1]."""
        with np.load(self._file(view_id), allow_pickle=False) as content:
            return np.asarray(content["probability"], dtype=np.float32)

    def write(self, view_id: str, probability: np.ndarray) -> None:
        """Keep a map, rounded to float16."""
        stream = io.BytesIO()
        np.savez_compressed(stream, probability=probability.astype(np.float16))
        store.write_bytes(self._file(view_id), stream.getvalue())

    def clear(self) -> None:
        """Remove all maps: those of an earlier training."""
        for path in self.folder.glob("*.npz"):
            path.unlink()

    def _file(self, view_id: str) -> Path:
        return self.folder / f"{view_id}.npz"
