"""How stages meet on disk: the old file or the new one, never a half; cut-off journals; identity and information."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tramtrack import store
from tramtrack.errors import TramtrackError


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "table.csv"
    store.write_text(path, "old")

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.csv"]


def test_a_write_replaces_the_whole_file_and_makes_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file.txt"
    store.write_text(path, "a longer text")
    store.write_text(path, "short")
    assert path.read_text() == "short"


def test_a_written_file_is_as_private_as_the_user_asks(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        store.write_text(tmp_path / "private", "x")
        os.umask(0o022)
        store.write_text(tmp_path / "usual", "x")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("private", "usual")]
    assert modes == [0o600, 0o644]


def test_csv_keeps_floats_texts_and_lines(tmp_path: Path) -> None:
    table = pd.DataFrame({"value": [0.1 + 0.2, 1e-300], "text": ['comma, "quote"\nline', "return\rhere"]})
    back = pd.read_csv(store.write_csv(tmp_path / "t.csv", table))
    assert list(back["value"]) == list(table["value"])
    assert list(back["text"]) == ['comma, "quote"\nline', "return here"]


def test_json_refuses_nan_and_names_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        store.write_json(tmp_path / "x.json", float("nan"))
    assert list(tmp_path.iterdir()) == []
    for content in (b'{"a": ', b"\xff\xfe\x00"):
        (tmp_path / "broken.json").write_bytes(content)
        with pytest.raises(TramtrackError, match=r"broken\.json: expected JSON"):
            store.read_json(tmp_path / "broken.json")


def test_hashes_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert store.file_sha256(tmp_path / "abc") == store.text_sha256("abc") == known


def test_journal_drops_a_cut_off_line_and_goes_on_after_the_last_whole_one(tmp_path: Path) -> None:
    journal = store.Journal(tmp_path / "j.jsonl")
    assert journal.entries() == []
    with journal.appending() as append:
        append({"n": 1, "text": "line\nbreak, ünïcode\r"})
        append({"n": 2})
    with journal.path.open("ab") as stream:
        stream.write(b'{"n": 3, "text": "cut o')
    assert [entry["n"] for entry in journal.entries()] == [1, 2]
    assert journal.entries()[0]["text"] == "line\nbreak, ünïcode\r"
    with journal.appending() as append:
        append({"n": 4})
    assert [entry["n"] for entry in journal.entries()] == [1, 2, 4]
    assert b"cut o" not in journal.path.read_bytes()
    with journal.path.open("ab") as stream:
        stream.write(b'{"n": 5}')  # without its line end it is not known to be whole
    assert [entry["n"] for entry in journal.entries()] == [1, 2, 4]


def test_journal_passes_over_what_a_power_cut_left(tmp_path: Path) -> None:
    journal = store.Journal(tmp_path / "j.jsonl")
    journal.path.write_bytes(b'{"n": 1}\n\x00\x00\x00\x00\n\xff\xff\n{"n": 2}\n')
    assert [entry["n"] for entry in journal.entries()] == [1, 2]


def test_journal_is_on_disk_as_soon_as_an_entry_is_appended(tmp_path: Path) -> None:
    journal = store.Journal(tmp_path / "j.jsonl")
    with journal.appending() as append:
        append({"n": 1})
        assert journal.entries() == [{"n": 1}]
        with pytest.raises(ValueError, match="Out of range"):
            append({"n": float("inf")})
    assert journal.entries() == [{"n": 1}]


def test_identity_mismatch_names_each_field_with_both_values_and_information_never_counts(tmp_path: Path) -> None:
    path = tmp_path / "stage" / "manifest.json"
    assert store.require_same_identity(path, {"seed": 1}, "do this") is False
    store.write_manifest(path, {"seed": 1, "size": [512, 256]}, {"device": "cpu", "seconds": 1.5})
    assert store.require_same_identity(path, {"seed": 1, "size": [512, 256]}, "do this") is True
    store.write_manifest(path, {"seed": 1, "size": [512, 256]}, {"device": "cuda"})
    assert store.require_same_identity(path, {"seed": 1, "size": [512, 256]}, "do this") is True
    with pytest.raises(store.IdentityMismatch) as caught:
        store.require_same_identity(path, {"seed": 2, "dtype": "float32"}, "use another folder")
    message = str(caught.value)
    assert "seed: on disk 1, now 2" in message
    assert "size: on disk [512, 256], now None" in message
    assert "dtype: on disk None, now 'float32'" in message
    assert message.endswith("use another folder") and str(path.parent) in message


def test_a_manifest_of_another_schema_is_another_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.write_manifest(tmp_path / "m.json", {"seed": 1}, {})
    monkeypatch.setattr(store, "SCHEMA_VERSION", store.SCHEMA_VERSION + 1)
    with pytest.raises(store.IdentityMismatch, match="schema"):
        store.require_same_identity(path, {"seed": 1}, "")


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may grow beyond 40 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_on_a_full_disk_the_file_is_named_and_what_was_there_is_kept(tmp_path: Path, full_disk: None) -> None:
    store.write_text(tmp_path / "table.csv", "old")
    with pytest.raises(OSError, match=r"table\.csv"):
        store.write_text(tmp_path / "table.csv", "new" * 100)
    assert (tmp_path / "table.csv").read_text() == "old"
    journal = store.Journal(tmp_path / "seen.jsonl")
    with pytest.raises(OSError, match=r"seen\.jsonl"), journal.appending() as append:
        append({"n": 1})
        append({"n": 2, "text": "x" * 100})
    assert journal.entries() == [{"n": 1}]
    with journal.appending() as append:
        append({"n": 3})
    assert journal.entries() == [{"n": 1}, {"n": 3}]


@pytest.mark.parametrize("content", ['{"name": "a web page"}', "[]", '{"identity": 3}'])
def test_a_manifest_of_another_tool_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(content)
    with pytest.raises(TramtrackError, match=r"manifest\.json: expected a manifest that tramtrack wrote"):
        store.require_same_identity(path, {"seed": 1}, "")
