"""How far a study is, read off its folder: one row a stage, nothing computed and nothing changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from tramtrack import sealing
from tramtrack.cohort.split import CALIBRATION, DROPPED, FOLDS, UNLABELLED

Row = dict[str, str]


def stages(folder: Path, cohort: str | None, folds: pd.DataFrame | None, left_out: Mapping[str, str]) -> list[Row]:
    """One row a stage (each run a row of its own): stage, state, detail.

    ``cohort`` is the ingested cohort in words, ``folds`` its folds.csv, each None where there is none yet; ``left_out`` names
    networks that could not take part, with the reason.
    """
    rows = [
        _row("ingest", cohort is not None, cohort or f"tramtrack ingest FOLDER --study {folder}"),
        _row("split", folds is not None, "" if folds is None else f"women: {_counts(folds)}"),
        _prepared(folder / "prepared"),
    ]
    for path in sorted((folder / "runs").glob("*/*/seed-*")):
        name = " ".join(path.relative_to(folder / "runs").parts)
        rows.append({"stage": "train", "state": "done" if (path / "run.json").exists() else "unfinished", "detail": name})
    rows += [{"stage": "train", "state": "left out", "detail": f"{name}: {why}"} for name, why in left_out.items()]
    for path in sorted((folder / "repeats").glob("*"), key=lambda path: int(path.name) if path.name.isdecimal() else 0):
        finished = len(list(path.glob("runs/*/*/seed-*/run.json")))
        evaluated = (path / "results" / "summary.json").exists()
        rows.append(_row(f"repeat {path.name}", evaluated, f"{finished} runs finished{', evaluated' if evaluated else ''}"))
    looks = sealing.looks(folder / "results" / "unsealed.jsonl")
    sealed = f"unsealed, {len(looks)} look{'s' if len(looks) > 1 else ''}" if looks else "sealed"
    rows.append(_row("evaluate", (folder / "results" / "summary.json").exists(), f"test fold: {sealed}"))
    shown = len(list(folder.glob("heatmaps/*/*/*/*.png")))
    rows.append(_row("explain", shown > 0, f"{shown} heat maps shown" if shown else ""))
    page = folder / "report" / "index.html"
    rows.append(_row("report", page.exists(), str(page) if page.exists() else ""))
    return rows


def _row(stage: str, done: bool, detail: str) -> Row:
    return {"stage": stage, "state": "done" if done else "to do", "detail": detail}


def _counts(folds: pd.DataFrame) -> str:
    counts = folds["fold"].value_counts()
    return ", ".join(
        f"{counts.get(fold, 0)} {fold}" for fold in (*FOLDS, CALIBRATION, DROPPED, UNLABELLED) if counts.get(fold, 0)
    )


def _prepared(folder: Path) -> Row:
    count = len(list(folder.glob("*.png")))
    state = "done" if (folder / "geometry.csv").exists() else "unfinished" if count else "to do"
    return {"stage": "prepare", "state": state, "detail": f"{count} views" if count else ""}
