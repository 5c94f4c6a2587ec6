"""The service with a real run: the client of the documents gets what `tramtrack predict` says."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pydicom
import pytest

ROOT = Path(__file__).parents[2]
SECRET = "0123456789abcdef" * 4


@pytest.fixture
def token(tmp_path):
    """A token's file."""
    file = tmp_path / "token"
    file.touch(mode=0o600)
    file.write_text(SECRET + "\n")
    return file


def serving(run: Path, folder: Path, *more: object) -> tuple[subprocess.Popen[str], str]:
    """A service in a process of its own, and its address."""
    words = [sys.executable, "-m", "tramtrack.cli", "serve", run, "--jobs", folder, "--port", "0", *more]
    process = subprocess.Popen([*map(str, words)], stderr=subprocess.PIPE, text=True)
    line = process.stderr.readline()
    assert line.startswith("serving on "), line + process.communicate()[1]
    return process, line.split()[2].rstrip(",")


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_client_of_the_documents_gets_what_predict_says(random_run, tiny_cohort, token, command, tmp_path):
    folds = pd.read_csv(random_run.parents[3] / "cohort" / "folds.csv", dtype=str)  # its test fold is sealed
    exam = tiny_cohort / "dicom" / folds.loc[folds["fold"] == "validation", "woman"].iloc[0]
    with zipfile.ZipFile(tmp_path / "exam.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(exam.iterdir()):
            archive.write(file, f"DOE^JANE/{file.name}")
    (client,) = re.findall(r"```sh\n(.*?)```", (ROOT / "docs" / "how-to" / "serve.md").read_text(), flags=re.DOTALL)
    process, address = serving(random_run, tmp_path / "jobs", "--token-file", token)
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", client],
            cwd=tmp_path,
            env={**os.environ, "SERVICE": address},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    finally:
        process.terminate()
        logged = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    answer = json.loads((tmp_path / "prediction.json").read_text())
    said = command("predict", random_run, exam, "--out", tmp_path / "out")
    assert said.returncode == 0, said.stderr
    expected = json.loads((tmp_path / "out" / "prediction.json").read_text())
    number = {
        source["file"]: f"{place:04}.dcm"
        for place, source in enumerate(sorted(expected["sources"], key=lambda s: s["file"]), 1)
    }
    for source in expected["sources"]:
        source["file"] = number[source["file"]]
    assert answer == expected
    assert "<img" in (tmp_path / "prediction.html").read_text()
    with zipfile.ZipFile(tmp_path / "dicom.zip") as results:
        first = pydicom.dcmread(io.BytesIO(results.read(results.namelist()[0])))
    assert first.StudyInstanceUID == pydicom.dcmread(sorted(exam.iterdir())[0]).StudyInstanceUID
    assert not list((tmp_path / "jobs" / "jobs").iterdir()), "the client deleted its job"
    assert "done after" in logged and "DOE" not in logged and SECRET not in logged and answer["woman"] not in logged


def test_what_cannot_be_served_is_said_in_one_line(random_run, token, command, tmp_path, monkeypatch):
    monkeypatch.delenv("TRAMTRACK_TOKEN", raising=False)
    token.chmod(0o644)
    for words, code, says in (
        (("--host", "0.0.0.0"), 2, "--host 0.0.0.0: other machines can reach it, so a token is required"),
        (("--token-file", token), 1, "everybody on this machine may open the token"),
        (("--token-file", tmp_path / "none"), 2, "expected a file that holds the token, found none"),
        (("--key", "none"), 2, "--key none: the service answers under pseudonyms"),
        (("--key", tmp_path / "none"), 2, "expected the file of the key under which the study's women go, found none"),
        (("--prevalence", "1"), 2, "expected a share between 0 and 1"),
        (("--host", "203.0.113.7", "--token-file", tmp_path / "good"), 1, "203.0.113.7:8000: cannot be listened on"),
    ):
        (tmp_path / "good").touch(mode=0o600)
        (tmp_path / "good").write_text(SECRET)
        done = command("serve", random_run, "--jobs", tmp_path / "jobs", *words)
        assert (done.returncode, says in done.stderr) == (code, True), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
