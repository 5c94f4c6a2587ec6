"""Options that several verbs have, each said once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tramtrack.protocols import presets

StudyFolder = Annotated[Path, typer.Argument(help="The study's folder.")]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help=f"A preset ({', '.join(presets())}) or a .toml file; default: the study's own.")
]
NetworkNames = Annotated[
    str | None,
    typer.Option(
        "--networks", help="Names with commas between, see `tramtrack networks`, or timm:<model>; default: all eleven."
    ),
]
EvaluatedNames = Annotated[
    str | None, typer.Option("--networks", help="Names with commas between; default: every network with a finished run.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Weights = Annotated[str, typer.Option("--weights", help="pretrained, or random for a control that is never ranked.")]
WeightsDir = Annotated[
    Path | None, typer.Option("--weights-dir", help="A folder with weight files, where there is no internet.")
]
Cache = Annotated[
    Literal["auto", "on", "off"],
    typer.Option("--cache", help="Keep the frozen trunk's activations on disk; auto: where the policy allows it."),
]
StudyDevice = Annotated[
    str, typer.Option("--device", help="auto (CUDA where there is one), cpu, cuda (one run a GPU), or one GPU, such as cuda:1.")
]
EngineName = Annotated[
    Literal["local", "ray"],
    typer.Option("--engine", help="local: this machine; ray: a Ray cluster (extra cluster), the study on shared storage."),
]
CpusPerRun = Annotated[
    int | None, typer.Option("--cpus-per-run", min=1, help="With --engine ray: CPUs, and threads, of each run; default: 2.")
]
GpusPerRun = Annotated[
    float | None,
    typer.Option("--gpus-per-run", min=0, help="With --engine ray: GPUs of each run; default: one where there are any."),
]
FactorLevels = Annotated[
    list[str] | None,
    typer.Option(
        "--factors",
        help="Variants to cross beside the protocol's own: policy=, batchnorm=, stride= or size= with levels; once a factor.",
    ),
]
Repeats = Annotated[
    int | None, typer.Option("--repeats", min=1, max=100, help="Splits of the cohort, each with runs of its own; default: 1.")
]
Processes = Annotated[int, typer.Option("--processes", min=1, max=256, help="Worker processes.")]
Device = Annotated[str, typer.Option("--device", help="auto (CUDA where there is one), cpu, or cuda:1.")]
Key = Annotated[
    str | None, typer.Option("--key", help="The key file of the pseudonyms, or none for plain names; default: your own.")
]
Prevalence = Annotated[
    float | None, typer.Option("--prevalence", help="Share of women with BAC for the probability; default: the protocol's.")
]
Alpha = Annotated[
    float | None,
    typer.Option("--alpha", help="Error rate of BAC likely and BAC unlikely in each class; default: the protocol's."),
]
