"""Ratings are read against the key, refused where they cannot be of its page, and become tables that say what they carry."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest

import blind_study
from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.explain.ratings import COLUMNS, import_ratings, read_ratings
from tramtrack.protocol import Evaluation

SETTINGS = Evaluation(resamples=300)
BETTER = {"vgg16": 2, "xception": 1, "mobilenetv2": 0}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Ten views of ten women under three networks, dealt."""
    folder = tmp_path_factory.mktemp("ratings")
    original = blind_study.views
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blind_study, "views", lambda place: original(place, women=12))
        blind_study.page(folder, count=12)
    return folder


def key_of(study):
    return store.read_json(study / "blind" / "key.json")["information"]


def rated(study, reader, seed=9150, slips=0.1, rows=None):
    """What a reader says who finds vgg16's maps finest and mobilenetv2's wrong, but slips now and then."""
    rng, found = np.random.default_rng(seed), []
    for one in key_of(study)["items"]:
        names, slip = one["maps"], rng.random() < slips
        if one["question"] == "localises":
            rating = ("no", "partly", "yes")[BETTER[names[0]] if not slip else int(rng.integers(3))]
        else:
            left = BETTER[names[0]] > BETTER[names[1]]
            rating = "same" if rng.random() < 0.1 else "left" if left != slip else "right"
        found.append([key_of(study)["page"], reader, one["item"], one["question"], rating])
    return found


def write(path, rows, header=COLUMNS):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


def test_the_ratings_become_tables(study, tmp_path):
    files = [write(tmp_path / f"{name}.csv", rated(study, name, seed)) for name, seed in (("Anna", 1), ("Bo", 2))]
    found = import_ratings(study, files, SETTINGS)
    assert found["readers"] == ["Anna", "Bo"] and (found["views"], found["women"]) == (12, 12)
    tables = {path.stem: pd.read_csv(path) for path in (study / "results").glob("blind_*.csv")}
    assert set(tables) == {f"blind_{name}" for name in ("ratings", "localises", "agreement", "ranking", "pairs")}
    localises = tables["blind_localises"].set_index("network")
    assert localises.loc["vgg16", "low"] > localises.loc["mobilenetv2", "high"]
    assert (localises[["yes", "partly", "no"]].sum(axis=1) - 1).abs().max() < 1e-12 and (localises["ratings"] == 24).all()
    mean = localises["yes"] + localises["partly"] / 2
    assert mean.to_numpy() == pytest.approx(localises["estimate"].to_numpy())
    assert list(tables["blind_agreement"]["question"]) == ["localises", "finer"]
    assert (tables["blind_agreement"]["kappa"] > 0.4).all() and (tables["blind_agreement"]["items"] == 36).all()
    ranking = tables["blind_ranking"].set_index("network")
    assert ranking.loc["vgg16", "low"] > ranking.loc["mobilenetv2", "high"] and (ranking["judged"] == 48).all()
    assert any(text.startswith("vgg16 against mobilenetv2: judged finer in") for text in found["sentences"])
    ratings = tables["blind_ratings"]
    assert len(ratings) == 144 and set(ratings["left"]) == set(blind_study.NETWORKS)


def test_one_readers_file_that_carries_nothing_says_so(study, tmp_path):
    rows = [row if row[3] != "finer" else [*row[:4], "same"] for row in rated(study, "Anna")]
    found = import_ratings(study, [write(tmp_path / "a.csv", rows)], SETTINGS)
    assert found["sentences"][0].startswith("No two networks' maps can be told apart") and len(found["groups"]) == 1
    assert pd.read_csv(study / "results" / "blind_agreement.csv").empty
    few = [row for row in rows if row[3] == "localises"]
    assert import_ratings(study, [write(tmp_path / "a.csv", few)], SETTINGS)["sentences"] == [
        "No pair of maps was judged, so there is no ranking."
    ]


def test_what_always_wins_is_unresolved(study, tmp_path):
    rows = []
    for row, one in zip(rated(study, "Anna", slips=0.3), key_of(study)["items"], strict=True):
        won = one["question"] == "finer" and "vgg16" in one["maps"]
        rows.append([*row[:4], ("left" if one["maps"][0] == "vgg16" else "right") if won else row[4]])
    found = import_ratings(study, [write(tmp_path / "a.csv", rows)], SETTINGS)
    assert "vgg16: unresolved: never lost, so its strength is not finite." in found["sentences"]
    assert "inf" not in (study / "results" / "blind_ranking.csv").read_text()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: [[*row[:4], "perhaps"] for row in rows], "line 2: rating 'perhaps': expected yes, partly, no"),
        (lambda rows: [*rows, rows[0]], "line 74: Anna rated item {item} already"),
        (lambda rows: [[*rows[0][:2], "0000000000", *rows[0][3:]]], "line 2: item '0000000000' is not on"),
        (lambda rows: [["feed", *rows[0][1:]]], "line 2: a rating of page 'feed'; this study's blind page is {page}"),
        (lambda rows: [[*rows[0][:3], "finer", "left"]], "line 2: item {item} asks localises, received 'finer'"),
        (lambda rows: [[rows[0][0], "=1+1", *rows[0][2:]]], "line 2: reader '=1+1': expected a name"),
        (lambda rows: [rows[0][:3]], "line 2: expected 5 cells"),
        (lambda rows: [], "expected ratings, found none"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_of_this_page_is_refused(spoil, message, study, tmp_path):
    rows = rated(study, "Anna")
    path = write(tmp_path / "anna.csv", spoil(rows))
    expected = message.format(item=rows[0][2], page=rows[0][0])
    with pytest.raises(TramtrackError) as refused:
        read_ratings([path], key_of(study))
    assert expected in str(refused.value) and str(path) in str(refused.value) and refused.value.exit_code == 1
    assert "\n" not in str(refused.value)


def test_a_wrong_column_another_encoding_and_the_same_reader_twice_are_refused(study, tmp_path):
    key, rows = key_of(study), rated(study, "Anna")
    path = write(tmp_path / "a.csv", rows, ["page", "reader", "item", "question", "score"])
    with pytest.raises(TramtrackError, match="expected the columns page, reader, item, question, rating, received"):
        read_ratings([path], key)
    with pytest.raises(UsageError, match=r"--ratings .*none.csv: expected a reader's CSV from the blind page, found no such"):
        read_ratings([tmp_path / "none.csv"], key)
    path.write_bytes("page,reader,item,question,rating\nx,Jürgen,\n".encode("latin-1"))
    with pytest.raises(TramtrackError, match="expected a CSV of ratings in UTF-8"):
        read_ratings([path], key)
    one, other = write(tmp_path / "one.csv", rows[:3]), write(tmp_path / "other.csv", rows[2:])
    with pytest.raises(TramtrackError, match=r"other.csv, line 2: Anna rated .* already \(.*one.csv, line 4\)"):
        read_ratings([one, other], key)
    one.write_bytes(b"\xef\xbb\xbf" + one.read_bytes())  # as a spreadsheet saves it
    assert len(read_ratings([one], key)) == 3


def test_ratings_need_a_page_and_a_refused_file_leaves_the_tables(study, tmp_path):
    with pytest.raises(TramtrackError, match="no blind reading to take ratings of"):
        import_ratings(tmp_path, [], SETTINGS)
    import_ratings(study, [write(tmp_path / "a.csv", rated(study, "Anna"))], SETTINGS)
    before = (study / "results" / "blind.json").read_bytes()
    with pytest.raises(TramtrackError):
        import_ratings(study, [write(tmp_path / "b.csv", [["x"] * 5])], SETTINGS)
    assert (study / "results" / "blind.json").read_bytes() == before
