"""The protocol of a study: every choice that changes a result, frozen, hashed, and marked as the paper's or as ours.

A protocol is a TOML file with the sections below; a key that is not known is refused. "paper" marks what the study's
abstract or quoted methods state (Mobini et al., Eur Radiol Exp 2024;8:80), "inferred" what follows from their counts,
"unverified" what others ascribe to them, and "ours" what had to be chosen because the paper's methods do not say.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from tramtrack.errors import UsageError
from tramtrack.protocols import presets
from tramtrack.sections import (
    Augmentation,
    Burden,
    Evaluation,
    Explain,
    Factors,
    Intake,
    Labels,
    Prepare,
    Section,
    Segmentation,
    Split,
    Training,
    Transfer,
    setting,
    value_problem,
)

_FIRST_OF_EXPLAIN = {"method", "views_of_each_kind"}
BESIDE = ("factors", "burden", "segmentation")
"""Sections that decide what stands beside a study's own runs, and no run's result."""


class Protocol(Section):
    """Everything that decides a study's result. Hashable, equal by value, and the same as its TOML file."""

    name: str = setting("mobini-2024", "what this protocol is called")
    description: str = setting("", "one line on what it is for")
    intake: Intake = Intake()
    split: Split = Split()
    prepare: Prepare = Prepare()
    labels: Labels = Labels()
    transfer: Transfer = Transfer()
    factors: Factors = Factors()
    augmentation: Augmentation = Augmentation()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    explain: Explain = Explain()
    burden: Burden = Burden()
    segmentation: Segmentation = Segmentation()

    @property
    def sha256(self) -> str:
        """Hash of every setting that decides a run's result.

        Name and description do not count, nor how many variants and repeated splits are run beside, nor how burden is added
        up, nor the U-Net beside the runs, nor what older studies lack while it is at its default.
        """
        left_out = {"name", "description", *BESIDE} | ({"intake"} if self.intake == Intake() else set())
        settings = self.model_dump(mode="json", exclude=left_out)
        del settings["split"]["repeats"]
        younger = {
            "split": ("calibration",),
            "labels": ("consensus", "unmarked"),
            "evaluation": ("alpha",),
            "explain": sorted(Explain.model_fields.keys() - _FIRST_OF_EXPLAIN),
        }
        for section, keys in younger.items():
            fields = type(getattr(self, section)).model_fields
            for key in keys:
                if settings[section][key] == fields[key].default:
                    del settings[section][key]
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def to_toml(self) -> str:
        """This protocol as TOML; reading it back gives an equal protocol."""
        return tomli_w.dumps(self.model_dump(mode="json"))

    @classmethod
    def from_toml(cls, text: str, source: str) -> Protocol:
        """Read a protocol; ``source`` names the file in errors. Raises UsageError naming the key and what was expected."""
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"{source}: expected TOML, {error}") from error
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise UsageError(f"{source}: {'; '.join(_explain(problem) for problem in error.errors())}") from error

    @classmethod
    def load(cls, name_or_path: str | Path) -> Protocol:
        """A preset by its name, or a protocol file by its path."""
        text = str(name_or_path)
        if text in presets():
            return cls.from_toml((resources.files("tramtrack.protocols") / f"{text}.toml").read_text("utf-8"), text)
        path = Path(text)
        if path.suffix == ".toml" and path.is_file():
            try:
                return cls.from_toml(path.read_text(encoding="utf-8"), text)
            except (OSError, UnicodeDecodeError) as error:
                raise UsageError(f"{text}: expected a TOML file in UTF-8, {error}") from error
        near = difflib.get_close_matches(text, presets(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"the presets are {', '.join(presets())}"
        raise UsageError(f"protocol {text}: neither a preset nor a .toml file; {hint}")

    def differences(self, other: Protocol) -> list[str]:
        """The settings in which two protocols differ, as ``section.key: mine, theirs``."""
        mine, theirs = self.model_dump(mode="json"), other.model_dump(mode="json")
        found = []
        for section in mine:
            if section in ("name", "description", *BESIDE):
                continue
            for key, value in mine[section].items():
                if (section, key) != ("split", "repeats") and value != theirs[section][key]:
                    found.append(f"{section}.{key}: {value} against {theirs[section][key]}")
        return found

    def settings(self) -> list[dict[str, str]]:
        """One row a setting: section, key, value, unit, origin (paper, inferred, unverified, ours) and meaning."""
        rows = []
        for section_name, section_field in type(self).model_fields.items():
            section = getattr(self, section_name)
            if not isinstance(section, Section) or section_field.annotation is None:
                continue
            for key, field in type(section).model_fields.items():
                extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
                rows.append(
                    {
                        "section": section_name,
                        "key": key,
                        "value": _plain(getattr(section, key)),
                        "unit": str(extra.get("unit", "")),
                        "origin": str(extra.get("origin", "")),
                        "meaning": field.description or "",
                    }
                )
        return rows


def _sections() -> dict[str, list[str]]:
    """The keys of each section."""
    models: dict[str, Any] = {name: field.annotation for name, field in Protocol.model_fields.items()}
    return {name: list(model.model_fields) for name, model in models.items() if hasattr(model, "model_fields")}


def _plain(value: Any) -> str:
    return (", ".join(str(item) for item in value) or "none") if isinstance(value, tuple) else str(value)


def _explain(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        *sections, key = [str(part) for part in problem["loc"]]
        model: Any = Protocol
        for section in sections:
            model = model.model_fields[section].annotation
        near = difflib.get_close_matches(key, list(model.model_fields), n=1)
        elsewhere = [name for name, fields in _sections().items() if key in fields]
        hint = f"did you mean {near[0]}?" if near else f"it belongs to [{elsewhere[0]}]" if elsewhere else ""
        where = ".".join((*sections, key))
        return f"unknown key {where}" + (f", {hint}" if hint else "")
    return value_problem(problem)
