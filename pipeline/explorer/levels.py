"""What lies under a map at each zoom: a Dataset and its overviews, read where they are seen."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, isqrt, prod
from typing import Any

import numpy as np
import xarray as xr

from terralatent.pipeline.embeddings.opened import open_annual
from terralatent.pipeline.kinds import kind_of
from terralatent.pipeline.mapping.opened import open_bands, open_landcover, open_latents
from terralatent.pipeline.overviews.opened import level_shapes
from terralatent.pipeline.probes.dataset import grid_under
from terralatent.pipeline.store.repository import Store

__all__ = ["SIDE", "Levels", "Part", "Wanted", "Window", "open_levels"]

OPENERS: Mapping[str, Any] = {
    "latents": open_latents,
    "bands": open_bands,
    "annual": open_annual,
    "landcover": open_landcover,
}

SIDE = 600
"""Pixels of the screen along a side of the map."""

FINEST = 1.3
"""Pixels of a level for each of the screen, at most."""

MOST_NUMBERS, MOST_TOGETHER, MOST_ALONE = 16_000_000, 6_000_000, 128_000_000
"""That are read for a picture, at most: of one date, where a chunk of level 0 has all; of all dates
together; and of the coarsest level, which a small store alone has."""

PARTS = 4
"""That are kept in memory."""


@dataclass(frozen=True)
class Window:
    """A part of the map, in its coordinates."""

    west: float
    south: float
    east: float
    north: float

    def holds(self, other: Window) -> bool:
        """Whether another lies in it."""
        west, north = self.west <= other.west, self.north >= other.north
        return west and north and self.east >= other.east and self.south <= other.south

    def square(self) -> Window:
        """The smallest square around it."""
        half = max(self.east - self.west, self.north - self.south) / 2
        x, y = (self.west + self.east) / 2, (self.south + self.north) / 2
        return Window(x - half, y - half, x + half, y + half)

    def shrunk(self, share: float) -> Window:
        """The same middle, and this share of each side."""
        x, y = (self.west + self.east) / 2, (self.south + self.north) / 2
        wide, high = share * (self.east - self.west) / 2, share * (self.north - self.south) / 2
        return Window(x - wide, y - high, x + wide, y + high)


@dataclass(frozen=True)
class Wanted:
    """What a layer takes of a Dataset: variables, and of their dimensions the places."""

    variables: tuple[str, ...]
    places: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """By dimension, such as ``latent``; all by default."""

    def of(self, data: xr.Dataset) -> xr.Dataset:
        """That part of a Dataset; lazy."""
        chosen = data[[name for name in self.variables if name in data]]
        return chosen.isel({dim: list(at) for dim, at in self.places if dim in chosen.dims})


@dataclass(frozen=True)
class Part:
    """What is seen of a level, at one date."""

    data: xr.Dataset
    """Lazy, or in memory; ``time`` has one date where there are dates."""

    level: int
    window: Window
    """Where its pixels lie: around what was asked for."""


class Levels:
    """A Dataset and its overviews, level 0 first. Reads no pixels when it is made.

    Args:
        levels: Of one kind, each of pixels that are wider than those before.
        source: The store that they were opened from.
    """

    def __init__(self, levels: Sequence[xr.Dataset], source: Store | None = None) -> None:
        self.levels = tuple(levels)
        self.source = source
        self.kind = kind_of(levels[0])
        self._grids = [grid_under(data) for data in levels]
        self._kept: OrderedDict[Any, xr.Dataset] = OrderedDict()

    @property
    def finest(self) -> xr.Dataset:
        """Level 0."""
        return self.levels[0]

    @property
    def coarsest(self) -> xr.Dataset:
        """By which stretches are chosen."""
        return self.levels[-1]

    @property
    def crs(self) -> Any:
        """Of the map."""
        return self._grids[0].crs

    @property
    def bounds(self) -> Window:
        """Of the whole map."""
        return Window(*self._grids[0].boundingbox.bbox)

    @property
    def dates(self) -> list[str]:
        """Of the Dataset, YYYY-MM-DD; none of a map without."""
        if "time" not in self.finest.dims:
            return []
        return [str(time)[:10] for time in self.finest["time"].values.astype("datetime64[D]")]

    def pixel(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column at level 0 of a place; None outside."""
        grid = self._grids[0]
        column, row = (floor(value) for value in ~grid.transform * (x, y))
        return (row, column) if 0 <= row < grid.shape[0] and 0 <= column < grid.shape[1] else None

    def seen_first(self, wanted: Wanted) -> Window:
        """The whole map; of one without overviews that is too large, its middle."""
        whole, last = self.bounds.square(), len(self.levels) - 1
        numbers = self._numbers(last, wanted, self.bounds)
        if numbers <= MOST_ALONE:
            return whole
        rows, columns = self._grids[last].shape
        side = isqrt(MOST_ALONE * rows * columns // numbers) - 1  # edges of pixels are rounded to
        return whole.shrunk(max(1, side) / max(rows, columns))

    def choose(
        self, window: Window, across: int, wanted: Wanted, *, every_date: bool = False
    ) -> int | None:
        """The finest level that a window has room for and that does not take too much to read.

        Args:
            window: What is seen.
            across: Pixels of the screen along its longer side.
            wanted: Of the level.
            every_date: Whether all dates are, or one.

        Returns:
            Its place; None where all of them take too much.
        """
        last = len(self.levels) - 1
        for level in range(last + 1):
            rows, columns = self._slices(level, window)
            longer = max(rows.stop - rows.start, columns.stop - columns.start)
            fits = longer <= FINEST * across or level == last
            most = MOST_ALONE if level == last else MOST_TOGETHER if every_date else MOST_NUMBERS
            if fits and self._numbers(level, wanted, window, every_date) <= most:
                return level
        return None

    def part(self, window: Window, across: int, wanted: Wanted, date: int | None) -> Part | None:
        """What of a window is drawn at a date; None where it takes too much, or nothing is there.

        All dates where that is None.

        Where all dates are wanted, or a chunk holds them, they are read and kept, else nothing is
        read yet.
        """
        level = self.choose(window, across, wanted, every_date=date is None)
        if level is None:
            return None
        rows, columns = self._slices(level, window)
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        key = (level, rows.start, rows.stop, columns.start, columns.stop, wanted)
        data = self._kept.get(key)
        if data is None:
            data = wanted.of(self.levels[level]).isel(y=rows, x=columns)
            if date is None or len(data.chunksizes.get("time", (0,))) == 1:
                data = self._kept[key] = data.compute()
        if key in self._kept:
            self._kept.move_to_end(key)
            while len(self._kept) > PARTS:
                self._kept.popitem(last=False)
        if "time" in data.dims and date is not None:
            data = data.isel(time=[date])
        to_map = self._grids[level].transform
        west, north = to_map * (columns.start, rows.start)
        east, south = to_map * (columns.stop, rows.stop)
        return Part(data, level, Window(west, south, east, north))

    def _slices(self, level: int, window: Window) -> tuple[slice, slice]:
        grid = self._grids[level]
        left, top = ~grid.transform * (window.west, window.north)
        right, bottom = ~grid.transform * (window.east, window.south)
        rows = slice(max(0, floor(top)), min(grid.shape[0], ceil(bottom)))
        return rows, slice(max(0, floor(left)), min(grid.shape[1], ceil(right)))

    def _numbers(self, level: int, wanted: Wanted, window: Window, every_date: bool = False) -> int:
        """How many are read: all that the chunks of a pixel hold, for each pixel."""
        rows, columns = self._slices(level, window)
        pixels = max(0, rows.stop - rows.start) * max(0, columns.stop - columns.start)
        found, places = 0, dict(wanted.places)
        for name in wanted.variables:
            array = self.levels[level].get(name)
            if array is None:
                continue
            held = []
            for dim, sizes in array.chunksizes.items():
                if dim in ("y", "x"):
                    continue
                edges = np.cumsum(sizes)
                every = range(int(edges[-1]))
                one_date = dim == "time" and not every_date
                at = [0] if one_date else places.get(str(dim), every)
                held.append(sum(sizes[n] for n in {int(np.searchsorted(edges, p + 1)) for p in at}))
            found += pixels * prod(held)
        return found


def open_levels(source: Store | xr.Dataset) -> Levels:
    """Open a result with its overviews; reads no pixels.

    A Dataset that is just as its store was opened has the store's overviews, any other none.

    Raises:
        InputError: If it is nothing of ours, or has no regular grid.
    """
    if isinstance(source, xr.Dataset):
        place = source.encoding.get("source")
        if place is not None:
            stored = _of_store(Store.of(place), source.encoding.get("snapshot"))
            if _same(stored.finest, source):
                return stored
        return Levels([source if source.chunks else source.chunk()])
    return _of_store(source, None)


def _of_store(store: Store, snapshot: str | None) -> Levels:
    root = store.group(snapshot=snapshot)
    opener = OPENERS[str(store.about()["kind"])]
    return Levels(
        [opener(store, snapshot=snapshot, level=level) for level in sorted(level_shapes(root))],
        store,
    )


def _same(stored: xr.Dataset, given: xr.Dataset) -> bool:
    """Whether nothing was selected or computed since it was opened: dask names what it is."""
    return set(stored) == set(given) and all(
        getattr(given[name].data, "name", None) == array.data.name
        for name, array in stored.data_vars.items()
    )
