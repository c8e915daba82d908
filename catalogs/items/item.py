"""What a STAC item states of its acquisition: time, orbit, tile, processing."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import shapely
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import box_on_globe, crosses, on_globe
from terralatent.catalogs.hrefs import bare_href, is_remote
from terralatent.catalogs.period import YEARS

__all__ = [
    "MALFORMED",
    "available_at",
    "baseline_key",
    "changed_at",
    "cloud_cover",
    "constellation",
    "datastrip_start",
    "footprint",
    "incidence",
    "is_level_1",
    "orbit",
    "orbit_state",
    "own_href",
    "platform",
    "processed_at",
    "processing_baseline",
    "properties",
    "sensed_at",
    "tile",
    "written_at",
]

Item = Mapping[str, Any]

MALFORMED = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What readers raise of an item in which something is of another kind than elsewhere."""

_PLATFORMS = {
    "S1": "sentinel-1",
    "S2": "sentinel-2",
    "LT": "landsat-",
    "LE": "landsat-",
    "LC": "landsat-",
}


_HERE = re.compile(r"https?://(localhost|127\.|\[::1\])")
"""A catalogue that this machine alone serves."""

_PRODUCT = re.compile(r"S2[A-D]_MSIL2A_\d{8}T\d{6}_N\d{4}_R(\d{3})_T\d{2}[A-Z]{3}_(\d{8}T\d{6})")
"""ESA's name of a Sentinel-2 product: its relative orbit, and when it was made."""


def properties(item: Item) -> Mapping[str, Any]:
    """Return the item's properties; none where they are no mapping."""
    own = item.get("properties")
    return own if isinstance(own, Mapping) else {}


def sensed_at(item: Item) -> np.datetime64 | None:
    """Return when the item was sensed, datetime64[us] in UTC; None where it does not say.

    ``datetime``, else ``start_datetime``. A time without a zone is taken for UTC. Whole
    milliseconds: stac-geoparquet keeps no more, and a search and its file must agree.
    """
    for name in ("datetime", "start_datetime"):
        time = _time(properties(item).get(name))
        if time is not None:
            return time
    return None


def processed_at(item: Item) -> str:
    """Return when the product was made, in a form that sorts by time; empty where unknown.

    ``created`` and ``updated`` state when a catalogue took it up, which says less.
    """
    for name in ("processing:datetime", "s2:generation_time", "landsat:product_generated"):
        time = _time(properties(item).get(name))
        if time is not None:
            return str(time)
    product = _product(item)
    time = None if product is None else _time(product[2])
    return "" if time is None else str(time)


def written_at(item: Item) -> tuple[str, str]:
    """Return ``created`` and ``updated`` in a form that sorts by time; empty where unknown."""
    times = (_time(properties(item).get(name)) for name in ("created", "updated"))
    created, updated = ("" if time is None else str(time) for time in times)
    return created, updated


def available_at(item: Item) -> str:
    """Return when the item's product could be had, by its own word, in a form that sorts by time;
    empty where it does not say.

    ``published``, else ``created``, of STAC's common metadata and its timestamps extension. Either
    may state when a catalogue took up its archive, years later: who asks what was known when has
    to weigh it, see :class:`terralatent.pipeline.cube.reading.Known`.
    """
    for name in ("published", "created"):
        time = _time(properties(item).get(name))
        if time is not None:
            return str(time)
    return ""


def changed_at(item: Item) -> str:
    """Return when the item or its product was last changed, by its own word, in a form that sorts
    by time; empty where it does not say."""
    return max(processed_at(item), *written_at(item))


def own_href(item: Item) -> str:
    """Return the URL of the item in its catalogue, without secrets; empty where it has none that
    others can ask."""
    links = item.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, Mapping) and link.get("rel") == "self":
            href = bare_href(str(link.get("href")), longest=None)
            return href if is_remote(href) and not _HERE.match(href) else ""
    return ""


def orbit(item: Item) -> int:
    """Return the relative orbit, for Landsat the WRS path; -1 where it is unknown.

    The name of the product holds it too: Earth Search has it nowhere else.
    """
    for name in ("sat:relative_orbit", "landsat:wrs_path"):
        value = properties(item).get(name)
        if isinstance(value, str) and re.fullmatch(r"\s*[0-9]{1,4}\s*", value):
            return int(value)
        if 0 <= _number(value) < 10_000:
            return int(_number(value))
    product = _product(item)
    return -1 if product is None else int(product[1])


def constellation(item: Item) -> str:
    """Return the constellation in lower case with hyphens; empty where it is unknown.

    It is derived from the platform where only that is known.
    """
    value = properties(item).get("constellation")
    if isinstance(value, str) and value:
        return re.sub(r"[ _]", "-", value.strip().lower())
    name = platform(item)
    return "landsat" if name.startswith("landsat") else name[:10]


def platform(item: Item) -> str:
    """Return the platform in lower case, such as ``sentinel-2b``; empty where it is unknown."""
    value = properties(item).get("platform")
    if isinstance(value, str) and 0 < len(value) < 60:
        return _platform_name(re.sub(r"[ _]", "-", value.strip().lower()))
    match = re.match(r"(S[12])([A-D])_|(L[TEC])0?(\d)_", str(item.get("id", "")))
    if match is None:
        return ""
    sentinel, unit, landsat, number = match.groups()
    return f"{_PLATFORMS[sentinel or landsat]}{(unit or number).lower()}"


def _platform_name(written: str) -> str:
    """One name of a platform for the several that are in use: two names would be two platforms."""
    sentinel = re.fullmatch(r"s(?:entinel)?-?([12])-?([a-d])", written)
    if sentinel is not None:
        return f"sentinel-{sentinel[1]}{sentinel[2]}"
    landsat = re.fullmatch(r"(?:landsat|l[cet]?)-?0?([1-9])", written)
    return written if landsat is None else f"landsat-{landsat[1]}"


def orbit_state(item: Item) -> str:
    """Return ``ascending`` or ``descending``, as the item says; empty where it does not."""
    value = properties(item).get("sat:orbit_state")
    return value.strip().lower() if isinstance(value, str) else ""


def is_level_1(item: Item) -> bool:
    """Whether the item says that it is of processing level 1: as measured above the atmosphere."""
    stated = (properties(item).get(name) for name in ("processing:level", "landsat:correction"))
    return any(isinstance(v, str) and re.match(r"\s*(level-?)?l?1", v, re.I) for v in stated)


def processing_baseline(item: Item) -> str:
    """Return the processing baseline as the item writes it, ``05.00``; empty where unknown."""
    for name in ("s2:processing_baseline", "processing:version", "sentinel:processing_baseline"):
        value = properties(item).get(name)
        if isinstance(value, (str, float)) and re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", str(value)):
            return str(value)
    return ""


def baseline_key(baseline: str) -> tuple[int, int]:
    """Return ``baseline`` as numbers that compare; (-1, -1) where it is empty.

    >>> baseline_key("05.10") > baseline_key("05.09") > baseline_key("")
    True
    """
    if not baseline:
        return -1, -1
    major, minor = baseline.split(".")
    return int(major), int(minor)


def tile(item: Item) -> str:
    """Return what distinguishes the item's place from its neighbours' on the same pass.

    The MGRS tile or the WRS path and row; empty where neither is known.
    """
    own = properties(item)
    names = [own.get("s2:mgrs_tile"), own.get("grid:code")]
    for prefix in ("mgrs", "sentinel"):
        parts = [own.get(f"{prefix}:{n}") for n in ("utm_zone", "latitude_band", "grid_square")]
        names.append("".join(str(part) for part in parts if part is not None))
    for name in names:
        match = re.fullmatch(r"(?:MGRS-)?T?(\d{1,2})([A-Z]{3})", str(name).strip().upper())
        if match is not None:
            return f"{match[1].zfill(2)}{match[2]}"
    if own.get("landsat:wrs_row") is not None:
        return f"{own.get('landsat:wrs_path')}/{own.get('landsat:wrs_row')}"
    return ""


def datastrip_start(item: Item) -> float:
    """Return when the item's Sentinel-2 data strip began, seconds since 1970; NaN if unknown.

    Two halves of one tile come from two strips, reprocessed duplicates from the same strip.
    """
    own = properties(item)
    name = own.get("s2:datastrip_id") or own.get("eopf:datastrip_id")
    match = re.search(r"_S([0-9]{8}T[0-9]{6})", str(name))
    start = None if match is None else _time(match[1])
    return math.nan if start is None else float(start.astype("datetime64[s]").astype(np.int64))


def cloud_cover(item: Item) -> float:
    """Return the cloud cover in percent; NaN where it is unknown."""
    return _number(properties(item).get("eo:cloud_cover"), 0.0, 100.0)


def incidence(item: Item) -> float:
    """Return the angle of incidence in degrees; NaN where it is unknown."""
    return _number(properties(item).get("view:incidence_angle"), 0.0, 180.0)


def footprint(item: Item) -> BaseGeometry | None:
    """Return the item's geometry in degrees, else its box; None where neither can be read.

    In longitudes from -180 to 180: in two parts where it crosses the 180th meridian, see
    :mod:`terralatent.catalogs.antimeridian`.
    """
    try:
        with np.errstate(all="ignore"):  # coordinates that are no numbers
            geometry = shape(item.get("geometry"))
        if not geometry.is_empty and _on_earth(geometry.bounds):
            geometry = on_globe(geometry)
            if shapely.is_valid(geometry):
                return geometry
    except (*MALFORMED, shapely.errors.ShapelyError):
        pass
    if not (edges := _box(item)):
        return None
    west, south, east, north = edges
    whole = south <= north and (west <= east or crosses(west, east))
    return box_on_globe((west, south, east, north)) if whole else None


def _product(item: Item) -> re.Match[str] | None:
    """The name of the Sentinel-2 product that the item is made of, where it states that."""
    own = properties(item)
    for name in (own.get("s2:product_uri"), own.get("sentinel:product_id"), item.get("id")):
        match = _PRODUCT.match(name) if isinstance(name, str) else None
        if match is not None:
            return match
    return None


def _box(item: Item) -> tuple[float, ...]:
    corners = item.get("bbox")
    if not isinstance(corners, (list, tuple)) or len(corners) not in (4, 6):
        return ()
    edges = tuple(_number(edge) for edge in corners)
    edges = edges if len(edges) == 4 else (edges[0], edges[1], edges[3], edges[4])
    return edges if _on_earth(edges) else ()


def _on_earth(edges: Sequence[float]) -> bool:
    """Whether a box is in degrees; some catalogues count longitudes to 360."""
    return all(abs(edge) <= most for edge, most in zip(edges, (360, 90, 360, 90), strict=True))


def _time(value: object) -> np.datetime64 | None:
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    if time.year not in YEARS:
        return None
    whole = time.replace(microsecond=time.microsecond // 1000 * 1000)
    return np.datetime64(whole, "us")


def _number(value: object, least: float = -math.inf, most: float = math.inf) -> float:
    """A finite number between two bounds; NaN where ``value`` is anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) and least <= number <= most else math.nan
