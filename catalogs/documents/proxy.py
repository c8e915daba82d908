"""The one door to the network: a proxy on loopback that checks the address it connects to.

What an href may name is checked before it is requested, but not where that ends: a server redirects
the second range of a file, or its name leads elsewhere a moment later. libcurl, which GDAL reads
with, follows both. So everything that is fetched by http(s), documents and rasters alike, goes
through a proxy in a thread of this process. It holds each connection to what the source may name,
and connects only to addresses that it has checked. TLS is between the two ends, as with any proxy.

A proxy that the user has configured in the environment comes after it, and is then who decides to
which address a public name leads; names of hosts in ``no_proxy`` are connected to from here.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import threading
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from time import monotonic
from urllib.parse import unquote, urlsplit

from requests.utils import select_proxy, should_bypass_proxies

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import HrefError, bare_href

__all__ = ["ANSWER_S", "UNREACHED", "gdal_settings", "proxy_url", "refused_since"]

ANSWER_S = 300.0
"""Seconds from the last byte of a request within which its answer must have come whole."""

UNREACHED = 599
"""Status by which the proxy says that nobody listens; no server answers so."""

CONNECT_S = 10.0
"""Seconds to connect to one address."""

_AT_ONCE = 1 << 18
"""Bytes that are passed on in one piece."""

_Address = tuple[str, int]

_NOBODY = "nobody.invalid"
"""What ``no_proxy`` is set to, see :func:`_close_bypass`."""


@dataclass(frozen=True)
class _Way:
    """By what rules a client connects."""

    access: Access
    proxies: tuple[tuple[str, str], ...]
    """The user's own, by scheme, as :mod:`requests` names them."""
    bypass: str
    """Hosts that are reached without them."""


def proxy_url(access: Access) -> str:
    """The URL of this process's proxy, by which what ``access`` allows is reached; a secret.

    It is another one in each process, and for each access.
    """
    user, proxy = _running(os.getpid()).admit(_way(access, gdal=False))
    return f"http://{user}:{proxy.secret}@127.0.0.1:{proxy.port}"


def gdal_settings(access: Access) -> dict[str, str]:
    """GDAL's settings by which it reaches what ``access`` allows, and nothing else; a secret."""
    user, proxy = _running(os.getpid()).admit(_way(access, gdal=True))
    address = f"http://127.0.0.1:{proxy.port}"
    return {
        "GDAL_HTTP_PROXY": address,
        "GDAL_HTTPS_PROXY": address,
        "GDAL_HTTP_PROXYUSERPWD": f"{user}:{proxy.secret}",
        "GDAL_PROXY_AUTH": "BASIC",
    }


def refused_since(begun: float, access: Access) -> HrefError | None:
    """What the proxy refused to reach under ``access`` since ``begun`` on the monotonic clock."""
    for at, whose, error in reversed(_running(os.getpid()).refused):
        if at >= begun and whose == access:
            return error
    return None


def _way(access: Access, *, gdal: bool) -> _Way:
    _close_bypass()
    get = os.environ.get
    named = {
        scheme: get(f"{scheme}_proxy") or get(f"{scheme.upper()}_PROXY") or ""
        for scheme in ("http", "https", "all")
    }
    if gdal and (own := get("GDAL_HTTP_PROXY")):
        user = get("GDAL_HTTP_PROXYUSERPWD", "")
        own = own.rpartition("://")[2]
        named = dict.fromkeys(("http", "https"), f"http://{user}@{own}" if user else own)
    if gdal and (own := get("GDAL_HTTPS_PROXY")):
        named["https"] = own
    kept = {k: v if "://" in v else f"http://{v}" for k, v in named.items() if v}
    for proxy in kept.values():
        if urlsplit(proxy).scheme != "http":
            raise InputError(
                f"The proxy {bare_href(proxy)} of the environment cannot be used; only http:// "
                "proxies can."
            )
    return _Way(access, tuple(kept.items()), get("NO_PROXY", ""))


def _close_bypass() -> None:
    """Let no host pass by the proxy: libcurl heeds ``no_proxy`` whatever proxy it is given.

    It looks at the name in small letters first, as Python does; others look at the other first, so
    what the user wrote is kept there.
    """
    asked = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    if asked and asked != _NOBODY:
        os.environ["NO_PROXY"] = asked
        os.environ["no_proxy"] = _NOBODY


@cache
def _running(process: int) -> _Proxy:
    """The proxy of this process; a child that was forked starts its own."""
    return _Proxy()


class _Proxy:
    """A server in a thread of its own, for clients that know its secret."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(24)
        self.refused: deque[tuple[float, Access, HrefError]] = deque(maxlen=256)
        self._ways: dict[str, _Way] = {}
        self._lock = threading.Lock()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port: int = listening.getsockname()[1]
        started = threading.Event()
        thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listening, started)), daemon=True, name="proxy"
        )
        thread.start()
        started.wait()

    def admit(self, way: _Way) -> tuple[str, _Proxy]:
        """Give the user name by which a client goes this ``way``."""
        with self._lock:
            for user, known in self._ways.items():
                if known == way:
                    return user, self
            user = f"way{len(self._ways)}"
            self._ways[user] = way
            return user, self

    def way_of(self, authorization: bytes) -> _Way | None:
        """The way of a client; None if it does not know the secret."""
        for user, way in list(self._ways.items()):
            known = b"Basic " + b64encode(f"{user}:{self.secret}".encode())
            if secrets.compare_digest(authorization, known):
                return way
        return None

    async def _serve(self, listening: socket.socket, started: threading.Event) -> None:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _Connection(self, reader, writer).run()

        server = await asyncio.start_server(accept, sock=listening, limit=_AT_ONCE)
        started.set()
        await server.serve_forever()


class _AnsweredError(Exception):
    """The client is to get this status and reason, and no connection."""


class _Connection:
    """One connection of a client, and that to where its requests go.

    A client sends a request after the answer to the last has come whole. So what comes from it are
    requests, and what comes from the other end is passed on unread.
    """

    def __init__(
        self, proxy: _Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._reader, self._writer = reader, writer
        self._far: asyncio.StreamWriter | None = None
        self._to = ""
        self._answers: asyncio.Task[None] | None = None
        self._asked = asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Pass on until one end closes, or an answer takes too long."""
        watch = asyncio.create_task(self._watch())
        try:
            while await self._request():
                pass
        except _AnsweredError as answer:
            with suppress(OSError):
                self._writer.write(f"HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n".encode())
                await self._writer.drain()
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            watch.cancel()
            self._part()
            self._writer.close()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._asked + ANSWER_S - loop.time()) > 0:
            await asyncio.sleep(left)
        self._writer.transport.abort()
        self._part()

    def _part(self) -> None:
        """Leave the other end."""
        if self._answers is not None:
            self._answers.cancel()
        if self._far is not None:
            self._far.close()
        self._far = self._answers = None
        self._to = ""

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
            reader, self._far = await self._open(way, f"https://{target.decode('ascii')}/")
            self._writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            self._answers = asyncio.create_task(_pass_on(reader, self._writer, self._ended))
            await _pass_on(self._reader, self._far, None, self._heard)
            return False
        url = urlsplit(target.decode("ascii"))
        if url.scheme != "http" or not url.hostname or b"transfer-encoding" in headers:
            raise _AnsweredError("400 Not understood")
        if self._to != url.netloc:
            self._part()
            reader, self._far = await self._open(way, target.decode("ascii"))
            self._to = url.netloc
            self._answers = asyncio.create_task(_pass_on(reader, self._writer, self._ended))
        if (via := _via(way, target.decode("ascii"))) is None:
            target = (url.path or "/").encode() + (b"?" + url.query.encode() if url.query else b"")
        else:
            headers.update(_authorization(via))
        assert self._far is not None
        lines = [b"%s %s HTTP/1.1" % (method, target)]
        lines += [name + b": " + value for name, value in headers.items()]
        self._far.write(b"\r\n".join([*lines, b"", b""]))
        self._far.write(await self._reader.readexactly(int(headers.get(b"content-length", 0))))
        await self._far.drain()
        return True

    def _heard(self) -> None:
        self._asked = asyncio.get_running_loop().time()

    def _ended(self) -> None:
        self._writer.close()

    async def _open(self, way: _Way, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to where ``url`` leads, or to the user's proxy, by which it is reached."""
        try:
            return await _opened(way, url)
        except HrefError as error:
            self._proxy.refused.append((monotonic(), way.access, error))
            raise _AnsweredError("403 Refused") from error
        except OSError as error:
            reason = (
                str(error) if error.errno is None else f"[Errno {error.errno}] {error.strerror}"
            )
            raise _AnsweredError(f"{UNREACHED} {' '.join(reason.split())}") from error


async def _opened(way: _Way, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    way.access.check(url)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    via = _via(way, url)
    if via is None:
        return await _connected(await _addresses(way, url, host, port))
    with suppress(socket.gaierror):  # it may know names that nobody knows here
        await _addresses(way, url, host, port)
    proxy = urlsplit(via)
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(proxy.hostname, proxy.port or 80, type=socket.SOCK_STREAM)
    reader, writer = await _connected([(str(at[0]), int(at[1])) for *_, at in found])
    if parts.scheme == "https":
        lines = [f"CONNECT {parts.netloc} HTTP/1.1".encode(), f"Host: {parts.netloc}".encode()]
        lines += [name + b": " + value for name, value in _authorization(via).items()]
        writer.write(b"\r\n".join([*lines, b"", b""]))
        status = (await reader.readuntil(b"\r\n\r\n")).partition(b"\r\n")[0].split(b" ", 1)[1]
        if not status.startswith(b"2"):
            writer.close()
            raise _AnsweredError(status.decode("latin-1"))
    return reader, writer


async def _addresses(way: _Way, url: str, host: str, port: int) -> list[_Address]:
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


async def _pass_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    ended: Callable[[], None] | None,
    heard: Callable[[], None] = lambda: None,
) -> None:
    """Copy all that comes."""
    try:
        while part := await reader.read(_AT_ONCE):
            heard()
            writer.write(part)
            await writer.drain()
    except OSError:
        pass
    if ended is not None:
        ended()


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


def _via(way: _Way, url: str) -> str | None:
    """The user's proxy for ``url``; None where there is none."""
    proxies = dict(way.proxies)
    if not proxies or should_bypass_proxies(url, way.bypass or None):
        return None
    return select_proxy(url, proxies)


def _authorization(proxy: str) -> dict[bytes, bytes]:
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {b"proxy-authorization": b"Basic " + b64encode(known.encode())}
