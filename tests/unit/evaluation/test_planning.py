from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, stats

from tramtrack.errors import UsageError
from tramtrack.evaluation.clustered import auc_covariance
from tramtrack.evaluation.planning import Design, correlations, plan, separations, simulate, simulated_power

ALONE = Design(prevalence=0.3, auc=0.85, difference=0.08, within=0.0, between=0.5, unit="woman", views=1)


def women_by_formula(design: Design) -> float:
    """Women for a paired comparison at one score a woman, by the exact variance of the Mann-Whitney statistic.

    Bamber, J Math Psychol 1975;12:387, for normal scores, and its covariance between two tests on the same women. Terms in
    which one of the two women is shared correlate at r / 2, those in which both are at r.
    """
    aucs = (design.auc, design.auc - design.difference)
    u = [stats.norm.ppf(auc) for auc in aucs]

    def covariance(i: int, j: int, r: float, m: float, n: float) -> float:
        both, one = (
            stats.multivariate_normal.cdf([u[i], u[j]], cov=[[1, share], [share, 1]], allow_singular=True) - aucs[i] * aucs[j]
            for share in (r, r / 2)
        )
        return (both + (m + n - 2) * one) / (m * n)

    def excess(women: float) -> float:
        m, n = women * design.prevalence, women * (1 - design.prevalence)
        variance = sum(covariance(i, i, 1.0, m, n) for i in (0, 1)) - 2 * covariance(0, 1, design.between, m, n)
        reach = stats.norm.isf(design.alpha / 2) + stats.norm.ppf(design.power)
        return variance * (reach / design.difference) ** 2 - 1

    return float(optimize.brentq(excess, 20, 1e5))


def hanley_mcneil(auc: float, positives: int, negatives: int) -> float:
    """Variance of one AUC: Hanley and McNeil, Radiology 1982;143:29."""
    first, second = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    return (auc * (1 - auc) + (positives - 1) * (first - auc**2) + (negatives - 1) * (second - auc**2)) / (
        positives * negatives
    )


@pytest.mark.parametrize("between", [0.0, 0.6])
def test_at_one_score_a_woman_it_is_the_formulas(between):
    design = Design(**{**ALONE.__dict__, "between": between})
    found = plan(design, generator=np.random.default_rng(1), replicates=300)
    assert found.women == pytest.approx(women_by_formula(design), rel=0.12)
    assert found.power == pytest.approx(0.8, abs=3.5 * found.error)
    assert found.positives == round(found.women * 0.3)


def test_the_variance_of_one_auc_is_hanleys_and_mcneils():
    design = Design(**{**ALONE.__dict__, "auc": 0.75, "prevalence": 0.5})  # where theirs is for normal scores, too
    generator = np.random.default_rng(0)
    shifts = separations(design, generator)
    variances = []
    for _ in range(200):
        scores, labels, woman = simulate(design, shifts, 200, 100, generator)
        variances.append(auc_covariance(scores, labels, woman)[1][0, 0])
    assert np.mean(variances) == pytest.approx(hanley_mcneil(0.75, 100, 100), rel=0.04)


def test_networks_that_err_alike_need_fewer_women():
    women = [
        plan(Design(**{**ALONE.__dict__, "between": r}), generator=np.random.default_rng(2), replicates=150).women
        for r in (0.0, 0.5, 0.9)
    ]
    assert women[0] > 1.4 * women[1] > 1.4 * 1.4 * women[2]


def test_views_that_are_alike_need_more_women():
    base = {**ALONE.__dict__, "unit": "view", "views": 4, "between": 0.3}
    few, many = (plan(Design(**{**base, "within": r}), generator=np.random.default_rng(3), replicates=150) for r in (0.0, 0.8))
    assert many.women > 1.2 * few.women
    assert many.without_correlation > many.design.prevalence * 10


def test_the_stated_auc_is_reached_at_the_stated_unit():
    design = Design(prevalence=0.5, auc=0.85, difference=0.1, within=0.5, between=0.2, unit="woman", views=4)
    generator = np.random.default_rng(4)
    scores, labels, woman = simulate(design, separations(design, generator), 20_000, 10_000, generator)
    aucs, _ = auc_covariance(scores, labels, woman)
    assert aucs[0] == pytest.approx(0.85, abs=0.01) and aucs[1] == pytest.approx(0.75, abs=0.01)


def test_no_difference_is_found_as_often_as_the_level_says():
    design = Design(**{**ALONE.__dict__, "alpha": 0.2})
    shift = separations(design, np.random.default_rng(0))[0]
    share = simulated_power(design, (shift, shift), 200, 600, np.random.default_rng(5))
    assert share == pytest.approx(0.2, abs=0.05)


def test_pairs_divide_the_level():
    generator = np.random.default_rng
    one = plan(ALONE, generator=generator(6), replicates=100).women
    assert plan(Design(**{**ALONE.__dict__, "pairs": 55}), generator=generator(6), replicates=100).women > 1.7 * one


def test_correlations_of_a_study_are_those_it_was_made_with():
    design = Design(prevalence=0.3, auc=0.8, difference=0.1, within=0.6, between=0.4, unit="view", views=4)
    generator = np.random.default_rng(7)
    scores, labels, woman = simulate(design, separations(design, generator), 1500, 450, generator)
    order = generator.permutation(len(woman))
    named = {"a": scores[0][order], "b": scores[1][order]}
    within, between = correlations(named, labels[order].astype(np.int8), woman[order])
    assert within == pytest.approx(0.6, abs=0.05) and between == pytest.approx(0.4, abs=0.05)
    assert correlations({"a": scores[0]}, labels.astype(np.int8), woman)[1] is None
    assert correlations({"a": scores[0][:9]}, labels[:9].astype(np.int8), np.arange(9))[0] is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"prevalence": 0}, "prevalence 0: expected a number between 0 and 1"),
        ({"between": 1.0}, r"between 1\.0: expected a correlation from 0 to below 1"),
        ({"difference": 0.4}, "with the lower AUC at 0.5 or above"),
        ({"unit": "breast"}, "unit breast: expected view or woman"),
        ({"pairs": 0}, "at least one pair"),
    ],
)
def test_what_cannot_be_is_named(changed, says):
    with pytest.raises(UsageError, match=says):
        Design(**{**ALONE.__dict__, **changed})


def test_a_difference_too_small_for_any_study_is_said():
    design = Design(**{**ALONE.__dict__, "difference": 0.0005})
    with pytest.raises(UsageError, match="women would be needed; ask for a larger difference"):
        plan(design, generator=np.random.default_rng(0))
