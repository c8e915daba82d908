"""A grid cut into windows to read: whole blocks, few tiles of files cut through, within memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

import numpy as np
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.georeference import GeoreferenceError, read_georeference
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.sources.sensors import Sensor
from terralatent.pipeline.cube.layout import DATES_A_SHARD
from terralatent.pipeline.ingest.border_noise import border_halo
from terralatent.pipeline.ingest.pixels import read_dtype
from terralatent.pipeline.region import Block

__all__ = ["READ_THREADS", "ReadWindows", "cut_windows", "plan_windows", "tile_edges"]

READ_THREADS = 8
"""Files that one task reads at the same time: a request waits longer than it computes."""

WIDEST = 2048
"""Pixels along y and x of a window at most."""

TILE = 1024
"""Pixels along y and x that a tile of a file is taken to have: items do not say."""

TileEdges = Mapping[tuple[float, float], int]
"""How many files have their first edge here, in pixels of the grid from its own first, and pixels
so many times as wide as the grid's; along one axis."""


@dataclass(frozen=True)
class ReadWindows:
    """The windows in which a sensor is read, and how many dates at once."""

    windows: tuple[Block, ...]
    """Pixels of the grid, each once; edges of windows are edges of blocks."""

    together: int
    """Dates that are read together."""

    def __post_init__(self) -> None:
        if not self.windows or self.together < 1:
            raise ValueError(
                f"{len(self.windows)} windows, {self.together} dates together: nothing is read"
            )


def plan_windows(
    sensor: Sensor, acquisitions: Sequence[Acquisition], grid: GeoBox, block: int, limit: int
) -> ReadWindows:
    """Cut a grid into the windows of a sensor, so that a read task fits into ``limit`` bytes.

    Half of the limit is for the task's arrays. A pixel of the window takes in them:

    - the 16 dates as the cube keeps them, in all bands and the mask;
    - the dates that are read together as their files hold them;
    - of one file, four times as much for each thread that reads: what it fetches, twice while it
      arrives, its tiles beyond the window, and of a file of another CRS what is to be warped;
    - of a date with noise along its edges, three copies in double precision.

    Windows are as wide as they can be with one date read at a time; then as many dates are read
    together as fit. The other half is for the rest of the process: its libraries (250 MB), GDAL's
    caches (170 MB), and ten shards that are compressed at a time.

    Args:
        sensor: Its source sees it so.
        acquisitions: Its dates.
        grid: The cube's grid.
        block: Pixels along y and x of a block.
        limit: Bytes that a worker process may use.

    Raises:
        InputError: If not even one block fits.
    """
    halo = max(
        (border_halo(item, sensor.border, grid) for a in acquisitions for item in a.items),
        default=0,
    )
    pixel = _PixelBytes.of(sensor, acquisitions)
    room = limit // 2
    kept, reading = pixel.kept, pixel.reading(1, halo > 0)
    padded = (block + 2 * halo) ** 2
    if (need := kept * block**2 + reading * padded) > room:
        raise InputError(
            f"A block of {block} pixels of {sensor.name} takes {2 * need / 1e6:.0f} MB a worker; "
            "give more memory= or a smaller block=."
        )
    widest = WIDEST - 2 * halo
    windows = cut_windows(
        grid, block, room // (kept + reading), tile_edges(acquisitions, grid), widest
    )
    rows, columns = (max(sizes) for sizes in zip(*(w.shape for w in windows), strict=True))
    left = room - (kept + pixel.reading(0, halo > 0)) * rows * columns
    together = left // (pixel.date * (rows + 2 * halo) * (columns + 2 * halo))
    return ReadWindows(windows, int(min(max(together, 1), DATES_A_SHARD)))


@dataclass(frozen=True)
class _PixelBytes:
    """What one pixel takes."""

    kept: int
    """As the cube keeps it, all dates of a shard."""

    date: int
    """As the files of one date hold it."""

    file: int
    """As a file of one band holds it."""

    double: int
    """In double precision, all bands."""

    @classmethod
    def of(cls, sensor: Sensor, acquisitions: Sequence[Acquisition]) -> _PixelBytes:
        mask = max((np.dtype(band.dtype).itemsize for band in sensor.quality), default=0)
        bands = len(sensor.bands)
        kinds = {
            read_dtype(item, sensor, scaling)
            for a in acquisitions
            for item, scaling in zip(a.items, a.scalings, strict=True)
        }
        file = max((np.dtype(kind).itemsize for kind in kinds), default=4)
        kept = DATES_A_SHARD * (bands * np.dtype(sensor.packing.dtype).itemsize + mask)
        return cls(kept, bands * file + mask, file, bands * np.dtype(np.float64).itemsize)

    def reading(self, dates: int, noisy: bool) -> int:
        """What it takes besides while so many dates are read together."""
        return dates * self.date + 4 * READ_THREADS * self.file + 3 * self.double * noisy


def cut_windows(
    grid: GeoBox,
    block: int,
    most: int,
    edges: tuple[TileEdges, TileEdges] = ({}, {}),
    widest: int = WIDEST,
) -> tuple[Block, ...]:
    """Cut a grid into windows of whole blocks. Reads nothing.

    A tile that lies in two windows is fetched twice. So of all ways to cut, that one is taken by
    which the fewest pixels of tiles are fetched; its cuts are where tiles end, as far as blocks do,
    else evenly apart.

    Args:
        grid: The cube's grid.
        block: Pixels along y and x of a block.
        most: Pixels of a window at most; one block is always allowed.
        edges: Where tiles begin along y and x, see :func:`tile_edges`.
        widest: Pixels along y and x of a window at most, if no block is wider.

    Returns:
        The windows, row by row. Their index counts windows, not blocks.
    """
    shape = (grid.shape[0], grid.shape[1])
    widest = max(block, widest // block * block)
    side = [min(ceil(length / block) * block, widest) for length in shape]
    best: tuple[int, int, int, int] | None = None
    for rows in range(block, side[0] + 1, block):
        columns = min(most // rows // block * block, side[1])
        if columns < block and rows > block:
            break
        columns = max(columns, block)
        cuts = ceil(shape[0] / rows), ceil(shape[1] / columns)
        fetched = (shape[0] + cuts[0] * TILE) * (shape[1] + cuts[1] * TILE)
        if best is None or (fetched, cuts[0] * cuts[1]) < best[:2]:
            best = (fetched, cuts[0] * cuts[1], rows, columns)
    assert best is not None  # there is always the first way
    rows, columns = best[2:]
    tops = _cuts(shape[0], block, rows, edges[0])
    lefts = _cuts(shape[1], block, columns, edges[1])
    return tuple(
        Block((row, column), y, x) for row, y in enumerate(tops) for column, x in enumerate(lefts)
    )


def tile_edges(acquisitions: Iterable[Acquisition], grid: GeoBox) -> tuple[TileEdges, TileEdges]:
    """Where the items say that tiles of their files begin along y and x. Reads no files.

    Files in another CRS, and those of which their items do not say, count for nothing.
    """
    rows: Counter[tuple[float, float]] = Counter()
    columns: Counter[tuple[float, float]] = Counter()
    code, corner = str(grid.crs), grid.transform
    for acquisition in acquisitions:
        for item in acquisition.items:
            for asset in item["assets"].values():
                try:
                    stated = read_georeference(item, asset)
                except GeoreferenceError:  # reported when the file is read
                    continue
                if stated.crs != code or stated.transform is None:
                    continue
                place = stated.transform
                if place[0] and place[4]:
                    rows[(place[5] - corner.f) / corner.e, place[4] / corner.e] += 1
                    columns[(place[2] - corner.c) / corner.a, place[0] / corner.a] += 1
    return rows, columns


def _cuts(length: int, block: int, most: int, edges: TileEdges) -> Sequence[slice]:
    """Cut ``length`` pixels into as few pieces of whole blocks as fit into ``most``."""
    whole, longest = ceil(length / block), most // block
    pieces = ceil(whole / longest)
    ends = [0]
    for piece in range(1, pieces):
        left = pieces - piece
        first = max(ends[-1] + 1, whole - left * longest)
        last = min(ends[-1] + longest, whole - left)
        even = whole * piece / pieces
        ends.append(
            max(
                range(first, last + 1),
                key=lambda end: (_ending(end * block, edges), -abs(end - even)),
            )
        )
    ends.append(whole)
    return [slice(start * block, min(end * block, length)) for start, end in pairwise(ends)]


def _ending(pixel: int, edges: TileEdges) -> float:
    """How many files have a tile end here; tiles of half the width count half."""
    score = 0.0
    for (begin, width), files in edges.items():
        place = (pixel - begin) / width
        score += files * sum(place % size == 0 for size in (TILE, TILE // 2)) / 2
    return score
