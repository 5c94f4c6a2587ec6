"""The variants that a protocol's factors cross, and which of them a network follows. Needs no torch.

A variant is the protocol with some settings changed: transfer policy, BatchNorm policy, stride, input size. Where that would
change nothing in a network (a VGG has no BatchNorm, and is at stride 16 as it is) another of its variants stands for that one,
and nothing is trained twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from tramtrack.network.registry import NetworkFacts
from tramtrack.protocol import Factors, Protocol
from tramtrack.training.record import PRETRAINED, RANDOM_WEIGHTS, variant_name

EQUAL_SLICE = 36_864
"""Weights that the policy equal-slice trains; a DenseNet's whole last convolution has as many."""

Levels = dict[str, str]


@dataclass(frozen=True)
class Variant:
    """One combination of levels: ``levels`` maps each crossed factor to its level, ``protocol`` is the study's with them."""

    protocol: Protocol
    levels: Levels
    size: str = ""

    def name(self, weights: str = PRETRAINED) -> str:
        """Its folder's name below runs/<network>/; ``size`` stands in it where it is not the study's own."""
        return variant_name(self.protocol.transfer, weights, self.size)


def crossed(protocol: Protocol) -> dict[str, tuple[str, ...]]:
    """Factor -> levels, the protocol's own first, for each factor that has another level beside it."""
    transfer, prepare = protocol.transfer, protocol.prepare
    own = {
        "policy": transfer.policy,
        "batchnorm": transfer.batchnorm,
        "stride": str(transfer.stride),
        "size": f"{prepare.height}x{prepare.width}",
    }
    listed = {name: (level, *map(str, getattr(protocol.factors, name))) for name, level in own.items()}
    found = {name: tuple(dict.fromkeys(levels)) for name, levels in listed.items()}
    return {name: levels for name, levels in found.items() if len(levels) > 1}


def variants(protocol: Protocol) -> list[Variant]:
    """Every combination of the levels, the protocol's own first."""
    factors = crossed(protocol)
    return [_variant(protocol, dict(zip(factors, levels, strict=True))) for levels in product(*factors.values())]


def _variant(protocol: Protocol, levels: Levels) -> Variant:
    chosen: dict[str, str | int] = {name: levels[name] for name in ("policy", "batchnorm") if name in levels}
    chosen |= {"stride": int(levels["stride"])} if "stride" in levels else {}
    prepare, own = protocol.prepare, f"{protocol.prepare.height}x{protocol.prepare.width}"
    size = levels.get("size", own)
    if size != own:
        height, width = map(int, size.split("x"))
        prepare = prepare.model_copy(update={"height": height, "width": width})
    changed = {"transfer": protocol.transfer.model_copy(update=chosen), "prepare": prepare, "factors": Factors()}
    return Variant(protocol.model_copy(update=changed), levels, "" if size == own else size)


def followed(facts: NetworkFacts | None, levels: Levels, factors: Mapping[str, tuple[str, ...]]) -> tuple[Levels, str]:
    """The levels that a network follows in place of ``levels``, and why they are others; no reason where they are the same.

    ``facts`` None: nothing is known of the network, and it follows all.
    """
    found, reasons = dict(levels), []

    def first(factor: str, why: str) -> None:
        if levels[factor] != factors[factor][0]:
            reasons.append(f"{factor} {levels[factor]} changes nothing in it: {why}")
        found[factor] = factors[factor][0]

    if facts is None:
        return found, ""
    if "batchnorm" in factors and not facts.batchnorm_layers:
        first("batchnorm", "it has no BatchNorm")
    if "stride" in factors and facts.stride <= 16:
        first("stride", f"it is at stride {facts.stride} as it is")
    policies = factors.get("policy", ())
    if levels.get("policy") == "equal-slice" and "last-conv" in policies and facts.last_conv_parameters == EQUAL_SLICE:
        reasons.append(f"policy equal-slice is its last-conv, which has {EQUAL_SLICE:,} weights")
        found["policy"] = "last-conv"
    return found, "; ".join(reasons)


def in_words(levels: Mapping[str, str], own: Mapping[str, str]) -> str:
    """The levels that differ from ``own``, such as "policy full, stride 16"; "the protocol's own" where none does."""
    parts = [f"{name} {level}" for name, level in levels.items() if level != own[name]]
    return ", ".join(parts) or "the protocol's own"


def without_weights(variant: str) -> str:
    """A variant's folder name without what it says of random weights."""
    return variant.removesuffix("+" + RANDOM_WEIGHTS.replace(" ", "-"))
