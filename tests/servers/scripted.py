"""An HTTP server whose every answer a test writes: redirects, log-in pages, pages of an API.

It runs in threads of the tests, so nothing in their process may read from it by rasterio.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import sleep

LOG_IN = b"<html><body>Please log in</body></html>"


@dataclass(frozen=True)
class Request:
    """What a client sent."""

    url: str
    """Its whole URL."""

    path: str
    """Without the query."""

    headers: Mapping[str, str]
    """In lower case."""

    method: str = "GET"
    body: bytes = b""
    """Empty but of a POST."""


@dataclass(frozen=True)
class Answer:
    """What it gets."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drip: float = 0.0
    """Seconds between two bytes of the body; below zero, of the headers too."""


class ScriptedServer:
    """How to reach the server, and the requests that it got."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[Request] = []

    def paths(self) -> list[str]:
        """The paths of the requests."""
        return [request.path for request in self.requests]


@contextmanager
def scripted(answer: Callable[[Request], Answer | None]) -> Iterator[ScriptedServer]:
    """Answer each request as ``answer`` says, with the part of the body that its range selects."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            sent = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            path = self.path.partition("?")[0]
            request = Request(f"{here.url}{self.path}", path, headers, self.command, sent)
            here.requests.append(request)
            given = answer(request) or Answer(b"nothing here", 404)
            body, status, more = given.body, given.status, dict(given.headers)
            part = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
            if status == 200 and part and "content-type" not in more:
                first, last = int(part[1]), min(int(part[2]), len(body) - 1)
                status, more["content-range"] = 206, f"bytes {first}-{last}/{len(body)}"
                body = body[first : last + 1]
            self.send_response(status)
            for name, value in {"accept-ranges": "bytes", **more}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            if given.drip:
                self._drip(body, given.drip)
                return
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _drip(self, body: bytes, wait: float) -> None:
            if wait < 0:
                head, self._headers_buffer = b"".join(self._headers_buffer), []
                body = head + b"\r\n" + body
            else:
                self.end_headers()
            with suppress(OSError):  # the client has gone
                for byte in body:
                    self.wfile.write(bytes([byte]))
                    sleep(abs(wait))

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        here = ScriptedServer(server.server_port)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield here
        finally:
            server.shutdown()
            thread.join()
