"""Where scenes come from: STAC APIs known by name, any other API, static catalogues, files.

The built-in ones stand in ``sources.toml`` beside this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from urllib.parse import urlsplit

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import bare_href, is_remote, scheme_of
from terralatent.catalogs.sources.sensors import SENSORS, OffsetSource, Quantity, Sensor
from terralatent.catalogs.sources.toml_tables import Table, read_tables, validate

__all__ = [
    "BUILT_IN",
    "SOURCES",
    "Bucket",
    "Offer",
    "Source",
    "known_collections",
    "resolve_source",
    "sources_of",
]

BUILT_IN = Path(__file__).with_name("sources.toml")
"""The table of the built-in sources."""

Signing = Literal["planetary-computer"]


@dataclass(frozen=True)
class Offer:
    """A sensor as a source has it."""

    sensor: str
    """Its name."""

    collections: tuple[str, ...]
    """Ids of the collections that hold it; of two duplicates that of the first counts."""

    assets: tuple[tuple[str, str], ...] = ()
    """Bands and mask bands that have other asset keys here, with these."""

    scale: float | None = None
    """Units per digital number where items are silent; None: as the sensor's."""

    offset: float | None = None
    """Units of the digital number 0 of items that do not state it; None: the sensor's rule."""

    believe: tuple[OffsetSource, ...] | None = None
    """Which of an item's statements on its offset count; None: all."""

    quantity: Quantity | None = None
    """What the files hold where items are silent; None: as the sensor's."""

    bucket: str = ""
    """Name of the bucket of its files, where it is one of the source's."""

    refused: str = ""
    """Why it cannot be used, where it cannot."""


@dataclass(frozen=True)
class Bucket:
    """An S3 bucket that holds files of a source, for hrefs ``s3://name/...``."""

    name: str
    """Its name."""

    endpoint: str = "https://s3.amazonaws.com"
    """URL of the service, without the bucket."""

    region: str = ""
    """Its region; empty: that of the service."""

    path_style: bool = False
    """Whether the bucket stands in the path of a request, not in its host."""

    requester_pays: bool = False
    """Whether the owner of the keys pays for what is read."""

    keys: tuple[str, ...] = ()
    """How the names of the variables with its keys begin, the first that are set count:
    ``AWS`` for ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY``; empty: it is public."""

    def __post_init__(self) -> None:
        url = urlsplit(self.endpoint)
        if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
            raise ValueError(f"the endpoint {self.endpoint!r} is not the URL of a host")


@dataclass(frozen=True)
class Source:
    """A place that lists scenes as STAC items. Hashable by value.

    Examples:
        >>> import terralatent as tl
        >>> ours = tl.Source("ours", "https://example.org/stac")
        >>> ours.access.own
        'example.org'
    """

    name: str
    """What messages and stores call it."""

    where: str = field(repr=False)
    """URL of an API or of a document, which may hold a key; or the absolute path of a folder or
    file."""

    sensors: tuple[Offer, ...] | None = None
    """What it has; None: that is not known, the collections in common use are tried."""

    needs: str = ""
    """What a user needs before it answers, such as an account; empty: nothing."""

    signing: Signing | None = None
    """How hrefs are made readable; None: they are readable as they are."""

    hosts: tuple[str, ...] | None = None
    """Where its files lie: patterns of host names, such as ``*.blob.core.windows.net``, and of
    buckets, such as ``s3://eodata``; None: on any public host."""

    buckets: tuple[Bucket, ...] = ()
    """S3 buckets of its files, which need an endpoint or keys."""

    page: int = 100
    """Items of one page of a search. Copernicus Data Space refuses more than 200 of Sentinel-2,
    Earth Search fails from 268 on: https://github.com/Element84/earth-search/issues/60."""

    def __post_init__(self) -> None:
        names = [bucket.name for bucket in self.buckets]
        for offer in self.sensors or ():
            if offer.bucket and offer.bucket not in names:
                raise ValueError(f"{offer.sensor} is in the bucket {offer.bucket}, none of {names}")

    @property
    def access(self) -> Access:
        """What its documents and items may name."""
        return Access.of(self.where, self.hosts)

    def collections_of(self, sensor: Sensor) -> tuple[str, ...]:
        """Return the ids of the collections in which ``sensor`` may be."""
        if self.sensors is None:
            return sensor.collections
        offer = self.offer(sensor.name)
        return () if offer is None else offer.collections

    def offer(self, sensor: str) -> Offer | None:
        """How it has the sensor of that name; None where it has not, or that is not known."""
        return next((offer for offer in self.sensors or () if offer.sensor == sensor), None)

    def adapt(self, sensor: Sensor) -> Sensor:
        """The sensor as its items are to be read: with its own asset keys and scaling rule."""
        offer = self.offer(sensor.name)
        if offer is None:
            return sensor
        return replace(
            sensor.with_asset_keys(dict(offer.assets)),
            collections=offer.collections,
            scale=sensor.scale if offer.scale is None else offer.scale,
            stated=offer.offset if sensor.stated is None else sensor.stated,
            believe=sensor.believe if offer.believe is None else offer.believe,
            quantity=sensor.quantity if offer.quantity is None else offer.quantity,
        )

    def bucket(self, href: str) -> Bucket | None:
        """Find the bucket of ``href``; None where it is in none of :attr:`buckets`."""
        url = urlsplit(href)
        if url.scheme != "s3":
            return None
        return next((bucket for bucket in self.buckets if bucket.name == url.netloc), None)


def sources_of(tables: Iterable[Table], sensors: Mapping[str, Sensor]) -> Mapping[str, Source]:
    """Make the sources of the TOML ``tables``, in their order.

    ``sensors`` is a table of tables, by the names of sensors; ``assets`` in it one of asset keys
    by the names of bands.

    Raises:
        InputError: If a table does not fit, or names an unknown sensor or band.
    """
    made = {}
    for table in tables:
        if table.kind != "sources":
            continue
        content = {**table.content, "name": table.name}
        if "sensors" in content:
            offers = validate(dict[str, dict[str, object]], content["sensors"], table, "sensors")
            content["sensors"] = tuple(
                _offer(name, offer, table, sensors) for name, offer in offers.items()
            )
        source = validate(Source, content, table)
        if not is_remote(source.where):  # a folder or a file, relative to the file of the table
            source = replace(source, where=str((table.file.parent / source.where).resolve()))
        made[table.name] = source
    return MappingProxyType(made)


def _offer(
    name: str, content: Mapping[str, object], table: Table, sensors: Mapping[str, Sensor]
) -> Offer:
    at = ("sensors", name)
    validate(Literal[tuple(sensors)], name, table, *at)  # type: ignore[arg-type]
    sensor = sensors[name]
    assets = validate(dict[str, str], content.get("assets", {}), table, *at, "assets")
    bands = (*sensor.bands, *(band.asset for band in sensor.quality))
    for band in assets:
        validate(Literal[bands], band, table, *at, "assets")  # type: ignore[arg-type]
    whole = {**content, "sensor": name, "assets": tuple(assets.items())}
    return validate(Offer, whole, table, *at)


SOURCES: Mapping[str, Source] = sources_of(read_tables([BUILT_IN]), SENSORS)
"""The built-in sources by name."""


def resolve_source(text: str | Path | Source, known: Mapping[str, Source] = SOURCES) -> Source:
    """Find the source that a user means.

    Args:
        text: A name in ``known`` or the address of one, the http(s) URL of any other API or of a
            STAC document, the path of a folder, or that of a JSON or ``.parquet`` file. Nothing is
            read.
        known: The sources known by name.

    Raises:
        InputError: If it is none of these.
    """
    if isinstance(text, Source):
        return text
    name = str(text)
    if name in known:
        return known[name]
    for source in known.values():
        if name.rstrip("/") == source.where.rstrip("/"):
            return source
    if scheme_of(name) in ("http", "https"):
        if Access.of(name).own is None:
            raise InputError(f"The source {name!r} is a URL without a host; check the address.")
        return Source(bare_href(name, longest=None), name)
    if name.strip() and Path(text).exists():
        return Source(name, str(Path(text).resolve()))
    raise InputError(
        f"Unknown source {name!r}: it is none of {', '.join(known)}, no http(s) URL, and no such "
        "folder or file exists."
    )


def known_collections(sensors: Mapping[str, Sensor] = SENSORS) -> frozenset[str]:
    """Return every collection id under which some sensor is known."""
    return frozenset(name for sensor in sensors.values() for name in sensor.collections)
