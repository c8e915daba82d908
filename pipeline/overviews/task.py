"""The levels of a square of the grid, of one array: read, summarised and written on a worker."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.overviews.layout import Plan, level_path
from terralatent.pipeline.overviews.pyramid import Pyramid
from terralatent.pipeline.overviews.summaries import Summary, Sums, halved
from terralatent.pipeline.region import Block

__all__ = ["Task", "summarise", "tasks_of"]

STRIP_LEVELS = 6
"""Levels whose pixels lie in one strip of rows: 64, as many as the chunks of results have."""


@dataclass(frozen=True)
class Task:
    """A square of the grid, of one array. No two tasks write the same shard."""

    array: int
    """Its place among the summaries of the plan."""

    block: Block
    """The pixels, and which square they are."""

    @property
    def index(self) -> tuple[int, int, int]:
        """Its place among the states."""
        return (self.array, *self.block.index)


def tasks_of(plan: Plan) -> list[Task]:
    """All tasks of a plan."""
    squares = plan.pyramid.tasks()
    return [Task(array, block) for array in range(len(plan.summaries)) for block in squares]


def summarise(plan: Plan, dates: int, group: zarr.Group, task: Task) -> int:
    """Read the pixels of a task once, and write all levels of them; runs on a worker.

    Args:
        plan: What is made.
        dates: How many dates are in memory at a time; what is written does not depend on it.
        group: Root of the store, writable.
        task: Which pixels of which array.

    Returns:
        The pixels of the grid, for progress.
    """
    summary, source = plan.summaries[task.array], group[plan.names[task.array]]
    for leading in _groups(source, dates):
        _Levels(plan.pyramid, summary, group, leading).write(source, task.block)
    rows, columns = task.block.shape
    return rows * columns


def _groups(source: Any, dates: int) -> Iterator[tuple[slice, ...]]:
    """Places along the dimensions before y and x that are worked on together."""
    dims = source.metadata.dimension_names[:-2]
    if "time" not in dims:
        yield (slice(None),) * len(dims)
        return
    assert dims[0] == "time"
    step = min(dates, source.chunks[0])  # a chunk of more is read again
    for first in range(0, source.shape[0], step):
        yield (slice(first, min(first + step, source.shape[0])), *(slice(None),) * (len(dims) - 1))


class _Levels:
    """The levels of some dates of a task, on their way from strips of rows to shards."""

    def __init__(
        self, pyramid: Pyramid, summary: Summary, group: zarr.Group, leading: tuple[slice, ...]
    ) -> None:
        self._pyramid, self._summary, self._group = pyramid, summary, group
        self._leading = leading
        self._strip = min(pyramid.levels, STRIP_LEVELS)

    def write(self, source: Any, task: Block) -> None:
        """Go through the windows of a task; fine levels are written with each, all others last."""
        coarse: dict[tuple[int, str], NDArray[Any]] = {}
        for window in self._pyramid.windows(task):
            for (level, name), values in self._window(source, window).items():
                if self._pyramid.is_fine(level):
                    self._store(level, name, window, values)
                    continue
                if (level, name) not in coarse:
                    rows, columns = (-(-size >> level) for size in task.shape)
                    shape = (*values.shape[:-2], rows, columns)
                    coarse[level, name] = np.empty(shape, values.dtype)
                at = _places(level, window, task)
                coarse[level, name][(..., *at)] = values
        for (level, name), values in coarse.items():
            self._store(level, name, task, values)

    def _window(self, source: Any, window: Block) -> dict[tuple[int, str], NDArray[Any]]:
        """What is stored of all levels of a window."""
        rows: dict[tuple[int, str], list[NDArray[Any]]] = {}
        rest: list[list[Sums]] = []
        for top in range(window.y.start, window.y.stop, 2**STRIP_LEVELS):
            y = slice(top, min(top + 2**STRIP_LEVELS, window.y.stop))
            strip = np.asarray(source[(*self._leading, y, window.x)])
            planes = strip if self._is_dated else strip[None]
            made = [self._plane(plane) for plane in planes]
            for key in made[0][0]:
                rows.setdefault(key, []).append(self._stacked([own[key] for own, _ in made]))
            rest.append([sums for _, sums in made])
        levels = {key: np.concatenate(values, axis=-2) for key, values in rows.items()}
        if self._pyramid.levels > STRIP_LEVELS:
            levels |= self._beyond(rest)
        return levels

    def _plane(self, stored: NDArray[Any]) -> tuple[dict[tuple[int, str], NDArray[Any]], Sums]:
        """Of one date of a strip, or all of an array without dates: what is stored, and the sums
        of the last level that lies in a strip."""
        sums, found = self._summary.sums(stored), {}
        for level in range(1, self._strip + 1):
            sums = halved(sums)
            for name, values in self._summary.summarised(sums, level).items():
                found[level, name] = values
        return found, sums

    def _beyond(self, strips: list[list[Sums]]) -> dict[tuple[int, str], NDArray[Any]]:
        """The levels whose pixels lie in several strips of a window."""
        found: dict[tuple[int, str], list[NDArray[Any]]] = {}
        for date in range(len(strips[0])):
            parts = zip(*(strip[date] for strip in strips), strict=True)
            sums: Sums = tuple(np.concatenate(part, axis=-2) for part in parts)
            for level in range(STRIP_LEVELS + 1, self._pyramid.levels + 1):
                sums = halved(sums)
                for name, values in self._summary.summarised(sums, level).items():
                    found.setdefault((level, name), []).append(values)
        return {key: self._stacked(values) for key, values in found.items()}

    def _store(self, level: int, name: str, square: Block, values: NDArray[Any]) -> None:
        array: Any = self._group[f"{level_path(level)}/{name}"]
        at = _places(level, square)
        if not self._is_dated:
            array[(..., *at)] = values
            return
        for date, own in enumerate(values, start=self._leading[0].start):
            array[(date, ..., *at)] = own  # a shard; Zarr compresses all it is given at once

    @property
    def _is_dated(self) -> bool:
        return bool(self._leading) and self._leading[0] != slice(None)

    def _stacked(self, dates: list[NDArray[Any]]) -> NDArray[Any]:
        return np.stack(dates) if self._is_dated else dates[0]


def _places(level: int, square: Block, within: Block | None = None) -> tuple[slice, slice]:
    """Rows and columns of a level that a square of the grid has, from the corner of another one."""
    return tuple(  # type: ignore[return-value]
        slice((own.start - start) >> level, -(-(own.stop - start) >> level))
        for own, start in zip(
            (square.y, square.x),
            (within.y.start, within.x.start) if within else (0, 0),
            strict=True,
        )
    )
