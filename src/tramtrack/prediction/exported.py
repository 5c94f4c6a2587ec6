"""Trained runs as one portable folder, with all that they need to answer; and such a folder from somebody else, checked.

``export.json`` lists every other file with its SHA-256; ``panel.json`` holds what the study's validation, calibration and
training say, in numbers without a woman's name; ``runs/<network>/<variant>/seed-<k>/`` the weights, and the network as ONNX.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tramtrack import store
from tramtrack.errors import TramtrackError, UsageError
from tramtrack.evaluation.aggregate import UNITS, Aggregation, Unit
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.conformal import Conformal
from tramtrack.evaluation.scores import Undefined
from tramtrack.evaluation.threshold import Rule, Threshold
from tramtrack.explain.burden import Calibration
from tramtrack.judgement.results import name_of
from tramtrack.judgement.scoring import Chosen
from tramtrack.prediction.panel import NEEDED, Panel, Seen, load_panel
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run

LIST, PANEL, CARD = "export.json", "panel.json", "CARD.md"
KINDS = frozenset((".json", ".toml", ".md", ".safetensors", ".onnx"))
"""What may lie in such a folder: none of it can run code when it is read."""


Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Member(_Strict):
    """A run: which it is, what it measured, the protocol it was trained under, and what its maps need."""

    identity: dict[str, Any]
    information: dict[str, Any]
    protocol: dict[str, Any]
    scale: float = Field(ge=0, allow_inf_nan=False)
    calibration: Calibration | None


class Decided(_Strict):
    """What validation decided for a unit by a rule."""

    unit: Unit
    rule: Rule
    found: Threshold | Undefined


class Women(_Strict):
    """How many of validation decided it: units, those with BAC, women."""

    n: int
    positives: int
    women: int


class Content(_Strict):
    """A Panel as data."""

    members: tuple[Member, ...] = Field(min_length=1)
    protocol: dict[str, Any]
    aggregation: Aggregation
    thresholds: tuple[Decided, ...]
    recalibrations: dict[Unit, Recalibration | Undefined]
    validation: Women
    manufacturers: tuple[str, ...]
    spacings_mm: tuple[float, float] | None
    synthetic: bool
    calibration_with_bac: tuple[Share, ...]
    calibration_without_bac: tuple[Share, ...]
    no_calibration: str
    spread_limit: Share | None


class Listed(_Strict):
    """export.json."""

    kind: Literal["tramtrack export"] = "tramtrack export"
    schema_version: Literal[1] = 1
    tramtrack: str
    files: dict[str, str]


def is_export(path: Path) -> bool:
    """Whether a folder says that it is an export."""
    return (path / LIST).exists()


def open_panel(paths: Sequence[Path]) -> Panel:
    """The runs in ``paths`` as `load_panel` finds them, or the one export that stands there, checked by `read_export`."""
    exports = [path for path in paths if is_export(path)]
    if exports and len(paths) > 1:
        raise UsageError(f"{exports[0]}: an exported folder answers by itself, expected no further run beside it")
    return read_export(exports[0]) if exports else load_panel(paths)


def write_export(panel: Panel, scales: Sequence[float], card: str, out: Path) -> None:
    """Write ``panel`` into ``out``, which holds ONNX files at most; ``scales`` are what the runs' maps show brightest.

    The list of files comes last: a folder without it is no export.
    """
    for run in panel.runs:
        weights = (run.folder / "weights.safetensors").read_bytes()
        store.write_bytes(out / "runs" / name_of(run) / "weights.safetensors", weights)
    store.write_text(out / "protocol.toml", panel.protocol.to_toml())
    store.write_text(out / PANEL, content_of(panel, scales).model_dump_json(indent=2) + "\n")
    store.write_text(out / CARD, card)
    files = {path.relative_to(out).as_posix(): store.file_sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}
    listed = Listed(tramtrack=version("tramtrack"), files=files)
    store.write_text(out / LIST, listed.model_dump_json(indent=2) + "\n")


def content_of(panel: Panel, scales: Sequence[float]) -> Content:
    """What panel.json says."""
    kept = panel.conformal
    return Content(
        members=tuple(
            Member(
                identity={**run.identity, "weights_source": placeless(str(run.identity.get("weights_source", "")))},
                information=run.information,
                protocol=protocol.model_dump(mode="json"),
                scale=scale,
                calibration=calibration,
            )
            for run, protocol, scale, calibration in zip(panel.runs, panel.protocols, scales, panel.calibrations, strict=True)
        ),
        protocol=panel.protocol.model_dump(mode="json"),
        aggregation=panel.aggregation,
        thresholds=tuple(Decided(unit=unit, rule=rule, found=found) for (unit, rule), found in panel.chosen.thresholds.items()),
        recalibrations=dict(panel.chosen.recalibrations),
        validation=Women.model_validate(panel.validation),
        manufacturers=tuple(sorted(panel.seen.manufacturers)),
        spacings_mm=panel.seen.spacings_mm,
        synthetic=panel.seen.synthetic,
        calibration_with_bac=() if isinstance(kept, str) else tuple(kept.with_bac.tolist()),
        calibration_without_bac=() if isinstance(kept, str) else tuple(kept.without_bac.tolist()),
        no_calibration=kept if isinstance(kept, str) else "",
        spread_limit=panel.spread_limit,
    )


def placeless(source: str) -> str:
    """Where weights came from, without the folders of the machine on which they lay."""
    return re.sub(r"(?<![\w.:/])/(?:[^/\s]+/)+", "", source)


def read_export(folder: Path) -> Panel:
    """The panel in an export, once every file of it is the one that is listed. Raises TramtrackError.

    What that proves is that nothing was changed by accident since it was written, not who wrote it: compare the hash of
    export.json with its author's (`fingerprint`). Nothing in it is run or unpickled. Its women are not known by name or
    picture, so an exam that it was trained on is not recognised.
    """
    listed = _parse(Listed, folder / LIST)
    require_listed(folder, listed.files)
    content = _parse(Content, folder / PANEL)
    runs = tuple(_run(folder, member, listed.files) for member in content.members)
    kept = content.no_calibration or Conformal(
        np.sort(np.array(content.calibration_with_bac)), np.sort(np.array(content.calibration_without_bac))
    )
    protocol, *protocols = (_protocol(one, folder) for one in (content.protocol, *(each.protocol for each in content.members)))
    chosen = Chosen({(each.unit, each.rule): each.found for each in content.thresholds}, content.recalibrations)
    for unit in UNITS:
        if (unit, protocol.evaluation.threshold) not in chosen.thresholds or unit not in chosen.recalibrations:
            raise TramtrackError(f"{folder / PANEL}: lacks what validation decided by {unit}; ask for the folder anew")
    if any(other.prepare != protocols[0].prepare for other in protocols):
        raise TramtrackError(f"{folder / PANEL}: expected runs that see views of one size, found several; ask for it anew")
    return Panel(
        runs=runs,
        protocols=tuple(protocols),
        study=None,
        protocol=protocol,
        aggregation=content.aggregation,
        chosen=chosen,
        validation=content.validation.model_dump(),
        seen=Seen(frozenset(content.manufacturers), content.spacings_mm, content.synthetic, {}, {}),
        conformal=kept,
        spread_limit=content.spread_limit,
        calibrations=tuple(member.calibration for member in content.members),
        scales=tuple(member.scale for member in content.members),
        validation_files=(),
    )


def _run(folder: Path, member: Member, files: dict[str, str]) -> Run:
    """A member as a run whose weights are those that are listed."""
    for part, names in NEEDED.items():
        lacking = [name for name in names if name not in getattr(member, part)]
        if lacking:
            raise TramtrackError(f"{folder / PANEL}: a run lacks {lacking[0]}; ask for the folder anew")
    dtype = member.identity["dtype"]
    if dtype not in ("float32", "bfloat16"):
        raise TramtrackError(f"{folder / PANEL}: expected the dtype float32 or bfloat16, received {dtype!r}; ask for it anew")
    name = f"runs/{name_of(Run(folder, member.identity, member.information))}"
    if files.get(f"{name}/weights.safetensors") != member.information["weights_file_sha256"]:
        raise TramtrackError(f"{folder / name}: not the weights that panel.json speaks of; ask for the folder anew")
    return Run(folder / name, member.identity, member.information)


def require_listed(folder: Path, files: dict[str, str]) -> None:
    """Raise TramtrackError unless the folder holds just these files, each with its hash, of kinds that cannot run code."""
    for name in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or pure.suffix not in KINDS:
            raise TramtrackError(f"{folder / LIST}: lists {name!r}, which has no place in an export; do not use this folder")
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if not path.is_dir()}
    links = [name for name, path in found.items() if path.is_symlink()]
    beyond = sorted(set(found) - set(files) - {LIST})
    lacking = sorted(set(files) - set(found))
    if links or beyond:
        raise TramtrackError(f"{folder}: holds {(links + beyond)[0]}, which its list does not name; do not use this folder")
    if lacking:
        raise TramtrackError(f"{folder}: incomplete, {lacking[0]} is missing; copy the folder anew")
    for name, sha256 in files.items():
        if store.file_sha256(found[name]) != sha256:
            raise TramtrackError(f"{folder / name}: changed since the folder was exported; copy the folder anew")


def fingerprint(folder: Path) -> str:
    """The SHA-256 of an export's list of files, by which two people can tell that they have the same."""
    return store.file_sha256(folder / LIST)


def _parse(model: Any, path: Path) -> Any:
    try:
        return model.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TramtrackError(f"{path}: not as an export has it: {_said(error)}; do not use this folder") from error


def _said(error: OSError | ValidationError) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    first = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))


def _protocol(content: dict[str, Any], folder: Path) -> Protocol:
    try:
        return Protocol.model_validate(content)
    except ValidationError as error:
        raise TramtrackError(
            f"{folder / PANEL}: not a protocol that this version knows ({error.errors()[0]['msg']})"
        ) from error
