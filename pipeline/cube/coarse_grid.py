"""A coarse grid over that of a cube: where its values are known, and what they are between.

Cells are counted from the cube's first row and column, so that they are the same however the cube
is cut into blocks; the last of a row or column takes the rest. A cell's value is that of a patch in
its middle, one inner chunk of the cube: what changes over kilometres, as haze does, is the same
over the cell's other chunks, which would cost fifteen times the reading. Between the patches values
are interpolated bilinearly, so that there are no seams, and are constant beyond them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terralatent.pipeline.store.arrays import INNER_CHUNK

__all__ = ["CELL", "CoarseGrid", "CoarseWindow", "Patch", "interpolate"]

CELL = 256
"""Pixels along a side of a cell."""


@dataclass(frozen=True)
class Patch:
    """The pixels that give a cell its value."""

    index: tuple[int, int]
    """Row and column among the cells."""

    y: slice
    """Rows of the cube's grid."""

    x: slice
    """Columns of the cube's grid."""


@dataclass(frozen=True)
class CoarseGrid:
    """The cells over a grid."""

    shape: tuple[int, int]
    """Rows and columns of the cube's grid."""

    cell: int = CELL
    """Pixels along a side of a cell."""

    @property
    def y(self) -> NDArray[np.float64]:
        """The row of the grid at which each row of cells has its values."""
        return np.array([0.5 * (part.start + part.stop - 1) for part in self._parts(0)])

    @property
    def x(self) -> NDArray[np.float64]:
        """The column of the grid at which each column of cells has its values."""
        return np.array([0.5 * (part.start + part.stop - 1) for part in self._parts(1)])

    def patches(self) -> Iterator[Patch]:
        """Yield the patch of each cell, row by row."""
        for row, y in enumerate(self._parts(0)):
            for column, x in enumerate(self._parts(1)):
                yield Patch((row, column), y, x)

    def _parts(self, axis: int) -> list[slice]:
        """The patches along an axis, on inner chunks of the cube."""
        length, size = self.shape[axis], min(INNER_CHUNK, self.cell)
        starts = [self.cell * number for number in range(max(1, length // self.cell))]
        stops = [*starts[1:], length]
        middles = [(start + stop) // 2 for start, stop in zip(starts, stops, strict=True)]
        firsts = [middle // size * size for middle in middles]
        return [slice(first, min(first + size, length)) for first in firsts]


@dataclass(frozen=True, eq=False)
class CoarseWindow:
    """What the values of a coarse grid are at the pixels of a window of the cube's grid."""

    values: NDArray[np.float32]
    """Of the cells around the window, (T, B, cell_y, cell_x)."""

    below: tuple[NDArray[np.intp], NDArray[np.intp]]
    """For each row, and for each column, the cell before it."""

    part: tuple[NDArray[np.float32], NDArray[np.float32]]
    """How far it is on the way from there to the next one, 0 to 1."""

    def at(self, pixels: NDArray[np.integer] | slice) -> NDArray[np.float32]:
        """Values of some pixels (row-major places within the window), (n, T, B).

        Those of a pixel are the same whatever the window.
        """
        (below_y, below_x), (part_y, part_x) = self.below, self.part
        width = len(below_x)
        row, column = np.divmod(np.arange(len(below_y) * width)[pixels], width)
        cells = np.ascontiguousarray(self.values.transpose(2, 3, 0, 1))
        last_y, last_x = cells.shape[0] - 1, cells.shape[1] - 1
        y, x = below_y[row], below_x[column]
        onward_y, onward_x = np.minimum(y + 1, last_y), np.minimum(x + 1, last_x)
        down, along = part_y[row][:, None, None], part_x[column][:, None, None]
        upper = (1 - along) * cells[y, x] + along * cells[y, onward_x]
        lower = (1 - along) * cells[onward_y, x] + along * cells[onward_y, onward_x]
        between: NDArray[np.float32] = (1 - down) * upper + down * lower
        return between


def interpolate(
    values: Any, nodes: tuple[NDArray[np.float64], NDArray[np.float64]], y: slice, x: slice
) -> CoarseWindow:
    """Take from values of a coarse grid what a window needs.

    Args:
        values: (T, B, cell_y, cell_x), an array or one of Zarr, of which only the cells around the
            window are read.
        nodes: Where the values are along y and along x, pixels of the grid.
        y: Rows of the grid.
        x: Columns of the grid.
    """
    (below_y, part_y), (below_x, part_x) = (
        _between(places, np.arange(window.start, window.stop))
        for places, window in zip(nodes, (y, x), strict=True)
    )
    top, left = below_y[0], below_x[0]
    some = values[:, :, top : below_y[-1] + 2, left : below_x[-1] + 2]
    return CoarseWindow(
        np.asarray(some, dtype=np.float32), (below_y - top, below_x - left), (part_y, part_x)
    )


def _between(
    nodes: NDArray[np.float64], places: NDArray[np.integer]
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The node before each place, and how far the place is on the way to the next."""
    below = np.clip(np.searchsorted(nodes, places, side="right") - 1, 0, max(len(nodes) - 2, 0))
    gaps = np.append(np.diff(nodes), 1.0)
    part = np.clip((places - nodes[below]) / gaps[below], 0.0, float(len(nodes) > 1))
    return below, part.astype(np.float32)
