"""What a site sends back: small counts are left out, a changed file is refused, and only like is pooled with like."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.aggregate import Units
from tramtrack.evaluation.pooling import logit_with_error, pool
from tramtrack.evaluation.threshold import Threshold
from tramtrack.judgement.scoring import Chosen
from tramtrack.prediction.external import _figures
from tramtrack.prediction.panel import Panel, Seen
from tramtrack.prediction.site_file import Figure, SiteNumbers, UnitFigures, read_signed, sign, suppressed, write_signed
from tramtrack.prediction.sites import pool_sites
from tramtrack.protocol import Protocol

METRICS = ("auc_roc", "f1", "sensitivity", "specificity", "ppv", "npv", "brier")


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("TRAMTRACK_CONFIG", str(tmp_path / "config"))


def figures(auc=0.8, positives=20, negatives=80, error=0.04):
    figure = Figure(estimate=auc, low=max(0.0, auc - 0.1), high=min(1.0, auc + 0.1), reason="")
    cells = dict.fromkeys(("true_positives", "false_negatives", "false_positives", "true_negatives"))
    return UnitFigures(
        positives=positives,
        negatives=negatives,
        women=100,
        **cells,
        threshold=0.5,
        figures={"auc_roc": figure},
        auc_error=error,
    )


def site_file(folder, name, monkeypatch, weights=("a" * 64,), **of_woman):
    """A signed file of a site with a key of its own."""
    monkeypatch.setenv("TRAMTRACK_CONFIG", str(folder / f"config-{name}"))
    units = dict.fromkeys(("view", "breast"), figures()) | {"woman": figures(**of_woman)}
    numbers = SiteNumbers(
        tramtrack="0", site=name, weights=weights, protocol="b" * 64, synthetic=True, units=units, vendors={"A": 100}
    )
    return write_signed(folder / f"{name}.json", sign(numbers, folder / "study"))


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 30), min_size=1, max_size=6))
def test_no_small_count_stands_there_nor_can_be_worked_out(counts):
    found = suppressed(counts)
    left_out = [counts[name] for name, count in found.items() if count is None]
    assert all(count is None or count == counts[name] >= 5 for name, count in found.items())
    assert len(left_out) != 1 or len(counts) == 1
    assert not left_out or sum(left_out) >= 5 or len(left_out) == len(counts), "the whole, less what is shown, gives it away"
    if min(counts.values()) >= 5:
        assert found == counts


@pytest.mark.parametrize(
    ("hits", "false_alarms", "hidden"),
    [
        (12, 30, set()),
        (17, 30, {"sensitivity", "f1", "ppv", "npv"}),  # 3 misses
        (12, 2, {"specificity", "f1", "ppv", "npv"}),
        (18, 78, {"sensitivity", "specificity", "f1", "ppv", "npv"}),
    ],
)
def test_what_rests_on_a_small_count_is_left_out_with_all_that_would_give_it_away(hits, false_alarms, hidden):
    labels = np.repeat([True, False], [20, 80])
    scores = np.where(np.concatenate([np.arange(20) < hits, np.arange(80) < false_alarms]), 0.9, 0.1)
    units = Units("woman", np.arange(100), scores, labels)
    cut = Threshold("f1", "woman", 0.5, 0.5, 10, 5, 10)
    protocol = Protocol()
    chosen, seen = Chosen({("woman", "f1"): cut}, {}), Seen(frozenset(), None, True, {}, {})
    panel = Panel((), (protocol,), None, protocol, "maximum", chosen, {}, seen, "none", None, (), (), ())
    rows = pd.DataFrame([{"metric": name, "estimate": 0.5, "low": 0.4, "high": 0.6, "reason": ""} for name in METRICS])
    found = _figures(panel, units, rows)
    assert {name for name, figure in found.figures.items() if figure.estimate is None} == hidden
    shown = (found.true_positives, found.false_negatives, found.false_positives, found.true_negatives)
    with_bac, without = (hits, 20 - hits), (false_alarms, 80 - false_alarms)
    assert shown == (*((None, None) if min(with_bac) < 5 else with_bac), *((None, None) if min(without) < 5 else without))
    few = _figures(panel, Units("woman", np.arange(84), scores[16:], labels[16:]), rows)
    assert (few.positives, few.women, few.auc_error) == (None, None, None)
    assert all(figure.estimate is None and "fewer than 5" in figure.reason for figure in few.figures.values())


def test_views_of_few_women_are_left_out_as_those_women_are():
    """24 views with BAC are those of 2, then of 6 women; 12 of their views are hits, which are those of 1, then of 3."""
    labels = np.repeat([True, False], [24, 40])
    scores = np.where(np.arange(64) < 12, 0.9, 0.1)
    protocol = Protocol()
    cut = Threshold("f1", "view", 0.5, 0.5, 10, 5, 10)
    chosen, seen = Chosen({("view", "f1"): cut}, {}), Seen(frozenset(), None, True, {}, {})
    panel = Panel((), (protocol,), None, protocol, "maximum", chosen, {}, seen, "none", None, (), (), ())
    rows = pd.DataFrame([{"metric": name, "estimate": 0.5, "low": 0.4, "high": 0.6, "reason": ""} for name in METRICS])
    without = 100 + np.arange(40) // 4
    of_two = _figures(panel, Units("view", np.concatenate([np.arange(24) // 12, without]), scores, labels), rows)
    assert of_two.positives is None and all(figure.estimate is None for figure in of_two.figures.values())
    of_six = _figures(panel, Units("view", np.concatenate([np.arange(24) // 4, without]), scores, labels), rows)
    assert (of_six.positives, of_six.true_positives, of_six.false_negatives) == (24, None, None)
    assert of_six.figures["sensitivity"].estimate is None and of_six.figures["auc_roc"].estimate == 0.5


def test_a_file_that_was_changed_is_refused(tmp_path, monkeypatch):
    path = site_file(tmp_path, "north", monkeypatch)
    content = json.loads(path.read_text())
    assert read_signed(path).numbers.site == "north"
    content["numbers"]["units"]["woman"]["figures"]["auc_roc"]["estimate"] = 0.9
    path.write_text(json.dumps(content))
    with pytest.raises(TramtrackError, match="changed since it was signed"):
        read_signed(path)
    other = json.loads(site_file(tmp_path, "south", monkeypatch).read_text())
    path.write_text(json.dumps({**content, "public_key": other["public_key"]}))
    with pytest.raises(TramtrackError, match="changed since it was signed"):
        read_signed(path)
    path.write_text('{"numbers": 1}')
    with pytest.raises(TramtrackError, match="expected what `tramtrack validate` writes"):
        read_signed(path)


def test_the_key_signs_again_and_lies_outside_the_study(tmp_path, monkeypatch):
    first = read_signed(site_file(tmp_path, "north", monkeypatch))
    assert read_signed(site_file(tmp_path, "north", monkeypatch)) == first
    assert (tmp_path / "config-north" / "site-key").stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="outside the study's folder"):
        sign(first.numbers, tmp_path)


def test_sites_are_pooled_on_the_logit_of_their_auc(tmp_path, monkeypatch):
    aucs = {"north": 0.8, "south": 0.9, "east": 0.7}
    files = [site_file(tmp_path, name, monkeypatch, auc=auc) for name, auc in aucs.items()]
    files.append(site_file(tmp_path, "west", monkeypatch, positives=None))
    found = pool_sites(files)
    pairs = [logit_with_error(auc, 0.04, 20, 80) for auc in aucs.values()]
    assert found.pooled == pool(*zip(*pairs, strict=True)) and found.pooled.sites == 3
    assert 0.7 < special.expit(found.pooled.estimate) < 0.9
    assert [site.name for site in found.sites] == [*aucs, "west"]
    keys = [site.public_key for site in found.sites]
    assert len(set(keys)) == 4 and pool_sites(files[:2], known=keys[:2]).pooled.sites == 2
    with pytest.raises(TramtrackError, match=r"east\.json: signed by the key"):
        pool_sites(files, known=keys[:2])
    with pytest.raises(TramtrackError, match="the same site as"):
        pool_sites([files[0], files[0]])
    with pytest.raises(TramtrackError, match=r"other\.json: of other runs than"):
        pool_sites([files[0], site_file(tmp_path, "other", monkeypatch, weights=("c" * 64,))])
    with pytest.raises(UsageError, match="received that of 1 of 2"):
        pool_sites([files[0], files[3]])
