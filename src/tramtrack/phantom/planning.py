"""Who has BAC, and in how many views it shows: exact counts, decided before any image is made.

Which women have BAC follows a logistic model in age, drawn given the total. How many views show it is geometry alone (see
``burden``), so a pass without images finds each woman's draw of calcium that makes the views add up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.woman import ATTEMPTS, SyntheticWoman

LOOKED_AT = 8
"""Draws of a woman's calcium that are looked at together."""


@dataclass(frozen=True)
class Drawn:
    """A woman whose calcium is looked at: ``number`` in the cohort of ``seed``, and draws ``first`` to ``first + count``."""

    number: int
    seed: int
    age: int
    settings: PhantomSettings
    first: int
    count: int


def seed_of(seed: int, number: int) -> np.random.SeedSequence:
    """The seed of one woman of a cohort."""
    return np.random.SeedSequence(seed, spawn_key=(1, number))


def shown_views(unit: Drawn) -> list[int]:
    """How many of her views show BAC, for each draw asked for; no image is made."""
    woman = SyntheticWoman(seed_of(unit.seed, unit.number), unit.age, True, unit.settings)
    return [woman.draw_calcium(draw).shown(unit.settings) for draw in range(unit.first, unit.first + unit.count)]


def draw_women(rng: np.random.Generator, women: int, positive: int, settings: PhantomSettings) -> list[tuple[int, bool]]:
    """Age in whole years and BAC of each woman, exactly ``positive`` of them with BAC.

    Which women have it is drawn from the logistic model given their ages and the total (conditional Bernoulli sampling), so
    the odds ratio per decade is the settings' own, whatever the prevalence.
    """
    low, high = settings.age_range
    ages = np.clip(np.rint(rng.normal(settings.age_mean, settings.age_sd, women)), low, high).astype(int)
    bac = conditional_bernoulli(rng, log_odds(ages, settings), positive)
    return [(int(age), bool(has)) for age, has in zip(ages, bac, strict=True)]


def log_odds(ages: NDArray[np.int_], settings: PhantomSettings, intercept: float = 0.0) -> NDArray[np.float64]:
    """Log-odds of BAC at each age in years: linear, ``intercept`` at the mean age."""
    return intercept + np.log(settings.odds_ratio_per_decade) * (ages - settings.age_mean) / 10


def intercept(ages: Iterable[int], prevalence: float, settings: PhantomSettings) -> float | None:
    """The log-odds at the mean age with which the mean probability at ``ages`` is ``prevalence``; None where that is 0 or 1.

    Given the total, which women have BAC does not depend on it; it is what a logistic regression on age should find.
    """
    if not 0 < prevalence < 1:
        return None
    slopes = log_odds(np.array(list(ages)), settings)
    reach = max(40.0, float(np.abs(slopes).max()) + abs(math.log(prevalence / (1 - prevalence))) + 1)
    with np.errstate(over="ignore"):  # the exponential of what is far from the root
        return float(brentq(lambda at: (1 / (1 + np.exp(-(slopes + at)))).mean() - prevalence, -reach, reach))


def conditional_bernoulli(rng: np.random.Generator, log_odds: NDArray[np.float64], total: int) -> NDArray[np.bool_]:
    """Independent coin flips with ``log_odds`` (n,), given that exactly ``total`` of them come up; (n,) bool.

    ``ways[i, k]`` is the logarithm of the summed weights of all choices of k among the flips from i on. Rows are needed from
    the first on and follow from the last: every ``stretch``-th is kept, and those between are worked out again, so that memory
    grows as the root of n times ``total`` and not as n times ``total``.
    """
    count = len(log_odds)
    stretch = max(1, math.isqrt(count))
    last = np.full(total + 1, -np.inf)
    last[0] = 0.0
    kept = {count: last}
    for i, row in _rows_of_ways(log_odds, last, count, 0):
        if i % stretch == 0:
            kept[i] = row
    chosen = np.zeros(count, bool)
    left = total
    for start in range(0, count, stretch):
        stop = min(start + stretch, count)
        ways = {stop: kept[stop], **dict(_rows_of_ways(log_odds, kept[stop], stop, start))}
        for i in range(start, stop):
            if left and np.log(rng.random()) < log_odds[i] + ways[i + 1][left - 1] - ways[i][left]:
                chosen[i] = True
                left -= 1
    return chosen


def _rows_of_ways(
    log_odds: NDArray[np.float64], row: NDArray[np.float64], stop: int, start: int
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """The rows of ``conditional_bernoulli`` from ``stop`` - 1 down to ``start``, where that of ``stop`` is ``row``."""
    for i in range(stop - 1, start - 1, -1):
        before, row = row, row.copy()
        row[1:] = np.logaddexp(row[1:], log_odds[i] + before[:-1])
        yield i, row


def require_possible(women: int, positive_views: int) -> None:
    """Raise UsageError where ``women`` with BAC cannot have ``positive_views`` views that show it: one to four each."""
    if not women <= positive_views <= 4 * women:
        raise UsageError(
            f"phantom cohort: positive_views: expected {women} to {4 * women} for {women} women with BAC, "
            f"received {positive_views}"
        )


Look = Callable[[Sequence[Drawn]], Iterator[tuple[Drawn, list[int]]]]
"""Applies ``shown_views`` to units, in any order, on as many processes as it likes."""


def plan_draws(
    women: Sequence[tuple[int, int]], seed: int, positive_views: int, settings: PhantomSettings, look: Look
) -> dict[int, int]:
    """Draw of the calcium of each woman with BAC, by her number, such that exactly ``positive_views`` views show it.

    ``women``: (number, age) of those with BAC. Each first gets the first draw that at least one view shows, as in a cohort
    without a target. Then, in an order drawn from the seed, women get their next draw that brings the sum nearer to the target
    without passing it, until it is met. So the counts of those few women are pulled towards the target; nobody's labels are
    changed. Raises TramtrackError where the target was not met.
    """
    ages = dict(women)
    seen: dict[int, list[int]] = {number: [] for number in ages}
    chosen = _first_draws(ages, seen, seed, settings, look)
    order = [int(n) for n in np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2,))).permutation(list(ages))]
    idle = 0  # women in turn who could not help, all of their draws looked at
    while idle < len(order):
        missing = positive_views - sum(seen[number][draw] for number, draw in chosen.items())
        if not missing:
            return chosen
        asked = order[: abs(missing)]
        _look_on([n for n in asked if len(seen[n]) < ATTEMPTS], ages, seen, seed, settings, look)
        for number in asked:
            better = _nearer(seen[number], chosen[number], missing)
            if better is not None:
                missing -= seen[number][better] - seen[number][chosen[number]]
                chosen[number] = better
            idle = 0 if better is not None or len(seen[number]) < ATTEMPTS else idle + 1
        order = order[len(asked) :] + asked
    if positive_views == sum(seen[number][draw] for number, draw in chosen.items()):
        return chosen
    raise TramtrackError(
        f"phantom cohort: {positive_views} positive views could not be reached with these settings; choose another number, "
        "or change visible_area_mm2 or hydroxyapatite"
    )


def _first_draws(
    ages: dict[int, int], seen: dict[int, list[int]], seed: int, settings: PhantomSettings, look: Look
) -> dict[int, int]:
    chosen: dict[int, int] = {}
    for count in (1, *[LOOKED_AT] * (ATTEMPTS // LOOKED_AT)):
        open_ = [number for number in ages if number not in chosen]
        if not open_:
            break
        _look_on(open_, ages, seen, seed, settings, look, count)
        for number in open_:
            found = next((draw for draw, shown in enumerate(seen[number]) if shown), None)
            if found is not None:
                chosen[number] = found
    if len(chosen) < len(ages):
        raise TramtrackError(
            f"phantom: no visible BAC in {ATTEMPTS} draws; raise hydroxyapatite, coverage or segment_length_mm"
        )
    return chosen


def _look_on(
    numbers: Sequence[int], ages: dict[int, int], seen: dict[int, list[int]], seed: int, settings: PhantomSettings, look: Look,
    count: int = LOOKED_AT,
) -> None:  # fmt: skip
    """Look at the next draws of these women."""
    units = [Drawn(number, seed, ages[number], settings, len(seen[number]), count) for number in numbers]
    if not units:
        return
    for unit, shown in look(units):
        seen[unit.number] += shown


def _nearer(shown: list[int], now: int, missing: int) -> int | None:
    """The first draw that shows in at least one view and brings the sum nearer to its target without passing it."""
    for draw, views in enumerate(shown):
        change = views - shown[now]
        if views and change * missing > 0 and abs(change) <= abs(missing):
            return draw
    return None
