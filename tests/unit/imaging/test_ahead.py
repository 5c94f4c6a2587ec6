"""One pass over the files: what the intake prepared is what `prepare` would make, and is taken over only where it fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mammogram import breast_stored, write_exam
from tramtrack.cohort import ingest as ingest_module
from tramtrack.cohort.ingest import ingest
from tramtrack.cohort.inspect import Candidate, inspect_file
from tramtrack.imaging import ahead, gallery
from tramtrack.imaging.gallery import prepare_views
from tramtrack.protocol import Prepare

SETTINGS = Prepare(height=64, width=32)
OTHERS = Prepare(height=64, width=32, brightest_percentile=99)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that `prepare` decoded itself; all work is done in this process."""
    names: list[str] = []

    def prepare_here(task, units, **_):  # type: ignore[no-untyped-def]
        for unit in units:
            names.append(Path(unit.file).name)
            yield unit, task(unit)

    monkeypatch.setattr(ingest_module, "run_each", lambda task, units, **_: ((unit, task(unit)) for unit in units))
    monkeypatch.setattr(gallery, "run_each", prepare_here)
    return names


@pytest.fixture
def exam(tmp_path: Path) -> Path:
    write_exam(tmp_path / "in", ImagerPixelSpacing=[0.07, 0.07])
    Image.fromarray(breast_stored(8, seed=9)).save(tmp_path / "in" / "L2.png")
    return tmp_path / "in"


def views_of(source: Path, study: Path, prepare: Prepare | None) -> list[dict[str, Any]]:
    """Ingest into ``study``; its views as read back from views.csv."""
    ingest(source, study / "cohort", skip=study, prepare=prepare, ahead=study / "prepared" / "ahead")
    return pd.read_csv(study / "cohort" / "views.csv").to_dict("records")


def prepare(views: list[dict[str, Any]], study: Path, settings: Prepare = SETTINGS) -> dict[str, bytes]:
    """Prepare; the content of everything that is in the folder afterwards, the journal's order aside."""
    prepare_views(views, study / "prepared", settings, {"prepare": settings.model_dump(mode="json")})
    return {path.name: path.read_bytes() for path in (study / "prepared").iterdir() if path.suffix != ".jsonl"}


def test_in_one_pass_or_in_two_the_same_bytes(tmp_path: Path, exam: Path, decoded: list[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    first = prepare(views_of(exam, one, SETTINGS), one)
    assert decoded == []
    second = prepare(views_of(exam, two, None), two)
    assert len(decoded) == 4 and len(first) == 6
    assert first == second
    assert not (one / "prepared" / "ahead").exists()


def test_a_table_of_pictures_is_prepared_in_one_pass_too(tmp_path: Path, exam: Path, decoded: list[str]) -> None:
    table = exam / "cohort.csv"
    table.write_text("woman,exam,side,view,file,spacing_mm\nW,e,L,CC,L2.png,0.1\n")
    views = views_of(table, tmp_path / "study", SETTINGS)
    assert "W_e_L_CC.png" in prepare(views, tmp_path / "study") and decoded == []


def test_another_protocol_or_a_damaged_file_is_prepared_from_the_original(
    tmp_path: Path, exam: Path, decoded: list[str]
) -> None:
    views = views_of(exam, tmp_path / "other", SETTINGS)
    prepare(views, tmp_path / "other", OTHERS)
    assert len(decoded) == 4 and not (tmp_path / "other" / "prepared" / "ahead").exists()
    decoded.clear()
    views = views_of(exam, tmp_path / "hurt", SETTINGS)
    pictures = sorted((tmp_path / "hurt" / "prepared" / "ahead").glob("*.png"))
    pictures[0].write_bytes(pictures[0].read_bytes()[:-1])
    pictures[1].with_suffix(".json").write_text("{")
    pictures[2].unlink()
    prepare(views, tmp_path / "hurt")
    assert len(decoded) == 3


def test_what_was_learnt_holds_under_another_protocol(tmp_path: Path, exam: Path, decoded: list[str]) -> None:
    views_of(exam, tmp_path / "study", SETTINGS)
    seen = (tmp_path / "study" / "cohort" / "seen.jsonl").read_bytes()
    views_of(exam, tmp_path / "study", OTHERS)
    assert (tmp_path / "study" / "cohort" / "seen.jsonl").read_bytes() == seen


def test_on_a_full_disk_a_view_is_still_a_view(tmp_path: Path, exam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    kept = tmp_path / "ahead"
    outcome = inspect_file(Candidate(str(exam / "W1_LCC.dcm"), prepare=SETTINGS, ahead=str(kept)))
    assert "view" in outcome and list(kept.iterdir()) == []


def test_what_is_kept_is_named_by_all_that_decides_it(tmp_path: Path) -> None:
    names = {
        ahead._files(tmp_path, sha, settings, spacing)[0].name
        for sha in ("a", "b")
        for settings in (SETTINGS, OTHERS)
        for spacing in (None, 0.07, 0.1)
    }
    assert len(names) == 12
    assert ahead._files(tmp_path, "a", SETTINGS, 0.07) == ahead._files(tmp_path, "a", SETTINGS, np.nextafter(0.07, 1))
