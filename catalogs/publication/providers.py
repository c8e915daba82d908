"""Who stands behind a publication: producers of the scenes, and those whom its publisher names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import pystac

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.publication.producers import producers_of

__all__ = ["parse_provider", "providers_of"]

_URL = re.compile(r"https?://[^\s/?#]+\S*")


def parse_provider(text: str) -> pystac.Provider:
    """Read ``NAME=URL`` or ``NAME``: who made and publishes this.

    Raises:
        InputError: If there is no name, or what follows is no http(s) URL.
    """
    name, _, url = text.partition("=")
    if not name.strip() or (url and not _URL.fullmatch(url)):
        raise InputError(
            f"Provider {text!r} is no name, or its URL none; give one such as "
            '"Our institute=https://example.org".'
        )
    roles = [pystac.ProviderRole.PROCESSOR, pystac.ProviderRole.HOST]
    return pystac.Provider(name.strip(), roles=roles, url=url or None)


def providers_of(
    sensors: Iterable[str], named: Sequence[pystac.Provider]
) -> tuple[pystac.Provider, ...]:
    """All providers: producers of the scenes, who license them, then those that were named."""
    roles = [pystac.ProviderRole.PRODUCER, pystac.ProviderRole.LICENSOR]
    makers = (
        pystac.Provider(own.name, description=own.notice, roles=roles, url=own.url)
        for own in producers_of(sensors)
    )
    return (*makers, *named)
