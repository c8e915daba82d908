"""The pixels of one read task: some acquisitions of one sensor over one window of the grid.

Items of one acquisition are read one by one and merged here, so that all bands of a pixel and its
mask come from the same item. Memory goes back to the system when it is freed: many threads need
much for a moment.
"""

from __future__ import annotations

import ctypes
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.antimeridian import distance, on_globe
from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.items.georeference import read_georeference
from terralatent.catalogs.items.scaling import Scaling, data_type
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.sources.sensors import Sensor
from terralatent.catalogs.sources.signing import readable
from terralatent.catalogs.sources.sources import Source
from terralatent.pipeline.cube.losses import Loss
from terralatent.pipeline.ingest.assets import Band, Unread, read_sources
from terralatent.pipeline.ingest.assets import Source as ItemFiles
from terralatent.pipeline.ingest.border_noise import border_halo, border_noise
from terralatent.pipeline.ingest.decoding import MOST_BYTES
from terralatent.pipeline.ingest.harmonise import contradiction, linear_power, pack_item

__all__ = ["TaskPixels", "is_near", "read_dtype", "read_pixels"]

MARGIN_DEGREES = 0.01
"""How far outside its footprint an item is still read: footprints in catalogues are coarse, and
which pixels a window gets must not depend on the window."""

HALO_PIXELS = 4_000_000
"""Pixels, halo included, of the items that are read at once where edges may have noise."""

STRIP = 64
"""Rows that are packed at a time."""

UNKNOWN = Source("unknown", "")
"""Where files come from that are readable as they are."""

MMAP_THRESHOLD = -3
"""Number of glibc's setting."""

LEAST, MOST = 2**20, 2**25
"""Bytes of a piece that is a mapping of its own: within, and else (glibc takes no more)."""


@dataclass(frozen=True, eq=False)
class TaskPixels:
    """What was read of one task."""

    data: np.ndarray
    """Packed integers (time, band, y, x); the packing's fill value where there is no data."""

    quality: np.ndarray | None
    """The mask band (time, y, x) as the sensor gives it; None where it has none."""

    losses: tuple[Loss, ...]
    """What could not be read."""

    misplaced: tuple[Loss, ...] = ()
    """Files that were read where they lie, though their items place them elsewhere."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One item of one acquisition of the task."""

    place: int
    item: Mapping[str, Any]
    scaling: Scaling
    halo: int = 0


@contextmanager
def _returning_memory() -> Iterator[None]:
    """Within, what is freed of arrays and buffers goes back to the system at once.

    glibc keeps pieces below its threshold for each thread that had them: eight threads that read
    files keep eight times what the largest took. Measured on a window of 2,048 pixels: 1.3 GB at
    most instead of 1.8, and no slower. It changes the whole process, and does nothing without
    glibc.
    """
    libc = ctypes.CDLL(None)
    set_option, trim = getattr(libc, "mallopt", None), getattr(libc, "malloc_trim", None)
    if set_option is None or trim is None:
        yield
        return
    set_option(MMAP_THRESHOLD, LEAST)
    try:
        yield
    finally:
        set_option(MMAP_THRESHOLD, int(os.environ.get("MALLOC_MMAP_THRESHOLD_", MOST)))
        trim(0)


@_returning_memory()
def read_pixels(
    acquisitions: Sequence[Acquisition],
    sensor: Sensor,
    window: GeoBox,
    *,
    access: Access,
    source: Source = UNKNOWN,
    grid: GeoBox | None = None,
    threads: int = 1,
    together: int | None = None,
    into: Mapping[str, np.ndarray] | None = None,
    places: Sequence[int] | None = None,
    at_once: int | None = None,
    memory: int = MOST_BYTES,
    strict_placement: bool = False,
) -> TaskPixels:
    """Read, harmonise and merge the pixels of ``acquisitions`` in ``window``. Computes.

    The result depends on nothing but its arguments: neither on the number of threads or of items
    read together nor on the windows around. Of two items the first that has data at a pixel counts
    there, in all its bands; what an item has no file of is no data. What fails to read is masked
    and named, and so is what is not in the unit that its item states.

    Args:
        acquisitions: At least one, all of ``sensor``, in the order of the cube's time axis.
        sensor: Their sensor.
        window: Part of the cube's grid.
        access: What files may be read.
        source: Where the files come from.
        grid: The cube's grid, by default the window alone.
        threads: Files read at the same time.
        together: Items that are in memory as their files hold them at the same time; by default
            all that are read alike.
        into: Arrays ``data`` and ``quality`` of the result to be written to, instead of new ones.
        places: Where on their time axis each acquisition goes; the other dates are left alone.
        at_once: Requests to each host at the same time, see :func:`read_sources`.
        memory: Bytes that may be decoded at the same time, see there.
        strict_placement: Whether a file is masked that lies elsewhere than its item says, though it
            lies in the CRS and the footprint that the item states.
    """
    fill = sensor.packing.fill_value
    mask = sensor.quality_band(acquisitions[0].quality) if acquisitions[0].quality else None
    places = list(range(len(acquisitions)) if places is None else places)
    if into is None:
        size = (len(acquisitions), len(sensor.bands), *window.shape)
        into = {"data": np.empty(size, sensor.packing.dtype)}
        if mask is not None:
            into["quality"] = np.empty((size[0], *size[2:]), mask.dtype)
    data, quality = into["data"], into.get("quality")
    data[places] = fill
    if mask is not None and quality is not None:
        quality[places] = mask.fill_value
    losses: list[Loss] = []
    unread: list[Unread] = []
    misplaced: list[Unread] = []
    grid = window if grid is None else grid
    for bands, parts, most in _read_alike(
        _near(acquisitions, window), sensor, window, grid, together or len(acquisitions)
    ):
        there = [band.name for band in bands]
        if mask is not None:
            bands = [*bands, Band(mask.asset, mask.dtype, mask.fill_value, classes=True)]
        halo = parts[0].halo
        sources = read_sources(
            [_files(part.item) for part in parts],
            bands,
            window.pad(halo),
            access=access,
            opened=partial(readable, source=source),
            threads=threads,
            at_once=at_once,
            memory=memory,
            together=most,
            unread=unread.append,
            misplaced=None if strict_placement else misplaced.append,
        )
        inner = np.s_[halo : halo + window.shape[0], halo : halo + window.shape[1]]
        for place, pixels in sources:
            part = parts[place]
            read = [pixels[band] for band in there]
            contradicted = list(_contradicted(part, sensor, there, [band[inner] for band in read]))
            losses += contradicted
            if contradicted:  # its scale is that of all its bands
                continue
            noise = None
            if halo and sensor.border is not None:
                power = np.stack([linear_power(band, part.scaling, sensor) for band in read])
                noise = border_noise(power, sensor.border.below, halo)[inner]
                del power
            for rows in _strips(window.shape[0]):
                packed = np.stack(
                    [pack_item(band[inner][rows], part.scaling, sensor) for band in read]
                )
                if noise is not None:
                    packed[:, noise[rows]] = fill
                here = data[places[part.place], :, rows]
                fresh = (here == fill).all(axis=0) & (packed != fill).any(axis=0)
                for band, values in zip(there, packed, strict=True):
                    np.copyto(here[sensor.bands.index(band)], values, where=fresh)
                if mask is not None and quality is not None:
                    classes = pixels[mask.asset][inner][rows]
                    np.copyto(quality[places[part.place], rows], classes, where=fresh)
            del pixels, read  # before the next are waited for
    losses += _of(sensor, unread)
    return TaskPixels(data, quality, _in_order(losses), _in_order(_of(sensor, misplaced)))


def _of(sensor: Sensor, files: Iterable[Unread]) -> Iterator[Loss]:
    return (Loss(sensor.name, file.source, file.band, file.reason) for file in files)


def _in_order(losses: Iterable[Loss]) -> tuple[Loss, ...]:
    """Each file once, though its overviews were opened too."""
    return tuple(sorted(set(losses), key=lambda loss: (loss.item, loss.band)))


def _contradicted(
    part: _Part, sensor: Sensor, bands: Sequence[str], read: Sequence[np.ndarray]
) -> Iterator[Loss]:
    """The bands of an item whose values are not in the unit that it states."""
    for band, pixels in zip(bands, read, strict=True):
        reason = contradiction(pixels, part.scaling, sensor)
        if reason is not None:
            yield Loss(sensor.name, str(part.item["id"]), band, reason)


def _strips(rows: int) -> Iterator[slice]:
    """Few rows at a time: what is computed on the way to packed integers stays small."""
    for first in range(0, rows, STRIP):
        yield slice(first, min(first + STRIP, rows))


def _near(acquisitions: Sequence[Acquisition], window: GeoBox) -> list[_Part]:
    """The items that may have pixels in the window, in merge order within each acquisition."""
    extent: BaseGeometry = window.extent.to_crs("EPSG:4326").geom
    return [
        _Part(place, item, scaling)
        for place, acquisition in enumerate(acquisitions)
        for item, scaling in zip(acquisition.items, acquisition.scalings, strict=True)
        if is_near(item, extent)
    ]


def is_near(item: Mapping[str, Any], extent: BaseGeometry) -> bool:
    """Whether files of an item are opened for a window with this extent in degrees."""
    outline = item.get("geometry")
    return outline is None or distance(shape(outline), on_globe(extent)) <= MARGIN_DEGREES


def _read_alike(
    parts: Sequence[_Part], sensor: Sensor, window: GeoBox, grid: GeoBox, together: int
) -> Iterator[tuple[list[Band], list[_Part], int]]:
    """Group parts that one call can read: of the same bands, dtype and no data, and of one rank in
    merging; and say how many of them memory holds.

    Ranks come in order, so that first items are merged before second ones; at most ``together``
    parts at once, and of those that are read with a halo fewer.
    """
    groups: dict[tuple[Any, ...], list[_Part]] = defaultdict(list)
    rank: dict[int, int] = defaultdict(int)
    for part in parts:
        there = sensor.select([band for band in sensor.bands if band in part.item["assets"]])
        dtype = read_dtype(part.item, sensor, part.scaling)
        halo = border_halo(part.item, sensor.border, grid)
        kind = rank[part.place], there, dtype, part.scaling.nodata, halo
        groups[kind].append(replace(part, halo=halo))
        rank[part.place] += 1
    for (_, there, dtype, nodata, halo), alike in sorted(
        groups.items(), key=lambda kind: kind[0][0]
    ):
        bands = [Band(band, dtype, nodata, sensor.resampling) for band in there]
        rows, columns = (size + 2 * halo for size in window.shape)
        most = max(1, min(together, HALO_PIXELS // (rows * columns))) if halo else together
        yield bands, alike, most


def read_dtype(item: Mapping[str, Any], sensor: Sensor, scaling: Scaling) -> str:
    """The NumPy name of what the bands of an item are read as.

    The small integer that its first asset states if that holds its no data too, else float32.
    """
    assets = item["assets"]
    first = next(band for band in sensor.bands if band in assets)
    stated, nodata = data_type(assets[first]), scaling.nodata
    if stated not in ("uint8", "int16", "uint16") or nodata is None:
        return "float32"
    limits = np.iinfo(stated)
    holds = float(nodata).is_integer() and limits.min <= nodata <= limits.max
    return stated if holds else "float32"


def _files(item: Mapping[str, Any]) -> ItemFiles:
    assets = item["assets"]
    return ItemFiles(
        str(item["id"]),
        {name: asset["href"] for name, asset in assets.items()},
        {name: read_georeference(item, asset) for name, asset in assets.items()},
    )
