"""What the trust tests of a study are made on, how they are judged, and what is kept of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tramtrack.errors import TramtrackError, UsageError
from tramtrack.explain import trust_stage
from tramtrack.explain.doses import DOSES, Series
from tramtrack.explain.permuted import permute_labels
from tramtrack.explain.trust import Outcome
from tramtrack.explain.trust_stage import judge_maps, limit_of, verdict_of
from tramtrack.imaging.geometry import fit
from tramtrack.protocol import Evaluation, Explain, Prepare, Protocol, Transfer

ROWS, COLUMNS = 64, 64
PROTOCOL = Protocol(
    prepare=Prepare(height=ROWS, width=COLUMNS),
    transfer=Transfer(widths=(8, 4)),
    evaluation=Evaluation(resamples=200),
    explain=Explain(trust_views=4),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory, write_run):
    """Two seeds of one network; six validation views of three women, three with a mask; and a test view."""
    folder = tmp_path_factory.mktemp("trust")
    rng, rows, geometry = np.random.default_rng(0), [], {}
    for number in range(7):
        name = f"v{number}"
        grey = rng.integers(9000, 20000, (ROWS, COLUMNS)).astype(np.uint16)
        grey[20:40, 30:33] += 30000
        Image.fromarray(grey).save(folder / f"{name}.png")
        mask = np.zeros((ROWS, COLUMNS), dtype=np.uint8)
        mask[20:40, 30:33] = 255
        if number % 2 == 0:
            Image.fromarray(mask if number else mask[:9]).save(folder / f"{name}-mask.png")
        geometry[name] = fit((ROWS, COLUMNS), (0, 0, ROWS, COLUMNS), False, (ROWS, COLUMNS), 0.5)
        fold = "test" if number == 6 else "validation"
        drawn = str(folder / f"{name}-mask.png") if number % 2 == 0 else ""
        label = float(number % 2 == 0)
        rows.append(
            {
                "label": label,
                "view_id": name,
                "woman": f"w{number // 2}",
                "fold": fold,
                "file": folder / f"{name}.png",
                "mask": drawn,
            }
        )
    return [write_run(folder, seed, PROTOCOL) for seed in (1, 2)], pd.DataFrame(rows), geometry, folder


def test_every_test_is_judged_on_validation_views_with_a_mask_that_fits(study, tmp_path, capsys):
    runs, views, geometry, _ = study
    table = judge_maps(runs, {"mobilenet": runs[1]}, PROTOCOL, views, geometry, tmp_path)
    judged = table[table["verdict"] != "information"].set_index(["test", "stage"])
    assert list(judged.index) == [
        ("repeatability", "seeds 1 and 2"), ("flip", "top to bottom"), ("removal", "score"), ("removal", "map"),
        ("permuted labels", "trained anew"), ("randomisation", "everything"),
    ]  # fmt: skip
    assert (judged["views"] == 2).all() and (judged["women"] == 2).all()  # v2 and v4: the mask of v0 does not fit
    assert judged["estimate"].loc["repeatability"].iloc[0] == judged["estimate"].loc["permuted labels"].iloc[0]
    assert (table["low"] <= table["estimate"]).all() and (table["estimate"] <= table["high"]).all()
    assert (table["low"] < table["high"]).all()
    for row in judged.reset_index().to_dict("records"):
        assert row["verdict"] == verdict_of(row["low"], row["high"], row["bound"], row["limit"])
    assert pd.read_csv(tmp_path / "trust.csv")["map"].eq("mobilenet").all()
    assert "expected a mask of 64 x 64 pixels" in capsys.readouterr().err


def test_an_artery_is_put_into_views_without_bac_and_views_without_a_vessel_are_told(study, tmp_path, monkeypatch, capsys):
    runs, views, geometry, _ = study
    judge_maps(runs[:1], {}, PROTOCOL, views, geometry, tmp_path / "none")
    assert "insertion of calcification: 3 of 3 views go without it; first: v1: expected a breast" in capsys.readouterr().err
    asked = []

    def put_in(prepared, spacing_mm, seed):
        if asked.append(seed) or len(asked) == 2:
            raise TramtrackError("no vessel")
        mask = prepared > 30000
        places = np.flatnonzero(mask)
        changes = [(places, (prepared.flat[places] * dose).astype(np.uint16)) for dose in DOSES]
        return Series(prepared, tuple(changes), (), mask)

    monkeypatch.setattr(trust_stage, "insertion_series", put_in)
    table = judge_maps(runs[:1], {}, PROTOCOL, views, geometry, tmp_path / "some").set_index(["test", "stage"])
    assert len(set(asked)) == 3
    for stage in ("score", "map"):
        row = table.loc[("insertion", stage)]
        assert (row["views"], row["women"], row["bound"], row["limit"]) == (2, 2, "least", PROTOCOL.explain.dose_limit)


def test_what_was_found_is_kept_until_something_changes(study, tmp_path, monkeypatch):
    runs, views, geometry, _ = study
    made = []
    monkeypatch.setattr(
        trust_stage, "_tests", lambda *_: made.append(1) or iter([Outcome("flip", "x", np.array([0.79, 0.81]))])
    )
    first = judge_maps(runs[:1], {}, PROTOCOL, views, geometry, tmp_path)
    assert judge_maps(runs[:1], {}, PROTOCOL, views, geometry, tmp_path).equals(first) and len(made) == 1
    stricter = PROTOCOL.model_copy(update={"explain": Explain(trust_views=4, flip_limit=0.95)})
    assert list(first["verdict"]) == ["pass"]
    assert list(judge_maps(runs[:1], {}, stricter, views, geometry, tmp_path)["verdict"]) == ["fail"]
    judge_maps(runs[:1], {"mobilenet": runs[1]}, stricter, views, geometry, tmp_path)
    assert len(made) == 3


def test_a_network_without_the_layer_is_told_of_and_the_others_go_on(study, tmp_path, monkeypatch, capsys):
    """Found at the first map; a table of the others is written, and where there is none the reason is the refusal."""
    runs, views, geometry, _ = study
    other = dataclasses.replace(runs[1], identity={**runs[1].identity, "network": "mobilenetv2"})

    def tests(same, *_):
        if same[0].key.network == "mobilenetv2":
            raise UsageError("MobileNetV2: no layer has stride 64")
        yield Outcome("flip", "x", np.array([0.79, 0.81]))

    monkeypatch.setattr(trust_stage, "_tests", tests)
    assert list(judge_maps([other, runs[0]], {}, PROTOCOL, views, geometry, tmp_path)["map"]) == ["mobilenet"]
    assert "no layer has stride 64; the other networks go on" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"no network can have a heat map\. MobileNetV2: no layer has stride 64"):
        judge_maps([other], {}, PROTOCOL, views, geometry, tmp_path)


def test_limits_are_the_protocols():
    settings = Explain(random_limit=0.1, permuted_limit=0.2, seeds_limit=0.3, flip_limit=0.4, dose_limit=0.6)
    named = {
        ("randomisation", "everything"): ("most", 0.1),
        ("randomisation", "down to x"): ("", None),
        ("permuted labels", "trained anew"): ("most", 0.2),
        ("repeatability", "seeds 1 and 2"): ("least", 0.3),
        ("flip", "top to bottom"): ("least", 0.4),
        ("removal", "map"): ("least", 0.6),
        ("insertion", "score"): ("least", 0.6),
    }
    for (test, stage), expected in named.items():
        assert limit_of(Outcome(test, stage, np.zeros(1)), settings) == expected


@pytest.mark.parametrize(
    ("low", "high", "bound", "verdict"),
    [
        (-0.2, 0.4, "most", "pass"), (0.6, 0.9, "most", "fail"), (0.4, 0.6, "most", "unresolved"),
        (-0.9, -0.6, "most", "fail"), (-0.9, 0.1, "most", "unresolved"), (-1.0, 1.0, "most", "unresolved"),
        (0.5, 0.9, "least", "pass"), (-0.3, 0.4, "least", "fail"), (0.4, 0.9, "least", "unresolved"),
    ],
)  # fmt: skip
def test_a_verdict_needs_the_whole_interval(low, high, bound, verdict):
    assert verdict_of(low, high, bound, 0.5) == verdict


def test_permuted_labels_are_the_known_ones_of_each_fold_in_another_order():
    table = pd.DataFrame({"fold": ["training"] * 40 + ["validation"] * 10, "label": [0.0, 1.0] * 25})
    table.loc[3, "label"] = np.nan
    found = permute_labels(table)
    training = found["fold"] == "training"
    assert sorted(found.loc[~training, "label"]) == sorted(table.loc[~training, "label"])
    assert not found.loc[~training, "label"].equals(table.loc[~training, "label"])
    assert np.isnan(found.loc[3, "label"]) and found.loc[training, "label"].sum() == table.loc[training, "label"].sum()
    assert 10 < (found.loc[training, "label"] != table.loc[training, "label"]).sum() < 30
    assert permute_labels(table).equals(found)
