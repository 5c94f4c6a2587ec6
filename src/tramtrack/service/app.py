"""The HTTP service as an application; every error that it answers is one sentence of JSON."""

from __future__ import annotations

from http import HTTPStatus
from importlib.metadata import version
from typing import Literal

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.routing import compile_path
from starlette.types import ASGIApp

from tramtrack.prediction.answer import RESEARCH_USE
from tramtrack.service.access import Token
from tramtrack.service.guard import Guard
from tramtrack.service.jobs import Jobs
from tramtrack.service.limits import Limits, Refused
from tramtrack.service.routes import job_routes, problems
from tramtrack.service.runner import Runner


class Health(BaseModel):
    """Whether exams are predicted."""

    model_config = ConfigDict(extra="forbid")
    status: Literal["ready"]


def application(jobs: Jobs, runner: Runner, token: Token | None, limits: Limits) -> ASGIApp:
    """The service about these jobs, which the runner predicts; without a token for this machine alone."""
    app = FastAPI(
        title="tramtrack",
        version=version("tramtrack"),
        description=f"Predictions of breast arterial calcifications for exams that are uploaded. {RESEARCH_USE}",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    _say_errors(app)

    @app.get("/health", responses=problems(503), operation_id="health")
    def health() -> Health:
        """Whether exams are predicted; needs no token, and tells nothing else."""
        if runner.problem:
            raise Refused(503, "nothing is predicted at the moment; the service's log says why", 30)
        return Health(status="ready")

    admitted = [Depends(_admitted(token))] if token else []
    refusals = problems(401) if token else {}
    app.include_router(job_routes(jobs, limits), dependencies=admitted, responses=refusals)
    return Guard(app, open_to_this_machine=token is None)


def _admitted(token: Token):  # type: ignore[no-untyped-def]
    bearer = HTTPBearer(auto_error=False, description="the token that the service was started with")

    def admit(shown: HTTPAuthorizationCredentials | None = Depends(bearer)) -> None:  # noqa: B008
        if shown is None or not token.admits(shown.credentials):
            raise Refused(401, "token: expected the service's own in the header Authorization, as: Bearer TOKEN")

    return admit


def _say_errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        headers = {} if error.retry_after is None else {"retry-after": str(error.retry_after)}
        if error.status == HTTPStatus.UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse({"detail": str(error)}, error.status, headers)

    @app.exception_handler(RequestValidationError)
    async def not_valid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]  # what was received is not repeated
        return JSONResponse({"detail": f"{first['loc'][-1]}: {first['msg'][0].lower()}{first['msg'][1:]}"}, 422)

    @app.exception_handler(Exception)
    async def not_expected(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": "the service failed; its log says where"}, 500)

    @app.exception_handler(HTTPException)
    async def not_served(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods(app, request.url.path))  # the framework names those of one route alone
            detail = f"method: this address takes {headers['Allow']}"
        elif error.status_code == HTTPStatus.NOT_FOUND:
            detail = "address: there is none such; /openapi.json lists those that there are"
        else:
            detail = str(error.detail)
        return JSONResponse({"detail": detail}, error.status_code, headers)


def _methods(app: FastAPI, path: str) -> list[str]:
    """The methods that an address takes."""
    found = [
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        for method in operations
        if compile_path(template)[0].match(path)
    ]
    return sorted(found)
