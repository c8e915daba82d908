"""The one door to the network: a proxy on loopback that checks the address it connects to.

What an href may name is checked before it is requested, but not where that ends: a server redirects
the second range of a file, or its name leads elsewhere a moment later. libcurl, which GDAL reads
with, follows both. So whatever is fetched by http(s), documents and rasters alike, goes through a
proxy, a small process beside this one (:mod:`terralatent.catalogs.documents.relay`). It holds each
connection to what the source may name, and connects only to addresses that it has checked. TLS is
between the two ends, as with any proxy. A thread would not do: GDAL waits for some answers while it
holds Python's lock.

A proxy that the user has configured in the environment comes after it, and is then who decides to
which address a public name leads; hosts of ``no_proxy`` are connected to from here.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from base64 import b64encode
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from terralatent.catalogs.documents import relay
from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.documents.way import Way
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import HrefError, bare_href

__all__ = ["gdal_settings", "proxy_url", "refused_since"]

ANSWER_S = 300.0
"""Seconds from the last byte of a request within which its answer must have come whole."""

_NOBODY = "nobody.invalid"
"""What ``no_proxy`` becomes, see :func:`_close_bypass`."""


def proxy_url(access: Access) -> str:
    """The URL of this process's proxy, by which what ``access`` allows is reached; a secret.

    Raises:
        InputError: If a proxy of the environment cannot be used.
    """
    proxy = _running()
    return f"http://{_way(access).user}:{proxy.secret}@127.0.0.1:{proxy.port}"


def gdal_settings(access: Access) -> dict[str, str]:
    """GDAL's settings by which it reaches what ``access`` allows, and nothing else; a secret.

    Raises:
        InputError: If a proxy of the environment cannot be used.
    """
    _close_bypass()
    proxy = _running()
    address = f"http://127.0.0.1:{proxy.port}"
    return {
        "GDAL_HTTP_PROXY": address,
        "GDAL_HTTPS_PROXY": address,
        "GDAL_HTTP_PROXYUSERPWD": f"{_way(access, gdal=True).user}:{proxy.secret}",
        "GDAL_PROXY_AUTH": "BASIC",
    }


def refused_since(begun: float, access: Access, *, gdal: bool = False) -> HrefError | None:
    """What the proxy refused to reach under ``access`` since ``begun`` on the monotonic clock.

    To be asked where something did not come: it may have been redirected.
    """
    proxy = _running()
    known = b64encode(f"{_way(access, gdal=gdal).user}:{proxy.secret}".encode()).decode()
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=30.0)
    with suppress(OSError, HTTPException, ValueError):
        connection.request(
            "GET", relay.REFUSED_PATH, headers={"Proxy-Authorization": f"Basic {known}"}
        )
        for at, text in reversed(json.loads(connection.getresponse().read())):
            if at >= begun:
                return HrefError(text)
    connection.close()
    return None


def _way(access: Access, *, gdal: bool = False) -> Way:
    """How what ``access`` allows is reached: by the proxies of the environment, if it has any."""
    get = os.environ.get
    other = get("all_proxy") or get("ALL_PROXY") or ""
    named = {
        scheme: get(f"{scheme}_proxy") or get(f"{scheme.upper()}_PROXY") or other
        for scheme in ("http", "https")
    }
    if gdal and (own := get("GDAL_HTTP_PROXY")):
        user = get("GDAL_HTTP_PROXYUSERPWD")
        own = f"http://{user}@{own.rpartition('://')[2]}" if user else own
        named = dict.fromkeys(named, own)
    if gdal and (own := get("GDAL_HTTPS_PROXY")):
        named["https"] = own
    proxies = tuple((k, v if "://" in v else f"http://{v}") for k, v in named.items() if v)
    for _, proxy in proxies:
        if urlsplit(proxy).scheme != "http":
            raise InputError(
                f"The proxy {bare_href(proxy)} of the environment cannot be used; only http:// "
                "proxies can."
            )
    return Way(access, proxies, _bypass())


def _bypass() -> str:
    """The hosts that the user reaches without a proxy."""
    asked = os.environ.get("no_proxy", _NOBODY)
    return os.environ.get("NO_PROXY", "") if asked == _NOBODY else asked


def _close_bypass() -> None:
    """Let no host pass by the proxy: libcurl heeds ``no_proxy`` whatever proxy it is given.

    It looks at the name in small letters first, as Python does; others look at the other first, so
    what the user wrote is kept there.
    """
    if asked := _bypass():
        os.environ["NO_PROXY"], os.environ["no_proxy"] = asked, _NOBODY


class _Proxy:
    """The process beside this one, which ends with it."""

    def __init__(self) -> None:
        self.secret = secrets.token_urlsafe(24)
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
            self.port: int = listening.getsockname()[1]
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", relay.__name__, str(listening.fileno())],
                stdin=subprocess.PIPE,  # closes with this process, however it ends
                pass_fds=[listening.fileno()],
                start_new_session=True,
            )
        settings = {"secret": self.secret, "answer_s": ANSWER_S}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(settings).encode() + b"\n")
        self.process.stdin.flush()


_RUNNING: dict[int, _Proxy] = {}
"""That of each process by its id: a child that was forked starts its own."""

_STARTING = threading.Lock()


def _running() -> _Proxy:
    with _STARTING:
        proxy = _RUNNING.get(os.getpid())
        if proxy is None or proxy.process.poll() is not None:
            proxy = _RUNNING[os.getpid()] = _Proxy()
        return proxy
