"""By what rules a client of the proxy connects: where it may go, and by which user's proxies."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from terralatent.catalogs.documents.access import Access

__all__ = ["Way", "authorization"]


@dataclass(frozen=True)
class Way:
    """By what rules a client connects: it says so by its name, and proves itself by a secret."""

    access: Access
    """Where it may go."""

    proxies: tuple[tuple[str, str], ...] = ()
    """The user's own for http and https, which come after this one."""

    bypass: str = ""
    """Hosts that are reached without them, as ``no_proxy`` lists them."""

    @property
    def user(self) -> str:
        """The name."""
        record = [self.access.to_json(), self.proxies, self.bypass]
        return urlsafe_b64encode(json.dumps(record).encode()).decode()

    @classmethod
    def of_user(cls, user: str) -> Way:
        """Read a name."""
        access, proxies, bypass = json.loads(urlsafe_b64decode(user))
        return cls(Access.from_json(access), tuple((key, url) for key, url in proxies), bypass)

    def proxy_for(self, url: str) -> str | None:
        """The user's proxy for ``url``; None where there is none."""
        parts = urlsplit(url)
        if not self.proxies or _is_listed(parts.hostname or "", self.bypass):
            return None
        return dict(self.proxies).get(parts.scheme)


def _is_listed(host: str, hosts: str) -> bool:
    """Whether ``no_proxy`` names a host, by its end, by its address or by a network."""
    for listed in hosts.lower().replace(" ", "").split(","):
        name = listed.lstrip(".")
        if listed == "*" or (name and f".{host}".endswith(f".{name}")):
            return True
        with suppress(ValueError):
            if ip_address(host) in ip_network(listed, strict=False):
                return True
    return False


def authorization(proxy: str) -> dict[bytes, bytes]:
    """The header by which a user and password in the URL of a ``proxy`` are sent to it."""
    parts = urlsplit(proxy)
    if not parts.username:
        return {}
    known = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {b"proxy-authorization": b"Basic " + b64encode(known.encode())}
