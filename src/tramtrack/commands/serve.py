"""The verb of the service: ``tramtrack serve``."""

from __future__ import annotations

from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from tramtrack.commands.options import Alpha, Device, Prevalence
from tramtrack.errors import TramtrackError


def serve(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="A run's folder, or the one above: all seeds together.")],
    jobs: Annotated[Path, typer.Option("--jobs", help="Where exams wait and results are kept.")] = Path("jobs"),
    host: Annotated[str, typer.Option("--host", help="Where to listen; beyond this machine with a token only.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 8000,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", help="A file with the token; or set the variable TRAMTRACK_TOKEN.")
    ] = None,
    prevalence: Prevalence = None,
    alpha: Alpha = None,
    key: Annotated[Path | None, typer.Option("--key", help="The key file of the pseudonyms; default: your own.")] = None,
    device: Device = "auto",
    upload_mib: Annotated[int, typer.Option("--upload-mib", min=1, help="An upload's size at most, MiB.")] = 512,
    unpacked_mib: Annotated[int, typer.Option("--unpacked-mib", min=1, help="A zip's size unpacked at most, MiB.")] = 2048,
    files: Annotated[int, typer.Option("--files", min=1, max=5000, help="Files of an exam at most.")] = 500,
    upload_seconds: Annotated[float, typer.Option("--upload-seconds", min=1, help="An upload's time at most.")] = 300,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="A prediction's time at most.")] = 300,
    queue: Annotated[int, typer.Option("--queue", min=1, max=10_000, help="Exams that may wait.")] = 20,
    keep_hours: Annotated[float, typer.Option("--keep-hours", min=0.01, help="How long results are kept.")] = 24,
) -> None:
    """Predict as an HTTP service: upload DICOM files or a zip of one exam, ask for the job, fetch its results."""
    for package in ("fastapi", "uvicorn", "python_multipart"):
        if find_spec(package) is None:
            raise TramtrackError(f"serve needs the package {package}: pip install 'tramtrack[serve]'")
    from tramtrack.cohort.privacy import require_key
    from tramtrack.errors import UsageError
    from tramtrack.service.access import read_token
    from tramtrack.service.limits import MIB, Limits
    from tramtrack.service.predictor import load
    from tramtrack.service.server import serve as run

    if str(key) == "none":
        raise UsageError("--key none: the service answers under pseudonyms; name a key file, or leave it out for your own")
    require_key(key)
    limits = Limits(
        upload_bytes=upload_mib * MIB,
        unpacked_bytes=unpacked_mib * MIB,
        files=files,
        upload_seconds=upload_seconds,
        prediction_seconds=seconds,
        waiting=queue,
        keep=keep_hours * 3600,
    )
    networks = partial(load, tuple(map(str, runs)), prevalence, alpha, None if key is None else str(key), device)
    run(networks, jobs, host, port, read_token(token_file), limits)
