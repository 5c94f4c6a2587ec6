"""Where a foreign module can be cut: the modules inside it that run one after the other, seen from one pass of data.

A module is a line of others where the first gets its input, each next one what the last put out, bit for bit, and the last
one's output is its own. That is followed downwards through containers; a block, which has convolutions of its own beside
whatever else it holds, stays whole, and so does a module in which tensors branch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]


@dataclass
class Call:
    """How a module ran: how often, and in its last call what came in and went out, where each was one tensor."""

    times: int = 0
    entered: Tensor | None = None
    left: Tensor | None = None


class Part(nn.Module):
    """Modules of a foreign network that run one after the other.

    ``origins`` are their names there, ``method`` what is called of each. ``channels_last`` says that the last one gives
    (N, H, W, C), which is turned to (N, C, H, W).
    """

    def __init__(self, modules: dict[str, nn.Module], method: str = "forward") -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules.values())
        self.origins = tuple(modules)
        self.method = method
        self.channels_last = False

    def forward(self, x: Tensor) -> tuple[Tensor]:
        """(N, C, H, W) to (N, C', H', W'), as a state."""
        for part in self.parts:
            x = part(x) if self.method == "forward" else getattr(part, self.method)(x)
        return (x.permute(0, 3, 1, 2) if self.channels_last else x,)

    def original_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Every module inside, by its name in the foreign network."""
        for origin, part in zip(self.origins, self.parts, strict=True):
            for name, module in part.named_modules():
                yield ".".join(filter(None, (origin, name))), module


@torch.no_grad()
def trace(model: nn.Module, run: Run, x: Tensor) -> tuple[dict[str, Call], Tensor]:
    """What ``run`` called in ``model`` for ``x``, in order, by module name, and what it gave."""
    calls: dict[str, Call] = {}
    with _watched(model, calls):
        return calls, run(x.clone())


def cut(model: nn.Module, run: Run, x: Tensor, other: Tensor) -> list[Part]:
    """``run``, a method of ``model``, as parts that give the same bits for ``other``; none where it cannot be cut.

    A part begins at a module with a convolution or a fully connected layer that gets (N, C, h, w); normalisations, activations
    and pools that follow belong to it. ``x`` and ``other`` are inputs of different sizes.
    """
    calls, y = trace(model, run, x)
    grouped: list[dict[str, nn.Module]] = []
    for name in _line(model, "", x, y, calls):
        if not name:
            return []
        module, entered = model.get_submodule(name), calls[name].entered
        begins = entered is not None and entered.ndim == 4 and any(p.ndim > 1 for p in module.parameters())
        if begins or not grouped:
            grouped.append({})
        grouped[-1][name] = module
    parts = [Part(group) for group in grouped]
    with torch.no_grad():
        expected, z = run(other.clone()), other.clone()
        for part in parts:
            (z,) = part(z)
    return parts if torch.equal(z, expected) else []


def _line(model: nn.Module, name: str, entered: Tensor | None, left: Tensor | None, calls: dict[str, Call]) -> list[str]:
    """The modules below ``name`` that run one after the other, as deep as that goes; ``name`` itself where tensors branch."""
    if name and _is_block(model.get_submodule(name)):
        return [name]
    below = set(_called_below(model.get_submodule(name), name, calls))
    inside = [called for called in calls if called in below]
    at = entered
    for called in inside:
        call = calls[called]
        if call.times != 1 or not _same(call.entered, at):
            return [name]
        at = call.left
    if not inside or not _same(at, left):
        return [name]
    return [deep for called in inside for deep in _line(model, called, calls[called].entered, calls[called].left, calls)]


def _is_block(module: nn.Module) -> bool:
    """Whether a module other than a plain sequence has a child that is a convolution or a fully connected layer."""
    weighted = any(p.ndim > 1 for child in module.children() for p in child.parameters(recurse=False))
    return weighted and type(module) is not nn.Sequential


def _called_below(module: nn.Module, name: str, calls: dict[str, Call]) -> Iterator[str]:
    """The nearest modules inside that were called; a container whose members are called by others is looked through."""
    for child_name, child in module.named_children():
        full = f"{name}.{child_name}" if name else child_name
        if full in calls:
            yield full
        else:
            yield from _called_below(child, full, calls)


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    return one is not None and other is not None and one.shape == other.shape and torch.equal(one, other)


@contextmanager
def _watched(model: nn.Module, calls: dict[str, Call]) -> Iterator[None]:
    """Note every call of a module inside ``model``; tensors are copied, because some layers write over their input."""

    def before(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            call = calls.setdefault(name, Call())
            call.times += 1
            single = len(arguments) == 1 and not named and isinstance(arguments[0], Tensor)
            call.entered = arguments[0].clone() if single else None

        return note

    def after(name: str) -> Callable[..., None]:
        def note(_module: nn.Module, _arguments: Any, output: Any) -> None:
            calls[name].left = output.clone() if isinstance(output, Tensor) else None

        return note

    hooks = []
    for name, module in model.named_modules():
        if name:
            hooks.append(module.register_forward_pre_hook(before(name), with_kwargs=True))
            hooks.append(module.register_forward_hook(after(name)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
