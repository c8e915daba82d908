"""What the items and documents of one source may name: which files, which hosts."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from terralatent.catalogs.hrefs import (
    HrefError,
    bare_href,
    is_remote,
    scheme_of,
    without_user,
)
from terralatent.catalogs.printable import REPLACED

__all__ = ["REFUSED", "Access", "addresses_of"]

REFUSED = "may not be read"
"""In every message of an href that is refused."""

_URL = re.compile(
    r"https?://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?P<port>:[0-9]{1,5})?(?:/[^\s\"<>\\^`{|}]*)?",
    re.IGNORECASE,
)
"""A URL that every library reads alike: its host in ASCII, nothing that some unescape first."""

_OBJECT = re.compile(r"s3://(?P<bucket>[A-Za-z0-9._-]+)/(?P<key>\S+)")

_TRANSLATED = ip_network("64:ff9b::/96")
"""IPv6 addresses whose end is an IPv4 address (NAT64)."""

_KEPT_FOR = 60.0
"""Seconds for which it is remembered where a name leads."""


@dataclass(frozen=True)
class Access:
    """What the hrefs of one source may name. Picklable, small, and JSON by :meth:`to_json`.

    URLs of http(s), objects of s3, and files below one folder; nothing else, so neither GDAL's
    virtual files nor other formats' names for a part of a file. By default any public host and no
    file of this machine. Hosts that are not public are refused unless they are named here: the
    machine itself, its network, and addresses at which clouds hand out credentials.

    This says what may be requested and which addresses that may lead to. Redirects, and names that
    lead elsewhere a moment later, are held to it by
    :mod:`terralatent.catalogs.documents.proxy`.
    What comes back must still be a raster that fits its item, and nothing else of it is kept.

    Examples:
        >>> import terralatent as tl
        >>> granted = tl.Access.of("https://example.org/stac")
        >>> granted.check("https://example.org/tiles/B04.tif")
        'https://example.org/tiles/B04.tif'
    """

    folder: str | None = None
    """Absolute path, links resolved; files below it may be read. None: no file of this machine."""

    hosts: tuple[str, ...] | None = None
    """Patterns of host names, such as ``*.blob.core.windows.net``, and of buckets, such as
    ``s3://eodata``. They are believed: they may be private. None: any public host, any bucket."""

    own: str | None = None
    """Host that the user named himself, which may be private; at any port, because an API and its
    files are often two servers. All names of this machine are one."""

    def __post_init__(self) -> None:
        if self.folder is not None and not (_is_text(self.folder) and os.path.isabs(self.folder)):
            raise ValueError(f"The folder {self.folder!r} of an access must be an absolute path.")
        if self.hosts is not None and not (
            isinstance(self.hosts, tuple) and all(_is_text(host) for host in self.hosts)
        ):
            raise ValueError(f"The hosts {self.hosts!r} of an access must be a tuple of patterns.")
        if self.own is not None and not _is_text(self.own):
            raise ValueError(f"The own host {self.own!r} of an access must be a name.")

    @classmethod
    def of(cls, where: str, hosts: tuple[str, ...] | None = None) -> Access:
        """What a user grants to a catalogue by naming it.

        Args:
            where: The URL of an API or document, whose host becomes :attr:`own`; or the path of a
                folder, or of a file in one, which becomes :attr:`folder`.
            hosts: As :attr:`hosts`.
        """
        if is_remote(where):
            match = _URL.match(without_user(where))
            return cls(None, hosts, None if match is None else _host(match))
        path = os.path.realpath(where)
        return cls(path if os.path.isdir(path) else os.path.dirname(path), hosts)

    def check(self, href: object) -> str:
        """Check an absolute href; resolves no name and requests nothing.

        Returns:
            The href as it is to be opened: of a file, its path without links.

        Raises:
            HrefError: If it may not be read; the message names it, without its query, and says why.
        """
        if not isinstance(href, str) or not href:
            raise HrefError(f"it is no text ({type(href).__name__})" if href else "it is missing")
        if not href.isprintable() or REPLACED in href:
            raise _refused(href, "it holds control characters")
        scheme = scheme_of(href)
        if scheme in ("http", "https"):
            self._check_url(href)
        elif scheme == "s3":
            self._check_object(href)
        elif scheme or not href.startswith("/"):
            raise _refused(href, "it is neither a URL of http(s) or s3 nor the path of a file")
        else:
            return self._file(href)
        return href

    def check_now(self, href: object) -> str:
        """Check an href as :meth:`check` does, and where the name of its host leads just now.

        To be called at the last moment before it is read, by the process that reads it.
        """
        checked = self.check(href)
        match = _URL.fullmatch(checked)
        if match is not None:
            self.check_addresses(checked, addresses_of(_host(match)))
        return checked

    def check_addresses(self, url: str, addresses: Iterable[str]) -> None:
        """Check the addresses to which the host of a checked ``url`` leads.

        Raises:
            HrefError: If one is private, and the host is not one that may be.
        """
        match = _URL.fullmatch(url)
        if match is not None and self._is_named(_host(match)):
            return
        for address in addresses:
            if not _is_public(ip_address(address.partition("%")[0])):
                raise _refused(url, f"its host leads to the private address {address}")

    def is_own(self, url: str) -> bool:
        """Whether ``url`` is of the host that the user named: credentials go nowhere else."""
        match = _URL.fullmatch(url)
        return match is not None and self._is_own(_host(match))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: object) -> Access:
        """Read what :meth:`to_json` gave.

        Raises:
            ValueError: If it is something else.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(record, Mapping) or not set(record) <= names:
            raise ValueError(f"An access has {', '.join(sorted(names))}, got {record!r}.")
        hosts = record.get("hosts")
        return cls(**{**record, "hosts": tuple(hosts) if isinstance(hosts, list) else hosts})

    def _is_own(self, host: str) -> bool:
        if self.own is None:
            return False
        return host == self.own or (_is_this_machine(host) and _is_this_machine(self.own))

    def _is_named(self, host: str) -> bool:
        return self._is_own(host) or any(fnmatchcase(host, known) for known in self.hosts or ())

    def _check_url(self, href: str) -> None:
        if without_user(href) != href:
            raise _refused(href, "it holds a user or a password")
        match = _URL.fullmatch(href)
        if match is None:
            raise _refused(href, "it is no URL that can only be read in one way")
        host = _host(match)
        if self._is_named(host):
            return
        if self.hosts is not None:
            raise _refused(href, "its source names other hosts")
        if _is_private(host):
            raise _refused(href, "its host is private and not named by its source")

    def _check_object(self, href: str) -> None:
        match = _OBJECT.fullmatch(href)
        if match is None or ".." in match["key"].split("/"):
            raise _refused(href, "it is no object of s3")
        bucket = f"s3://{match['bucket']}"
        if self.hosts is not None and not any(fnmatchcase(bucket, known) for known in self.hosts):
            raise _refused(href, "its source names other hosts")

    def _file(self, href: str) -> str:
        path = os.path.realpath(href)
        if path.startswith("/vsi") or href.startswith("/vsi"):
            raise _refused(href, "it is a virtual file of GDAL")
        if self.folder is None:
            raise _refused(href, "it is a file of this machine, and its catalogue lies elsewhere")
        if os.path.commonpath([path, self.folder]) != self.folder:
            raise _refused(href, "it leaves the folder of its catalogue")
        return path


def _refused(href: str, why: str) -> HrefError:
    return HrefError(f"{bare_href(href)!r} {REFUSED}: {why}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _host(match: re.Match[str]) -> str:
    return match["host"].lower().strip("[]").rstrip(".")


def _is_this_machine(host: str) -> bool:
    address = _literal(host)
    return host == "localhost" if address is None else address.is_loopback


def _is_private(host: str) -> bool:
    """Whether a host is none of the public internet, by its name or address alone."""
    address = _literal(host)
    if address is not None:
        return not _is_public(address)
    last = host.rpartition(".")[2]
    return "." not in host or last in ("localhost", "local", "internal", "localdomain")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return _is_public(inner)
    return address.is_global and not address.is_multicast and not address.is_reserved


def _literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, also ``0x7f.1`` and ``2130706433``; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def addresses_of(host: str) -> tuple[str, ...]:
    """Where a name leads in this minute; nowhere if nobody knows, which its reader will say.

    Resolved once a minute: where no name server answers, a query takes many seconds.
    """
    return _addresses(host, int(time.monotonic() / _KEPT_FOR))


@lru_cache(maxsize=1024)
def _addresses(host: str, minute: int) -> tuple[str, ...]:
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(str(address[0]) for *_, address in answers)
