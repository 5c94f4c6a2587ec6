"""A training that is killed, for tests: it ends right behind one of its checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

import pytest


class Killed(Exception):
    """Stands for a kill."""


def dying(loop: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], AbstractContextManager[None]]:
    """``with dying(loop, monkeypatch)(n):`` a training by ``loop`` that ends right behind its n-th checkpoint."""

    @contextmanager
    def until(epoch: int):
        real = loop.save_checkpoint

        def save(path, model, optimiser, best, history):
            real(path, model, optimiser, best, history)
            if len(history) == epoch:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(loop, "save_checkpoint", save)
            yield

    return until
