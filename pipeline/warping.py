"""An open raster file onto the cube's grid, so that every window gets the same pixels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from odc.geo.converters import rio_geobox
from odc.geo.geobox import GeoBox
from odc.loader._rio import _do_read
from odc.loader.types import RasterLoadParams
from rasterio import band
from rasterio.io import DatasetReader

from terralatent.pipeline.rasters import source_window

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
    of five by other kernels). It is asked for tiles of an absolute grid instead.

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
    for place, tile in _tiles(window):
        (rows, columns), pixels = _read(file, reopen, how, tile)
        on_tile = np.full(tile.shape, fill, dtype=how.dtype)
        on_tile[rows, columns] = pixels
        y, x = place
        part = whole[max(y, 0) : y + TILE, max(x, 0) : x + TILE]
        part[...] = on_tile[max(-y, 0) :, max(-x, 0) :][: part.shape[0], : part.shape[1]]
    return np.s_[0 : window.shape[0], 0 : window.shape[1]], whole


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
