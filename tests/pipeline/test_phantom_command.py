"""``tramtrack phantom`` as a person types it: one view for a look, and what cannot be meant is refused by name."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pydicom
import pytest
from PIL import Image

from tramtrack.cli import app
from tramtrack.cohort.cohort import load_cohort
from tramtrack.errors import UsageError
from tramtrack.phantom.insertion import Insertion
from tramtrack.phantom.one_view import write_view
from tramtrack.phantom.presets import PRESETS, preset
from tramtrack.phantom.settings import PhantomSettings
from tramtrack.phantom.stations import require_room_at_stations

ROOT = Path(__file__).parents[2]
SMALL = ("--matrix", "240x120", "--pitch", "1")


def tramtrack(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tramtrack.cli", "phantom", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_one_view_with_its_mask_and_truth(tmp_path: Path) -> None:
    done = tramtrack("view", tmp_path, "--seed", 9101, "--side", "R", "--view", "MLO", "--age", 71, *SMALL, "--json")
    assert done.returncode == 0, done.stderr
    truth = json.loads(done.stdout)
    assert truth == json.loads((tmp_path / "RMLO_truth.json").read_text())
    assert (truth["age"], truth["side"], truth["view"], truth["bac_woman"]) == (71, "R", "MLO", 1)
    dataset = pydicom.dcmread(tmp_path / "RMLO.dcm")
    shown, mask = (np.asarray(Image.open(tmp_path / f"RMLO{name}.png")) for name in ("", "_mask"))
    assert (dataset.pixel_array >> 4 == shown).all()
    assert mask.shape == shown.shape == (240, 120)
    assert (mask > 0).sum() == pytest.approx(truth["area_mm2"], abs=0.01)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("cohort", "out", "--prevalence", 1.2), "prevalence"),
        (("cohort", "out", "--preset", "none"), "preset"),
        (("cohort", "out", "--preset", "mobini-2024", "--women", 9), "mobini-2024"),
        (("cohort", "out", "--matrix", "240x120", "--pitch", 0), "pitch_mm"),
        (("cohort", "out", "--matrix", "240x120", "--pitch", 0.5), "larger than the matrix"),
        (("cohort", "out", "--matrix", "240", "--pitch", 0.5), "--matrix"),
        (("cohort", "out", "--detector", "Z"), "detector"),
        (("view", "out", "--film-share", -1), "film_share"),
        (("cohort", "out", "--detector", "own", "--magnification", 1.5), "rows of station A"),
        (("view", "out", "--age", 7), "age"),
        (("view", "out", *SMALL, "--film-share", 0, "--set", "film_share=1"), "film_share: expected one value, received 0"),
        (("view", "out", *SMALL, "--set", "clips=1", "--set", "clips=2"), "clips: expected one value, received 1 and then 2"),
        (("view", "out", *SMALL, "--set", "own_matrix=true"), "own_matrix: expected one value, received False"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, words: tuple, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        app(["phantom", *(str(tmp_path / "out") if word == "out" else str(word) for word in words)], standalone_mode=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"side": "X"}, "side: expected L or R, received 'X'"),
        ({"view": "ML"}, "view: expected CC or MLO, received 'ML'"),
        ({"age": 60.5}, "age: expected a whole number from 18 to 120, received 60.5"),
        ({"age": "60"}, "age: expected a whole number from 18 to 120, received '60'"),
        ({"seed": -1}, "seed: expected a whole number of at least 0, received -1"),
        ({"bac": "no"}, "bac: expected True or False, received 'no'"),
        ({"settings": {}}, "settings: expected PhantomSettings, received dict"),
        ({"settings": preset("demo")}, "settings: expected PhantomSettings, received Preset; give its .settings"),
    ],
)
def test_python_refuses_one_view_by_name(tmp_path: Path, values: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        write_view(tmp_path / "out", **{"seed": 1, **values})
    assert not (tmp_path / "out").exists()


def test_a_cohort_of_pictures_is_ingested_as_synthetic_with_labels_masks_and_spacing(tmp_path: Path) -> None:
    made, study = tmp_path / "cohort", tmp_path / "study"
    words = ["--women", "1", "--prevalence", "1", "--seed", "9101", "--format", "png", "--processes", "1"]
    app(["phantom", "cohort", str(made), *words, *SMALL], standalone_mode=False)
    tables = ["--labels", str(made / "labels.csv"), "--findings", str(made / "truth.csv")]
    app(["ingest", str(made / "views.csv"), *tables, "--study", str(study), "--processes", "1"], standalone_mode=False)
    cohort, truth = load_cohort(study / "cohort"), pd.read_csv(made / "truth.csv")
    assert cohort.synthetic and len(cohort.views) == 4
    views = cohort.views.merge(truth, on=["woman", "side", "view"], suffixes=("", "_true"))
    assert (views["bac_view"] == views["bac"]).all() and views["bac"].sum() >= 1
    assert (views["spacing_mm"] == 1.0).all() and (views["age_years"] == views["age"]).all()
    assert ((views["mask"] != "") == (views["bac"] == 1)).all()


def test_a_killed_cohort_goes_on_and_ends_as_one_that_was_not(tmp_path: Path) -> None:
    words = ["--women", "4", "--seed", "9102", "--processes", "1", *SMALL]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-m", "tramtrack.cli", "phantom", "cohort", str(killed), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(killed.glob("women/*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert len(list(killed.glob("women/*.json"))) < 4 and not (killed / "truth.csv").exists()
    for folder in (killed, whole):
        app(["phantom", "cohort", str(folder), *words], standalone_mode=False)
    files = [{path.relative_to(top): path.read_bytes() for path in top.rglob("*") if path.is_file()} for top in (killed, whole)]
    assert len(files[0]) > 4 * 5 and files[0] == files[1]


def test_a_view_is_written_over_an_earlier_one_and_over_nobody_elses(tmp_path: Path) -> None:
    (tmp_path / "LCC.dcm").write_text("a patient's")
    with pytest.raises(UsageError, match=r"phantom view: .*LCC\.dcm: expected no file, or that of an earlier call"):
        app(["phantom", "view", str(tmp_path), *SMALL], standalone_mode=False)
    assert [file.name for file in tmp_path.iterdir()] == ["LCC.dcm"] and (tmp_path / "LCC.dcm").read_text() == "a patient's"
    for age in ("60", "70"):
        app(["phantom", "view", str(tmp_path), "--side", "R", "--age", age, *SMALL], standalone_mode=False)
    assert json.loads((tmp_path / "RCC_truth.json").read_text())["age"] == 70
    assert pydicom.dcmread(tmp_path / "RCC.dcm").PatientAge == "070Y"


@pytest.mark.parametrize("verb", ["cohort", "view"])
def test_a_file_in_the_folders_place_is_refused(tmp_path: Path, verb: str) -> None:
    (tmp_path / "out").write_text("kept")
    with pytest.raises(UsageError, match=f"phantom {verb}: expected a folder to write into, received the file"):
        app(["phantom", verb, str(tmp_path / "out"), *SMALL], standalone_mode=False)
    assert (tmp_path / "out").read_text() == "kept"


def test_a_refusal_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    done = tramtrack("cohort", tmp_path / "out", "--matrix", "240x120", "--pitch", 0)
    assert done.returncode == 2
    assert done.stderr == "tramtrack: phantom setting pitch_mm: expected above 0, received 0.0\n"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the command line asks of ``write_cohort``, which makes nothing."""
    calls: list[dict] = []
    monkeypatch.setattr("tramtrack.phantom.cohort.write_cohort", lambda out, **asked: calls.append(asked))
    return calls


def test_the_pages_table_of_options_is_accepted(asked: list[dict]) -> None:
    table = (ROOT / "docs/explanation/phantom.md").read_text().split("| wanted | how |")[1].split("\n\n")[0]
    shown = [option.split() for option in re.findall(r"`(--[^`]+)`", table)]
    assert len(shown) > 6
    for words in shown:
        app(["phantom", "cohort", "out", *words], standalone_mode=False)
        require_room_at_stations(asked[-1]["settings"])
    assert {call["format"] for call in asked} == {"dicom", "png"}


def test_matrix_and_breast_may_only_fit_together(asked: list[dict]) -> None:
    small = ("--set", "depth_mm=20,30", "--set", "half_height_mm=20,30")
    app(["phantom", "cohort", "out", "--matrix", "160x80", "--pitch", "0.5", *small], standalone_mode=False)
    assert (asked[0]["settings"].rows, asked[0]["settings"].depth_mm) == (160, (20.0, 30.0))


def test_the_pages_python_is_the_command_line(asked: list[dict]) -> None:
    app(["phantom", "cohort", "out", "--women", "144", "--seed", "1"], standalone_mode=False)
    by_hand = {"women": 144, "prevalence": 1 / 3, "seed": 1, "workers": 2, "settings": preset("demo").settings}
    assert asked[0] == {**by_hand, "positive_views": None, "format": "dicom"}
    app(["phantom", "cohort", "out", "--detector", "0.15"], standalone_mode=False)
    assert asked[1]["settings"] == PhantomSettings()


def test_the_pages_pictures_are_what_their_commands_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = ROOT / "docs/explanation/pictures"
    coarse = "--matrix 480x240 --pitch 0.48"
    made = {
        shown / "phantom-LCC.png": (f"--seed 9136 --view CC {coarse} --film-share 0", "LCC.png"),
        shown / "phantom-LMLO.png": (f"--seed 9136 --view MLO {coarse} --film-share 0", "LMLO.png"),
        shown / "phantom-film.png": (f"--seed 9133 --view MLO {coarse} --film-share 1", "LMLO.png"),
    }
    page = (ROOT / "docs/explanation/phantom.md").read_text()
    assert f"`tramtrack phantom view pictures {made[shown / 'phantom-LCC.png'][0]}`" in page
    for picture, (words, name) in made.items():
        app(["phantom", "view", "pictures", *words.split()], standalone_mode=False)
        assert_alike(Path("pictures") / name, picture)
    page = (ROOT / "docs/how-to/insert.md").read_text()
    commands = re.findall(r"^tramtrack (phantom (?:view|insert) pictures.*)$", page, flags=re.MULTILINE)
    assert len(commands) == 3
    for command in commands:
        app(command.split(), standalone_mode=False)
    for name, end in (("plain", ""), ("control", "_control_seed-9134"), ("bac", "_bac_seed-9134")):
        assert_alike(Path(f"pictures/LCC{end}.png"), ROOT / f"docs/how-to/pictures/insert-{name}.png")


def test_the_guides_insertions_leave_each_other_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[tuple, set] = {}

    def insert_file(image: Path | str, out: Path | str, wanted: Insertion, path: Path | None = None) -> SimpleNamespace:
        name = (Path(image).stem, wanted.is_control, wanted.seed)
        asked.setdefault(name, set()).add((str(image), str(Path(out)), wanted, path))
        return SimpleNamespace(truth={"length_px": 1.0, "area_px": 1, "domain": "display"})

    monkeypatch.setattr("tramtrack.phantom.insertion_files.insert_file", insert_file)
    page = (ROOT / "docs/how-to/insert.md").read_text()
    commands = re.findall(r"^tramtrack (phantom insert view[^#\n]*)", page, flags=re.MULTILINE)
    for command in commands:
        app(command.split(), standalone_mode=False)
    exec(page.split("```python\n")[1].split("```")[0], {})
    assert len(commands) == len(asked) == 3 and all(len(of_a_name) == 1 for of_a_name in asked.values()), asked


def assert_alike(made: Path, shown: Path) -> None:
    """Two pictures are the same, but for a grey here and there that another processor rounds otherwise."""
    pixels = [np.asarray(Image.open(file)).astype(int) for file in (made, shown)]
    assert pixels[0].shape == pixels[1].shape, shown
    assert (np.abs(pixels[0] - pixels[1]) > 1).mean() < 0.001, shown


def test_the_published_counts() -> None:
    chosen = PRESETS["mobini-2024"]
    assert (chosen.women, round(chosen.women * chosen.prevalence), chosen.positive_views) == (1493, 194, 581)
