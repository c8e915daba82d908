"""The pixels of one read unit: some acquisitions of one sensor over one window of the grid.

Items of one acquisition are read one by one and merged here, so that all bands of a pixel and its
mask come from the same item.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.access import Access
from terralatent.catalogs.acquisition import Acquisition
from terralatent.catalogs.placement import read_placement
from terralatent.catalogs.scaling import Scaling, told_type
from terralatent.catalogs.sensors import Sensor
from terralatent.catalogs.sources import sign
from terralatent.pipeline.harmonise import pack_item
from terralatent.pipeline.reading import Band, Source, read_sources

__all__ = ["Loss", "UnitPixels", "read_pixels"]

MARGIN_DEGREES = 0.01
"""How far outside its footprint an item is still read: footprints in catalogues are coarse, and
which pixels a window gets must not depend on the window."""


@dataclass(frozen=True)
class Loss:
    """Something of a scene that could not be read; its pixels are masked in the cube."""

    sensor: str
    """Name of the sensor."""

    item: str
    """Id of the item; of a whole read unit that was lost, its place."""

    band: str
    """The band; empty where a whole read unit was lost."""

    reason: str
    """Why, in one line."""

    def __str__(self) -> str:
        return f"{self.sensor} {self.item}{' ' if self.band else ''}{self.band}: {self.reason}"


@dataclass(frozen=True, eq=False)
class UnitPixels:
    """What was read of one unit."""

    data: np.ndarray
    """Packed integers (time, band, y, x); the packing's fill value where there is no data."""

    quality: np.ndarray | None
    """The mask band (time, y, x) as the sensor gives it; None where it has none."""

    losses: tuple[Loss, ...]
    """What could not be read."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One item of one acquisition of the unit."""

    place: int
    item: Mapping[str, Any]
    scaling: Scaling


def read_pixels(
    acquisitions: Sequence[Acquisition],
    sensor: Sensor,
    window: GeoBox,
    *,
    access: Access,
    signing: str | None = None,
    threads: int = 1,
) -> UnitPixels:
    """Read, harmonise and merge the pixels of ``acquisitions`` in ``window``. Computes.

    The result depends on nothing but its arguments: neither on the number of threads nor on the
    windows around. Of two items the first that has data at a pixel counts there. What fails to
    read is masked and named.

    Args:
        acquisitions: At least one, all of ``sensor``, in the order of the cube's time axis.
        sensor: Their sensor.
        window: Part of the cube's grid.
        access: What files may be read.
        signing: How hrefs are signed, see :func:`terralatent.catalogs.sources.sign`.
        threads: Files read at the same time.
    """
    fill = sensor.packing.fill_value
    mask = sensor.quality_band(acquisitions[0].quality) if acquisitions[0].quality else None
    size = (len(acquisitions), len(sensor.bands), *window.shape)
    data = np.full(size, fill, sensor.packing.dtype)
    quality = None if mask is None else np.full((size[0], *size[2:]), mask.fill_value, mask.dtype)
    losses: list[Loss] = []

    for bands, parts in _read_alike(_near(acquisitions, window), sensor):
        if mask is not None:
            bands = [*bands, Band(mask.asset, mask.dtype, mask.fill_value)]
        sources = [_source(part.item, signing) for part in parts]
        pixels, unread = read_sources(sources, bands, window, access=access, threads=threads)
        losses += [Loss(sensor.name, file.source, file.band, file.reason) for file in unread]
        for index, part in enumerate(parts):
            packed = np.stack(
                [pack_item(pixels[band][index], part.scaling, sensor) for band in sensor.bands]
            )
            here = data[part.place]
            fresh = (here == fill).all(axis=0) & (packed != fill).any(axis=0)
            np.copyto(here, packed, where=fresh)
            if mask is not None and quality is not None:
                np.copyto(quality[part.place], pixels[mask.asset][index], where=fresh)
    return UnitPixels(data, quality, tuple(sorted(losses, key=lambda loss: (loss.item, loss.band))))


def _near(acquisitions: Sequence[Acquisition], window: GeoBox) -> list[_Part]:
    """The items that may have pixels in the window, in merge order within each acquisition."""
    extent: BaseGeometry = window.extent.to_crs("EPSG:4326").geom
    return [
        _Part(place, item, scaling)
        for place, acquisition in enumerate(acquisitions)
        for item, scaling in zip(acquisition.items, acquisition.scalings, strict=True)
        if item.get("geometry") is None
        or shape(item["geometry"]).distance(extent) <= MARGIN_DEGREES
    ]


def _read_alike(parts: Sequence[_Part], sensor: Sensor) -> Iterator[tuple[list[Band], list[_Part]]]:
    """Group parts that one call can read: of one dtype and no data, and of one rank in merging.

    Ranks come in order, so that first items are merged before second ones.
    """
    groups: dict[tuple[int, str, float | None], list[_Part]] = defaultdict(list)
    rank: dict[int, int] = defaultdict(int)
    for part in parts:
        dtype = _dtype(part.item["assets"][sensor.bands[0]], part.scaling)
        groups[(rank[part.place], dtype, part.scaling.nodata)].append(part)
        rank[part.place] += 1
    for (_, dtype, nodata), alike in sorted(groups.items(), key=lambda entry: entry[0][0]):
        yield [Band(band, dtype, nodata) for band in sensor.bands], alike


def _dtype(asset: Mapping[str, Any], scaling: Scaling) -> str:
    """The small integer that an asset tells if it holds its no data too, else float32."""
    told, nodata = told_type(asset), scaling.nodata
    if told not in ("uint8", "int16", "uint16") or nodata is None:
        return "float32"
    limits = np.iinfo(told)
    holds = float(nodata).is_integer() and limits.min <= nodata <= limits.max
    return told if holds else "float32"


def _source(item: Mapping[str, Any], signing: str | None) -> Source:
    assets = sign(dict(item), signing)["assets"]
    return Source(
        str(item["id"]),
        {name: asset["href"] for name, asset in assets.items()},
        {name: read_placement(item, asset) for name, asset in assets.items()},
    )
