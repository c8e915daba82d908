"""A few files of a sensor, opened to estimate what all of them take: bytes, and time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, floor
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from odc.geo.overlap import ReprojectInfo
from rasterio import DatasetReader
from zarr.storage import MemoryStore

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.georeference import read_georeference
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import Sensor
from terralatent.catalogs.sources.signing import readable
from terralatent.pipeline.cube.layout import cube_layout
from terralatent.pipeline.ingest.assets import opening, reason_of
from terralatent.pipeline.ingest.pixels import TaskPixels, is_near, read_dtype, read_pixels
from terralatent.pipeline.ingest.raster import GDAL_OPTIONS, source_window
from terralatent.pipeline.ingest.warp import ONE_GRID
from terralatent.pipeline.ingest.windows import READ_THREADS
from terralatent.pipeline.region import Block

__all__ = ["Estimate", "estimate_reading"]

DATES = 4
"""Acquisitions of a sensor that are opened, spread over time."""

SIDE = 1024
"""Pixels along y and x of the window that is read, at most."""

HEADER = int(GDAL_OPTIONS["GDAL_INGESTED_BYTES_AT_OPEN"])
"""Bytes that are fetched when a file is opened; tiles that lie in them need no more."""


@dataclass(frozen=True)
class Estimate:
    """What a sensor's files take, by a few of them."""

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


def estimate_reading(
    scenes: Scenes,
    name: str,
    acquisitions: Sequence[Acquisition],
    windows: Sequence[Block],
    pixels: GeoBox,
    block: int,
) -> Estimate:
    """Open files of a few of ``acquisitions``, and read one window of them. Writes nothing.

    Args:
        scenes: What a search found.
        name: Of the sensor.
        acquisitions: Of the sensor, at least one, ascending.
        windows: Those of the read tasks, at least one.
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
        answers = list(pool.map(partial(_bytes_or_reason, scenes=scenes, boxes=boxes), files))
    unread = [answer for answer in answers if isinstance(answer, str)]
    sizes = [answer for answer in answers if not isinstance(answer, str)]
    if not sizes:
        raise InputError(
            f"None of {len(answers)} files of {name} that were tried could be read; {unread[0]}. "
            "See that they are where their items say, then plan again."
        )
    # A file that could not be opened counts as the others do.
    dates = len(chosen) * len(sizes) / len(answers)
    *fetched, fetched_here = np.sum(sizes, axis=0) / dates

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
    pixels_here = read(chosen, window=window)
    fetching = (time.perf_counter() - began) / max(fetched_here * len(chosen), 1)
    began = time.perf_counter()
    stored = _stored_bytes(scenes, name, pixels_here, window, block)
    storing = time.perf_counter() - began
    count = len(chosen) * window.shape[0] * window.shape[1]
    return Estimate(
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
    classes: bool


def _files(acquisition: Acquisition, sensor: Sensor) -> Iterator[_File]:
    """The files of an acquisition as they would be read."""
    for item, scaling in zip(acquisition.items, acquisition.scalings, strict=True):
        dtype = read_dtype(item, sensor, scaling)
        for band in item["assets"]:
            if band in sensor.bands:
                yield _File(item, band, dtype, sensor.resampling == "nearest", False)
            elif band == acquisition.quality:
                yield _File(item, band, sensor.quality_band(band).dtype, True, True)


def _bytes_or_reason(file: _File, *, scenes: Scenes, boxes: Sequence[GeoBox]) -> list[int] | str:
    """The bytes of a file that each window takes; or why they are not known."""
    near = [is_near(file.item, box.extent.to_crs("EPSG:4326").geom) for box in boxes]
    if not any(near):
        return [0] * len(boxes)
    asset = file.item["assets"][file.band]
    try:
        placement = read_georeference(file.item, asset)
        opened = partial(readable, source=replace(scenes.place, where=""))
        with opening(
            asset["href"],
            file.dtype,
            placement,
            access=scenes.access,
            opened=opened,
            misplaced=lambda _: None,
        ) as reopen:
            sizes = _window_bytes(
                reopen,
                boxes,
                partial(
                    source_window, tolerance=ONE_GRID[file.nearest], overviews=not file.classes
                ),
                _file_bytes(asset["href"], asset),
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


def _stored_bytes(scenes: Scenes, name: str, read: TaskPixels, window: GeoBox, block: int) -> int:
    """Write pixels as the cube would keep them, in memory, and count their bytes."""
    group = zarr.open_group(MemoryStore(), mode="w")
    (layout,) = (g for g in cube_layout(scenes, window, block).groups if g.path == name)
    size = 0
    for array in layout.arrays:
        pixels = {"data": read.data, "quality": read.quality}.get(array.name)
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


def _window_bytes(
    reopen: Callable[..., AbstractContextManager[DatasetReader]],
    windows: Sequence[GeoBox],
    find: Callable[[DatasetReader, GeoBox], tuple[ReprojectInfo, int | None]],
    size: int | None = None,
) -> list[int]:
    """Add up for each window the bytes that reading it fetches from a file. Reads no pixels.

    Of a GeoTIFF the sizes of its tiles are known; of others each pixel counts as much as another.

    Args:
        reopen: Opens the file, or its overview ``overview``.
        windows: Windows of a grid.
        find: :func:`~terralatent.pipeline.ingest.raster.source_window`, as the file is read.
        size: Bytes of the whole file, where they are known: for files without sizes of tiles.

    Returns:
        For each window, the bytes of one reading of it, header included; the header alone where it
        lies outside.
    """
    sizes: list[int] = []
    with reopen() as file:
        for window in windows:
            needed, overview = find(file, window)
            if any(part.stop <= part.start for part in needed.roi_src):
                sizes.append(_header(file))
                continue
            if overview is None:
                sizes.append(_part_bytes(file, needed.roi_src, 1.0, size))
                continue
            with reopen(overview=overview) as coarse:
                shrink = file.width / coarse.width
                sizes.append(_header(file) + _part_bytes(coarse, needed.roi_src, shrink, size))
    return sizes


def _file_bytes(href: str, asset: Mapping[str, Any]) -> int | None:
    """The size of a file, as its item states it (``file:size``), else as this machine does."""
    stated = asset.get("file:size")
    if isinstance(stated, int) and stated > 0:
        return stated
    return os.stat(href).st_size if os.path.isfile(href) else None


def _part_bytes(file: DatasetReader, part: Sequence[Any], shrink: float, size: int | None) -> int:
    """Bytes of a part of a file, which is given in pixels ``shrink`` times narrower."""
    rows, columns = file.block_shapes[0]
    (top, bottom), (left, right) = (
        (floor(side.start / shrink), ceil(side.stop / shrink)) for side in part
    )
    if file.driver == "GTiff":
        sizes = [
            _beyond_header(file, x, y)
            for y in range(top // rows, ceil(bottom / rows))
            for x in range(left // columns, ceil(right / columns))
        ]
        return _header(file) + sum(sizes)
    pixels = file.width * file.height
    whole = size or pixels * np.dtype(file.dtypes[0]).itemsize // 2
    return HEADER + whole * (bottom - top) * (right - left) // pixels


def _header(file: DatasetReader) -> int:
    """Bytes that are fetched when a file is opened: all of one that is smaller."""
    rows, columns = file.block_shapes[0]
    last = _tile(file, (file.width - 1) // columns, (file.height - 1) // rows)
    return HEADER if last is None else min(HEADER, sum(last))


def _beyond_header(file: DatasetReader, x: int, y: int) -> int:
    """Bytes of a tile that are not fetched with the header; none of one that is left out."""
    tile = _tile(file, x, y)
    return 0 if tile is None else max(0, sum(tile) - max(tile[0], HEADER))


def _tile(file: DatasetReader, x: int, y: int) -> tuple[int, int] | None:
    """Where a tile begins in a GeoTIFF, and its bytes."""
    begin, size = (
        file.get_tag_item(f"BLOCK_{what}_{x}_{y}", "TIFF", bidx=1) for what in ("OFFSET", "SIZE")
    )
    return None if begin is None or size is None else (int(begin), int(size))
