"""False alarms and misses of the near-duplicate check, on synthetic views of different women and altered copies of them.

Every pair of views of different women in a cohort is a chance for a false alarm; every copy, windowed, scaled, rotated by a
degree, shifted, cut by 2 % or kept in 8 bits and JPEG, one for a miss. Options: --women, --seed.
"""

from __future__ import annotations

import argparse
import io
import itertools
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from PIL import Image
from scipy import ndimage

from measuring import finish
from tramtrack.imaging.breast import find_breast
from tramtrack.imaging.similarity import NEAR_BITS, SAME_TEXTURE, near_pairs, perceptual_hash, same_texture, thumbnail
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.woman import SyntheticWoman
from tramtrack.progress import track

GOAL = 0.001


def jpeg(picture: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(stream, "JPEG", quality=80)
    return np.where(picture > 0, np.asarray(Image.open(stream), dtype=np.float32) / 255, 0)


def scaled(picture: np.ndarray) -> np.ndarray:
    return np.asarray(
        Image.fromarray(picture).resize((picture.shape[1] * 2 // 3, picture.shape[0] * 2 // 3), Image.Resampling.BOX)
    )


COPIES = {
    "windowed": lambda picture: np.clip((picture - 0.1) / 0.7, 0, 1) ** 1.4,
    "scaled": scaled,
    "8 bit JPEG": jpeg,
    "rotated 1 degree": lambda picture: np.clip(ndimage.rotate(picture, 1.0, reshape=False, order=1), 0, 1),
    "shifted": lambda picture: np.roll(picture, 9, axis=0),
    "cut by 2 %": lambda picture: picture[picture.shape[0] // 50 :],
}


def views_of(task: tuple[int, int]) -> list[tuple[str, np.ndarray, dict[str, np.ndarray]]]:
    """(woman, thumbnail, thumbnails of copies) of each view of one woman."""
    seed, number = task
    woman = SyntheticWoman(
        np.random.SeedSequence(seed, spawn_key=(number,)), 45 + number % 35, False, PhantomSettings(film_share=0.0)
    )
    found = []
    for view in woman.views():
        picture = view.pixels.astype(np.float32) / 4095
        copies = {name: np.ascontiguousarray(alter(picture), dtype=np.float32) for name, alter in COPIES.items()}
        found.append((str(number), _small(picture), {name: _small(copy) for name, copy in copies.items()}))
    return found


def _small(picture: np.ndarray) -> np.ndarray:
    return thumbnail(picture, find_breast(picture))


def main() -> None:
    """Print hashes' distances, textures' correlations, false alarms and misses, and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--women", type=int, default=60)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    with ProcessPoolExecutor(2) as pool:
        tasks = [(options.seed, number) for number in range(options.women)]
        views = [view for found in track(pool.map(views_of, tasks), "women", len(tasks)) for view in found]
    women, smalls = [view[0] for view in views], [view[1] for view in views]
    pairs = sum(first != second for first, second in itertools.combinations(women, 2))
    candidates = near_pairs([perceptual_hash(small) for small in smalls], women)
    alarms = [pair for pair in candidates if same_texture(smalls[pair[0]], smalls[pair[1]]) >= SAME_TEXTURE]
    rng = np.random.default_rng(options.seed)
    others = [tuple(rng.choice(len(smalls), 2, replace=False)) for _ in range(400)]
    apart = [same_texture(smalls[a], smalls[b]) for a, b in others if women[a] != women[b]]
    print(
        f"{pairs} pairs of views of different women: {len(candidates)} within {NEAR_BITS} of 256 bits, {len(alarms)} confirmed"
    )
    print(f"texture of {len(apart)} such pairs: median {np.median(apart):.3f}, highest {max(apart):.3f} (limit {SAME_TEXTURE})")
    for name in COPIES:
        bits = [near_pairs([perceptual_hash(view[1]), perceptual_hash(view[2][name])], ["a", "b"], 256)[0][2] for view in views]
        texture = [same_texture(view[1], view[2][name]) for view in views]
        found = [bit <= NEAR_BITS and same >= SAME_TEXTURE for bit, same in zip(bits, texture, strict=True)]
        print(
            f"copy {name:17} bits median {np.median(bits):5.0f}, highest {max(bits):3}; texture median "
            f"{np.median(texture):.3f}, lowest {min(texture):.3f}; found {sum(found)} of {len(found)}"
        )
    rate = len(alarms) / pairs
    finish("duplicates", rate, f"false alarms in {pairs} pairs of views of different women", GOAL, rate <= GOAL)


if __name__ == "__main__":
    main()
