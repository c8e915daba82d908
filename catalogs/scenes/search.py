"""Region and period in, scenes out: from an API, a static catalogue or a GeoParquet file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, cast

import numpy as np
from pystac_client import Client
from pystac_client.exceptions import APIError
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import boxes
from terralatent.catalogs.documents.fetch import Documents, failures, open_api, status_of
from terralatent.catalogs.documents.pages import listed_items
from terralatent.catalogs.documents.static import is_parquet, walk, with_absolute_hrefs
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.hrefs import is_remote
from terralatent.catalogs.items.item import footprint, sensed_at
from terralatent.catalogs.items.scaling import NOT_APPLIED
from terralatent.catalogs.moments import Moment
from terralatent.catalogs.period import Period, read_period, within
from terralatent.catalogs.scenes.aoi import Region, describe_box, describe_extent, read_aoi
from terralatent.catalogs.scenes.passes import OF_NO_SENSOR
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.registry import read_registry
from terralatent.catalogs.sources.sensors import Sensor, mask_by, pick_sensors, with_offsets
from terralatent.catalogs.sources.sources import Source, known_collections, resolve_source

__all__ = ["search_scenes"]

_LOG = logging.getLogger(__name__)

Item = dict[str, Any]


def search_scenes(
    source: str | Path | Source,
    region: Region,
    start: Moment,
    end: Moment,
    sensors: Sequence[str] | None = None,
    *,
    offsets: Mapping[str, float] | None = None,
    described: Sequence[str | Path] = (),
    mask: str | None = None,
    report: Callable[[str], None] | None = None,
) -> Scenes:
    """Find the scenes of a region and period. Reads no pixels.

    Args:
        source: A source's name, the URL of a STAC API or document, a folder, or a file.
        region: As for :func:`~terralatent.catalogs.scenes.aoi.read_aoi`.
        start: First day, UTC: ``2018-05-01``, ``2018-05`` (its first day), a date or time of
            Python, numpy or pandas; see :func:`~terralatent.catalogs.period.read_period`.
        end: Last day, included: ``2018-05`` is its last day.
        sensors: Names of the sensors wanted; None: all that the source offers.
        offsets: By the names of sensors, the offset, in units, of items that do not state theirs.
        described: TOML files of a user's own sources and sensors, see
            :func:`~terralatent.catalogs.sources.registry.read_registry`.
        mask: Asset key of a mask band, see
            :attr:`~terralatent.catalogs.sources.sensors.Sensor.quality`: sensors that may come
            with it take it instead of their best.
        report: Called with each line of text on how far the search is.

    Returns:
        The scenes: each acquisition once, and what became of every item.

    Raises:
        InputError: If an argument cannot be used, if the source does not answer as one, or if it
            has no scene that can be used.

    Examples:
        >>> import terralatent as tl
        >>> scenes = tl.search_scenes("scenes", "region.geojson", "2018-05-01", "2018-05-31")
        >>> scenes
        Scenes of scenes, 2018-05-01 to 2018-05-31: 8 items (1 dropped, 1 merged, 6 used)
          sentinel-2-l2a  4 acquisitions  2018-05-01 to 2018-05-16
          sentinel-1-asc  2 acquisitions  2018-05-03 to 2018-05-09
    """
    known = read_registry(described)
    place, aoi = resolve_source(source, known.sources), read_aoi(region)
    period = read_period(start, end)
    wanted = with_offsets(_wanted(place, sensors, known.sensors), offsets)
    if mask is not None:
        mask_by(wanted, mask)  # refuses a wrong name before the search
    report = report or _LOG.info

    extent = Extent()
    items = []
    for item in extent.count(_items(place, aoi, period, wanted)):
        if _matches(item, aoi, period):
            items.append(item)
            if len(items) % 100 == 0:
                report(f"{len(items)} items from {place.name}")
    if not items:
        raise InputError(_nothing(place, aoi, period, wanted, extent))
    scenes = Scenes.gather(items, wanted, source=place, period=period, mask=mask)
    if not scenes.sensors:
        raise InputError(_no_use(place, period, scenes))
    report(scenes.summary())
    if sensors is not None:
        _warn_of_absent(place, wanted, scenes)
    _warn_of_doubtful_offsets(scenes)
    return scenes


def _warn_of_absent(place: Source, wanted: Sequence[Sensor], scenes: Scenes) -> None:
    """Warn of sensors that were named and of which nothing was found, beside others."""
    there = {fate.sensor for fate in scenes.fates}
    for sensor in wanted:
        if sensor.name not in there:
            _LOG.warning(
                "%s: none of the %d items that were found is of it; it is sought in the "
                "collections %s",
                sensor.name,
                len(scenes.items),
                ", ".join(place.collections_of(sensor)),
            )


def _warn_of_doubtful_offsets(scenes: Scenes) -> None:
    """Warn of items whose flag Earth Search is known to have set wrongly, now and then."""
    scalings = [fate.scaling for fate in scenes.fates if fate.scaling is not None]
    doubtful = [s for s in scalings if s.offset_from.endswith(NOT_APPLIED) and s.offset]
    if doubtful:
        _LOG.warning(
            "%d items of %s say by a flag that their offset was not taken off; some such items are "
            "wrong (https://github.com/Element84/earth-search/issues/71): check their dates",
            len(doubtful),
            scenes.source,
        )


def _wanted(
    place: Source, names: Sequence[str] | None, known: Mapping[str, Sensor]
) -> tuple[Sensor, ...]:
    """The sensors to search for: those named, else all that the source has in a usable form."""
    wanted = pick_sensors(names, known)
    if place.sensors is None:
        return wanted
    usable = [offer.sensor for offer in place.sensors if not offer.refused]
    for sensor in wanted if names is not None else ():
        offer = place.offer(sensor.name)
        if offer is None:
            raise InputError(f"{place.name} has no {sensor.name}; it has {', '.join(usable)}.")
        if offer.refused:
            raise InputError(
                f"{place.name} has {sensor.name} only as {', '.join(offer.collections)}, which "
                f"cannot be used: {offer.refused}."
            )
    return tuple(sensor for sensor in wanted if sensor.name in usable)


class Extent:
    """Counts the items that a source gives, and takes their extent in space and time."""

    def __init__(self) -> None:
        self.items = 0
        self.box: tuple[float, float, float, float] | None = None
        self.period: tuple[np.datetime64, np.datetime64] | None = None

    def count(self, items: Iterator[Item]) -> Iterator[Item]:
        """Pass ``items`` through."""
        for item in items:
            self.items += 1
            shape = footprint(item)
            if shape is not None:
                a, b = shape.bounds, self.box or shape.bounds
                self.box = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
            time = sensed_at(item)
            if time is not None:
                day = time.astype("datetime64[D]")
                first, last = self.period or (day, day)
                self.period = (min(first, day), max(last, day))
            yield item


def _items(
    place: Source, aoi: BaseGeometry, period: Period, sensors: Sequence[Sensor]
) -> Iterator[Item]:
    """Every item that ``place`` gives; more than requested where it cannot filter."""
    collections = list(
        dict.fromkeys(name for sensor in sensors for name in place.collections_of(sensor))
    )
    client = None
    if is_remote(place.where) and not is_parquet(place.where):
        with failures(place.name):
            client = open_api(place.where, place.access)
    if client is not None and client.get_search_link() is not None:
        yield from _search_api(client, place, collections, aoi, period)
    else:
        yield from walk(place.where, _may_hold(collections), place.access)


def _may_hold(collections: Sequence[str]) -> Callable[[str], bool]:
    """Leave out the collections that are known to hold other sensors only."""
    known = known_collections()
    return lambda name: name in collections or name not in known


def _search_api(
    client: Client, place: Source, collections: list[str], aoi: BaseGeometry, period: Period
) -> Iterator[Item]:
    with failures(place.name):
        if place.sensors is None:
            collections = _offered(client, place, collections)
        # A box and a period are all that every API understands; the rest is filtered here.
        searches = [
            client.search(
                method=_method(client),
                collections=collections,
                bbox=bounds,
                datetime=f"{period[0]}T00:00:00Z/{period[1]}T23:59:59.999Z",
                limit=place.page,
            )
            for bounds in boxes(aoi)
        ]
        documents = cast(Documents, client._stac_io)
        listed = chain.from_iterable(
            listed_items(place.name, search, documents) for search in searches
        )
        for item in listed:
            if isinstance(item, dict):
                yield _absolute(item, place.where)
            else:
                _LOG.warning("%s lists a %s as an item", place.name, type(item).__name__)


def _method(client: Client) -> str:
    """POST where an API says that it takes it; a link that says nothing is for GET."""
    methods = {
        str(link.extra_fields.get("method", "GET")).upper() for link in client.get_links("search")
    }
    return "POST" if "POST" in methods else "GET"


def _offered(client: Client, place: Source, collections: list[str]) -> list[str]:
    """Those of the ``collections`` that the API has."""
    offered = []
    for name in collections:
        try:
            collection = client.get_collection(name)
        except APIError as error:
            status = status_of(error)
            if status is None or status >= 500:
                raise
            collection = None
        if collection is not None:
            offered.append(name)
    if not offered:
        raise InputError(
            f"The source {place.name} has none of the collections {', '.join(collections)}."
        )
    return offered


def _absolute(item: Item, root: str) -> Item:
    links = item.get("links")
    own = [
        link["href"]
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and link.get("rel") == "self" and is_remote(str(link.get("href")))
    ]
    return with_absolute_hrefs(item, own[0] if own else root)


def _matches(item: Item, aoi: BaseGeometry, period: Period) -> bool:
    """Whether an item is of the search; one that does not say is, and is dropped by name later."""
    time, shape = sensed_at(item), footprint(item)
    if time is not None and not within(time, period):
        return False
    return shape is None or bool(shape.intersects(aoi))


def _nothing(
    place: Source, aoi: BaseGeometry, period: Period, sensors: Sequence[Sensor], extent: Extent
) -> str:
    region = describe_box(aoi.bounds)
    names = ", ".join(sensor.name for sensor in sensors)
    nothing = f"No scene of {names} was found in {place.name} for the region {region} from "
    nothing += f"{period[0]} to {period[1]}"
    if extent.items == 0 or extent.box is None:
        sought = ", ".join(dict.fromkeys(c for s in sensors for c in place.collections_of(s)))
        return (
            f"{nothing}; it is sought in the collections {sought}; give another region, period or "
            "source."
        )
    nothing += f"; its {extent.items} items lie {describe_extent(extent.box, aoi)}"
    if extent.period is not None:
        nothing += f"; they are from {extent.period[0]} to {extent.period[1]}"
    return f"{nothing}."


def _no_use(place: Source, period: Period, scenes: Scenes) -> str:
    """Why none of the items is a scene of the requested sensors."""
    where = f"{place.name} has for the region from {period[0]} to {period[1]}"
    for fate in scenes.fates:
        if not fate.reason.startswith(OF_NO_SENSOR):
            return (
                f"None of the {len(scenes.items)} items that {where} can be used; the first, "
                f"{fate.item_id}: {fate.reason}."
            )
    known = ", ".join(sorted({str(item.get("collection")) for item in scenes.items}))
    return (
        f"None of the {len(scenes.items)} items that {where} is of {', '.join(scenes.requested)}; "
        f"they are of the collections {known}."
    )
