"""What stands before ``rustac serve``: it answers this machine only, and it never stays alone.

rustac allows the page of any web site to read what it answers (``access-control-allow-origin: *``),
and lives on, with its port, when whoever started it is killed. This process starts it at an address
of loopback that nobody knows, passes requests on to it, and ends it when its own parent has gone.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from terralatent.catalogs.documents.range_files import serve_socket

__all__ = ["ApiFront"]

_METHODS = ("GET", "HEAD", "POST")

_ANSWERS_S = 600.0


class ApiFront:
    """An ASGI application that passes requests on to an API at ``address``."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            request = Request(scope, receive)
            body = await request.body()
            await (await run_in_threadpool(self._ask, request, body))(scope, receive, send)

    def _ask(self, request: Request, body: bytes) -> Response:
        if request.method not in _METHODS:
            return PlainTextResponse("Only GET, HEAD and POST.", 405)
        url = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        connection = HTTPConnection(*self._address, timeout=_ANSWERS_S)
        try:
            connection.request(request.method, url, body or None, _kept(request.headers, _SENT))
            answer = connection.getresponse()
            content, headers = answer.read(), _kept(dict(answer.getheaders()), _ANSWERED)
            return Response(content, answer.status, headers)
        except (OSError, HTTPException) as error:
            return PlainTextResponse(f"The API does not answer: {error}.", 502)
        finally:
            connection.close()


_SENT, _ANSWERED = ("accept", "content-type"), ("content-type", "location")


def _kept(headers: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() in names}


def _hidden() -> tuple[str, int]:
    """A free address of loopback that no web site guesses; 127.0.0.1 where there is no other."""
    for host in (f"127.{random.randint(1, 254)}.{random.randint(0, 255)}.9", "127.0.0.1"):
        with socket.socket() as probe:
            try:
                probe.bind((host, 0))
            except OSError:
                continue
            return host, int(probe.getsockname()[1])
    raise OSError("no address of loopback is free")


def _main(descriptor: int, rustac: str, items: str) -> None:
    with socket.socket(fileno=os.dup(descriptor)) as listening:
        public = "{}:{}".format(*listening.getsockname())
    address = _hidden()
    api = subprocess.Popen(
        [rustac, "serve", "--create-collections", "--addr", public,
         "--bind", f"{address[0]}:{address[1]}", items],
        stdin=subprocess.DEVNULL,
    )  # fmt: skip

    def end_with_it() -> None:
        os._exit(api.wait() or 1)

    threading.Thread(target=end_with_it, daemon=True).start()
    try:
        serve_socket(ApiFront(address), descriptor)
    finally:
        api.kill()


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
