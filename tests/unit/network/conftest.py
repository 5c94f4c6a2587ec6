"""No test of weights reaches the internet or the user's own files unless it opens the way itself."""

from __future__ import annotations

import pytest

from tramtrack.network import downloads, places
from tramtrack.network.downloads import SourceFailed


@pytest.fixture
def no_sources(monkeypatch, tmp_path):
    """No environment but an empty cache, and no network: a test opens the source it needs."""
    monkeypatch.delenv(places.WEIGHTS_DIR, raising=False)
    monkeypatch.setenv(places.CACHE, str(tmp_path / "cache"))

    def nothing(*_arguments):
        raise SourceFailed("no connection")

    monkeypatch.setattr(downloads, "download", nothing)
    monkeypatch.setattr(downloads, "wheel_member", nothing)
