"""From the scores of views to the scores of breasts and women, and the units whose label is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tramtrack.errors import TramtrackError, UsageError

Unit = Literal["view", "breast", "woman"]
UNITS: tuple[Unit, ...] = get_args(Unit)
Aggregation = Literal["maximum", "mean", "noisy-or"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
UNKNOWN = -1


@dataclass(frozen=True)
class Units:
    """Units of one kind with a known label, one row each, in no order that means anything.

    ``woman`` (units,) holds the woman's identifier (text or int), ``scores`` float64 (units,), ``labels`` bool (units,),
    True for BAC. Scores may be NaN here: what is computed from them is then Undefined.
    """

    unit: Unit
    woman: NDArray[Any]
    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UsageError(f"unit {self.unit}: expected one of {', '.join(UNITS)}")
        labels = np.asarray(self.labels)
        if not np.isin(labels, (0, 1)).all():
            raise TramtrackError(f"labels of {self.unit}s: expected 0 or 1, received {_others(labels, (0, 1))}")
        object.__setattr__(self, "woman", np.asarray(self.woman))
        object.__setattr__(self, "scores", np.asarray(self.scores, dtype=np.float64))
        object.__setattr__(self, "labels", labels.astype(bool))
        shapes = {self.woman.shape, self.scores.shape, self.labels.shape}
        if len(shapes) > 1 or self.labels.ndim != 1:
            raise ValueError(f"expected three arrays of one length, received shapes {sorted(shapes)}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def positives(self) -> int:
        """The number of units with BAC."""
        return int(self.labels.sum())

    @property
    def women(self) -> int:
        """The number of women that the units come from."""
        return len(np.unique(self.woman))

    def counts(self) -> dict[str, int]:
        """n, positives and women, as Score and Undefined take them."""
        return {"n": len(self), "positives": self.positives, "women": self.women}


@dataclass(frozen=True)
class Predictions:
    """The scores of one trained network on the views of one fold, one row a view.

    ``woman`` (views,) identifiers, ``side`` "L" or "R", ``view`` "CC" or "MLO", ``score`` float in [0, 1]. The labels of
    the view, of its breast and of its woman are int8: 1 with BAC, 0 known to be without, -1 not known; NaN is read as
    not known. Labels are taken as they come (they went up in the cohort stage): nothing is inferred here.
    Raises TramtrackError for a label that is none of these, or where rows of one breast or one woman disagree.
    """

    woman: NDArray[Any]
    side: NDArray[Any]
    view: NDArray[Any]
    score: NDArray[np.float64]
    label_view: NDArray[np.int8]
    label_breast: NDArray[np.int8]
    label_woman: NDArray[np.int8]

    def __post_init__(self) -> None:
        for name in ("woman", "side", "view"):
            object.__setattr__(self, name, np.asarray(getattr(self, name)))
        object.__setattr__(self, "score", np.asarray(self.score, dtype=np.float64))
        for name in ("label_view", "label_breast", "label_woman"):
            object.__setattr__(self, name, _labels(name, getattr(self, name)))
        lengths = {len(getattr(self, name)) for name in self.__dataclass_fields__}
        if len(lengths) > 1:
            raise ValueError(f"expected seven arrays of one length, received lengths {sorted(lengths)}")
        for unit in UNITS[1:]:
            self._require_one_label(unit)

    def units(self, unit: Unit, aggregation: Aggregation = "maximum") -> Units:
        """The units of this kind whose own label is known, their scores aggregated over their views.

        A breast is a woman's side, over all her views of it; a woman is all her views. "maximum": one convincing view is
        enough. "mean": over the views directly, so a breast with more views weighs more in its woman. "noisy-or": 1 minus
        the product of (1 - score), the chance that any view shows BAC if the views were independent (Pearl, Artif Intell
        1986;29:241). A NaN among the views makes the unit's score NaN. The result is the same for any order of the rows,
        to the last bit.
        """
        if unit not in UNITS:
            raise UsageError(f"unit {unit}: expected one of {', '.join(UNITS)}")
        if aggregation not in AGGREGATIONS:
            raise UsageError(f"aggregation {aggregation}: expected one of {', '.join(AGGREGATIONS)}")
        index = self._unit_index(unit)
        order = np.lexsort((self.score, index))
        starts = np.flatnonzero(np.diff(index[order], prepend=-1))
        scores = self.score[order]
        if unit == "view":
            values = scores
        elif aggregation == "maximum":
            values = np.maximum.reduceat(scores, starts)
        elif aggregation == "noisy-or":
            values = 1 - np.multiply.reduceat(1 - scores, starts)
        else:
            values = np.add.reduceat(scores, starts) / np.diff(starts, append=len(scores))
        labels = getattr(self, f"label_{unit}")[order][starts]
        known = labels != UNKNOWN
        return Units(unit, self.woman[order][starts][known], values[known], labels[known])

    def _unit_index(self, unit: Unit) -> NDArray[np.int64]:
        """For each row the number of its unit, counted in the order of woman, side, view; a view is always its own unit."""
        _, woman = np.unique(self.woman, return_inverse=True)
        if unit == "woman":
            return woman
        _, side = np.unique(self.side, return_inverse=True)
        breast = np.unique(woman * (side.max(initial=0) + 1) + side, return_inverse=True)[1]
        if unit == "breast":
            return breast
        _, view = np.unique(self.view, return_inverse=True)
        index = np.empty(len(woman), dtype=np.int64)
        index[np.lexsort((self.label_view, self.score, view, breast))] = np.arange(len(woman))
        return index

    def _require_one_label(self, unit: Unit) -> None:
        labels = getattr(self, f"label_{unit}")
        if not len(labels):
            return
        index = self._unit_index(unit)
        first = np.full(index.max() + 1, UNKNOWN, dtype=labels.dtype)
        first[index] = labels
        differing = np.flatnonzero(first[index] != labels)
        if len(differing):
            woman = self.woman[differing[0]]
            raise TramtrackError(
                f"predictions of woman {woman}: expected one label for each {unit}, received several in label_{unit}; "
                "correct the labels table and ingest again"
            )


def _labels(name: str, values: Any) -> NDArray[np.int8]:
    labels = np.asarray(values, dtype=np.float64)
    labels = np.where(np.isnan(labels), UNKNOWN, labels)
    allowed = (UNKNOWN, 0, 1)
    if not np.isin(labels, allowed).all():
        raise TramtrackError(f"{name}: expected 1, 0 or -1 (not known), received {_others(labels, allowed)}")
    return labels.astype(np.int8)


def _others(values: NDArray[Any], allowed: Iterable[int]) -> str:
    found = np.unique(values[~np.isin(values, tuple(allowed))])
    return ", ".join(str(value) for value in found[:3].tolist())
