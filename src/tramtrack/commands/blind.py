"""The blind reading at the command line: ``tramtrack explain STUDY --blind`` and ``--ratings``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tramtrack.console import print_json, say, table


def make_page(study: Any, views: int, seed: int | None, as_json: bool) -> None:
    """Write the page and the key, and say where they are."""
    page = study.blind(views, seed)
    key = page.with_name("key.json")
    if as_json:
        print_json({"page": str(page), "key": str(key)})
        return
    say(f"the page for the readers is {page}; it names no network")
    say(f"the key is {key}: keep it from the readers; `tramtrack explain {study.folder} --ratings FILE` takes their ratings")


def take_ratings(study: Any, files: list[Path], as_json: bool) -> None:
    """Read the readers' files, and print how often maps localise, how readers agree and what is judged finer."""
    import pandas as pd

    found = study.ratings(files)
    if as_json:
        print_json(found)
        return
    results = study.folder / "results"
    titles = {
        "localises": "How often a network's maps were said to localise BAC (estimate: yes 1, partly ½)",
        "agreement": f"Agreement of readers beyond chance (kappa, {found['kappa']})",
        "ranking": "Which maps are judged finer (share of wins, the same ½; strength in log-odds by Bradley and Terry)",
    }
    for name, title in titles.items():
        rows = pd.read_csv(results / f"blind_{name}.csv", keep_default_na=False).to_dict("records")
        table([{column: _short(value) for column, value in row.items()} for row in rows], title)
    for sentence in found["sentences"]:
        say(sentence)
    for group in found["groups"]:
        if len(group) > 1:
            say(f"not separated: {', '.join(group)}")


def _short(value: object) -> str:
    try:
        return f"{float(value):.3f}" if "." in str(value) else str(value)  # type: ignore[arg-type]
    except ValueError:
        return str(value)
