"""An open raster file onto the cube's grid, so that every window gets the same pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from math import ceil, floor, isnan
from typing import Any, Protocol

import numpy as np
from odc.geo.converters import rio_geobox
from odc.geo.geobox import GeoBox
from odc.geo.overlap import ReprojectInfo
from odc.geo.warp import resampling_s2rio
from odc.loader.types import RasterLoadParams
from rasterio.enums import MaskFlags
from rasterio.io import DatasetReader
from rasterio.warp import reproject
from rasterio.windows import Window

from terralatent.pipeline.ingest.decoding import DecodingMemory, tile_bytes
from terralatent.pipeline.ingest.raster import source_window

__all__ = ["Reopen", "read_on_grid"]

ONE_GRID = {True: 0.9, False: 0.05}
"""Pixels by which a file's grid may be off ours and be read without being resampled: nearest
neighbours are the same, other kernels mix."""

TILE = 256
"""Pixels along a side of the tiles that are warped one by one."""

AT_ONCE = 64_000_000
"""Bytes of a file that are held in memory to be warped, or less of them where there is little;
more only where one tile is made from more."""


NEAR_AN_EDGE = 1e-3
"""Pixels from the edge of one, within which the nearest neighbour is left to GDAL."""


class Reopen(Protocol):
    """Opens the file that is read once more."""

    def __call__(self, *, overview: int) -> AbstractContextManager[DatasetReader]:
        """Open one of its overviews."""
        ...


def read_on_grid(
    file: DatasetReader,
    reopen: Reopen,
    how: RasterLoadParams,
    window: GeoBox,
    memory: DecodingMemory,
) -> np.ndarray:
    """Read the first band of ``file`` on the grid of ``window``. Computes.

    No data is left out before pixels are mixed: what ``how`` calls so, and what the file itself
    does by its tag, its mask band or its alpha.

    GDAL finds the way from one CRS to another exactly at few points and guesses between them, from
    edge to edge of what is requested. So what a pixel gets would depend on the window around
    it (measured at the border of two UTM zones: every 400th pixel by the nearest neighbour, four
    of five by other kernels). Tiles of an absolute grid are requested instead; and so that no
    tile of the file is fetched for several of these (measured: up to 12 times), what all of them
    are made from is read first, at once.

    Args:
        file: The open file.
        reopen: Opens it at an overview level.
        how: Kernel, dtype, no data, and whether overviews may be read.
        window: Part of a grid whose pixel edges are multiples of its pixel size.
        memory: From which the bytes are taken that it decodes.

    Returns:
        Pixels (y, x) of that dtype, no data outside of the file.

    Raises:
        RasterError: If it takes more than ``memory`` has in all.
    """
    fill = np.nan if how.fill_value is None else how.fill_value
    whole = np.full(window.shape, fill, dtype=how.dtype)
    same = bool(how.nearest and rio_geobox(file).crs == window.crs)
    most = min(AT_ONCE, memory.limit // 8)
    cut = _strips(file, window, how, most) if same else _tiles(window)
    tiles = [_Tile(*tile, *_source(file, tile[1], how)) for tile in cut]
    tiles = [tile for tile in tiles if tile.reaches]
    if not tiles:
        return whole
    with ExitStack() as stack:
        parts = []
        for overview in sorted({tile.overview for tile in tiles}, key=lambda level: level or -1):
            alike = [tile for tile in tiles if tile.overview == overview]
            level = file if overview is None else stack.enter_context(reopen(overview=overview))
            shrink = file.width / level.width
            for some in _batches(alike, level, shrink, most):
                parts.append(_Part(level, shrink, some, same))
        with memory.taken(tile_bytes(file) + max(part.size(how) for part in parts)):
            for part in parts:
                part.read_into(whole, how, fill)
    return whole


@dataclass(frozen=True, eq=False)
class _Tile:
    """A part of the grid that is warped at once, and what it is made from."""

    place: tuple[int, int]
    window: GeoBox
    needed: ReprojectInfo
    overview: int | None

    @property
    def reaches(self) -> bool:
        """Whether the file has any pixels of it; where it ends beside it, a kernel may say so."""
        sides = (*self.needed.roi_src, *self.needed.roi_dst)
        return all(side.stop > side.start for side in sides)

    @property
    def pasted(self) -> bool:
        """Whether its pixels are those of the file."""
        return bool(self.needed.paste_ok and self.needed.read_shrink == 1)


@dataclass(frozen=True, eq=False)
class _Part:
    """Some tiles, and the part of a file, or of its overview, that they are made from."""

    level: DatasetReader
    shrink: float
    tiles: Sequence[_Tile]
    same: bool
    """Whether they have the file's CRS, and are read by the nearest neighbour."""

    @property
    def window(self) -> Window:
        return _needed(self.tiles, self.level, self.shrink, self.same)

    def size(self, how: RasterLoadParams) -> int:
        """Bytes of it: as the file has it, and as it is wanted."""
        each = np.dtype(self.level.dtypes[0]).itemsize + np.dtype(how.dtype).itemsize + 1
        return int(self.window.width) * int(self.window.height) * each

    def read_into(self, whole: np.ndarray, how: RasterLoadParams, fill: float) -> None:
        window = self.window
        pixels = _valid_pixels(self.level, window, how, fill)
        first = window.row_off, window.col_off
        for tile in self.tiles:
            target = tile.window[tile.needed.roi_dst]
            if tile.pasted:
                here = pixels[_from(tile.needed.roi_src, first)]
            elif (here := self._picked(pixels, window, target, fill)) is None:
                here = np.full(target.shape, fill, dtype=how.dtype)
                reproject(
                    pixels, here, src_crs=self.level.crs, src_nodata=fill,
                    src_transform=self.level.window_transform(window), dst_nodata=fill,
                    dst_crs=str(target.crs), dst_transform=target.transform,
                    resampling=resampling_s2rio(how.resampling),
                )  # fmt: skip
            assert here is not None
            (y, x), (rows, columns) = tile.place, tile.needed.roi_dst
            top, left = max(-y - rows.start, 0), max(-x - columns.start, 0)
            into = whole[
                max(y + rows.start, 0) : max(y + rows.stop, 0),
                max(x + columns.start, 0) : max(x + columns.stop, 0),
            ]
            into[...] = here[top:, left:][: into.shape[0], : into.shape[1]]

    def _picked(
        self, pixels: np.ndarray, window: Window, target: GeoBox, fill: float
    ) -> np.ndarray | None:
        """The nearest neighbours on one CRS, as GDAL finds them in seven times the time.

        None where it takes a warp: the grids are turned against each other, or a centre falls so
        near an edge that rounding would decide.
        """
        there, here = self.level.window_transform(window), target.transform
        if not self.same or any((there.b, there.d, here.b, here.d)):
            return None
        sides = []
        for length, size, first, step, origin, pixel in (
            (target.shape[0], pixels.shape[0], here.f, here.e, there.f, there.e),
            (target.shape[1], pixels.shape[1], here.c, here.a, there.c, there.a),
        ):
            centres = (first + (np.arange(length) + 0.5) * step - origin) / pixel
            if (np.abs(centres - np.rint(centres)) < NEAR_AN_EDGE).any():
                return None
            index = np.floor(centres).astype(np.intp)
            within = np.flatnonzero((index >= 0) & (index < size))
            sides.append((index[within], within))
        (rows, into_rows), (columns, into_columns) = sides
        picked = pixels[rows][:, columns]
        if picked.shape == target.shape:
            return picked
        whole = np.full(target.shape, fill, dtype=pixels.dtype)
        whole[np.ix_(into_rows, into_columns)] = picked
        return whole


def _source(
    file: DatasetReader, window: GeoBox, how: RasterLoadParams
) -> tuple[ReprojectInfo, int | None]:
    return source_window(file, window, ONE_GRID[how.nearest], overviews=how.use_overviews)


def _valid_pixels(
    file: DatasetReader, part: Window, how: RasterLoadParams, fill: float
) -> np.ndarray:
    """A part of the first band, ``fill`` wherever its item or the file says that there is no data.

    GDAL heeds one of tag, mask band and alpha alone, and where it warps int16 into float32 not even
    the tag (3.10).
    """
    values = file.read(1, window=part)
    missing: list[np.ndarray] = []
    if file.nodata is not None and file.nodata != fill:
        missing.append(_equals(values, file.nodata))
    if values.dtype.kind == "f":
        missing.append(np.isnan(values))
    flags = file.mask_flag_enums[0]
    if MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        missing.append(file.read_masks(1, window=part) == 0)
    if file.count > 1:  # alpha, which does not count for GDAL where there is a tag
        missing.append(file.read(2, window=part) == 0)
    pixels: np.ndarray = values.astype(how.dtype, copy=False)
    for each in missing:
        pixels[each] = fill
    return pixels


def _equals(values: np.ndarray, nodata: float) -> np.ndarray:
    if values.dtype.kind == "f":
        return values == values.dtype.type(nodata)
    if isnan(nodata) or not float(nodata).is_integer():
        return np.zeros(values.shape, dtype=bool)
    return np.asarray(values == int(nodata))


def _batches(
    tiles: Sequence[_Tile], level: DatasetReader, shrink: float, most: int
) -> Iterator[Sequence[_Tile]]:
    """Tiles that follow each other, so many that what they are made from can be held."""
    batch: list[_Tile] = []
    for tile in tiles:
        needed = _needed([*batch, tile], level, shrink, same=False)
        size = needed.width * needed.height * np.dtype(level.dtypes[0]).itemsize
        if batch and size > most:
            yield batch
            batch = []
        batch.append(tile)
    if batch:
        yield batch


def _from(part: Any, first: tuple[int, int]) -> Any:
    """Rows and columns as they are counted from others."""
    return tuple(
        slice(side.start - start, side.stop - start)
        for side, start in zip(part, first, strict=True)
    )


def _needed(tiles: Sequence[_Tile], level: DatasetReader, shrink: float, same: bool) -> Window:
    """The pixels of ``level``, ``shrink`` times as wide as those of its file, for all ``tiles``."""
    sides = []
    for axis, length in enumerate(level.shape):
        parts = [(tile.needed.roi_src[axis], tile.needed.scale2.yx[axis]) for tile in tiles]
        # A kernel reaches two of its own pixels far, which are as wide as the grid's at least.
        # The nearest neighbour on one CRS lies within the pixel.
        reach = 0 if same else 8 + 4 * ceil(max(scale for _, scale in parts) / shrink)
        start = floor(min(part.start for part, _ in parts) / shrink) - reach
        stop = ceil(max(part.stop for part, _ in parts) / shrink) + reach
        sides.append((max(start, 0), min(stop, length)))
    (top, bottom), (left, right) = sides
    return Window(left, top, right - left, bottom - top)


def _strips(
    file: DatasetReader, window: GeoBox, how: RasterLoadParams, most: int
) -> Iterator[tuple[tuple[int, int], GeoBox]]:
    """The window itself; if what it is made from is too large to hold, rows of it."""
    needed, overview = _source(file, window, how)
    rows, columns = (side.stop - side.start for side in needed.roi_src)
    shrink = 1 if overview is None else file.overviews(1)[overview]
    size = rows * columns * np.dtype(file.dtypes[0]).itemsize / shrink**2
    height = max(1, floor(window.shape[0] / max(1, ceil(size / max(most, 1)))))
    for top in range(0, window.shape[0], height):
        yield (top, 0), window[top : top + height, :]


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
