"""Which runs of a study are finished, which are still missing, and what was left out and why. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tramtrack import store
from tramtrack.errors import TramtrackError
from tramtrack.network.registry import place
from tramtrack.protocol import Protocol
from tramtrack.training.record import Run, load_run
from tramtrack.training.variants import crossed, followed, variants, without_weights


def finished_runs(study: Path) -> list[Run]:
    """All finished runs: the eleven networks in the registry's order, then challengers by name; by variant and seed."""
    found = [load_run(path.parent) for path in (study / "runs").glob("*/*/seed-*/run.json")]
    return sorted(
        (run for run in found if run is not None),
        key=lambda run: (place(run.key.network), run.key.variant, run.key.seed),
    )


def listed_runs(study: Path, protocol: Protocol) -> list[Run]:
    """The finished runs of the variants that the protocol lists, without those of what is left out, see `left_out`."""
    listed, out = {variant.name() for variant in variants(protocol)}, left_out(study, protocol)
    return [
        run
        for run in finished_runs(study)
        if without_weights(run.key.variant) in listed and not out.keys() & {run.key.network, _name_without_weights(run)}
    ]


def complete_runs(study: Path, protocol: Protocol, networks: Sequence[str] | None) -> list[Run]:
    """The finished runs of these networks (all if None), every listed variant and seed, made from the folds as they are.

    What is left out has none here, whatever seeds of it are finished: to keep those that did not fail would be a selection.
    Raises TramtrackError naming what is not finished yet, or was trained on other folds.
    """
    runs = [run for run in listed_runs(study, protocol) if networks is None or run.key.network in networks]
    out, factors = left_out(study, protocol), crossed(protocol)
    without = set(networks or ()) - {run.key.network for run in runs}
    missing = sorted(network for network in without if not is_left_out(network, out, protocol))
    own, *others = variants(protocol)
    for network, weights in dict.fromkeys((run.key.network, run.weights) for run in runs):
        mine = [run for run in runs if (run.key.network, run.weights) == (network, weights)]
        for variant in (own, *others):
            name = network if variant is own else f"{network}/{variant.name()}"
            if out.keys() & {network, f"{network}/{variant.name()}"} or followed(mine[0].facts, variant.levels, factors)[1]:
                continue
            done = {run.key.seed for run in mine if run.key.variant == variant.name(weights)}
            missing += [f"{name} seed {seed}" for seed in protocol.training.seeds if seed not in done]
    if missing:
        raise TramtrackError(f"{study}: not finished yet: {', '.join(missing)}; run `tramtrack run {study}`")
    if not runs:
        raise TramtrackError(f"{study}: no finished run to evaluate; run `tramtrack run {study}`")
    folds = store.file_sha256(study / "cohort" / "folds.csv")
    other = [str(run.folder) for run in runs if run.identity["folds"] != folds]
    if other:
        raise TramtrackError(f"{other[0]}: trained on other folds than this study has now; remove it to train it again")
    return runs


def left_out(study: Path, protocol: Protocol) -> dict[str, str]:
    """Networks and variants (network/variant) that could not take part, with the reason; not those that are done by now.

    A network stands for all its variants. Done is what has every seed, with whatever weights it was begun.
    """
    path = study / "runs" / "left_out.json"
    found = store.read_json(path) if path.exists() else {}
    if not found:
        return {}
    own, seeds = variants(protocol)[0].name(), set(protocol.training.seeds)
    finished: dict[tuple[str, str], set[int]] = {}
    for run in finished_runs(study):
        finished.setdefault((_name_without_weights(run), run.weights), set()).add(run.key.seed)
    partly = {name for (name, _), done in finished.items() if not seeds <= done}
    whole = {name for name, _ in finished} - partly
    return {name: why for name, why in found.items() if (name if "/" in name else f"{name}/{own}") not in whole}


def is_left_out(network: str, out: Mapping[str, str], protocol: Protocol) -> bool:
    """Whether nothing of ``network`` takes part, ``out`` being what is left out: itself, or each of its variants."""
    return network in out or {f"{network}/{variant.name()}" for variant in variants(protocol)} <= out.keys()


def leave_out(study: Path, reasons: Mapping[str, str]) -> None:
    """Write down what is left out, for the first time or anew."""
    path = study / "runs" / "left_out.json"
    if reasons or path.exists():
        store.write_json(path, dict(reasons))


def _name_without_weights(run: Run) -> str:
    return f"{run.key.network}/{without_weights(run.key.variant)}"
