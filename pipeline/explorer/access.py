"""Who may ask the server of a page: whoever has its token, from a browser that was sent there."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerRequest,
    ResponseStartLine,
)
from tornado.routing import Router

__all__ = ["Access", "Guard"]

REFUSED = b"403: this address lacks the token that `terralatent view` printed.\n"


@dataclass(frozen=True)
class Access:
    """What a request has to have."""

    hosts: frozenset[str]
    """Names and ports by which the server may be called, such as ``127.0.0.1:5006``."""

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    """First part of each path. 256 bits, of the operating system's generator."""

    @classmethod
    def at(cls, port: int, origins: Collection[str] = ()) -> Access:
        """Of a server on this machine's loopback, and those that pass requests on to it.

        Args:
            port: Of the server.
            origins: Names, with a port where there is one, by which a proxy is called.
        """
        here = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")}
        return cls(frozenset(here | {origin.lower() for origin in origins}))

    def allows(self, path: str, host: str, origin: str | None) -> bool:
        """Whether a request is answered.

        The token is compared in constant time. A page of another site that a browser shows is
        known by its Origin, a name that was made to lead here by its Host.
        """
        given, slash, _ = path.removeprefix("/").partition("/")
        known = hmac.compare_digest(given.encode(), self.token.encode()) and slash == "/"
        if host.lower() not in self.hosts:
            return False
        if origin is not None and urlsplit(origin).netloc.lower() not in self.hosts:
            return False
        return known


class Guard(Router):
    """Stands before an application of tornado: pages, files and websockets alike."""

    def __init__(self, application: Any, access: Access) -> None:
        self._application = application
        self._access = access

    def find_handler(self, request: HTTPServerRequest, **given: Any) -> HTTPMessageDelegate | None:
        """The application's answer, or a refusal.

        The application does not know of the token: what it refers to is relative to its page, so
        that it works below whatever path a proxy has it at.
        """
        headers = request.headers
        origin = headers.get("Origin", headers.get("Sec-Websocket-Origin"))
        if not self._access.allows(request.path, headers.get("Host", ""), origin):
            assert request.connection is not None
            return _Refusal(request.connection)
        before = len(self._access.token) + 1
        request.path, request.uri = request.path[before:], str(request.uri)[before:]
        handler: HTTPMessageDelegate | None = self._application.find_handler(request, **given)
        return handler


class _Refusal(HTTPMessageDelegate):
    """403, whatever was asked for."""

    def __init__(self, connection: HTTPConnection) -> None:
        self._connection = connection

    def finish(self) -> None:
        headers = HTTPHeaders(
            {"Content-Length": str(len(REFUSED)), "Content-Type": "text/plain; charset=utf-8"}
        )
        self._connection.write_headers(ResponseStartLine("HTTP/1.1", 403, "Forbidden"), headers)
        self._connection.write(REFUSED)
        self._connection.finish()
