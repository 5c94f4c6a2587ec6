"""The heat maps as the report shows them: the plain view and every network's map of it, small enough for one file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from tramtrack import store
from tramtrack.explain.atlas import cells_of
from tramtrack.explain.masks import MaskError
from tramtrack.explain.overlay import MATCHED_PICTURE, draw_outline, prepared_mask
from tramtrack.explain.ranking import MATCHED, NATIVE
from tramtrack.imaging.gallery import load_geometry
from tramtrack.imaging.geometry import Geometry
from tramtrack.imaging.prepare import read_prepared
from tramtrack.report.localisation import measured_views
from tramtrack.report.reading import Material, title
from tramtrack.training.record import RANDOM_WEIGHTS, RunKey

HEIGHTS = (768, 640, 512, 400, 320, 256, 192, 128)
"""Heights in pixels that are tried, the largest first, until all pictures fit into the budget."""
BUDGET_BYTES = 9_000_000
"""All pictures together as JPEG; as base64 they are a third larger, which keeps the report below 15 MB."""
SHOWN_OF_EACH_GROUP = 12
GROUPS = {
    "Hits": "Views with BAC that every network called positive.",
    "Misses": "Views with BAC that at least one network called negative.",
    "False alarms": "Views without BAC that at least one network called positive.",
    "Correct rejections": "Views without BAC that every network called negative.",
}
SIGNS = {"hit": "✓", "correct rejection": "✓", "miss": "✗", "false alarm": "!"}


METHODS = {
    "grad-cam++": "Grad-CAM++",
    "grad-cam": "Grad-CAM",
    "integrated-gradients": "Integrated gradients",
    "occlusion": "Occlusion",
}


@dataclass(frozen=True)
class Kind:
    """What one network's maps are: the method, the target layer ("" for a method on the image itself), and the input pixels
    that a cell of a map spans."""

    title: str
    method: str
    layer: str
    stride: int


@dataclass(frozen=True)
class Map:
    """One network's map of one view: ``picture`` is a data URI, or empty where its file is missing.

    ``at_stride`` says that a finer map was averaged to the coarsest stride; ``localisation`` how well it lies on the mask.
    """

    title: str
    control: str
    at_stride: bool
    localisation: str
    score: float
    threshold: float
    call: str
    sign: str
    picture: str


@dataclass(frozen=True)
class Shown:
    """One view with its plain picture and a map for each network.

    ``bac`` is the label of its ``unit``: the view, or its breast or woman where labels are no finer; ``outlined`` says that
    the true mask is drawn.
    """

    view_id: str
    woman: str
    place: str
    bac: bool
    unit: str
    outlined: bool
    picture: str
    maps: list[Map]


@dataclass(frozen=True)
class Group:
    """The views of one kind; ``chosen`` counts those that have maps, of which ``views`` are shown."""

    name: str
    meaning: str
    chosen: int
    views: list[Shown]


def heatmap_groups(material: Material) -> list[Group]:
    """The chosen views with their pictures, in groups; empty where no heat maps were made.

    Misses and false alarms begin with the worst of any network, hits and correct rejections with the surest, see `_margin`.
    """
    table = material.heatmaps
    if table.empty:
        return []
    grouped: dict[str, list[pd.DataFrame]] = {name: [] for name in GROUPS}
    for _, rows in table.groupby("view_id", sort=False):
        grouped[_group_of(rows)].append(rows)
    for name, tables in grouped.items():
        tables.sort(key=lambda rows: _margin(rows, name), reverse=True)
    shown = {name: tables[:SHOWN_OF_EACH_GROUP] for name, tables in grouped.items() if tables}
    measured = measured_views(material)
    encode = _fitting_encoder(material, [rows for tables in shown.values() for rows in tables])
    return [
        Group(name, GROUPS[name], len(grouped[name]), [_shown(material, rows, measured, encode) for rows in tables])
        for name, tables in shown.items()
    ]


def map_kinds(material: Material) -> list[Kind]:
    """What the maps of each network that is shown are made by, as the maps' own files say; the finest first."""
    found: dict[Kind, None] = {}
    for row in material.heatmaps.drop_duplicates(["network", "variant", "seed"]).to_dict("records"):
        folder = _run_of(row).folder(material.folder / "heatmaps")
        made = store.read_identity(folder / "manifest.json")
        if made is not None and (folder / "maps.npz").exists():
            layer = str(store.read_json(folder / "manifest.json")["information"]["layer"])
            stride = max(1, round(material.protocol.prepare.height / cells_of(folder)[0]))
            name = title(str(row["network"]))
            found[Kind(name, METHODS[made["method"]], "" if layer == "input" else layer, stride)] = None
    return sorted(found, key=lambda kind: kind.stride)


def method_of(material: Material) -> str:
    """The method of the heat maps as it is read, "Heat maps" where no map is there."""
    return " and ".join(dict.fromkeys(kind.method for kind in map_kinds(material))) or "Heat maps"


def _judging(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of a view by which it is put into a group: the pretrained networks', or the others' where there are none."""
    pretrained = rows[~rows["variant"].str.endswith("+random-weights")]
    return pretrained if len(pretrained) else rows


def _margin(rows: pd.DataFrame, group: str) -> float:
    """How far a view's score lies from the threshold: of misses and false alarms under the network that is furthest on the
    wrong side, of hits and correct rejections, which all networks call right, under the one that is nearest."""
    judging = _judging(rows)
    distances = (judging["score"] - judging["threshold"]).abs()
    wrong = {"Misses": "miss", "False alarms": "false alarm"}.get(group)
    return float(distances.min() if wrong is None else distances[judging["call"] == wrong].max())


def _group_of(rows: pd.DataFrame) -> str:
    """The group of a view by what the networks made of it that count for this, see `_judging`."""
    calls = set(_judging(rows)["call"])
    if int(rows["bac"].iloc[0]) == 1:
        return "Misses" if "miss" in calls else "Hits"
    return "False alarms" if "false alarm" in calls else "Correct rejections"


def _shown(material: Material, rows: pd.DataFrame, measured: pd.DataFrame, encode: Callable[[Image.Image], str]) -> Shown:
    view_id = str(rows["view_id"].iloc[0])
    about = material.analysed[material.analysed["view_id"] == view_id].iloc[0]
    plain = _plain(material, view_id)
    maps = []
    for row in rows.to_dict("records"):
        random = str(row["variant"]).endswith("+random-weights")
        for kind, file in _map_files(material, row).items():
            picture = _open(file)
            maps.append(
                Map(
                    title=title(str(row["network"])),
                    control=RANDOM_WEIGHTS if random else "",
                    at_stride=kind == MATCHED,
                    localisation=_localisation(measured, row, kind),
                    score=float(row["score"]),
                    threshold=float(row["threshold"]),
                    call=str(row["call"]),
                    sign=SIGNS[str(row["call"])],
                    picture=encode(picture) if picture else "",
                )
            )
    side = "right" if about["side"] == "R" else "left"
    return Shown(
        view_id=view_id,
        woman=str(about["woman"]),
        place=f"{side} {about['view']}",
        bac=int(rows["bac"].iloc[0]) == 1,
        unit=str(rows["unit"].iloc[0]),
        outlined=bool(about["mask"]) and Path(about["mask"]).exists(),
        picture=encode(plain) if plain else "",
        maps=maps,
    )


def _fitting_encoder(material: Material, tables: list[pd.DataFrame]) -> Callable[[Image.Image], str]:
    """An encoder at the largest height at which all pictures fit into the budget, judged on every third of them."""
    files = [file for rows in tables for row in rows.to_dict("records") for file in _map_files(material, row).values()]
    pictures = [picture for picture in map(_open, files[::3]) if picture]
    count = len(files) + len(tables)
    for height in HEIGHTS:
        sizes = [len(_jpeg(picture, height, material.synthetic)) for picture in pictures]
        if not sizes or count * sum(sizes) / len(sizes) < BUDGET_BYTES:
            break
    return lambda picture: _data_uri(_jpeg(picture, height, material.synthetic))


def _plain(material: Material, view_id: str) -> Image.Image | None:
    """The prepared view in grey with the edge of its true mask, if there is one."""
    file = material.folder / "prepared" / f"{view_id}.png"
    if not file.exists():
        return None
    grey = np.rint(read_prepared(file).astype(np.float32) / 257).astype(np.uint8)
    picture = np.repeat(grey[..., None], 3, axis=2)
    mask = material.analysed.loc[material.analysed["view_id"] == view_id, "mask"].iloc[0]
    if mask and Path(mask).exists():
        with suppress(MaskError):  # said when the heat maps were made
            picture = _outlined(picture, Path(mask), load_geometry(material.folder / "prepared")[view_id])
    return Image.fromarray(picture)


def _outlined(picture: np.ndarray, mask: Path, geometry: Geometry) -> np.ndarray:
    return draw_outline(picture, prepared_mask(mask, geometry))


def _run_of(row: dict[Any, Any]) -> RunKey:
    return RunKey(str(row["network"]), str(row["variant"]), int(row["seed"]))


def _map_files(material: Material, row: dict[Any, Any]) -> dict[str, Path]:
    """The picture of the native map and, where the network's is finer than others', of the one at equal stride, by kind."""
    folder = _run_of(row).folder(material.folder / "heatmaps")
    matched = folder / f"{row['view_id']}{MATCHED_PICTURE}"
    return {NATIVE: folder / f"{row['view_id']}.png", **({MATCHED: matched} if matched.exists() else {})}


def _localisation(table: pd.DataFrame, row: dict[Any, Any], kind: str) -> str:
    """How well this map lies on the view's mask, in a few words; empty where it was not measured."""
    if table.empty:
        return ""
    same = table["view_id"].eq(row["view_id"]) & table["kind"].eq(kind)
    for column in ("network", "variant", "seed"):
        same &= table[column].eq(row[column])
    found = table[same].to_dict("records")
    if not found:
        return ""
    hit = "peak on the mask" if found[0]["pointing_game"] > 0.5 else "peak beside the mask"
    return f"average precision {found[0]['average_precision']:.2f}, {hit}"


def _open(file: Path) -> Image.Image | None:
    if not file.exists():
        return None
    with Image.open(file) as image:
        return image.convert("RGB")


def _jpeg(picture: Image.Image, height: int, synthetic: bool) -> bytes:
    """The picture as JPEG, made smaller but never larger; a synthetic one says so in its corner."""
    if picture.height > height:
        picture = picture.resize((max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS)
    if synthetic:
        picture = picture.copy()
        font = ImageFont.load_default(max(8, picture.width // 18))
        corner = (picture.width - 3, picture.height - 3)
        ImageDraw.Draw(picture).text(corner, "SYNTHETIC", fill=(190, 190, 190), font=font, anchor="rb")
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=86, subsampling=0, optimize=True)
    return stream.getvalue()


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
