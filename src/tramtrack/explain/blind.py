"""A blind reading of the heat maps: every network's map of the same views, hidden and shuffled, on one page to be rated.

Into blind/ go page.html, which names no network, no view and no woman, and key.json, which does. Of every map it is asked
whether it localises the calcifications, and of two maps of a view which is the finer; in a view each network meets two others,
as in a ring, so that chains of judgements join all.
"""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.explain.atlas import Atlas, require_some, try_heatmaps
from tramtrack.explain.overlay import overlay
from tramtrack.explain.ratings import QUESTIONS
from tramtrack.imaging.prepare import read_prepared
from tramtrack.judgement.results import hashes_of, name_of, names_of
from tramtrack.progress import track
from tramtrack.protocol import Protocol
from tramtrack.training.record import PRETRAINED, Run

HERE = Path(__file__).parent
VIEWS = 12
MOST_ROWS, QUALITY = 1024, 90
"""Height in pixels to which pictures are reduced, and their JPEG quality."""


@dataclass(frozen=True)
class Item:
    """One question on the page: ``maps`` are the contestants' names, one for "localises" and left and right for "finer"."""

    item: str
    question: str
    view_id: str
    woman: str
    maps: tuple[str, ...]


def make_blind(
    runs: Sequence[Run],
    protocol: Protocol,
    views: pd.DataFrame,
    study: Path,
    *,
    fold: str,
    synthetic: bool,
    count: int = VIEWS,
    seed: int | None = None,
    device: str = "auto",
) -> Path:
    """Write ``study``/blind/page.html and key.json for up to ``count`` views of ``fold`` with BAC; returns the page's path.

    ``views`` has view_id, woman, fold, label and file (prepared). Of each pretrained contestant the first seed's native maps
    are shown, on its own colour scale. Women come before further views of the same woman. ``seed`` decides views, order and
    sides; without one it is drawn and kept in the key. The same question gives the same page again; another one raises
    IdentityMismatch, since ratings of the old page need its key. A network that cannot have a map is told of, and the page made
    without it. Raises TramtrackError where there is nothing to show.
    """
    folder = study / "blind"
    first: dict[str, Run] = {}
    for run, name in zip(runs, names_of(runs), strict=True):
        if run.weights == PRETRAINED:
            first.setdefault(name, run)
    candidates = views[(views["fold"] == fold) & (views["label"] == 1)]
    if not first or candidates.empty:
        what = "pretrained run" if not first else f"view with BAC in the {fold} fold"
        raise TramtrackError(f"{study}: a blind reading needs maps of views with BAC, and there is no {what}")
    kept = folder / "key.json"
    before = store.read_json(kept)["identity"] if kept.exists() else {}
    drawn = before.get("seed", secrets.randbits(32)) if seed is None else seed
    identity = {"seed": drawn, "views": count, "fold": fold, "runs": hashes_of(list(first.values())),
                "explain": protocol.explain.model_dump(mode="json")}  # fmt: skip
    advice = "its ratings need this key; move the folder blind/ away to make another page"
    store.require_same_identity(kept, identity, advice)
    rng = np.random.default_rng(drawn)
    chosen = _choose(candidates, count, rng)
    files = dict(zip(chosen["view_id"], map(Path, chosen["file"]), strict=True))
    validation = list(views.loc[views["fold"] == "validation", "file"])
    failed: dict[str, str] = {}
    tried = {
        name: try_heatmaps(run, protocol, files, validation, run.key.folder(study / "heatmaps"), device, failed)
        for name, run in first.items()
    }
    atlases = {name: atlas for name, atlas in tried.items() if atlas is not None}
    require_some(atlases, failed, study)
    items = _deal(chosen, list(atlases), rng)
    pictures, places = _pictures(chosen, atlases, rng)
    page = store.text_sha256(repr([items, identity]))[:16]
    html = _render(page, items, pictures, places, synthetic)
    information = {
        "page": page,
        "networks": {name: name_of(first[name]) for name in atlases},
        "items": [{**vars(one), "maps": list(one.maps)} for one in items],
    }
    store.write_manifest(kept, identity, information)
    return store.write_text(folder / "page.html", html)


def _choose(candidates: pd.DataFrame, count: int, rng: np.random.Generator) -> pd.DataFrame:
    """Up to ``count`` views in random order: one of each woman, then a second of each, and so on."""
    shuffled = candidates.sort_values("view_id").iloc[rng.permutation(len(candidates))]
    turn = shuffled.groupby("woman").cumcount()
    return shuffled.iloc[np.argsort(turn.to_numpy(), kind="stable")].head(count).reset_index(drop=True)


def _deal(chosen: pd.DataFrame, names: Sequence[str], rng: np.random.Generator) -> list[Item]:
    """Every map once, then every pair of a ring in each view once; each part shuffled, the sides of a pair drawn."""
    maps: list[tuple[str, str, tuple[str, ...]]] = []
    pairs: list[tuple[str, str, tuple[str, ...]]] = []
    for view_id, woman in zip(chosen["view_id"], chosen["woman"], strict=True):
        ring = [names[place] for place in rng.permutation(len(names))]
        maps += [(view_id, woman, (name,)) for name in ring]
        met = list(zip(ring, ring[1:] + ring[:1], strict=True)) if len(ring) > 2 else list(combinations(ring, 2))
        pairs += [(view_id, woman, pair if rng.random() < 0.5 else pair[::-1]) for pair in met]
    found = []
    for question, rows in (("localises", maps), ("finer", pairs)):
        for place in rng.permutation(len(rows)):
            found.append(Item(rng.bytes(5).hex(), question, *rows[place]))
    return found


def _pictures(
    chosen: pd.DataFrame, atlases: Mapping[str, Atlas], rng: np.random.Generator
) -> tuple[list[str], dict[tuple[str, str], int]]:
    """The pictures as data URIs in random order, and the place of each by view and network ("": the bare view)."""
    made: dict[tuple[str, str], str] = {}
    for row in track(chosen.to_dict("records"), "Drawing the blind page"):
        prepared = read_prepared(Path(row["file"]))
        made[row["view_id"], ""] = _encode(Image.fromarray((prepared >> 8).astype(np.uint8)))
        for name, atlas in atlases.items():
            made[row["view_id"], name] = _encode(Image.fromarray(overlay(prepared, atlas[row["view_id"]], atlas.scale, None)))
    keys = list(made)
    order = [keys[place] for place in rng.permutation(len(keys))]
    return [made[key] for key in order], {key: place for place, key in enumerate(order)}


def _encode(picture: Image.Image) -> str:
    if picture.height > MOST_ROWS:
        picture = picture.resize((round(picture.width * MOST_ROWS / picture.height), MOST_ROWS), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _render(
    page: str, items: Sequence[Item], pictures: list[str], places: Mapping[tuple[str, str], int], synthetic: bool
) -> str:
    shown: list[dict[str, Any]] = [
        {
            "item": one.item,
            "question": one.question,
            "view": places[one.view_id, ""],
            "maps": [places[one.view_id, name] for name in one.maps],
        }
        for one in items
    ]
    environment = Environment(loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    counts = {question: sum(one.question == question for one in items) for question in QUESTIONS}
    return environment.get_template("blind.html").render(
        data={"page": page, "items": shown, "pictures": pictures, "ratings": QUESTIONS},
        counts=counts,
        synthetic=synthetic,
        script=Markup((HERE / "blind.js").read_text(encoding="utf-8")),
    )
