"""The proxy's own program: connections of clients, passed on to where their requests may go.

Of a request by http it sees all, of one by https only to which host it goes: what follows is
between the two ends. A client sends a request after the answer to its last has come whole, so what
comes from it are requests, and what comes from the other end is passed on unread.

It ends with the process that started it, whose pipe it reads to its end. It imports little, because
each process that reads from the network has one.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import socket
import sys
import threading
from base64 import b64decode
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, cast
from urllib.parse import urlsplit

from terralatent.catalogs.documents.access import addresses_of
from terralatent.catalogs.documents.way import Way, authorization
from terralatent.catalogs.hrefs import HrefError

__all__ = ["REFUSED_PATH", "UNREACHED"]

UNREACHED = 599
"""Status by which the proxy says that nobody listens; no server answers so."""

REFUSED_PATH = "/refused"
"""What is requested of the proxy itself: a JSON list of what it refused to the client, and when."""

CONNECT_S = 10.0
"""Seconds to connect to one address."""

_AT_ONCE = 1 << 18
"""Bytes that are passed on in one piece."""

_Address = tuple[str, int]


@dataclass
class _Proxy:
    """What all connections share."""

    secret: str
    """Who knows it is a client."""

    answer_s: float
    """Seconds from the last byte of a request within which its answer must have come whole."""

    ways: dict[bytes, Way] = field(default_factory=dict)
    """Clients by their ``Proxy-Authorization``."""

    refused: deque[tuple[float, Way, str]] = field(default_factory=lambda: deque(maxlen=256))
    """What was refused to whom, and when on the monotonic clock, which all processes share."""

    def way_of(self, authorization: bytes) -> Way | None:
        """The way of a client; None if it does not know the secret."""
        way = self.ways.get(authorization)
        if way is None:
            with suppress(ValueError, TypeError):
                user, _, secret = b64decode(authorization.removeprefix(b"Basic ")).partition(b":")
                if hmac.compare_digest(secret, self.secret.encode()):
                    way = self.ways[authorization] = Way.of_user(user.decode())
        return way


class _AnsweredError(Exception):
    """The client is to get this status and reason, this body, and no connection; it learns of the
    last, or its next request would be on its way when the connection ends."""

    def __init__(self, status: str, body: bytes = b"") -> None:
        super().__init__(status)
        head = f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self.answer = head.encode() + body


class _Relay:
    """One connection of a client, and that to where its requests go."""

    def __init__(
        self, proxy: _Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._far: _Far | None = None
        self._to: tuple[Way, str] | None = None
        self._asked = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Pass on until one end closes, or an answer takes too long."""
        watch = asyncio.create_task(self._watch())
        try:
            while await self._request():
                pass
        except _AnsweredError as answer:
            with suppress(OSError):
                self._writer.write(answer.answer)
                await self._writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            watch.cancel()
            self._part()
            self._writer.close()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._asked + self._proxy.answer_s - loop.time()) > 0:
            await asyncio.sleep(left)
        self._writer.transport.abort()
        self._part()

    def _part(self) -> None:
        """Leave the other end."""
        if self._far is not None:
            self._far.close()
        self._far = self._to = None

    async def _request(self) -> bool:
        """Pass on one request; whether another may follow."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self._asked = asyncio.get_running_loop().time()
        (method, target, _), headers = _parsed(head)
        way = self._proxy.way_of(headers.pop(b"proxy-authorization", b""))
        if way is None:
            raise _AnsweredError('407 No\r\nProxy-Authenticate: Basic realm="terralatent"')
        headers.pop(b"proxy-connection", None)
        if method == b"CONNECT":
            self._far = await self._open(way, f"https://{target.decode('ascii')}/")
            self._writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            while part := await self._reader.read(_AT_ONCE):
                self._asked = asyncio.get_running_loop().time()
                self._far.write(part)
            return False
        if target == REFUSED_PATH.encode():
            refused = [(at, text) for at, whose, text in self._proxy.refused if whose == way]
            raise _AnsweredError("200 Yes", json.dumps(refused).encode())
        url = urlsplit(target.decode("ascii"))
        if url.scheme != "http" or not url.hostname or b"transfer-encoding" in headers:
            raise _AnsweredError("400 Not understood")
        if self._to != (way, url.netloc):
            self._part()
            self._far = await self._open(way, target.decode("ascii"))
            self._to = way, url.netloc
        if (via := way.proxy_for(target.decode("ascii"))) is None:
            target = (url.path or "/").encode() + (b"?" + url.query.encode() if url.query else b"")
        else:
            headers.update(authorization(via))
        assert self._far is not None
        lines = [b"%s %s HTTP/1.1" % (method, target)]
        lines += [name + b": " + value for name, value in headers.items()]
        self._far.write(b"\r\n".join([*lines, b"", b""]))
        self._far.write(await self._reader.readexactly(int(headers.get(b"content-length", 0))))
        return True

    async def _open(self, way: Way, url: str) -> _Far:
        """Connect to where ``url`` leads, or to the user's proxy, by which it is reached."""
        try:
            return _Far(await _opened(way, url), self._writer)
        except HrefError as error:
            self._proxy.refused.append((monotonic(), way, str(error)))
            raise _AnsweredError("403 Refused") from error
        except OSError as error:
            reason = (
                str(error) if error.errno is None else f"[Errno {error.errno}] {error.strerror}"
            )
            raise _AnsweredError(f"{UNREACHED} {' '.join(reason.split())}") from error


class _Far(asyncio.Protocol):
    """The other end: what comes from it goes to a client, no faster than that takes it."""

    def __init__(self, far: asyncio.StreamWriter, client: asyncio.StreamWriter) -> None:
        self._writer = far  # which closes its transport when nobody has it
        self._transport = cast(asyncio.Transport, far.transport)
        self._client: asyncio.StreamWriter | None = client
        self._waiting: asyncio.Task[None] | None = None
        self._transport.set_protocol(self)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def close(self) -> None:
        self._client = None
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if self._client is None:
            return
        self._client.write(data)
        if self._client.transport.get_write_buffer_size() > _AT_ONCE and self._waiting is None:
            self._transport.pause_reading()
            self._waiting = asyncio.create_task(self._wait(self._client))

    def connection_lost(self, _: Exception | None) -> None:
        if self._client is not None:
            self._client.close()

    async def _wait(self, client: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await client.drain()
        self._waiting = None
        if not self._transport.is_closing():
            self._transport.resume_reading()


async def _opened(way: Way, url: str) -> asyncio.StreamWriter:
    way.access.check(url)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    via = way.proxy_for(url)
    if via is None:
        return (await _connected(await _addresses(way, url, host, port)))[1]
    # It may know names that nobody knows here.
    way.access.check_addresses(url, await asyncio.to_thread(addresses_of, host))
    proxy = urlsplit(via)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(proxy.hostname, proxy.port or 80, type=socket.SOCK_STREAM)
    reader, writer = await _connected([(str(at[0]), int(at[1])) for *_, at in found])
    if parts.scheme == "https":
        lines = [f"CONNECT {parts.netloc} HTTP/1.1".encode(), f"Host: {parts.netloc}".encode()]
        lines += [name + b": " + value for name, value in authorization(via).items()]
        writer.write(b"\r\n".join([*lines, b"", b""]))
        answer = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0].decode("latin-1")
        status = answer.partition(" ")[2]
        if not status.startswith("2"):
            writer.close()
            raise _AnsweredError(status)
    return writer


async def _addresses(way: Way, url: str, host: str, port: int) -> list[_Address]:
    """Where a host leads just now, if ``way`` may go there."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [(str(address[0]), port) for *_, address in found]
    way.access.check_addresses(url, [address for address, _ in addresses])
    return addresses


async def _connected(
    addresses: list[_Address],
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the first of some addresses that answers."""
    fault: OSError = OSError("it has no address")
    for address in addresses:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_connection(*address, limit=_AT_ONCE)
        except TimeoutError:
            fault = OSError("timed out")
        except OSError as error:
            number = error.errno or 0
            fault = OSError(number, os.strerror(number)) if number > 0 else error
    raise fault


def _parsed(head: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    """First line, in its three words, and headers of a request, their names in small letters."""
    first, *lines = head[:-4].split(b"\r\n")
    words = first.split(b" ")
    if len(words) != 3:
        raise _AnsweredError("400 Not understood")
    headers = {}
    for line in lines:
        name, _, value = line.partition(b":")
        headers[name.strip().lower()] = value.strip()
    return words, headers


async def _serve(listening: socket.socket, proxy: _Proxy) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _Relay(proxy, reader, writer).run()

    server = await asyncio.start_server(accept, sock=listening, limit=_AT_ONCE)
    await server.serve_forever()


def _main(descriptor: int) -> None:
    settings: dict[str, Any] = json.loads(sys.stdin.buffer.readline())

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    asyncio.run(_serve(socket.socket(fileno=descriptor), _Proxy(**settings)))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
