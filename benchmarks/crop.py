"""How often the breast is lost: crops of synthetic views with everything that films and detectors add, against their truth.

Each view of each woman is disturbed in every way below, with places and sizes drawn anew. A crop fails if its mask loses more
than 2 % of the breast's area. Options: --women, --seed, --json FILE for every failure.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from measuring import finish
from tramtrack.imaging.breast import NoBreast, find_breast
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.woman import SyntheticView, SyntheticWoman
from tramtrack.progress import track

SETTINGS = PhantomSettings(rows=1280, columns=960, pitch_mm=0.2, film_share=0.0)
"""Digital views, whose air is black: where the breast is can be read off the pixels."""

LOST = 0.02
GOAL = 0.001
FILM = "drawn as film"
"""Synthetic films have borders, marks and grain of their own; only mirroring and cutting are added to them."""
Disturbed = tuple[np.ndarray, np.ndarray]
"""A picture, float32 in [0, 1], and where the breast can still be seen in it, bool."""


def clean(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    return picture, truth


def markers(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """One to three lead letters, on air or touching the skin."""
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    rows, columns = picture.shape
    for _ in range(int(rng.integers(1, 4))):
        y, x = rng.uniform(0.02, 0.9) * rows, rng.uniform(0.05, 0.85) * columns
        if truth[int(y), int(x)]:
            continue
        draw.text((x, y), str(rng.choice(["L CC", "R", "MLO", "12:30 RM"])), fill=255, font_size=float(rng.uniform(20, 70)))
    return np.maximum(picture, np.asarray(image, dtype=np.float32) / 255), truth


def label(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """A bright sticker in a corner away from the chest wall."""
    rows, columns = picture.shape
    height, width = int(rng.uniform(0.05, 0.15) * rows), int(rng.uniform(0.1, 0.25) * columns)
    top = 0 if rng.random() < 0.5 else rows - height
    left = columns - width if truth[:, 0].any() else 0
    result = picture.copy()
    region = (slice(top, top + height), slice(left, left + width))
    result[region] = np.where(truth[region], result[region], rng.uniform(0.5, 1.0))
    return result, truth


def film(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """A scanned film: grey fog with grain, and an unexposed border of its own on one to four sides."""
    fog = rng.uniform(0.02, 0.12) + ndimage.gaussian_filter(rng.normal(size=picture.shape), 1) * rng.uniform(0.005, 0.02)
    result = np.where(truth, np.maximum(picture * (1 - fog.mean()) + fog, fog), fog)
    return border(rng, np.clip(result, 0, 1).astype(np.float32), truth)


def border(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """White strips along edges that are not the chest wall; what lay below them is not seen any more."""
    result, seen = picture.copy(), truth.copy()
    rows, columns = picture.shape
    wall = "left" if truth[:, 0].any() else "right"
    for edge in ("top", "bottom", "left", "right"):
        if edge == wall or rng.random() < 0.5:
            continue
        size = int(rng.uniform(0.005, 0.03) * (rows if edge in ("top", "bottom") else columns))
        strip = {
            "top": np.s_[:size], "bottom": np.s_[rows - size :], "left": np.s_[:, :size], "right": np.s_[:, columns - size :],
        }[edge]  # fmt: skip
        result[strip], seen[strip] = rng.uniform(0.9, 1.0), False
    return result, seen


def black_block(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """Digitally erased patient data: a black block in the surround of a film."""
    result, truth = film(rng, picture, truth)
    rows, columns = picture.shape
    top, left = int(rng.uniform(0, 0.8) * rows), int(rng.uniform(0, 0.8) * columns)
    region = (slice(top, top + int(0.15 * rows)), slice(left, left + int(0.2 * columns)))
    result[region] = np.where(truth[region], result[region], 0.0)
    return result, truth


def scratches(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """Fine bright lines across a film."""
    result, truth = film(rng, picture, truth)
    image = Image.new("L", (picture.shape[1], picture.shape[0]))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 5))):
        ends = rng.uniform(0, 1, 4) * np.tile([picture.shape[1], picture.shape[0]], 2)
        draw.line([float(end) for end in ends], fill=230, width=int(rng.integers(1, 4)))
    return np.maximum(result, np.asarray(image, dtype=np.float32) / 255), truth


def collimator(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """The field ends before the matrix: a bright, unexposed frame on three sides beyond it, with a soft edge."""
    rows, columns = picture.shape
    frame = np.ones(picture.shape, dtype=np.float32)
    top, side = int(rng.uniform(0.01, 0.06) * rows), int(rng.uniform(0.01, 0.06) * columns)
    wall_left = bool(truth[:, 0].any())
    frame[top : rows - top, (0 if wall_left else side) : (columns - side if wall_left else columns)] = 0.0
    seen = truth & (frame == 0)
    frame = ndimage.gaussian_filter(frame, 2) * rng.uniform(0.6, 1.0)
    return np.where(seen, picture, np.maximum(frame, 0)).astype(np.float32), seen


def implant(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """A bright, smooth ellipse behind the tissue at the chest wall."""
    rows, columns = picture.shape
    ys, xs = np.nonzero(truth)
    centre = (float(np.median(ys)), 0.0 if truth[:, 0].any() else float(columns))
    height, width = 0.35 * np.ptp(ys), 0.6 * np.ptp(xs)
    y, x = np.mgrid[:rows, :columns]
    inside = ((y - centre[0]) / height) ** 2 + ((x - centre[1]) / width) ** 2 < 1
    return np.where(inside & truth, np.maximum(picture, rng.uniform(0.85, 1.0)), picture).astype(np.float32), truth


def dim(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> Disturbed:
    """A few bits of many: the picture in a small part of its range, with electronic noise in the air."""
    noise = np.abs(rng.normal(0, 0.002, picture.shape))
    return (np.maximum(picture, noise) * rng.choice([1 / 16, 1 / 4])).astype(np.float32), truth


DISTURBANCES: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray], Disturbed]] = {
    "clean": clean, "lead markers": markers, "label": label, "white strips": border, "film": film,
    "black block": black_block, "scratches": scratches, "collimator": collimator, "implant": implant, "dim": dim,
}  # fmt: skip


def cut_at_the_edge(rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image ends above or below within the breast."""
    ys = np.nonzero(truth.any(axis=1))[0]
    cut = int(rng.uniform(0.05, 0.25) * np.ptp(ys))
    kept = slice(ys[0] + cut, None) if rng.random() < 0.5 else slice(0, ys[-1] - cut)
    return picture[kept], truth[kept]


def breast_of(view: SyntheticView) -> np.ndarray:
    """Where the breast is in a synthetic view, bool: as the view says, or where a digital view without that is not black."""
    if hasattr(view, "breast"):
        return np.asarray(view.breast)
    shown = np.asarray(ndimage.binary_fill_holes(view.pixels > 0))
    if shown.mean() > 0.9:
        raise SystemExit("a synthetic view that is bright all over and does not say where its breast is: truth is missing")
    return shown


def crops_of(task: tuple[int, int]) -> list[dict[str, object]]:
    """Every crop of one woman: what was done, the share of the breast lost, the area added, and the doubts."""
    seed, number = task
    root = np.random.SeedSequence(seed, spawn_key=(number,))
    woman = SyntheticWoman(root, 40 + number % 45, bool(number % 3 == 0), SETTINGS)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 99)))
    rows = []
    for view in woman.views():
        whole = view.pixels.astype(np.float32) / 4095
        outline = breast_of(view)
        is_film = bool(whole[~outline].mean() > 0.01)
        for name, disturb in {FILM: clean}.items() if is_film else DISTURBANCES.items():
            for variant in ("as stored", "mirrored", "cut"):
                picture, truth = whole, np.asarray(outline)
                if variant == "mirrored":
                    picture, truth = picture[:, ::-1], truth[:, ::-1]
                if variant == "cut":
                    picture, truth = cut_at_the_edge(rng, picture, truth)
                which = f"{number} {view.truth.side} {view.truth.position}"
                rows.append(_crop(*disturb(rng, picture.copy(), truth), name, variant, which))
    return rows


def _crop(picture: np.ndarray, truth: np.ndarray, name: str, variant: str, which: str) -> dict[str, object]:
    row: dict[str, object] = {"disturbance": name, "variant": variant, "view": which}
    try:
        breast = find_breast(np.ascontiguousarray(picture))
    except NoBreast:
        return {**row, "lost": 1.0, "added": 0.0, "wall": False, "doubts": ["no breast"]}
    lost = float((truth & ~breast.mask).sum() / truth.sum())
    added = float((breast.mask & ~truth).sum() / truth.sum())
    wall = "left" if truth[:, : truth.shape[1] // 2].sum() > truth.sum() / 2 else "right"
    doubts = list(breast.doubts)
    return {**row, "lost": lost, "added": added, "wall": wall == breast.chest_wall, "doubts": doubts}


def main() -> None:
    """Print failures by disturbance, how many the doubts catch, and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--women", type=int, default=36)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        tasks = [(options.seed, number) for number in range(options.women)]
        rows = [row for found in track(pool.map(crops_of, tasks), "women", len(tasks)) for row in found]
    failed = [row for row in rows if row["lost"] > LOST]
    print(f"{'disturbance':16} {'crops':>6} {'lost > 2 %':>10} {'median added':>13} {'wrong wall':>10} {'doubted':>8}")
    for name in (*DISTURBANCES, FILM):
        of = [row for row in rows if row["disturbance"] == name]
        if not of:
            continue
        lost, doubted = sum(row["lost"] > LOST for row in of), sum(bool(row["doubts"]) for row in of)
        added, wall = float(np.median([row["added"] for row in of])), sum(not row["wall"] for row in of)
        print(f"{name:16} {len(of):6} {lost:10} {added:13.3f} {wall:10} {doubted:8}")
    doubts = Counter(doubt for row in rows if row["disturbance"] == "clean" for doubt in row["doubts"])
    print(f"doubts about clean views: {dict(doubts)}")
    print(f"by variant: {dict(Counter(str(row['variant']) for row in failed))}")
    print(f"of {len(failed)} failed crops {sum(bool(row['doubts']) for row in failed)} were flagged as doubtful")
    if options.json:
        options.json.write_text(json.dumps(failed, indent=1))
    share = len(failed) / len(rows)
    finish("crop", share, f"share of {len(rows)} crops that lose more than 2 % of the breast", GOAL, share <= GOAL)


if __name__ == "__main__":
    main()
