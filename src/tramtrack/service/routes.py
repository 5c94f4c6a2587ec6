"""What can be asked about jobs, and how it is described in openapi.json."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool, run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.requests import ClientDisconnect

from tramtrack.prediction.answer import Answer
from tramtrack.service.guard import LOG
from tramtrack.service.jobs import Job, Jobs
from tramtrack.service.limits import MIB, Limits, Refused
from tramtrack.service.upload import FIELD, receive

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="the id that the upload was answered with")]
Most = Annotated[int, Query(ge=1, le=1000, description="how many at most")]
ACCEPTED = {
    "description": "The exam waits for its turn",
    "headers": {"Location": {"description": "the job's address", "schema": {"type": "string"}}},
    "links": {
        name: {"operationId": name, "parameters": {"job": "$response.body#/id"}}
        for name in ("status", "prediction", "page", "heatmaps", "dicom", "delete")
    },
}


class Problem(BaseModel):
    """What is wrong, and what is expected."""

    model_config = ConfigDict(extra="forbid")
    detail: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that an address may answer with."""
    return {status: {"model": Problem} for status in statuses}


def _file(kind: str) -> dict[int | str, dict[str, Any]]:
    """A result that is a file, and the errors that may come in its place."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"content": content, "description": "The file"}, **problems(404, 409, 422)}


def _form(limits: Limits) -> dict[str, Any]:
    """The body of an upload. It is described here and read in `upload`, since the framework would read it before the token."""
    files = {
        "type": "array",
        "minItems": 1,
        "maxItems": limits.files,
        "items": {"type": "string", "format": "binary"},
        "description": "the DICOM files of one exam, or one zip of them",
    }
    form = {"type": "object", "required": [FIELD], "additionalProperties": False, "properties": {FIELD: files}}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": form}}}}


def job_routes(jobs: Jobs, limits: Limits) -> APIRouter:
    """Upload an exam, ask how far it is, fetch what was said of it, delete it."""
    router = APIRouter()

    @router.post(
        "/jobs",
        status_code=202,
        operation_id="upload",
        openapi_extra=_form(limits),
        responses={202: ACCEPTED, **problems(400, 408, 413, 415, 422, 429, 503)},
    )
    async def upload(request: Request, response: Response) -> Job:
        """Take one exam: its DICOM files, or one zip of them, in the field `files` of a form."""
        async with contextmanager_in_threadpool(jobs.receiving()) as folder:
            try:
                async with asyncio.timeout(limits.upload_seconds):
                    files = await receive(request.headers, request.stream(), folder, limits)
            except TimeoutError as error:
                raise Refused(408, f"the upload took longer than {limits.upload_seconds:g} s") from error
            except ClientDisconnect as error:
                raise Refused(400, "the upload broke off") from error
            job = await run_in_threadpool(jobs.accept, folder, files)
        LOG.info("job %s: received %d files, %.1f MiB", job.id, len(files), sum(file.bytes for file in files) / MIB)
        response.headers["location"] = f"/jobs/{job.id}"
        return job

    @router.get("/jobs", operation_id="list", responses=problems(422))
    def newest(most: Most = 100) -> list[Job]:
        """The jobs that there are, the newest first."""
        return jobs.newest(most)

    @router.get("/jobs/{job}", operation_id="status", responses=problems(404, 422))
    def status(job: JobId) -> Job:
        """How far a job is."""
        return jobs.get(job)

    @router.get(
        "/jobs/{job}/prediction.json", operation_id="prediction", response_model=Answer, responses=problems(404, 409, 422)
    )
    def prediction(job: JobId) -> Response:
        """What is said of the exam, as data; where no file is a standard view, the reasons alone."""
        return _result(jobs, job, "prediction.json", "application/json")

    @router.get("/jobs/{job}/prediction.html", operation_id="page", response_class=Response, responses=_file("text/html"))
    def page(job: JobId) -> Response:
        """The same on one page for a person."""
        return _result(jobs, job, "prediction.html", "text/html")

    @router.get(
        "/jobs/{job}/heatmaps.zip", operation_id="heatmaps", response_class=Response, responses=_file("application/zip")
    )
    def heatmaps(job: JobId) -> Response:
        """Where in each view the score comes from, over the original image at its full resolution, as PNG."""
        return _result(jobs, job, "heatmaps.zip", "application/zip")

    @router.get("/jobs/{job}/dicom.zip", operation_id="dicom", response_class=Response, responses=_file("application/zip"))
    def dicom(job: JobId) -> Response:
        """The results as DICOM files of the exam's study; they carry the name of the patient, as the images do."""
        return _result(jobs, job, "dicom.zip", "application/zip")

    @router.delete("/jobs/{job}", status_code=204, operation_id="delete", responses=problems(404, 422))
    def delete(job: JobId) -> None:
        """Remove the exam and what was said of it; a prediction on its way is stopped."""
        jobs.delete(job)
        LOG.info("job %s: deleted on request", job)

    return router


def _result(jobs: Jobs, job: str, name: str, kind: str) -> Response:
    try:
        stream = jobs.result(job, name).open("rb")  # once it is open, a deletion does not cut it off
    except FileNotFoundError as error:
        raise Refused(404, "no such job: it was deleted just now") from error
    size = os.fstat(stream.fileno()).st_size
    return StreamingResponse(_pieces(stream), media_type=kind, headers={"content-length": str(size)})


def _pieces(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while piece := stream.read(MIB):
            yield piece
