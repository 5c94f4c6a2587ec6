"""Challengers without timm: their names, the refusal where timm is missing, and where a foreign module can be cut."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tramtrack.errors import UsageError
from tramtrack.network.build import build
from tramtrack.network.cutting import cut
from tramtrack.network.registry import NETWORKS, file_stem, known_name, place, title
from tramtrack.study import Study
from tramtrack.training.policies import Adapter
from tramtrack.training.record import RunKey

X, OTHER = (torch.randn(shape, generator=torch.Generator().manual_seed(1)) for shape in ((1, 3, 16, 12), (2, 3, 12, 20)))


def test_a_challenger_is_named_after_timms_model():
    assert known_name("timm:convnext_tiny.fb_in1k") == "timm:convnext_tiny.fb_in1k"
    assert (title("timm:convnext_tiny"), title("vgg16"), title("other")) == ("convnext_tiny (timm)", "VGG16", "other")
    with pytest.raises(UsageError, match="expected timm:<model>"):
        known_name("timm:../convnext")
    with pytest.raises(UsageError, match="did you mean vgg16"):
        known_name("vgg-16")


def test_the_eleven_come_first_and_challengers_by_name():
    names = ["timm:resnet50", "densenet201", "timm:convnext_tiny", "xception"]
    assert sorted(names, key=place) == ["xception", "densenet201", "timm:convnext_tiny", "timm:resnet50"]
    by_name = sorted(NETWORKS)
    assert sorted(by_name, key=place) == list(NETWORKS)


def test_no_path_holds_a_colon():
    assert RunKey("timm:resnet10t", "head", 1).folder(Path("runs")) == Path("runs/timm-resnet10t/head/seed-1")
    assert file_stem("vgg16") == "vgg16"


def test_without_timm_a_challenger_is_refused_with_the_install_command(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "timm", None)
    for work in (lambda: build("timm:resnet10t"), lambda: Study(tmp_path / "none", "demo").run(["vgg16", "timm:resnet10t"])):
        with pytest.raises(UsageError, match=r'networks called timm:<model> need timm.*pip install "\.\[timm\]"'):
            work()
    assert not (tmp_path / "none").exists()


class Block(nn.Module):
    """A residual block: its tensors branch, so it cannot be cut inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(x))


class Foreign(nn.Module):
    """A stem, a container that is looked through, a normalisation behind it, and a classifier that is never called."""

    def __init__(self, *, scaled: bool = False) -> None:
        super().__init__()
        self.scaled = scaled
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.stages = nn.ModuleList([nn.Sequential(Block(), Block()), nn.Sequential(Block())])
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 10)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x * 2 if self.scaled else x)
        return self.act(self.norm(x))


def test_a_foreign_network_is_cut_between_its_blocks():
    model = Foreign().eval()
    parts = cut(model, model.forward_features, X, OTHER)
    assert [part.origins for part in parts] == [("stem",), ("stages.0.0",), ("stages.0.1",), ("stages.1.0", "norm", "act")]
    names = [name for part in parts for name, _ in part.original_modules()]
    assert "stages.0.1.conv2" in names and "norm" in names and "fc" not in names
    with torch.no_grad():
        x = OTHER
        for part in parts:
            (x,) = part(x)
        assert torch.equal(x, model.forward_features(OTHER))


def test_what_stands_between_the_modules_forbids_a_cut():
    model = Foreign(scaled=True).eval()
    assert cut(model, model.forward_features, X, OTHER) == []


class Branching(nn.Module):
    """Two plain sequences side by side: a container, but no line."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.left(x) + self.right(x)


def test_a_module_in_which_tensors_branch_stays_whole_and_the_rest_is_cut():
    model = nn.Sequential(Branching(), nn.Conv2d(3, 5, 3)).eval()
    parts = cut(model, model.forward, X, OTHER)
    assert [part.origins for part in parts] == [("0",), ("1",)]


class Fickle(Foreign):
    """Does something else for a large image, which only the second input shows."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        y = super().forward_features(x)
        return y + 1 if x.shape[3] > 12 else y


def test_parts_must_also_give_the_same_for_another_size():
    model = Fickle().eval()
    assert cut(model, model.forward_features, X, OTHER) == []


def test_an_adapter_starts_as_nothing_on_a_map_with_negative_values():
    x = torch.randn((2, 64, 3, 2), generator=torch.Generator().manual_seed(2))
    signed, cut_off = (Adapter(64, torch.Generator().manual_seed(0), signed=signed) for signed in (True, False))
    assert torch.equal(signed(x), x)
    assert torch.equal(cut_off(x), x.relu())
