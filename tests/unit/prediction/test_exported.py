"""An export is read back as it was written, names no folder of the machine that it was made on, and is checked all through."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from tramtrack import store
from tramtrack.commands.export import card
from tramtrack.errors import TramtrackError
from tramtrack.evaluation.aggregate import UNITS
from tramtrack.evaluation.calibration import Recalibration
from tramtrack.evaluation.conformal import Conformal
from tramtrack.evaluation.scores import Undefined
from tramtrack.evaluation.threshold import Threshold
from tramtrack.explain.burden import Calibration
from tramtrack.judgement.scoring import Chosen
from tramtrack.network.build import build
from tramtrack.prediction import reader
from tramtrack.prediction.exported import content_of, placeless, read_export, write_export
from tramtrack.prediction.panel import Panel, Seen
from tramtrack.prediction.predictor import Predictor
from tramtrack.protocol import Prepare, Protocol, Transfer
from tramtrack.training.record import Run
from tramtrack.training.transfer import Classifier

WOMEN = {"n": 20, "positives": 8, "women": 20}
WEIGHTS = "runs/mobilenetv2/last-conv/seed-0/weights.safetensors"


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Panel:
    """One run of random weights, with all that validation and calibration may say of it."""
    protocol = Protocol(prepare=Prepare(height=64, width=48), transfer=Transfer(widths=(16, 8)))
    generator = torch.Generator().manual_seed(9107)
    model = Classifier(build("mobilenetv2", generator), protocol.transfer, generator)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    file = store.write_bytes(tmp_path_factory.mktemp("run") / "weights.safetensors", safetensors.torch.save(state))
    identity = {"network": "mobilenetv2", "variant": "last-conv", "seed": 0, "weights": "random weights", "dtype": "float32"}
    source = {"protocol": protocol.sha256, "weights_source": f"{file.parent}/mobilenetv2.h5"}
    run = Run(file.parent, {**identity, **source}, {"weights_file_sha256": store.file_sha256(file)})
    rule = protocol.evaluation.threshold
    chosen = Chosen(
        {
            ("view", rule): Threshold(rule, "view", 0.25, 0.5, **WOMEN),
            ("breast", rule): Undefined("threshold", "no woman with BAC", **WOMEN),
            ("woman", rule): Threshold(rule, "woman", 0.75, 0.5, **WOMEN),
        },
        {unit: Recalibration(unit, -0.5, 1.5, 0.4, **WOMEN) for unit in UNITS},
    )
    return Panel(
        runs=(run,),
        protocols=(protocol,),
        study=None,
        protocol=protocol,
        aggregation="noisy-or",
        chosen=chosen,
        validation=WOMEN,
        seen=Seen(frozenset({"A", "B"}), (0.07, 0.1), False, {}, {}),
        conformal=Conformal(np.array([0.5, 0.9]), np.array([0.1, 0.2, 0.6])),
        spread_limit=0.125,
        calibrations=(Calibration("mobilenetv2/last-conv/seed-0", "heat map", 0.5, 2.0, 0.1, 1.1, 0.9, 0.7),),
        scales=(3.5,),
        validation_files=(),
    )


@pytest.fixture(scope="module")
def written(panel: Panel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("away") / "export"
    write_export(panel, [3.5], "# A card\n", out)
    return out


def test_an_export_is_read_back_as_it_was_written(panel: Panel, written: Path) -> None:
    found = read_export(written)
    assert content_of(found, [3.5]).model_dump() == content_of(panel, [3.5]).model_dump()
    assert (found.chosen, found.aggregation, found.seen, found.scales) == (panel.chosen, "noisy-or", panel.seen, (3.5,))
    assert isinstance(found.conformal, Conformal) and found.conformal.with_bac.tolist() == [0.5, 0.9]
    text = "".join(path.read_text() for path in written.rglob("*") if path.suffix in (".json", ".toml", ".md"))
    assert str(panel.runs[0].folder) not in text and "mobilenetv2.h5" in text


def listed_again(out: Path, name: str) -> None:
    listed = json.loads((out / "export.json").read_text())
    listed["files"][name] = store.file_sha256(out / name)
    (out / "export.json").write_text(json.dumps(listed))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda told: told["thresholds"].pop(), "lacks what validation decided by woman"),
        (lambda told: told["recalibrations"].pop("view"), "lacks what validation decided by view"),
        (lambda told: told["validation"].pop("positives"), "validation.positives: Field required"),
        (lambda told: told.update(calibration_with_bac=["NaN"]), "calibration_with_bac.0: Input should be"),
        (lambda told: told.update(calibration_without_bac=[1.5]), "calibration_without_bac.0: Input should be less than"),
        (lambda told: told["members"][0]["identity"].pop("weights"), "a run lacks weights"),
        (lambda told: told["members"][0]["information"].clear(), "a run lacks weights_file_sha256"),
        (lambda told: told["members"][0].update(scale="Infinity"), "members.0.scale: Input should be a finite number"),
        (lambda told: told["members"].append(other_size(told["members"][0])), "expected runs that see views of one size"),
        (lambda told: told["members"][0]["identity"].update(seed="../../0"), "not the weights that panel.json speaks of"),
    ],
)
def test_whoever_edits_a_panel_and_lists_it_anew_is_found_out(
    written: Path, tmp_path: Path, change: Callable[[Any], Any], says: str
) -> None:
    copy = shutil.copytree(written, tmp_path / "export")
    told = json.loads((copy / "panel.json").read_text())
    change(told)
    (copy / "panel.json").write_text(json.dumps(told))
    listed_again(copy, "panel.json")
    with pytest.raises(TramtrackError, match=re.escape(says)):
        read_export(copy)


def other_size(member: dict[str, Any]) -> dict[str, Any]:
    other = json.loads(json.dumps(member))
    other["protocol"]["prepare"]["height"] *= 2
    return other


def test_a_strangers_card_cannot_write_over_your_terminal(
    written: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(written, tmp_path / "export")
    (copy / "CARD.md").write_bytes(b"# A card\n\x1b[2J\x1b]0;title\x07 of \xff ours\n")
    listed_again(copy, "CARD.md")
    card(copy)
    said = capsys.readouterr().out
    assert said.startswith("# A card\n[2J]0;title of \ufffd ours\n") and said.replace("\n", "").isprintable()


@pytest.mark.parametrize("content", [b"no tensors", safetensors.torch.save({"x": torch.zeros(1)})])
def test_weights_of_something_else_are_said_in_one_line(written: Path, tmp_path: Path, content: bytes) -> None:
    copy = shutil.copytree(written, tmp_path / "export")
    (copy / WEIGHTS).write_bytes(content)
    listed_again(copy, WEIGHTS)
    told = json.loads((copy / "panel.json").read_text())
    told["members"][0]["information"]["weights_file_sha256"] = store.file_sha256(copy / WEIGHTS)
    (copy / "panel.json").write_text(json.dumps(told))
    listed_again(copy, "panel.json")
    with pytest.raises(TramtrackError, match="its weights do not fit mobilenetv2") as error:
        Predictor(copy, device="cpu", processes=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("said", ["can't allocate memory: you tried to allocate 9437184 bytes", "CUDA error: no kernel image"])
def test_no_memory_is_not_the_weights_fault(written: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(reader, "rebuild", fail)
    with pytest.raises(RuntimeError, match=said[:16]):
        Predictor(written, device="cpu", processes=0)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/home/me/weights/vgg16.safetensors", "vgg16.safetensors"),
        ("file /home/me/vgg16.h5, imported", "file vgg16.h5, imported"),
        ("wheel keras-x==1.0, keras/weights/vgg16.h5", "wheel keras-x==1.0, keras/weights/vgg16.h5"),
        ("https://example.org/a/b/vgg16.h5", "https://example.org/a/b/vgg16.h5"),
    ],
)
def test_where_weights_came_from_says_no_folder(source: str, said: str) -> None:
    assert placeless(source) == said
