"""The status page: counts of exams, images and results, and what is in trouble. On this machine alone, and nobody's name."""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from jinja2 import Environment

from tramtrack.errors import TramtrackError
from tramtrack.loopback import is_loopback
from tramtrack.node.queue import Queue
from tramtrack.node.receive import Receiver, reason_of
from tramtrack.node.settings import Settings


class StatusPage:
    """``/`` for a person, ``/status.json`` for a monitor; on loopback. A request from a page of another site is refused."""

    def __init__(self, queue: Queue, receiver: Receiver, settings: Settings) -> None:
        self._queue, self._receiver, self._settings = queue, receiver, settings
        self._started = time.time()
        template = (Path(__file__).parent / "status.html").read_text(encoding="utf-8")
        self._page = Environment(autoescape=True).from_string(template)
        page = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 10

            def do_GET(self) -> None:
                page.answer(self)

            def log_message(self, form: str, *values: Any) -> None:
                """Nothing: a monitor asks every few seconds."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", settings.status_port or 0), Handler)
        except OSError as error:
            raise TramtrackError(
                f"127.0.0.1:{settings.status_port}: no status page can be served here ({error.strerror}); change --status-port"
            ) from error
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])

    def serve(self) -> None:
        """Answer until `stop`."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def status(self) -> dict[str, Any]:
        """What the page shows."""
        now = time.time()
        return {
            "title": self._settings.title,
            "seconds_up": round(now - self._started),
            "exams_and_results": self._queue.counts(),
            "since_the_start": dict(sorted(self._receiver.tally.items())),
            "free_mib": shutil.disk_usage(self._queue.folder).free >> 20,
            "troubles": [
                {
                    "what": trouble.what,
                    "seconds": round(now - trouble.since),
                    "attempts": trouble.attempts,
                    "next_in_seconds": max(0, round(trouble.next_at - now)),
                    "reason": trouble.reason,
                }
                for trouble in self._queue.troubles()
            ],
        }

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request: 200, 404, 403 for another site's, 500 where the queue cannot be read."""
        host = request.headers.get("Host", "").rsplit(":", 1)[0]
        if not is_loopback(host):
            _write(request, 403, "text/plain", "expected the address of this machine itself, such as 127.0.0.1\n")
            return
        if request.path not in ("/", "/status.json"):
            _write(request, 404, "text/plain", "expected / or /status.json\n")
            return
        try:
            found = self.status()
        except (OSError, sqlite3.Error) as error:
            _write(request, 500, "text/plain", f"{reason_of(error)}\n")
            return
        if request.path == "/":
            _write(request, 200, "text/html", self._page.render(**found))
        else:
            _write(request, 200, "application/json", json.dumps(found, indent=2) + "\n")


def _write(request: BaseHTTPRequestHandler, code: int, kind: str, text: str) -> None:
    content = text.encode("utf-8")
    request.send_response(code)
    request.send_header("Content-Type", f"{kind}; charset=utf-8")
    request.send_header("Content-Length", str(len(content)))
    request.send_header("Cache-Control", "no-store")
    request.end_headers()
    request.wfile.write(content)
