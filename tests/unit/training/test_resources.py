"""What a network costs: measured within the memory that training itself takes, and nothing is left behind."""

from __future__ import annotations

import pytest
import torch

from tramtrack.protocol import Training
from tramtrack.training.resources import seconds_a_view_uncached

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("policy", "batch", "views_at_once", "parts"),
    [("full", 8, 1, {1}), ("full", 8, 3, {3}), ("full", 2, 8, {2}), ("last-conv", 8, 2, {2}), ("last-conv", 8, 8, {4})],
)
def test_no_more_views_are_in_memory_than_training_holds(policy, batch, views_at_once, parts, make_classifier, monkeypatch):
    model = make_classifier("mobilenetv2", policy=policy)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    seen, prepare = [], type(model.backbone).prepare_input

    def counted(backbone, grey):
        seen.append(len(grey))
        return prepare(backbone, grey)

    monkeypatch.setattr(type(model.backbone), "prepare_input", counted)
    settings = Training(batch_size=batch, views_at_once=views_at_once)
    step, forward = seconds_a_view_uncached(model, (64, 32), settings, dtype=torch.float32, device=CPU, batches=1)
    assert set(seen) == parts and step > 0 < forward
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
