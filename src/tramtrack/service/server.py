"""The service as a process: networks loaded first, then the address opened; ended by Ctrl-C or SIGTERM."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from pathlib import Path

import uvicorn

from tramtrack.errors import TramtrackError
from tramtrack.prediction.worker import Load
from tramtrack.progress import announce
from tramtrack.service.access import Token, require_token
from tramtrack.service.app import application
from tramtrack.service.guard import LOG
from tramtrack.service.jobs import Jobs
from tramtrack.service.limits import Limits
from tramtrack.service.runner import Runner

CONNECTIONS = 100
IDLE_CONNECTION_SECONDS = 10
GRACE_SECONDS = 5
REQUEST_HEADER_BYTES = 16 << 10


def serve(load: Load, folder: Path, host: str, port: int, token: Token | None, limits: Limits) -> None:
    """Serve until the process is told to stop; jobs in ``folder`` that have no results yet are predicted first.

    ``load`` gives the prediction (see `worker`). Raises UsageError where ``host`` needs a token, TramtrackError where the
    networks cannot be loaded, the address is taken or another server works on ``folder``.
    """
    require_token(host, token)
    _log_plainly()
    signal.signal(signal.SIGTERM, _stop)
    with (
        contextlib.closing(_listening(host, port)) as listener,
        contextlib.closing(Jobs(folder, limits)) as jobs,
        contextlib.closing(Runner(jobs, load, limits)) as runner,
    ):
        config = uvicorn.Config(
            application(jobs, runner, token, limits),
            log_config=None,
            access_log=False,  # its lines hold paths as they were asked for
            server_header=False,
            http="h11",
            ws="none",
            proxy_headers=False,
            limit_concurrency=CONNECTIONS,
            timeout_keep_alive=IDLE_CONNECTION_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
            h11_max_incomplete_event_size=REQUEST_HEADER_BYTES,
        )
        listener.listen()
        announce(f"serving on http://{host}:{listener.getsockname()[1]}, jobs in {folder}")
        runner.start()
        uvicorn.Server(config).run(sockets=[listener])


def _stop(number: int, frame: object) -> None:
    raise SystemExit(0)


def _listening(host: str, port: int) -> socket.socket:
    """The address, taken before the networks are loaded: a second server fails at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise TramtrackError(f"{host}:{port}: cannot be listened on ({error}); give another --port or --host") from error
    return listener


def _log_plainly() -> None:
    """One line an event on standard error, from the service alone: what libraries say may hold what a client sent."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.handlers[:] = [handler]
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
    logging.getLogger().addHandler(logging.NullHandler())
