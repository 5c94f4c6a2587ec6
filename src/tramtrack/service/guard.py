"""Around every request: who may ask without a token, what every answer says, one line of log, and no error that escapes."""

from __future__ import annotations

import json
import logging
import time
import traceback
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tramtrack.loopback import is_loopback

LOG = logging.getLogger("tramtrack.service")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ALWAYS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
}


class Guard:
    """An ASGI application around another.

    Without a token a browser on this machine could be made to ask by any page that it shows (a form to 127.0.0.1, or a name
    that is rebound to it), so then the host must be this machine's own, and so must be the origin.
    """

    def __init__(self, app: ASGIApp, *, open_to_this_machine: bool) -> None:
        self._app, self._open = app, open_to_this_machine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(ALWAYS)
            await send(message)

        try:
            problem = _foreign(Headers(scope=scope)) if self._open else ""
            if problem:
                await _say(403, problem, answer)
            else:
                await self._app(scope, receive, answer)
        except Exception as error:  # its message may quote a value, and so a name: its kind and place are enough
            last = traceback.extract_tb(error.__traceback__)[-1]
            LOG.error("an unexpected %s in %s, line %s", type(error).__name__, Path(last.filename).name, last.lineno)
        finally:
            route = getattr(scope.get("route"), "path", "an unknown path")
            method = scope["method"] if scope["method"] in METHODS else "?"
            LOG.info("%s %s: %s after %.3f s", method, route, status or "no answer", time.monotonic() - started)


def _foreign(headers: Headers) -> str:
    """Why a request is not this machine's own, or nothing."""
    if not is_loopback(urlsplit(f"//{headers.get('host', '')}").hostname or ""):
        return "host: expected this machine's own (127.0.0.1 or localhost); other names need a service with a token"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != headers["host"]:
        return "origin: expected no page of another site; those need a service with a token"
    return ""


async def _say(status: int, detail: str, send: Send) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
