"""A grid cut into the windows of read units: whole blocks, few tiles of the files cut through."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from math import ceil

from odc.geo.geobox import GeoBox

from terralatent.catalogs.items.georeference import GeoreferenceError, read_georeference
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.pipeline.region import Block

__all__ = ["WIDEST", "TileEdges", "cut_windows", "tile_edges"]

WIDEST = 2048
"""Pixels along y and x of a window at most."""

TILE = 1024
"""Pixels along y and x of a tile of a file, where files are told apart from nothing else."""

TileEdges = Mapping[tuple[float, float], int]
"""How many files have their first edge here, in pixels of the grid from its own first, and pixels
so many times as wide as the grid's; along one axis."""


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
    assert best is not None  # the first way is always one
    rows, columns = best[2:]
    tops = _cuts(shape[0], block, rows, edges[0])
    lefts = _cuts(shape[1], block, columns, edges[1])
    return tuple(
        Block((row, column), y, x) for row, y in enumerate(tops) for column, x in enumerate(lefts)
    )


def tile_edges(acquisitions: Iterable[Acquisition], grid: GeoBox) -> tuple[TileEdges, TileEdges]:
    """Tell from the items where tiles of their files begin along y and x. Reads no files.

    Files in another CRS, and those of which their items do not tell, count for nothing.
    """
    found: tuple[Counter[tuple[float, float]], ...] = (Counter(), Counter())
    code, corner = str(grid.crs), grid.transform
    for acquisition in acquisitions:
        for item in acquisition.items:
            for asset in item["assets"].values():
                try:
                    told = read_georeference(item, asset)
                except GeoreferenceError:  # told when the file is read
                    continue
                if told.crs != code or told.transform is None:
                    continue
                place = told.transform
                if place[0] and place[4]:
                    found[0][(place[5] - corner.f) / corner.e, place[4] / corner.e] += 1
                    found[1][(place[2] - corner.c) / corner.a, place[0] / corner.a] += 1
    return found[0], found[1]


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
