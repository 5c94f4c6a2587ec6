"""Pooling of sites: a published example, coverage of the interval, and what cannot be pooled."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from tramtrack.errors import UsageError
from tramtrack.evaluation.pooling import as_shares, logit_with_error, pool

BCG = np.array([
    (4, 119, 11, 128), (6, 300, 29, 274), (3, 228, 11, 209), (62, 13536, 248, 12619), (33, 5036, 47, 5761),
    (180, 1361, 372, 1079), (8, 2537, 10, 619), (505, 87886, 499, 87892), (29, 7470, 45, 7232), (17, 1699, 65, 1600),
    (186, 50448, 141, 27197), (5, 2493, 3, 2338), (27, 16886, 29, 17825),
])  # fmt: skip
"""Thirteen trials of the BCG vaccine (Colditz et al., JAMA 1994;271:698): ill and well, vaccinated and not."""


def test_the_published_example():
    """Log relative risks. Viechtbauer, J Stat Softw 2010;36(3), section 3.1, REML: estimate -0.7145, tau2 0.3132, I2 92.22 %,
    Q 152.2330. The interval is wider than the normal one printed there, -1.0669 to -0.3622, as Hartung and Knapp's is here."""
    a, b, c, d = BCG.T
    effects = np.log(a / (a + b)) - np.log(c / (c + d))
    errors = np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))
    found = pool(effects, errors)
    assert found.estimate == pytest.approx(-0.7145, abs=5e-5)
    assert found.tau**2 == pytest.approx(0.3132, abs=5e-5)
    assert 100 * found.i_squared == pytest.approx(92.22, abs=5e-3)
    assert found.q == pytest.approx(152.2330, abs=5e-5) and found.p < 1e-20
    weights = 1 / (errors**2 + found.tau**2)
    scatter = (weights * (effects - found.estimate) ** 2).sum() / 12
    reach = 2.178813 * (scatter / weights.sum()) ** 0.5  # the 97.5 % quantile of t with 12 degrees of freedom
    assert (found.low, found.high) == pytest.approx((found.estimate - reach, found.estimate + reach), abs=1e-6)
    assert -1.2 < found.low < -1.0669 and -0.3622 < found.high < -0.2


def test_the_interval_holds_the_mean_as_often_as_it_says():
    """4 sites, tau 0.4, errors 0.2 to 0.5, 1,000 times (seed 9105): 95 %, within four standard errors; the interval for a new
    site holds its true effect at least nearly as often."""
    generator, times = np.random.default_rng(9105), 1000
    held, held_new = 0, 0
    for _ in range(times):
        errors = generator.uniform(0.2, 0.5, 4)
        effects = 1.2 + generator.normal(0, 0.4, 4) + generator.normal(0, errors)
        found = pool(effects, errors)
        held += found.low <= 1.2 <= found.high
        held_new += found.new_low <= 1.2 + generator.normal(0, 0.4) <= found.new_high
    assert abs(held / times - 0.95) < 4 * np.sqrt(0.95 * 0.05 / times)
    assert held_new / times > 0.9


def test_two_sites_that_agree_by_chance_know_the_mean_no_better_than_their_errors_allow():
    found = pool([1.0, 1.001], [0.3, 0.3])
    assert found.high - found.low == pytest.approx(2 * 1.959964 * 0.3 / 2**0.5, rel=1e-5)


def test_sites_that_agree_have_nothing_between_them():
    found = pool([1.0, 1.02, 0.99], [0.3, 0.3, 0.3])
    assert found.tau == 0 and found.i_squared == 0 and found.low < found.estimate < found.high
    shares = as_shares(found)
    assert shares["estimate"] == pytest.approx(special.expit(found.estimate)) and 0 < shares["new_low"] < shares["new_high"] < 1
    two = pool([1.0, 2.0], [0.3, 0.3])
    assert two.new_low is None and as_shares(two)["new_high"] is None


@pytest.mark.parametrize(
    ("effects", "errors"), [([1.0], [0.1]), ([1.0, 2.0], [0.1]), ([1.0, np.nan], [0.1, 0.1]), ([1.0, 2.0], [0.1, 0.0])]
)
def test_what_cannot_be_pooled_is_refused(effects, errors):
    with pytest.raises(UsageError, match="pooling needs"):
        pool(effects, errors)


def test_the_logit_of_an_auc_and_its_error():
    at, error = logit_with_error(0.8, 0.05, 20, 100)
    assert at == pytest.approx(np.log(4)) and error == pytest.approx(0.05 / 0.16)
    at, error = logit_with_error(1.0, 0.0, 20, 100)
    assert at == pytest.approx(np.log(4001)) and error > 1, "it says little"
    assert logit_with_error(0.0, 0.0, 20, 100)[0] == pytest.approx(-at)
