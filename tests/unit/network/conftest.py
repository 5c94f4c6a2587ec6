"""A server for downloads."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest


@pytest.fixture
def server():
    """``url`` serves ``content`` at /file; ``break_after`` cuts the body off, ``stall`` then waits, ``etag`` names the content.

    ``ignores_if_range``: the rest is sent of whatever the content is by now. ``ranges`` are those that were asked for.
    """
    state = SimpleNamespace(
        content=b"", break_after=None, stall=0.0, etag=None, ignores_if_range=False, shift=0, ranges=[], conditions=[]
    )

    class Serve(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path != "/file":
                self.send_error(404)
                return
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            state.ranges.append(asked)
            state.conditions.append(condition)
            if condition not in (None, state.etag) and not state.ignores_if_range:
                asked = None
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            if start >= len(state.content):
                self.send_error(416)
                return
            start += state.shift
            body = state.content[start:]
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(body)))
            if state.etag:
                self.send_header("ETag", state.etag)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            self.end_headers()
            self.wfile.write(body if state.break_after is None else body[: state.break_after])
            self.wfile.flush()
            time.sleep(state.stall)

        def log_message(self, *_):
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Serve)
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{listener.server_port}"
    yield state
    listener.shutdown()
    thread.join()
    listener.server_close()
