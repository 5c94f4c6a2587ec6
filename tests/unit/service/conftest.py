"""The service in this process, with a prediction that does what its exam says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import service_tasks
from tramtrack.service.access import Token
from tramtrack.service.app import application
from tramtrack.service.jobs import Jobs
from tramtrack.service.limits import Limits
from tramtrack.service.runner import Runner

SECRET = "a" * 64
LIMITS = Limits(
    upload_bytes=1 << 20, unpacked_bytes=4 << 20, files=6, prediction_seconds=3, waiting=3, uploads=2, upload_seconds=20
)


class Service:
    """A client of a running service, its jobs' folder, and what its prediction was asked."""

    def __init__(self, client: TestClient, folder: Path, jobs: Jobs, runner: Runner, limits: Limits) -> None:
        self.client, self.folder, self.jobs, self.runner, self.limits = client, folder, jobs, runner, limits

    def upload(self, *contents: bytes, name: str = "DOE^JANE.dcm") -> Any:
        """The answer to an upload of these files."""
        return self.client.post("/jobs", files=[("files", (name, content)) for content in contents])

    def ended(self, job: str, seconds: float = 20) -> dict[str, Any]:
        """A job once it has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.client.get(f"/jobs/{job}").json()
            if found["state"] in ("done", "failed"):
                return found
            time.sleep(0.02)
        raise AssertionError(f"{job} did not end: {found}")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """A function that starts a service; ``token`` says whether it wants one, which the client then shows."""
    top = tmp_path_factory.mktemp("service")
    opened: list[tuple[TestClient, Runner, Jobs]] = []

    def start(limits: Limits = LIMITS, token: bool = False, folder: str = "jobs") -> Service:
        jobs = Jobs(top / folder, limits)
        runner = Runner(jobs, partial(service_tasks.load, str(top / "begun")), limits)
        app = application(jobs, runner, Token.of(SECRET, "test") if token else None, limits)
        headers = {"Authorization": f"Bearer {SECRET}"} if token else {}
        client = TestClient(app, base_url="http://localhost", headers=headers, raise_server_exceptions=False)
        runner.start()
        client.__enter__()
        opened.append((client, runner, jobs))
        return Service(client, top / folder, jobs, runner, limits)

    yield start
    for client, runner, jobs in opened:
        client.__exit__(None, None, None)
        runner.close()
        jobs.close()
