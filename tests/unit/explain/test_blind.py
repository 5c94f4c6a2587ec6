"""The blind page names nobody, deals every map and a ring of pairs, and stays the same for the same key."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

import blind_study
from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.network.registry import NETWORKS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blind")
    page = blind_study.page(folder)
    return folder, page.read_text(), store.read_json(folder / "blind" / "key.json")


def data_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL).group(1))


def test_the_page_names_no_network_no_view_and_no_woman(made):
    _, html, key = made
    without_pictures = re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", html).lower()
    hidden = [*NETWORKS, *(facts.title for facts in NETWORKS.values()), "last-conv", "seed", "testview", "testwoman"]
    assert not [name for name in hidden if name.lower() in without_pictures]
    assert key["information"]["networks"]["vgg16"] == "vgg16/last-conv/seed-0" and len(key["information"]["networks"]) == 3
    assert "Synthetic data" in html and "://" not in html


def test_every_map_is_rated_once_and_in_each_view_every_network_meets_two_others(made):
    _, html, key = made
    items = key["information"]["items"]
    assert [one["item"] for one in items] == [one["item"] for one in data_of(html)["items"]]
    assert len({one["item"] for one in items}) == len(items) == 4 * 3 + 4 * 3
    localises = Counter((one["view_id"], *one["maps"]) for one in items if one["question"] == "localises")
    assert set(localises.values()) == {1} and len(localises) == 12
    for view_id in {one["view_id"] for one in items}:
        met = Counter(name for one in items if one["question"] == "finer" and one["view_id"] == view_id for name in one["maps"])
        assert met == dict.fromkeys(blind_study.NETWORKS, 2)
    assert len({one["woman"] for one in items}) == 4  # one view each, while there are women
    assert {one["view_id"][:4] for one in items} == {"test"} and not any(one["view_id"].endswith("2") for one in items)
    left = Counter((one["view_id"], one["maps"][0]) for one in items if one["question"] == "finer")
    assert set(left.values()) == {1, 2}  # sides are drawn: in a plain ring every network would be left once
    assert [one["maps"][0] for one in items[:3]] != list(blind_study.NETWORKS)


def test_each_question_shows_its_own_maps_over_its_own_view(made):
    _, html, key = made
    data = data_of(html)
    assert len(data["pictures"]) == 4 * (1 + 3) == len(set(data["pictures"]))
    shown: dict[int, tuple[str, str]] = {}
    for one, truth in zip(data["items"], key["information"]["items"], strict=True):
        for picture, name in ((one["view"], ""), *zip(one["maps"], truth["maps"], strict=True)):
            assert shown.setdefault(picture, (truth["view_id"], name)) == (truth["view_id"], name)
    views = [shown[place][0] for place in range(16)]
    assert any(len(set(views[start : start + 4])) > 1 for start in range(0, 16, 4))  # their order tells nothing


def test_the_same_question_gives_the_same_page_and_another_is_refused(made):
    folder, html, _ = made
    assert blind_study.page(folder).read_text() == html
    assert blind_study.page(folder, seed=None).read_text() == html  # the key keeps the seed
    with pytest.raises(store.IdentityMismatch, match=r"seed: on disk 9141, now 7.*its ratings need this key"):
        blind_study.page(folder, seed=7)
    assert (folder / "blind" / "page.html").read_text() == html


def test_a_network_without_a_map_is_told_of_and_left_out_of_the_page(tmp_path, capsys):
    blind_study.page(tmp_path, without=("xception",))
    key = store.read_json(tmp_path / "blind" / "key.json")
    assert set(key["information"]["networks"]) == {"vgg16", "mobilenetv2"}
    assert {name for one in key["information"]["items"] for name in one["maps"]} == {"vgg16", "mobilenetv2"}
    assert "xception: no such layer; the other networks go on" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"no network can have a heat map\. vgg16: no such layer; xception"):
        blind_study.page(tmp_path / "none", without=blind_study.NETWORKS)


def test_without_a_seed_two_pages_are_shuffled_otherwise(tmp_path):
    orders = []
    for place in ("one", "other"):
        blind_study.page(tmp_path / place, count=1, seed=None)
        items = store.read_json(tmp_path / place / "blind" / "key.json")["information"]["items"]
        orders.append([one["item"] for one in items])
    assert orders[0] != orders[1]


def test_a_fold_without_bac_is_refused(tmp_path):
    with pytest.raises(TramtrackError, match="no view with BAC in the training fold"):
        blind_study.page(tmp_path, fold="training")


def test_further_views_of_a_woman_come_after_those_of_others(tmp_path):
    blind_study.page(tmp_path, count=8)
    items = store.read_json(tmp_path / "blind" / "key.json")["information"]["items"]
    seen = Counter(one["woman"] for one in items if one["question"] == "localises")
    assert len(seen) == 5 and sorted(seen.values()) == [3, 3, 6, 6, 6]
