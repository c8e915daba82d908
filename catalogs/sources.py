"""Where scenes come from: STAC APIs known by name, any other API, static catalogues, files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from terralatent.catalogs.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import bare_href, scheme_of
from terralatent.catalogs.sensors import SENSORS, Sensor

__all__ = ["SOURCES", "Source", "known_collections", "resolve_source", "sign"]

Signing = Literal["planetary-computer"]


@dataclass(frozen=True)
class Source:
    """A place that lists scenes as STAC items."""

    name: str
    """What messages and stores call it; holds no secrets."""

    where: str
    """URL of an API or of a document, or the absolute path of a folder or file."""

    collections: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    """Names of sensors with the ids of the collections that hold them; None where it is not known
    what it offers, so that the ids in common use are tried."""

    needs: str = ""
    """What a user needs before it answers, such as an account; empty: nothing."""

    signing: Signing | None = None
    """How hrefs are made readable, by :func:`sign`; None: they are readable as they are."""

    page: int = 250
    """Items asked for at once."""

    hosts: tuple[str, ...] | None = None
    """Where the files of its items lie, see :attr:`Access.hosts`; None: on any public host."""

    @property
    def access(self) -> Access:
        """What its documents and items may name."""
        return Access.of(self.where, self.hosts)

    def collections_of(self, sensor: Sensor) -> tuple[str, ...]:
        """Return the ids of the collections in which ``sensor`` may be."""
        if self.collections is None:
            return sensor.collections
        return dict(self.collections).get(sensor.name, ())


SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        source.name: source
        for source in (
            Source(
                name="planetary-computer",
                where="https://planetarycomputer.microsoft.com/api/stac/v1",
                collections=(
                    ("sentinel-2-l2a", ("sentinel-2-l2a",)),
                    ("sentinel-1-asc", ("sentinel-1-rtc",)),
                    ("sentinel-1-desc", ("sentinel-1-rtc",)),
                    ("landsat-c2-l2", ("landsat-c2-l2",)),
                ),
                needs="access to the internet; no account",
                signing="planetary-computer",
                hosts=("*.blob.core.windows.net",),
            ),
        )
    }
)
"""Sources known by name."""


def resolve_source(text: str | Path | Source) -> Source:
    """Find the source that a user means.

    Args:
        text: A name in :data:`SOURCES`, the http(s) URL of an API or of a STAC document, the path
            of a folder, or that of a JSON or ``.parquet`` file. Nothing is read.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(text, Source):
        return text
    name = str(text)
    if name in SOURCES:
        return SOURCES[name]
    if scheme_of(name) in ("http", "https"):
        if Access.of(name).own is None:
            raise InputError(f"The source {name!r} is a URL without a host; check the address.")
        return Source(bare_href(name, longest=None), name)
    if name.strip() and Path(text).exists():
        return Source(name, str(Path(text).resolve()))
    raise InputError(
        f"Unknown source {name!r}: it is none of {', '.join(SOURCES)}, no http(s) URL, and no such "
        "folder or file exists."
    )


def sign(item: dict[str, Any], signing: str | None) -> dict[str, Any]:
    """Make the hrefs of an item readable, just before they are read: signatures expire.

    May ask the source for a token (kept until it is about to expire).

    Args:
        item: STAC item; it is not changed.
        signing: :attr:`Source.signing`.

    Returns:
        The item itself where nothing needs to be signed, else a signed copy.
    """
    if signing is None:
        return item
    import planetary_computer

    signed: dict[str, Any] = planetary_computer.sign(item, copy=True)
    return signed


def known_collections(sensors: Mapping[str, Sensor] = SENSORS) -> frozenset[str]:
    """Return every collection id under which some sensor is known."""
    return frozenset(name for sensor in sensors.values() for name in sensor.collections)
