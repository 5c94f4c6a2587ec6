"""The protocols that come with tramtrack, as TOML files."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def presets() -> list[str]:
    """The names of the protocols that come with tramtrack."""
    return sorted(Path(entry.name).stem for entry in resources.files(__name__).iterdir() if entry.name.endswith(".toml"))
