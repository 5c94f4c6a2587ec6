"""What may be wrong with a cohort though every file in it is right: look-alike images, and labels that follow the machine."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from tramtrack.cohort.privacy import UID
from tramtrack.errors import TramtrackError
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.pixels import read_picture
from tramtrack.imaging.similarity import SAME_TEXTURE, THUMBNAIL, near_pairs, same_texture, thumbnail
from tramtrack.progress import track
from tramtrack.workers import Failure, run_each

SUSPICIOUS_AUC = 0.6
SUSPICIOUS_P = 0.05
PERMUTATIONS = 999
SEED = 5
COLUMNS = ["kind", "what"]
LEAKING = {"sop_instance_uid": "SOP instance", "sha256": "file", "pixels_sha256": "image", "exam": "exam"}
"""What no two women share, by its column."""
UNIQUE_EXAM = re.compile(rf"{UID.pattern}|E-[0-9a-f]{{12}}")


@dataclass(frozen=True)
class LookAlike:
    """Two views of different women whose hashes are near; ``texture`` in [-1, 1] says whether they are one exposure."""

    first: str
    second: str
    women: tuple[str, str]
    bits: int
    texture: float

    @property
    def confirmed(self) -> bool:
        """Whether registration found the same texture in both."""
        return self.texture >= SAME_TEXTURE


def look_alikes(views: pd.DataFrame, processes: int = 2) -> list[LookAlike]:
    """Near-duplicates among views of different women: found by hash, judged by registering the two files.

    ``views`` has woman, file, pixels_sha256 and perceptual_hash. Identical pixels are left to the leak check. Each file of a
    pair is decoded once, in ``processes``, and its thumbnail kept on disk, so that time and memory do not grow with the number
    of pairs. Raises TramtrackError where a file cannot be read any more.
    """
    hashed = views[views["perceptual_hash"] != ""].reset_index(drop=True)
    pixels = hashed["pixels_sha256"].to_numpy()
    pairs = [
        pair
        for pair in near_pairs(list(hashed["perceptual_hash"]), list(hashed["woman"]))
        if pixels[pair[0]] != pixels[pair[1]]
    ]
    files, women = (hashed[column].astype(str).to_numpy() for column in ("file", "woman"))
    place = {file: number for number, file in enumerate(dict.fromkeys(files[index] for pair in pairs for index in pair[:2]))}
    found = []
    with tempfile.TemporaryFile() as stream:
        size = int(np.prod(THUMBNAIL)) * 4
        results = run_each(_small, list(place), processes=processes)
        for file, small in track(results, "Looking at look-alikes", len(place)):
            if isinstance(small, Failure):
                raise TramtrackError(f"{file}: cannot be read any more ({small.detail}); ingest again")
            stream.seek(place[file] * size)
            stream.write(small.astype("<f4").tobytes())
        for first, second, bits in pairs:
            pair = []
            for index in (first, second):
                stream.seek(place[files[index]] * size)
                pair.append(np.frombuffer(stream.read(size), dtype="<f4").reshape(THUMBNAIL))
            one, two = str(files[first]), str(files[second])
            found.append(LookAlike(one, two, (str(women[first]), str(women[second])), bits, same_texture(*pair)))
    return found


def _small(file: str) -> np.ndarray:
    picture = read_picture(Path(file)).values
    return thumbnail(picture, find_breast(picture))


def confounders(views: pd.DataFrame) -> pd.DataFrame:
    """How well vendor, model, site, year, and the number of views tell women with BAC from those without.

    ``views`` has woman, bac_woman (Int64), manufacturer, model, site and acquired. Returns one row a factor with more than
    one value: factor, auc (of the share of BAC at each of its values, or of the number itself, turned above 0.5), p (of
    999 seeded permutations of the labels), women, suspicious.
    """
    known = views[views["bac_woman"].notna()]
    women = known.groupby("woman").agg(
        label=("bac_woman", "first"),
        vendor=("manufacturer", "first"),
        model=("model", "first"),
        site=("site", "first"),
        year=("acquired", lambda dates: dates.astype(str).str[:4].iloc[0]),
        views=("file", "size"),
    )
    rng = np.random.default_rng(SEED)
    labels = women["label"].to_numpy(dtype=float)
    rows = []
    for factor in ("vendor", "model", "site", "year", "views"):
        values = women[factor].astype(str)
        filled = (values != "").to_numpy()
        if len(set(values[filled])) < 2 or len(set(labels[filled])) < 2:
            continue
        levels, truth = np.unique(values[filled], return_inverse=True)[1], labels[filled]
        auc = _auc_of_levels(levels, truth)
        chance = [_auc_of_levels(levels, rng.permutation(truth)) for _ in range(PERMUTATIONS)]
        p = (1 + sum(other >= auc - 1e-12 for other in chance)) / (1 + PERMUTATIONS)
        suspicious = bool(auc >= SUSPICIOUS_AUC and p < SUSPICIOUS_P)
        rows.append({"factor": factor, "auc": auc, "p": p, "women": int(filled.sum()), "suspicious": suspicious})
    return pd.DataFrame(rows, columns=["factor", "auc", "p", "women", "suspicious"])


def _auc_of_levels(levels: np.ndarray, truth: np.ndarray) -> float:
    """AUC in [0.5, 1] of each level's own share of positives as a score: what a rule by this factor alone could reach."""
    shares = np.bincount(levels, truth) / np.bincount(levels)
    ranks = rankdata(shares[levels])
    positives = int(truth.sum())
    return float((ranks[truth == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def _shared(views: pd.DataFrame) -> list[dict[str, str]]:
    """A row for what views of several women share, by the first of its names: a file that is shared is an image, too."""
    rows: dict[str, dict[str, str]] = {}
    for column, what in LEAKING.items():
        values = views[column] if column in views else pd.Series("", index=views.index)
        counts = values.map(lambda name: bool(UNIQUE_EXAM.fullmatch(name))) if column == "exam" else values != ""
        for _, same in views[counts].groupby(values[counts], sort=False):
            if same["woman"].nunique() > 1:
                named = " and ".join((same.drop_duplicates("woman") if column == "exam" else same)["view_id"])
                rows.setdefault(named, {"kind": f"the same {what} under two women, one in no fold", "what": named})
    return list(rows.values())


def warning_table(views: pd.DataFrame, analysed: pd.DataFrame, alike: Sequence[LookAlike]) -> pd.DataFrame:
    """One row a warning (kind, what): images of two women that are alike or the same and no leak all the same (registration
    did not confirm it, or one of the women is in no fold), factors that predict the label among the ``analysed`` views,
    contradictions in headers, and text in images. Views are named by view_id: a path may tell whose they are."""
    name = dict(zip(views["file"], views["view_id"], strict=True))
    rows = [
        {
            "kind": "look-alike images of two women, "
            + ("one exposure, one of them in no fold" if one.confirmed else "different on a closer look"),
            "what": f"{name[one.first]} and {name[one.second]}: {one.bits} bits, texture {one.texture:.2f}",
        }
        for one in alike
    ]
    rows += _shared(views)
    for row in confounders(analysed).to_dict("records"):
        if row["suspicious"]:
            what = f"{row['factor']}: AUC {row['auc']:.2f}, p {row['p']:.3f}, {row['women']} women"
            rows.append({"kind": "predicts the label", "what": what})
    for kind, column in (("contradictory header", "contradictions"), ("text in the image", "burned_in")):
        marked = views[views[column] != ""]
        rows += [{"kind": kind, "what": f"{row['view_id']}: {row[column]}"} for row in marked.to_dict("records")]
    return pd.DataFrame(rows, columns=COLUMNS)
