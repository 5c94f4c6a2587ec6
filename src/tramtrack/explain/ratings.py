"""Ratings of a blind reading, given back as CSV: read against the key, and made into agreement and rankings. Needs no torch.

Writes results/blind_ratings.csv (what was rated, with the networks' names again), blind_localises.csv (how often each network's
maps localise), blind_agreement.csv (between readers), blind_ranking.csv and blind_pairs.csv (which are finer), and blind.json
(what they were made of, and what can be said).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.intervals import Sample, interval, standard_error
from tramtrack.evaluation.kappa import agree
from tramtrack.evaluation.preferences import Judgements, Preference, Ranking, rank_preferences
from tramtrack.evaluation.resampling import resample_women
from tramtrack.protocol import Evaluation

QUESTIONS: dict[str, tuple[str, ...]] = {"localises": ("yes", "partly", "no"), "finer": ("left", "same", "right")}
"""What is asked, with the ratings in the order of the scale."""
COLUMNS = ["page", "reader", "item", "question", "rating"]
LOCALISES = {"yes": 1.0, "partly": 0.5, "no": 0.0}
FINER = {"left": 1.0, "same": 0.5, "right": 0.0}
READER = re.compile(r"[^\W_][\w .\-]{0,39}")
AGREEMENT_COLUMNS = ["question", "reader_a", "reader_b", "items", "women", "agreement", "kappa", "low", "high", "reason"]
LOCALISES_COLUMNS = ["network", "ratings", "views", "women", *LOCALISES, "estimate", "low", "high"]
RANKING_COLUMNS = [
    "network", "judged", "women", "share", "share_low", "share_high", "strength", "low", "high", "reason",
]  # fmt: skip
PAIR_COLUMNS = ["network_a", "network_b", "chance", "low", "high", "p", "p_holm", "separated"]


def import_ratings(study: Path, files: Sequence[Path], settings: Evaluation) -> dict[str, Any]:
    """Read the ratings and write the tables into ``study``/results/, in place of earlier ones; returns what blind.json says.

    "Partly" counts one half of "yes", "the same" half a win for both. All readers' ratings count together; intervals come
    from resampled women. Raises TramtrackError naming file and line where a rating cannot be one of this study's page.
    """
    place = study / "blind" / "key.json"
    if not place.exists():
        raise TramtrackError(
            f"{study}: no blind reading to take ratings of; `tramtrack explain {study} --blind` makes its page"
        )
    content = store.read_json(place)
    key, networks = content["information"], content["information"]["networks"]
    table = read_ratings(files, key)
    localises, ranking = _localises(table, list(networks), settings), _ranking(table, list(networks), settings)
    agreement = _agreement(table, settings)
    judged = ranking.pairs if ranking else []
    results = study / "results"
    (results / "blind.json").unlink(missing_ok=True)
    store.write_csv(results / "blind_ratings.csv", table)
    store.write_csv(results / "blind_localises.csv", localises)
    store.write_csv(results / "blind_agreement.csv", agreement)
    strengths = [{"network": one.name, **asdict(one)} for one in ranking.strengths] if ranking else []
    store.write_csv(results / "blind_ranking.csv", pd.DataFrame(strengths, columns=RANKING_COLUMNS))
    pairs = [{"network_a": one.a, "network_b": one.b, **asdict(one)} for one in judged]
    store.write_csv(results / "blind_pairs.csv", pd.DataFrame(pairs, columns=PAIR_COLUMNS))
    information = {
        "fold": content["identity"]["fold"],
        "networks": networks,
        "weights": content["identity"]["runs"],
        "readers": sorted(table["reader"].unique()),
        "rated": {question: int((table["question"] == question).sum()) for question in QUESTIONS},
        "asked": {question: sum(one["question"] == question for one in key["items"]) for question in QUESTIONS},
        "views": int(table["view_id"].nunique()),
        "women": int(table["woman"].nunique()),
        "kappa": "linear weights",
        "groups": [list(group) for group in ranking.groups] if ranking else [],
        "sentences": _sentences(ranking),
    }
    read = {path.name: store.file_sha256(path) for path in files}
    store.write_manifest(results / "blind.json", {"page": key["page"], "files": read}, information)
    return information


def read_ratings(files: Sequence[Path], key: Mapping[str, Any]) -> pd.DataFrame:
    """The ratings of all files, a row each: reader, item, question, rating, view_id, woman, and the networks left and right
    (of "localises" only the first). Raises TramtrackError, and UsageError for a file that is not there."""
    items = {one["item"]: one for one in key["items"]}
    seen: dict[tuple[str, str], str] = {}
    rows = []
    for path in files:
        if not path.is_file():
            raise UsageError(f"--ratings {path}: expected a reader's CSV from the blind page, found no such file")
        for line, row in _lines(path):
            where = f"{path}, line {line}"
            one = items.get(row["item"])
            if row["page"] != key["page"]:
                raise TramtrackError(f"{where}: a rating of page {row['page']!r}; this study's blind page is {key['page']}")
            if not READER.fullmatch(row["reader"]):
                raise TramtrackError(f"{where}: reader {row['reader']!r}: expected a name of letters, digits, spaces, . - _")
            if one is None:
                raise TramtrackError(f"{where}: item {row['item']!r} is not on this study's blind page")
            if row["question"] != one["question"]:
                raise TramtrackError(f"{where}: item {row['item']} asks {one['question']}, received {row['question']!r}")
            allowed = QUESTIONS[one["question"]]
            if row["rating"] not in allowed:
                raise TramtrackError(f"{where}: rating {row['rating']!r}: expected {', '.join(allowed)}")
            if before := seen.get((row["reader"], row["item"])):
                raise TramtrackError(f"{where}: {row['reader']} rated item {row['item']} already ({before}); keep one of them")
            seen[row["reader"], row["item"]] = where
            left, right = (*one["maps"], "")[:2]
            about = {"view_id": one["view_id"], "woman": one["woman"], "left": left, "right": right}
            rows.append({**{name: row[name] for name in COLUMNS[1:]}, **about})
    if not rows:
        raise TramtrackError(f"{', '.join(map(str, files))}: expected ratings, found none")
    return pd.DataFrame(rows)


def _lines(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames != COLUMNS:
                received = ", ".join(reader.fieldnames or []) or "nothing"
                raise TramtrackError(f"{path}: expected the columns {', '.join(COLUMNS)}, received {received}")
            found = []
            for row in reader:
                if None in row or None in row.values():
                    raise TramtrackError(f"{path}, line {reader.line_num}: expected {len(COLUMNS)} cells")
                found.append((reader.line_num, {name: str(value).strip() for name, value in row.items()}))
            return found
    except (UnicodeDecodeError, csv.Error) as error:
        raise TramtrackError(f"{path}: expected a CSV of ratings in UTF-8 ({error})") from error


def _localises(table: pd.DataFrame, networks: Sequence[str], settings: Evaluation) -> pd.DataFrame:
    """How often each network's maps were said to localise: the shares of ratings, and their mean with an interval."""
    asked = table[table["question"] == "localises"]
    rows = []
    for name in networks:
        part = asked[asked["left"] == name]
        row: dict[str, Any] = {"network": name, "ratings": len(part), "views": part["view_id"].nunique()}
        women, woman = np.unique(part["woman"].to_numpy(dtype=str), return_inverse=True)
        row["women"] = len(women)
        if len(part):
            values = part["rating"].map(LOCALISES).to_numpy(dtype=float)
            weights = resample_women(len(women), settings.resamples, np.random.default_rng(settings.seed))
            sums, counts = (np.bincount(woman, each, minlength=len(women)) for each in (values, np.ones(len(values))))
            spread = standard_error((weights.T @ sums) / (weights.T @ counts))
            sample, value = Sample((len(part), len(part)), (len(women), len(women))), float(values.mean())
            low, high = interval("brier", value, sample, spread, settings.confidence)
            row |= {rating: float((part["rating"] == rating).mean()) for rating in LOCALISES}
            row |= {"estimate": value, "low": low, "high": high}
        rows.append(row)
    return pd.DataFrame(rows, columns=LOCALISES_COLUMNS)


def _agreement(table: pd.DataFrame, settings: Evaluation) -> pd.DataFrame:
    """Weighted kappa of each two readers, by question, over the items that both rated."""
    rows = []
    for question, scale in QUESTIONS.items():
        part = table[table["question"] == question]
        for one, other in combinations(sorted(table["reader"].unique()), 2):
            first, second = (part[part["reader"] == name].set_index("item") for name in (one, other))
            shared = first.index.intersection(second.index)
            ratings_a, ratings_b = (
                by.loc[shared, "rating"].map(scale.index).to_numpy(dtype=np.int64) for by in (first, second)
            )
            found = agree(
                ratings_a,
                ratings_b,
                len(scale),
                list(first.loc[shared, "woman"]),
                generator=np.random.default_rng(settings.seed),
                resamples=settings.resamples,
                confidence=settings.confidence,
            )
            rows.append({"question": question, "reader_a": one, "reader_b": other, **asdict(found)})
    return pd.DataFrame(rows, columns=AGREEMENT_COLUMNS)


def _ranking(table: pd.DataFrame, networks: Sequence[str], settings: Evaluation) -> Ranking | None:
    """Which maps are judged finer; None where no pair was judged."""
    part = table[table["question"] == "finer"]
    if part.empty:
        return None
    place = {name: number for number, name in enumerate(networks)}
    left, right = (part[side].map(place).to_numpy(dtype=np.int64) for side in ("left", "right"))
    judged = Judgements(
        tuple(networks),
        left,
        right,
        part["rating"].map(FINER).to_numpy(dtype=float),
        part["woman"].to_numpy(dtype=str),
    )
    return rank_preferences(
        judged,
        generator=np.random.default_rng(settings.seed),
        resamples=settings.resamples,
        confidence=settings.confidence,
    )


def _sentences(ranking: Ranking | None) -> list[str]:
    """What the judgements carry; where they tell no pair apart, that there is no ranking."""
    if ranking is None:
        return ["No pair of maps was judged, so there is no ranking."]
    apart = [pair for pair in ranking.pairs if pair.separated]
    said = [_said(pair) for pair in apart]
    if not apart:
        said = ["No two networks' maps can be told apart: the judgements carry no ranking, which does not make the maps alike."]
    return said + [f"{one.name}: {one.reason}." for one in ranking.strengths if one.reason]


def _said(pair: Preference) -> str:
    better, worse, chance, low, high = (
        (pair.a, pair.b, pair.chance, pair.low, pair.high)
        if pair.chance > 0.5
        else (pair.b, pair.a, 1 - pair.chance, 1 - pair.high, 1 - pair.low)
    )
    return (
        f"{better} against {worse}: judged finer in {100 * chance:.0f} % ({100 * low:.0f} to {100 * high:.0f} %) by the model; "
        "separated."
    )
