"""Where the planner takes its correlations from, and what it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tramtrack.errors import TramtrackError
from tramtrack.judgement.planner import make_plan, study_correlations

GIVEN = {
    "prevalence": 0.3,
    "auc": 0.85,
    "difference": 0.1,
    "unit": "woman",
    "views": 2,
    "power": 0.8,
    "alpha": 0.05,
    "pairs": 1,
}


@pytest.fixture
def study(tmp_path):
    generator = np.random.default_rng(0)
    rows = []
    for woman in range(200):
        bac, own = int(woman % 3 == 0), generator.normal()
        for view in range(4):
            common = 0.8 * own + 0.6 * generator.normal()
            for network, weights in (("vgg16", "pretrained"), ("xception", "pretrained"), ("mobilenet", "random weights")):
                logit = 2 * bac + (common if weights == "pretrained" else 0) + 0.5 * generator.normal()
                labels = {"bac_view": bac, "bac_breast": bac, "bac_woman": bac}
                key = {"network": network, "variant": "last-conv", "seed": 0, "weights": weights}
                where = {
                    "view_id": f"{woman}-{view}",
                    "woman": woman,
                    "exam": "1",
                    "side": "L",
                    "view": "CC",
                    "fold": "validation",
                }
                rows.append({**key, **where, **labels, "logit": logit, "score": 1 / (1 + np.exp(-logit))})
    (tmp_path / "results").mkdir()
    pd.DataFrame(rows).to_csv(tmp_path / "results" / "predictions.csv", index=False)
    return tmp_path


def test_correlations_come_from_the_studys_validation(study):
    within, between = study_correlations(study)
    assert within == pytest.approx(0.64 / 1.25, abs=0.07)  # variance 1 shared by networks, .64 of it by a woman's views
    assert between == pytest.approx(1 / 1.25, abs=0.05)
    made = make_plan(GIVEN, None, None, study, 50, 1)
    assert made.plan.design.within == within and "validation fold" in made.lines()[2]


def test_what_is_given_goes_before_the_study_and_what_is_not_known_is_said_to_be_assumed(study):
    made = make_plan(GIVEN, 0.2, None, study, 50, 1)
    assert (made.plan.design.within, made.within_from) == (0.2, "as given")
    alone = make_plan(GIVEN, None, None, None, 50, 1)
    assert (alone.within_from, alone.between_from) == ("assumed", "assumed")
    assert "with a power of 0.8, at a level of 0.05." in alone.lines()[0]
    assert make_plan(GIVEN, None, None, None, 50, 1).plan == alone.plan  # the same seed, the same plan


def test_a_study_that_is_not_evaluated_is_named(tmp_path):
    with pytest.raises(TramtrackError, match="nothing is evaluated yet; run `tramtrack evaluate"):
        study_correlations(tmp_path)
