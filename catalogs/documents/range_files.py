"""The files below one folder over HTTP, with range requests: what a COG reader needs."""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
from email.utils import formatdate
from pathlib import Path

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["RangeFiles", "serve_socket"]

_AT_ONCE = 1 << 20
"""Bytes that are read and sent in one piece."""

_ONE_RANGE = re.compile(rb"bytes=(\d+)-(\d+)")


class RangeFiles:
    """An ASGI application that serves the files below ``folder``, and nothing else.

    A reader of COGs requests the size of many files and one small range of each: these are
    answered at once. Starlette's own response does the rest (whole files, several ranges,
    ``If-Range``, 416), but it hops between threads for each.
    """

    def __init__(self, folder: str | Path) -> None:
        self._root = os.path.realpath(folder) + os.sep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("Only GET and HEAD.", 405, {"allow": "GET, HEAD"})
        path = self._find(scope["path"])
        if path is None:
            return PlainTextResponse("No such file.", 404)
        headers = dict(scope["headers"])
        requested = headers.get(b"range", b"")
        if scope["method"] == "HEAD" and not requested:
            return _head(path)
        match = _ONE_RANGE.fullmatch(requested)
        if match is not None and scope["method"] == "GET" and b"if-range" not in headers:
            part = _part(path, int(match[1]), int(match[2]))
            if part is not None:
                return part
        return FileResponse(path, media_type=_media_type(path))

    def _find(self, requested: str) -> str | None:
        """The real path of a file below the folder; None where there is none, links followed."""
        try:
            path = os.path.realpath(self._root + requested.lstrip("/"))
            return path if path.startswith(self._root) and os.path.isfile(path) else None
        except (OSError, ValueError):  # a null byte, a name too long
            return None


def _part(path: str, first: int, last: int) -> Response | None:
    """The bytes ``first`` to ``last`` of a file; None where that is not one small range of it."""
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        last = min(last, size - 1)
        if not first <= last < first + _AT_ONCE:
            return None
        content = os.pread(file.fileno(), last - first + 1, first)
    headers = {"content-range": f"bytes {first}-{last}/{size}", "accept-ranges": "bytes"}
    return Response(content, 206, headers, _media_type(path))


def _head(path: str) -> Response:
    """What a whole file would be, without the file."""
    status = os.stat(path)
    headers = {
        "content-length": str(status.st_size),
        "accept-ranges": "bytes",
        "last-modified": formatdate(status.st_mtime, usegmt=True),
    }
    return Response(b"", 200, headers, _media_type(path))


def _media_type(path: str) -> str:
    return "image/tiff" if path.endswith((".tif", ".tiff")) else "application/octet-stream"


def serve_socket(application: ASGIApp, descriptor: int) -> None:
    """Serve on the listening socket ``descriptor`` until standard input closes.

    Requests must name this machine: a web site whose name leads here is refused.
    """
    config = uvicorn.Config(
        TrustedHostMiddleware(application, ["127.0.0.1", "localhost"]),
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="none",
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
    )
    server = uvicorn.Server(config)

    def stop_with_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = server.force_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=descriptor)])


if __name__ == "__main__":
    serve_socket(RangeFiles(sys.argv[2]), int(sys.argv[1]))
