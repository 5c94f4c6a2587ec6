"""What the scores of real views and of their changed twins say: a view's place among all, and which changes count.

Scores are logits, so that a change of a nearly sure answer is seen as well as that of an unsure one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

AS_IT_IS = "as it is"
ARTERY_FILLED = "artery filled in"
BAND_FILLED = "equal band filled in"
BAC_INSERTED = "BAC inserted"
TUBE_INSERTED = "tube without calcium inserted"
TUBE_CLAIM = "a tube without calcium"
LEAST_RAISED = 10
"""Views that inserted BAC must raise at least, and a tube without calcium may not."""


@dataclass(frozen=True)
class Answer:
    """What one run says of the real views.

    ``place``: that of the one view with BAC, 1 is first; a tie counts against it. ``changes``: by what was changed, each view's
    logit after less that before, in the order of the views. ``spread``: the standard deviation of the scores of the views
    without BAC, as they are.
    """

    place: int
    changes: dict[str, list[float]]
    spread: float

    def raised(self, change: str) -> int:
        """How many views a change raised."""
        return sum(value > 0 for value in self.changes[change])

    def size(self, change: str) -> float:
        """The median of a change over the spread: an answer that is nearly the same for every view has signs, but no size.

        NaN where the answer is the same for all views without BAC.
        """
        return float(np.median(self.changes[change])) / self.spread if self.spread else float("nan")

    def raised_more(self) -> int:
        """How many views inserted BAC raised by more than the tube without calcium did."""
        pairs = zip(self.changes[BAC_INSERTED], self.changes[TUBE_INSERTED], strict=True)
        return sum(artery > tube for artery, tube in pairs)

    def claims(self) -> dict[str, bool]:
        """Each claim, and whether this run bears it out."""
        (artery,), bands = self.changes[ARTERY_FILLED], self.changes[BAND_FILLED]
        pairs = len(self.changes[BAC_INSERTED])
        return {
            "the view with BAC comes first": self.place == 1,
            "its score falls with its artery filled in": artery < 0,
            "and by more than with any equal band filled in": artery < min(bands),
            f"BAC inserted raises at least {LEAST_RAISED} of {pairs}": self.raised(BAC_INSERTED) >= LEAST_RAISED,
            f"{TUBE_CLAIM} does not raise {LEAST_RAISED} of {pairs}": self.raised(TUBE_INSERTED) < LEAST_RAISED,
        }


def verdict(claim: str, holds: int, seeds: int, control: bool) -> str:
    """What is said of a claim that holds in so many seeds: of a network, whether it is met; of a control, what it is worth.

    What holds in most seeds of a control, which has learnt nothing of BAC, is no evidence that a network has. The claim about
    the tube is apart: whatever sees nothing bears it out.
    """
    if not control:
        return "" if holds == seeds else ": NOT MET"
    return ": alone, this claim is no evidence" if 2 * holds > seeds and not claim.startswith(TUBE_CLAIM) else ""


def answer(scores: pd.DataFrame) -> Answer:
    """The answer of one run; ``scores`` has view, label, change and logit, a row a picture; one view has BAC."""
    unchanged = scores[scores["change"] == AS_IT_IS].set_index("view")
    (with_bac,) = unchanged.index[unchanged["label"] == 1]
    rivals = unchanged["logit"].drop(with_bac)
    changed = scores[scores["change"] != AS_IT_IS]
    changed = changed.iloc[np.argsort(unchanged.index.get_indexer(changed["view"]), kind="stable")]
    before = unchanged["logit"].loc[changed["view"]].to_numpy()
    by_how_much = pd.Series(changed["logit"].to_numpy() - before)
    changes = by_how_much.groupby(changed["change"].to_numpy()).agg(list).to_dict()
    return Answer(1 + int((rivals >= unchanged["logit"][with_bac]).sum()), changes, float(rivals.std()))


def shuffled_by_woman(labels: pd.DataFrame, seed: int) -> pd.DataFrame:
    """A label table (woman, exam, side, view, bac) in which each woman has all labels of a woman drawn by ``seed``.

    Labels stay together by side and view, so that as many women and views are positive as before; other columns are left out,
    since a mask fits no other woman. Raises ValueError where a woman lacks a view that another has.
    """
    women = labels["woman"].unique()
    drawn = women[np.random.default_rng(seed).permutation(len(women))]
    given = labels.set_index(["woman", "side", "view"])["bac"]
    giver = labels["woman"].map(dict(zip(women, drawn, strict=True)))
    places = pd.MultiIndex.from_arrays([giver, labels["side"], labels["view"]])
    if not places.isin(given.index).all():
        raise ValueError("labels to shuffle: expected the same views of every woman")
    return labels[["woman", "exam", "side", "view"]].assign(bac=given.loc[places].to_numpy())
