"""The verbs that need no study: the plan of one, the networks, the policies, the protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tramtrack.commands.options import AsJson
from tramtrack.console import print_json, say, table
from tramtrack.network.registry import NETWORKS
from tramtrack.protocols import presets

ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help=f"A preset ({', '.join(presets())}) or a .toml file; default: mobini-2024.")
]


def plan(
    difference: Annotated[float, typer.Option("--difference", help="How much lower the other network's AUC is.")] = 0.05,
    auc: Annotated[float, typer.Option("--auc", help="The better network's AUC.")] = 0.85,
    prevalence: Annotated[float, typer.Option("--prevalence", help="Share of women with BAC.")] = 0.13,
    unit: Annotated[str, typer.Option("--unit", help="What the AUC is by: woman or view.")] = "woman",
    within: Annotated[float | None, typer.Option("--within", help="Correlation of a woman's views; 0.4 if not known.")] = None,
    between: Annotated[float | None, typer.Option("--between", help="Correlation of two networks; 0.5 if not known.")] = None,
    study: Annotated[Path | None, typer.Option("--study", help="Take the correlations from its validation fold.")] = None,
    views: Annotated[int, typer.Option("--views", help="Views of a woman.")] = 4,
    power: Annotated[float, typer.Option("--power", help="How often the difference should be found.")] = 0.8,
    alpha: Annotated[float, typer.Option("--alpha", help="Two-sided level for all pairs together.")] = 0.05,
    pairs: Annotated[int, typer.Option("--pairs", help="Pairs compared; eleven networks have 55.")] = 1,
    replicates: Annotated[int, typer.Option("--replicates", min=50, max=100_000, help="Cohorts simulated at each size.")] = 400,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same plan.")] = 2024,
    as_json: AsJson = False,
) -> None:
    """How many women a study needs to tell two networks apart, by simulation."""
    from dataclasses import asdict

    from tramtrack.judgement.planner import make_plan

    given = {"prevalence": prevalence, "auc": auc, "difference": difference, "unit": unit, "views": views}
    found = make_plan({**given, "power": power, "alpha": alpha, "pairs": pairs}, within, between, study, replicates, seed)
    if as_json:
        print_json({**asdict(found.plan), "within_from": found.within_from, "between_from": found.between_from})
        return
    for line in found.lines():
        say(line)


def networks(as_json: AsJson = False) -> None:
    """The eleven networks and what is known of each."""
    from dataclasses import asdict

    if as_json:
        print_json([asdict(network) for network in NETWORKS.values()])
        return
    rows = [
        {
            "name": network.name,
            "network": network.title,
            "family": network.family,
            "depth": str(network.depth),
            "parameters": f"{network.parameters:,}",
            "last convolution": f"{network.last_conv} ({network.last_conv_parameters:,})",
            "stride": str(network.stride),
        }
        for network in NETWORKS.values()
    ]
    table(rows, "The networks of the study, without their classifiers")


def policies(protocol: ProtocolName = None, as_json: AsJson = False) -> None:
    """How many weights each transfer policy trains in each network."""
    from tramtrack.protocol import Protocol
    from tramtrack.training.census import count_trained

    rows = count_trained(Protocol.load(protocol or "mobini-2024").transfer)
    if as_json:
        print_json(rows)
        return
    order = ["network", "base", *(name for name in rows[0] if name not in ("network", "base", "new layers")), "new layers"]
    shown = [{name: f"{row[name]:,}" if isinstance(row[name], int) else str(row[name]) for name in order} for row in rows]
    table(shown, "Weights that training changes, by transfer policy; the new layers are trained by all of them")


def protocol(
    name: Annotated[str, typer.Argument(help="A preset or a .toml file.")] = "mobini-2024", as_json: AsJson = False
) -> None:
    """Print a protocol, every setting of it, as TOML to start your own from; --json adds units, meanings and whose choice."""
    from tramtrack.protocol import Protocol

    chosen = Protocol.load(name)
    print_json(chosen.settings()) if as_json else print(chosen.to_toml(), end="")
