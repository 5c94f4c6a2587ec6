"""One figure from several sites: random effects on the logit of the AUC, with an interval that knows how few sites there are.

Restricted maximum likelihood for the variance between sites, the Hartung-Knapp interval for the mean; the normal one where that
is wider, since sites that agree by chance would else seem to know the mean almost exactly. Sources: Viechtbauer, J Educ Behav
Stat 2005;30:261; Hartung and Knapp, Stat Med 2001;20:3875; Jackson et al., Stat Med 2017;36:3923 (where it is too narrow);
Higgins and Thompson, Stat Med 2002;21:1539 (I2); Higgins et al., J R Stat Soc A 2009;172:137 (the interval for a new site).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.scores import Floats

LEAST_FOR_NEW_SITE = 3
"""With fewer sites nothing is said of a new one."""


@dataclass(frozen=True)
class Pooled:
    """The mean of the sites' true effects, and how they differ, on the scale of the estimates.

    ``low`` to ``high`` is its interval; ``tau`` the standard deviation between sites, ``q`` with ``p`` the test that there is
    none, ``i_squared`` in [0, 1] the share of the variance that lies between sites. ``new_low`` to ``new_high`` holds the true
    effect of a new site, None with fewer than three.
    """

    estimate: float
    low: float
    high: float
    tau: float
    i_squared: float
    q: float
    p: float
    sites: int
    new_low: float | None
    new_high: float | None


def pool(effects: ArrayLike, errors: ArrayLike, confidence: float = 0.95) -> Pooled:
    """Pool ``effects`` (sites,) with their standard errors > 0 (sites,). Raises UsageError for fewer than two sites."""
    y, variances = np.asarray(effects, dtype=np.float64), np.asarray(errors, dtype=np.float64) ** 2
    if y.ndim != 1 or len(y) < 2 or y.shape != variances.shape:
        raise UsageError(f"pooling needs the effects and standard errors of two sites at least, received {y.shape}")
    if not (np.isfinite(y).all() and np.isfinite(variances).all() and (variances > 0).all()):
        raise UsageError("pooling needs finite effects, with standard errors above 0")
    sites, tau2 = len(y), _between(y, variances)
    weights = 1 / (variances + tau2)
    mean = float(weights @ y / weights.sum())
    scatter = float(weights @ (y - mean) ** 2 / (sites - 1))
    error = float(np.sqrt(scatter / weights.sum()))
    least = float(special.ndtri(0.5 + confidence / 2) / np.sqrt(weights.sum()))
    half = max(float(stats.t.ppf(0.5 + confidence / 2, sites - 1)) * error, least)
    fixed = 1 / variances
    q = float(fixed @ (y - fixed @ y / fixed.sum()) ** 2)
    typical = (sites - 1) * fixed.sum() / (fixed.sum() ** 2 - (fixed**2).sum())
    new: tuple[float | None, float | None] = (None, None)
    if sites >= LEAST_FOR_NEW_SITE:
        reach = float(stats.t.ppf(0.5 + confidence / 2, sites - 2)) * float(np.sqrt(tau2 + error**2))
        new = (mean - reach, mean + reach)
    return Pooled(
        estimate=mean,
        low=mean - half,
        high=mean + half,
        tau=float(np.sqrt(tau2)),
        i_squared=float(tau2 / (tau2 + typical)),
        q=q,
        p=float(stats.chi2.sf(q, sites - 1)),
        sites=sites,
        new_low=new[0],
        new_high=new[1],
    )


def _between(y: Floats, variances: Floats) -> float:
    """The variance between sites that maximises the restricted likelihood; never below 0."""

    def minus_log_likelihood(tau2: ArrayLike) -> Floats:
        total = variances + np.asarray(tau2, dtype=np.float64)[..., None]  # (..., sites)
        weight = (1 / total).sum(axis=-1)
        mean = (y / total).sum(axis=-1) / weight
        return np.asarray(np.log(total).sum(axis=-1) + np.log(weight) + ((y - mean[..., None]) ** 2 / total).sum(axis=-1)) / 2

    most = float(np.ptp(y) ** 2 + variances.max())
    grid = np.concatenate(([0.0], np.geomspace(most * 1e-9, most, 200)))
    best = int(np.argmin(minus_log_likelihood(grid)))
    if best == 0:
        return 0.0
    between = (float(grid[best - 1]), float(grid[min(best + 1, len(grid) - 1)]))
    found = optimize.minimize_scalar(minus_log_likelihood, bounds=between, method="bounded", options={"xatol": most * 1e-9})
    return float(found.x)


def as_shares(pooled: Pooled) -> dict[str, float | None]:
    """A result on the logit scale back on that of the AUC: estimate, low, high, new_low, new_high in (0, 1)."""
    names = ("estimate", "low", "high", "new_low", "new_high")
    values = {name: getattr(pooled, name) for name in names}
    return {name: None if value is None else float(special.expit(value)) for name, value in values.items()}


def logit_with_error(auc: float, error: float, positives: int, negatives: int) -> tuple[float, float]:
    """The logit of an AUC in [0, 1], and its standard error by the delta method, from the AUC's own ``error``.

    Where the AUC is 0 or 1, or its error 0, half a pair of women is taken from what it says, and the error is that of Hanley
    and McNeil (Radiology 1982;143:29) for the AUC that is left.
    """
    if not 0 < auc < 1 or error <= 0:
        pairs = positives * negatives
        auc = (auc * pairs + 0.5) / (pairs + 1)
        first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
        spread = (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)
        error = float(np.sqrt((auc * (1 - auc) + spread) / pairs))
    return float(special.logit(auc)), error / (auc * (1 - auc))
