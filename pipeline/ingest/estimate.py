"""A few files of a sensor, opened to tell what all of them take: bytes, and time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from zarr.storage import MemoryStore

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.georeference import read_georeference
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import Sensor
from terralatent.catalogs.sources.signing import readable
from terralatent.pipeline.cube.layout import cube_layout
from terralatent.pipeline.ingest.assets import opening, reason_of
from terralatent.pipeline.ingest.pixels import UnitPixels, is_near, read_dtype, read_pixels
from terralatent.pipeline.ingest.tile_bytes import bytes_touched, file_bytes
from terralatent.pipeline.ingest.warp import ONE_GRID
from terralatent.pipeline.ingest.windows import READ_THREADS
from terralatent.pipeline.region import Block

__all__ = ["Sample", "take_sample"]

DATES = 4
"""Acquisitions of a sensor that are opened, spread over time."""

SIDE = 1024
"""Pixels along y and x of the window that is read, at most."""


@dataclass(frozen=True)
class Sample:
    """What a few files of a sensor tell."""

    fetched: tuple[float, ...]
    """For each window, bytes that one date takes."""

    fetching: float
    """Seconds that a worker takes for one byte: to fetch it, decode it and pack its pixels."""

    stored: float
    """Bytes in the cube of one pixel of one date, all bands and the mask."""

    storing: float
    """Seconds that a worker takes to compress and write it."""

    files: int
    """Files that were opened."""

    unread: tuple[str, ...]
    """Files that could not be read, and why."""


def take_sample(
    scenes: Scenes,
    name: str,
    acquisitions: Sequence[Acquisition],
    windows: Sequence[Block],
    pixels: GeoBox,
    block: int,
) -> Sample:
    """Open files of a few of ``acquisitions``, and read one window of them. Writes nothing.

    Args:
        scenes: What a search found.
        name: Of the sensor.
        acquisitions: Of the sensor, at least one, ascending.
        windows: Of the read units, at least one.
        pixels: The grid of the cube.
        block: Pixels along y and x of a block.

    Raises:
        InputError: If none of the files can be read.
    """
    sensor = scenes.sensor(name)
    places = np.linspace(0, len(acquisitions) - 1, min(DATES, len(acquisitions)))
    chosen = [acquisitions[round(place)] for place in places]
    middle = _middle(windows[len(windows) // 2], block)
    files = [file for acquisition in chosen for file in _files(acquisition, sensor)]
    boxes = [pixels[window.y, window.x] for window in (*windows, middle)]
    with ThreadPoolExecutor(READ_THREADS) as pool:
        told = list(pool.map(partial(_touched, scenes=scenes, boxes=boxes), files))
    unread = [each for each in told if isinstance(each, str)]
    sizes = [each for each in told if not isinstance(each, str)]
    if not sizes:
        raise InputError(
            f"None of {len(told)} files of {name} that were tried could be read; {unread[0]}. "
            "See that they are where their items say, then plan again."
        )
    # A file that could not be opened counts as the others do.
    dates = len(chosen) * len(sizes) / len(told)
    *fetched, one = np.sum(sizes, axis=0) / dates

    window = pixels[middle.y, middle.x]
    read = partial(
        read_pixels,
        sensor=sensor,
        access=scenes.access,
        source=replace(scenes.place, where=""),
        grid=pixels,
        threads=READ_THREADS,
    )
    read(chosen[:1], window=window[:1, :1])  # what the first of all costs is not a rate
    began = time.perf_counter()
    found = read(chosen, window=window)
    fetching = (time.perf_counter() - began) / max(one * len(chosen), 1)
    began = time.perf_counter()
    stored = _stored(scenes, name, found, window, block)
    storing = time.perf_counter() - began
    count = len(chosen) * window.shape[0] * window.shape[1]
    return Sample(
        tuple(float(size) for size in fetched),
        float(fetching),
        stored / count,
        storing / count,
        len(files),
        tuple(unread),
    )


@dataclass(frozen=True, eq=False)
class _File:
    """One file of an item."""

    item: Mapping[str, Any]
    band: str
    dtype: str
    nearest: bool


def _files(acquisition: Acquisition, sensor: Sensor) -> Iterator[_File]:
    """The files of an acquisition as they would be read."""
    for item, scaling in zip(acquisition.items, acquisition.scalings, strict=True):
        dtype = read_dtype(item["assets"][sensor.bands[0]], scaling)
        for band in item["assets"]:
            if band in sensor.bands:
                yield _File(item, band, dtype, sensor.resampling == "nearest")
            elif band == acquisition.quality:
                yield _File(item, band, sensor.quality_band(band).dtype, True)


def _touched(file: _File, *, scenes: Scenes, boxes: Sequence[GeoBox]) -> list[int] | str:
    """The bytes of a file that each window takes; or why they cannot be told."""
    near = [is_near(file.item, box.extent.to_crs("EPSG:4326").geom) for box in boxes]
    if not any(near):
        return [0] * len(boxes)
    asset = file.item["assets"][file.band]
    try:
        told = read_georeference(file.item, asset)
        opened = partial(readable, source=replace(scenes.place, where=""))
        with opening(
            asset["href"], file.dtype, told, access=scenes.access, opened=opened
        ) as reopen:
            sizes = bytes_touched(
                reopen, boxes, ONE_GRID[file.nearest], file_bytes(asset["href"], asset)
            )
    except Exception as error:  # as when it is read: no file may take others with it
        return f"{file.item['id']} {file.band}: {reason_of(error)}"
    return [size if here else 0 for size, here in zip(sizes, near, strict=True)]


def _middle(window: Block, block: int) -> Block:
    """Whole blocks in the middle of a window."""
    return Block((0, 0), _within(window.y, block), _within(window.x, block))


def _within(side: slice, block: int) -> slice:
    length = min(side.stop - side.start, max(SIDE // block, 1) * block)
    start = side.start + (side.stop - side.start - length) // 2 // block * block
    return slice(start, start + length)


def _stored(scenes: Scenes, name: str, found: UnitPixels, window: GeoBox, block: int) -> int:
    """Write pixels as the cube would keep them, in memory, and tell their bytes."""
    group = zarr.open_group(MemoryStore(), mode="w")
    (layout,) = (g for g in cube_layout(scenes, window, block).groups if g.path == name)
    size = 0
    for array in layout.arrays:
        pixels = {"data": found.data, "quality": found.quality}.get(array.name)
        if pixels is None or array.shards is None:
            continue
        dates = len(pixels)
        replace(
            array,
            shape=pixels.shape,
            chunks=(dates, *array.chunks[1:]),
            shards=(dates, *array.shards[1:]),
        ).create(group)
        written = group[array.name]
        written[...] = pixels
        size += int(written.nbytes_stored())
    return size
