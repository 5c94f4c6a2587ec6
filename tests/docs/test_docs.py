"""The documents speak of things that exist: verbs, options, files, settings, benchmarks, columns."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tramtrack.cli import app
from tramtrack.cohort.exam import View
from tramtrack.network.registry import NETWORKS, is_challenger, known_name
from tramtrack.protocol import Protocol
from tramtrack.protocols import presets

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def help_of():
    def ask(*words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--help"])
        assert done.exit_code == 0, f"tramtrack {' '.join(words)}: {done.output}"
        return done.output

    return ask


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_command_shown_has_its_verb_and_options(help_of):
    verbs = "|".join(re.findall(r"^  ([a-z]+)  ", help_of().split("Commands:")[1], flags=re.MULTILINE))
    shown = {}
    for page in PAGES:
        for line in re.findall(
            rf"tramtrack ((?:{verbs})\b[^`\n#>]*)",
            page.read_text(),
        ):
            words = line.split()
            verb = words[:2] if words[0] in ("phantom", "weights") else words[:1]
            shown.setdefault(tuple(verb), set()).update(word for word in words if word.startswith("--"))
    assert ("run",) in shown and ("ingest",) in shown
    for verb, options in shown.items():
        text = help_of(*verb)
        for option in options:
            assert option in text, f"tramtrack {' '.join(verb)} has no {option}"


def test_every_verb_is_in_the_documents(help_of):
    verbs = re.findall(r"^  ([a-z]+)  ", help_of().split("Commands:")[1], flags=re.MULTILINE)
    text = "".join(page.read_text() for page in PAGES)
    assert len(verbs) > 8
    for verb in verbs:
        assert re.search(rf"tramtrack {verb}\b|\*\*{verb}|`{verb}`", text), verb


def test_protocol_reference_is_the_protocol():
    text = (ROOT / "docs/reference/protocol.md").read_text()
    for row in Protocol.load("mobini-2024").settings():
        line = f"| `{row['key']}` | {row['value']} | {row['unit']} | {row['origin']} | {row['meaning']} |"
        assert line in text, line
    assert text.count("| `") == len(Protocol().settings())


def test_make_targets_and_benchmarks_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z]+)", page.read_text()):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
        for name in re.findall(r"make bench NAME=([a-z_]+)", page.read_text()):
            assert (ROOT / "benchmarks" / f"{name}.py").exists(), name


def test_columns_of_a_view_are_documented():
    text = (ROOT / "docs/reference/files.md").read_text()
    for column in View.__dataclass_fields__:
        assert f"`{column}`" in text, column


def test_presets_and_networks_named_exist():
    text = "".join(page.read_text() for page in PAGES)
    for name in re.findall(r"--protocol ([a-z0-9-]+)(?!\S)", text):
        assert name in presets(), name
    for names in re.findall(r"--networks ([a-z0-9_:.,]*[a-z0-9])", text):
        assert all(name in NETWORKS or is_challenger(known_name(name)) for name in names.split(",")), names


def test_no_path_of_a_machine_and_no_registry_in_the_project():
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    texts = [ROOT / name for name in tracked if name and (ROOT / name).is_file() and (ROOT / name).stat().st_size < 500_000]
    forbidden = re.compile("(?<![\\w.])/(" + "work|root|" + "opt/pypi)/|" + "pypi" + "\\.org|files\\.python" + "hosted")
    for path in texts:
        content = path.read_bytes()
        if b"\0" not in content[:4096]:
            assert not forbidden.search(content.decode("utf-8", "replace")), path
