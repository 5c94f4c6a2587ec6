"""The intake cannot be crashed: broken, harmful and odd input is a View or an Exclusion each, and a full disk is one line."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from mammogram import mammogram, write, write_exam
from mutations import candidate, good_files, good_pictures, harmful, inspect_measured, write_mutations
from tramtrack.cohort.exam import Reason
from tramtrack.cohort.ingest import BYTES_A_WORKER, ingest
from tramtrack.cohort.inspect import Candidate, inspect_file
from tramtrack.store import Journal
from tramtrack.workers import Failure, run_each

GOOD = good_files([])


def test_mutated_and_harmful_files_cost_only_themselves(tmp_path: Path) -> None:
    files = list(write_mutations(tmp_path, 60, 1, []))
    for name, content in harmful().items():
        (tmp_path / name).write_bytes(content)
        files.append(tmp_path / name)
    tasks = [candidate(path) for path in files]
    outcomes = {Path(task.file).name: result for task, result in run_each(inspect_measured, tasks, memory_bytes=1 << 30)}
    assert len(outcomes) == len(files)
    kinds = Counter(result.kind if isinstance(result, Failure) else "outcome" for result in outcomes.values())
    assert not kinds["time"] and kinds["died"] <= 2, kinds  # gdcm ends its process over some; that costs the file alone
    assert outcomes["deflate-bomb.dcm"].kind == "memory"
    whole = [result for result in outcomes.values() if not isinstance(result, Failure)]
    assert max(result["seconds"] for result in whole) < 10 and max(result["peak_mib"] for result in whole) < 2048
    views = sum("view" in result for result in whole)
    assert 0 < views < len(files)  # some mutations do no harm
    for name in set(harmful()) - {"deflate-bomb.dcm"}:
        assert "exclusion" in outcomes[name], name
    assert outcomes["rows.dcm"]["exclusion"]["detail"].startswith("60000 x 60000 pixels")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, len(GOOD) - 1), st.lists(st.tuples(st.integers(128, 1200), st.binary(min_size=1, max_size=6)), max_size=4)
)
def test_whatever_stands_in_a_header_gives_one_outcome(tmp_path: Path, which: int, edits: list[tuple[int, bytes]]) -> None:
    content = bytearray(GOOD[which])
    for place, text in edits:
        content[place : place + len(text)] = text
    (tmp_path / "a.dcm").write_bytes(bytes(content))
    try:
        outcome = inspect_file(Candidate(str(tmp_path / "a.dcm")))
    except MemoryError:  # a size that no machine has: the worker says so
        return
    assert ("view" in outcome) != ("exclusion" in outcome)


@pytest.mark.parametrize(
    "tags",
    [
        {"VOILUTSequence": [Dataset()]},
        {"PixelPaddingValue": [0, 1]},
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"HighBit": ""},
        {"NumberOfFrames": ""},
        {"WindowCenter": [100, 200], "WindowWidth": ""},
        {"AcquisitionContextSequence": [Dataset()]},
        {"PatientID": ["a", "b"]},
        {"ViewCodeSequence": [Dataset()]},
        {"ImagerPixelSpacing": [0.07, 0]},
    ],
)
def test_attributes_that_are_empty_or_several_give_one_outcome(tmp_path: Path, tags: dict) -> None:  # type: ignore[type-arg]
    outcome = inspect_file(Candidate(str(write(mammogram(**tags), tmp_path / "a.dcm"))))
    assert ("view" in outcome) != ("exclusion" in outcome)
    assert "view" in outcome or "object" not in outcome["exclusion"]["detail"]  # no message of a library's


@pytest.mark.parametrize(
    "name", ["Exposure", "NumberOfFrames", "BodyPartThickness", "EstimatedRadiographicMagnificationFactor"]
)
@pytest.mark.parametrize("said", [b"inf ", b"nan ", b"1e99", b"-   "])
def test_a_number_that_is_none_is_not_known_and_costs_no_view(tmp_path: Path, name: str, said: bytes) -> None:
    path = write(mammogram(**{name: "1234"}), tmp_path / "a.dcm")
    content = path.read_bytes()
    assert content.count(b"\x04\x001234") == 1
    path.write_bytes(content.replace(b"\x04\x001234", b"\x04\x00" + said))
    outcome = inspect_file(Candidate(str(path)))
    if name == "NumberOfFrames":
        assert "exclusion" in outcome or said == b"inf "
    else:
        assert outcome["view"]["exposure_mas"] is None and outcome["view"]["thickness_mm"] is None


def test_broken_pictures_give_one_outcome_each(tmp_path: Path) -> None:
    wholes = good_pictures()
    rng = np.random.default_rng(9101)
    for number in range(200):
        suffix, whole = wholes[number % len(wholes)]
        content = bytearray(whole)
        start = 0 if rng.random() < 0.5 else len(content) - 200  # a TIFF's directory may stand at its end
        for place in rng.integers(start, start + 200, int(rng.integers(1, 12))):
            content[place] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(bytes(content))
        outcome = inspect_file(candidate(path))
        assert ("view" in outcome) != ("exclusion" in outcome)


def test_a_length_beyond_the_file_costs_no_memory(tmp_path: Path) -> None:
    content = bytearray(GOOD[0])
    place = content.find(b"\x10\x00\x20\x00LO")
    content[place + 4 : place + 12] = b"UN\0\0\xfe\xff\xff\x7f"  # 2 GB that are not there
    (tmp_path / "a.dcm").write_bytes(bytes(content))
    (result,) = [
        found for _, found in run_each(inspect_file, [Candidate(str(tmp_path / "a.dcm"))], memory_bytes=BYTES_A_WORKER)
    ]
    assert not isinstance(result, Failure) and result["exclusion"]["reason"] == Reason.UNKNOWN_SIDE


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    for number in range(2):
        write_exam(tmp_path / "in", woman=f"W{number}", exam=str(number), seed=number)
    words = ["tramtrack", "ingest", str(tmp_path / "in"), "--study", str(tmp_path / "study"), "--processes", "1"]
    full = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000)); "
    program = f"{full}sys.argv = {words!r}; from tramtrack.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.strip().endswith("File too large; what was finished before is kept")
    kept = len(Journal(tmp_path / "study" / "cohort" / "seen.jsonl").entries())
    assert 0 < kept < 8
    assert len(ingest(tmp_path / "in", tmp_path / "study" / "cohort").views) == 8


def test_mutations_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    first, second = ([path.read_bytes() for path in write_mutations(tmp_path / str(n), 10, 4, [])] for n in range(2))
    assert first == second and first != [path.read_bytes() for path in write_mutations(tmp_path / "c", 10, 5, [])]
    assert len({bytes(content) for content in first}) == 10 and np.mean([content in GOOD for content in first]) < 0.5


@pytest.mark.parametrize("name", ["a b.dcm", "ü\N{SNOWMAN}.dcm", "-rf.dcm", "x" * 240 + ".dcm", "$(reboot).dcm", "con.dcm."])
def test_odd_names_of_broken_files(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(GOOD[0][:400])
    assert inspect_file(Candidate(str(tmp_path / name)))["exclusion"]["file"] == str(tmp_path / name)
