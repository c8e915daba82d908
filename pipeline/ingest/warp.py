"""An open raster file onto the cube's grid, so that every window gets the same pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any, Protocol

import numpy as np
import rasterio
from odc.geo.converters import rio_geobox
from odc.geo.geobox import GeoBox
from odc.geo.overlap import ReprojectInfo

# Not offered: what is (RioReader) opens the file itself and chooses overview and pixels by itself.
from odc.loader._rio import _do_read
from odc.loader.types import RasterLoadParams
from rasterio import band
from rasterio.io import DatasetReader
from rasterio.windows import Window

from terralatent.pipeline.ingest.raster import source_window

__all__ = ["Reopen", "read_on_grid"]

ONE_GRID = {True: 0.9, False: 0.05}
"""Pixels by which a file's grid may be off ours and be read without being resampled: nearest
neighbours are the same, other kernels mix."""

TILE = 256
"""Pixels along a side of the tiles that are warped one by one."""


class Reopen(Protocol):
    """Opens the file that is read once more."""

    def __call__(self, *, overview: int) -> AbstractContextManager[DatasetReader]:
        """Open one of its overviews."""
        ...


AT_ONCE = 64_000_000
"""Bytes of a file that are held in memory to be warped."""

Placed = tuple[tuple[slice, slice], np.ndarray]
"""Pixels, and where in the window they belong."""


def read_on_grid(
    file: DatasetReader,
    reopen: Reopen,
    how: RasterLoadParams,
    window: GeoBox,
    into: np.ndarray | None = None,
) -> Placed:
    """Read the first band of ``file`` on the grid of ``window``. Computes.

    No data is left out before pixels are mixed: what the file calls so, and where it is silent
    what ``how`` does.

    GDAL finds the way from one CRS to another exactly at few points and guesses between them, from
    edge to edge of what it is asked for. So what a pixel gets would depend on the window around
    it (measured at the border of two UTM zones: every 400th pixel by the nearest neighbour, four
    of five by other kernels). It is asked for tiles of an absolute grid instead; and so that no
    tile of the file is fetched for several of these (measured: up to 12 times), what all of them
    are made from is read first, at once.

    Args:
        file: The open file.
        reopen: Opens it at an overview level.
        how: Kernel, dtype and no data.
        window: Part of a grid whose pixel edges are multiples of its pixel size.
        into: Of the size of the window, full of no data; may be filled instead of a new array.
    """
    how = how.patch(src_nodata_fallback=how.fill_value)  # JPEG 2000 cannot tell it
    if how.nearest and rio_geobox(file).crs == window.crs:
        return _read(file, reopen, how, window, into)
    fill = np.nan if how.fill_value is None else how.fill_value
    whole = np.full(window.shape, fill, dtype=how.dtype)
    tiles = [_Tile(*tile, *source_window(file, tile[1], ONE_GRID[how.nearest]))
             for tile in _tiles(window)]  # fmt: skip
    for overview in sorted({tile.overview for tile in tiles}, key=lambda level: level or -1):
        alike = [tile for tile in tiles if tile.overview == overview]
        with ExitStack() as stack:
            level = file if overview is None else stack.enter_context(reopen(overview=overview))
            shrink = file.width / level.width
            copy, first = stack.enter_context(_in_memory(level, _needed(alike, level, shrink)))
            for tile in alike:
                found = tile.found
                if overview is None:
                    found = replace(found, roi_src=_from(found.roi_src, first))
                (rows, columns), pixels = _do_read(band(copy, 1), how, tile.window, found)
                on_tile = np.full(tile.window.shape, fill, dtype=how.dtype)
                on_tile[rows, columns] = pixels
                y, x = tile.place
                part = whole[max(y, 0) : y + TILE, max(x, 0) : x + TILE]
                part[...] = on_tile[max(-y, 0) :, max(-x, 0) :][: part.shape[0], : part.shape[1]]
    return np.s_[0 : window.shape[0], 0 : window.shape[1]], whole


@dataclass(frozen=True, eq=False)
class _Tile:
    """A tile of the absolute grid, and what it is made from."""

    place: tuple[int, int]
    window: GeoBox
    found: ReprojectInfo
    overview: int | None


def _from(part: Any, first: tuple[int, int]) -> Any:
    """Rows and columns as they are counted from others."""
    return tuple(
        slice(side.start - start, side.stop - start)
        for side, start in zip(part, first, strict=True)
    )


def _needed(tiles: Sequence[_Tile], level: DatasetReader, shrink: float) -> Window:
    """The pixels of ``level``, ``shrink`` times as wide as those of its file, for all ``tiles``."""
    sides = []
    for axis, length in enumerate(level.shape):
        parts = [(tile.found.roi_src[axis], tile.found.scale2.yx[axis]) for tile in tiles]
        parts = [(part, scale) for part, scale in parts if part.stop > part.start]
        if not parts:
            return Window(0, 0, 1, 1)  # of no tile
        # A kernel reaches two of its own pixels far, which are as wide as the grid's at least.
        reach = 8 + 4 * ceil(max(scale for _, scale in parts) / shrink)
        start = floor(min(part.start for part, _ in parts) / shrink) - reach
        stop = ceil(max(part.stop for part, _ in parts) / shrink) + reach
        sides.append((max(start, 0), min(stop, length)))
    (top, bottom), (left, right) = sides
    return Window(left, top, right - left, bottom - top)


@contextmanager
def _in_memory(
    file: DatasetReader, needed: Window
) -> Iterator[tuple[DatasetReader, tuple[int, int]]]:
    """Read a part of a file at once, and give it as a file; where it begins comes beside it.

    A part too large to hold is left to GDAL, which comes back for what it has forgotten.
    """
    if needed.width * needed.height * np.dtype(file.dtypes[0]).itemsize > AT_ONCE:
        yield file, (0, 0)
        return
    with rasterio.open(
        "", "w+", driver="MEM", dtype=file.dtypes[0], count=1, crs=file.crs, nodata=file.nodata,
        width=needed.width, height=needed.height, transform=file.window_transform(needed),
    ) as copy:  # fmt: skip
        copy.write(file.read(1, window=needed), 1)
        yield copy, (needed.row_off, needed.col_off)


def _tiles(window: GeoBox) -> Iterator[tuple[tuple[int, int], GeoBox]]:
    """The tiles of the absolute grid that cover ``window``: first row and column there, and grid.

    Rows are counted downwards from y = 0, columns from x = 0.
    """
    size = window.resolution
    top = round(window.transform.f / size.y) % TILE
    left = round(window.transform.c / size.x) % TILE
    for y in range(-top, window.shape[0], TILE):
        for x in range(-left, window.shape[1], TILE):
            yield (y, x), window.translate_pix(x, y).expand((TILE, TILE))


def _read(
    file: DatasetReader,
    reopen: Reopen,
    how: RasterLoadParams,
    window: GeoBox,
    into: np.ndarray | None = None,
) -> Placed:
    found, overview = source_window(file, window, ONE_GRID[how.nearest])
    if overview is None:
        return _do_read(band(file, 1), how, window, found, dst=into)
    with reopen(overview=overview) as coarse:
        return _do_read(band(coarse, 1), how, window, found, dst=into)
