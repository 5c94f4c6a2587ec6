"""The verbs of the PACS loop: ``tramtrack listen``, ``queue`` and ``pull``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tramtrack.commands.options import Alpha, AsJson, Device, Key, Prevalence
from tramtrack.console import print_json, say, table

QueueFolder = Annotated[Path, typer.Argument(help="The folder of a node's queue.")]
Authorization = Annotated[
    Path | None,
    typer.Option("--authorization", help="A file with the value of the header Authorization for DICOMweb, in one line."),
]


def listen(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Runs that answer together, as for predict.")],
    queue: Annotated[Path, typer.Option("--queue", help="Where exams wait: a folder on a local disk.")],
    callers: Annotated[
        list[str], typer.Option("--from", help="TITLE@host of an application entity that may send; may be repeated.")
    ],
    destination: Annotated[str, typer.Option("--to", help="Where results go: TITLE@host:port, or a DICOMweb address.")],
    title: Annotated[str, typer.Option("--title", help="The node's own AE title.")] = "TRAMTRACK",
    address: Annotated[
        str, typer.Option("--address", help="Where to listen; the default is this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: one that is free.")] = 11112,
    status_port: Annotated[
        int, typer.Option("--status-port", min=-1, max=65535, help="Of the status page on 127.0.0.1; -1: none.")
    ] = 11180,
    quiet: Annotated[float, typer.Option("--quiet", help="Seconds without a new image after which an exam is answered.")] = 600,
    settle: Annotated[float, typer.Option("--settle", help="The same for a complete exam: four standard views.")] = 15,
    keep_hours: Annotated[float, typer.Option("--keep-hours", help="Hours after which a finished exam's files go.")] = 24,
    most_mib: Annotated[int, typer.Option("--most-mib", min=1, max=4096, help="The largest image that is taken, MiB.")] = 256,
    images_a_minute: Annotated[
        int, typer.Option("--images-a-minute", min=1, help="The most that one application entity may send.")
    ] = 600,
    patience: Annotated[float, typer.Option("--patience", help="Seconds in which an image must have come whole.")] = 120,
    keep_free_mib: Annotated[
        int, typer.Option("--keep-free-mib", min=1, help="Below so much free disk, MiB, no image is taken.")
    ] = 1024,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="A prediction's time at most.")] = 300,
    results: Annotated[
        str, typer.Option("--results", help="What is sent, with commas between; without what the archive does not take.")
    ] = "sr,cad,sc,map,seg,pr",
    prevalence: Prevalence = None,
    alpha: Alpha = None,
    key: Key = None,
    authorization: Authorization = None,
    device: Device = "auto",
) -> None:
    """Be a DICOM node: take exams in, answer each when it is complete or quiet, and send the results back."""
    _need_pacs()
    from tramtrack.cohort.privacy import choose, require_key
    from tramtrack.dicomout.names import kinds_of
    from tramtrack.errors import UsageError
    from tramtrack.node import addresses, log
    from tramtrack.node.dicomweb import read_authorization
    from tramtrack.node.listen import Node
    from tramtrack.node.settings import MIB, Limits, Settings

    if prevalence is not None and not 0 < prevalence < 1:
        raise UsageError(f"prevalence {prevalence}: expected a share between 0 and 1")
    kinds = kinds_of(results)
    require_key(key)
    word = read_authorization(authorization)
    if word is not None and not addresses.is_web(destination):
        raise UsageError(f"--authorization: expected a DICOMweb address behind --to, received {destination}; it takes none")
    settings = Settings(
        queue=queue,
        callers=tuple(addresses.caller(text) for text in callers),
        destination=addresses.web(destination, word is not None)
        if addresses.is_web(destination)
        else addresses.called(destination),
        title=addresses.title(title),
        address=address,
        port=port,
        status_port=None if status_port < 0 else status_port,
        quiet_seconds=quiet,
        settle_seconds=settle,
        keep_hours=keep_hours,
        authorization=word,
        key=choose(key, queue, None).key,
        limits=Limits(
            instance_bytes=most_mib * MIB,
            images_a_minute=images_a_minute,
            message_seconds=patience,
            free_bytes=keep_free_mib * MIB,
        ),
    )
    from tramtrack.prediction.for_node import answerer

    log.to_standard_error()
    said: dict[str, Any] = {"prevalence": prevalence, "alpha": alpha, "key": key, "device": device, "kinds": kinds}
    with answerer(runs, **said, seconds=seconds) as answers, Node(settings, answers) as node:
        say(f"{settings.title} listens on {settings.address}:{node.port}; results go to {settings.destination}")
        if settings.status_port is not None:
            say(f"the status page is http://127.0.0.1:{node.status_port}/")
        node.wait()


def queue(
    folder: QueueFolder,
    retry: Annotated[
        str | None,
        typer.Option("--retry", help="An exam's name, or all: try at once what waits after a failure or was set aside."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="List the exams that are done as well.")] = False,
    as_json: AsJson = False,
) -> None:
    """What waits in a node's queue, what is in trouble, and when it is tried again. The node may run meanwhile."""
    import time

    from tramtrack.node.queue import Queue

    found = Queue(folder, must_exist=True)
    retried = None if retry is None else found.retry(None if retry == "all" else retry)
    counts, troubles, exams = found.counts(), found.troubles(), found.exams(finished=everything)
    if as_json:
        kept = (
            "name",
            "study",
            "folder",
            "state",
            "views",
            "images",
            "results",
            "sent",
            "attempts",
            "reason",
            "due_at",
            "first_at",
            "last_at",
        )
        print_json(
            {
                "counts": counts,
                "troubles": [trouble.__dict__ for trouble in troubles],
                "exams": [{name: exam[name] for name in kept} for exam in exams],
                **({} if retried is None else {"retried": retried}),
            }
        )
        return
    now = time.time()
    if retried is not None:
        say(f"{retried} {'exam is' if retried == 1 else 'exams are'} tried again")
    for trouble in troubles:
        say(
            f"{trouble.what} in trouble for {_span(now - trouble.since)}, attempts: {trouble.attempts}, "
            f"the next in {_span(trouble.next_at - now)}: {trouble.reason}"
        )
    table([_row(exam, now) for exam in exams], f"Exams in {folder}")
    say(", ".join(f"{count} {name}" for name, count in counts.items()))


def pull(
    address: Annotated[str, typer.Argument(help="The DICOMweb service, such as https://pacs.example/dicom-web.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the exam's images.")],
    study: Annotated[str, typer.Option("--study", help="The exam's Study Instance UID.")] = "",
    accession: Annotated[str, typer.Option("--accession", help="The exam's accession number.")] = "",
    patient: Annotated[str, typer.Option("--patient", help="The PatientID, with --date where there are several exams.")] = "",
    date: Annotated[str, typer.Option("--date", help="The exam's date, YYYYMMDD.")] = "",
    authorization: Authorization = None,
) -> None:
    """Fetch one exam's mammograms from a DICOMweb service (QIDO-RS, WADO-RS) into a folder."""
    _need_pacs()
    from tramtrack.node.dicomweb import read_authorization
    from tramtrack.node.pull import pull as fetch

    word = read_authorization(authorization)
    done = fetch(address, out, study=study, accession=accession, patient=patient, date=date, authorization=word)
    say(f"{done.fetched} images fetched, {done.there} were there already: {done.folder}")


def _need_pacs() -> None:
    from importlib.util import find_spec

    from tramtrack.errors import UsageError

    missing = [
        name for name, module in (("pynetdicom", "pynetdicom"), ("dicomweb-client", "dicomweb_client")) if not find_spec(module)
    ]
    if missing:
        raise UsageError(f"{' and '.join(missing)}: not installed; pip install 'tramtrack[pacs]' brings what this verb needs")


def _row(exam: dict[str, Any], now: float) -> dict[str, str]:
    waiting = exam["state"] in ("receiving", "sending")
    return {
        "exam": exam["name"],
        "state": exam["state"],
        "views": f"{exam['views']} of 4",
        "images": str(exam["images"]),
        "sent": f"{exam['sent']} of {exam['results']}",
        "since": _span(now - exam["first_at"]),
        "next step in": _span(exam["due_at"] - now) if waiting else "",
        "attempts": str(exam["attempts"] or ""),
        "reason": exam["reason"],
    }


def _span(seconds: float) -> str:
    """A time in the largest unit that leaves a whole number: 0 s, 90 s, 14 min, 3 h, 2 d."""
    for unit, length in (("d", 172800), ("h", 7200), ("min", 120)):
        if seconds >= length:
            return f"{seconds / (length // 2):.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"
