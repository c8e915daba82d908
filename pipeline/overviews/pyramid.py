"""The levels of a grid, and the squares of it that one task summarises."""

from __future__ import annotations

from dataclasses import dataclass

from odc.geo.geobox import Affine, GeoBox

from terralatent.pipeline.region import Block, blocks

__all__ = ["LEAST", "Pyramid", "level_grid"]

LEAST = 512
"""Pixels along the longer side of a grid that has no overviews: it is soon read whole."""

SMALLEST = 64
"""Pixels along the longer side of the coarsest level, at most."""

TASK, WINDOW = 4096, 1024
"""Pixels of the grid along a side of what a task summarises, and of what it holds of fine levels at
a time. Powers of two, and no multiple of a store's blocks: two tilings have the same tasks."""

MOST_LEVELS = 10
"""A pixel of the coarsest is as wide as :data:`WINDOW`."""

LARGEST_CHUNK = 256
"""Pixels along y and x of the chunks of a level, at most."""


@dataclass(frozen=True)
class Pyramid:
    """The levels of a grid: a pixel of level j is 2^j x 2^j pixels of it, fewer at its lower and
    right edge. Small and picklable."""

    shape: tuple[int, int]
    """Rows and columns of the grid, level 0."""

    levels: int
    """How many there are beside level 0."""

    task: int
    """Pixels of the grid along a side of a task, a power of two."""

    window: int
    """Of what it holds of fine levels at a time."""

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Pyramid:
        """The levels of a grid of ``shape``; none where it has no more pixels than :data:`LEAST`
        along its longer side."""
        longer, levels = max(shape), 0
        if longer > LEAST:
            while -(-longer >> levels) > SMALLEST and levels < MOST_LEVELS:
                levels += 1
        return cls(shape, levels, TASK, WINDOW)

    def level_shape(self, level: int) -> tuple[int, int]:
        """Rows and columns of a level."""
        return -(-self.shape[0] >> level), -(-self.shape[1] >> level)

    def is_fine(self, level: int) -> bool:
        """Whether a level is written window by window, for a whole task would be large."""
        return self.task >> level > self.window >> 1

    def shard(self, level: int) -> int:
        """Pixels of a level along y and x of its shards: those of a window, or of a task."""
        return (self.window if self.is_fine(level) else self.task) >> level

    def chunk(self, level: int) -> int:
        """Pixels along y and x of its inner chunks."""
        return min(self.shard(level), LARGEST_CHUNK)

    def held(self) -> int:
        """Pixels of all levels that a task holds at once, of one date and latent: of a window, as
        rows and put together, and of all levels that are written last."""
        sides = [(self.is_fine(level), self.shard(level)) for level in range(1, self.levels + 1)]
        return sum((2 if fine else 1) * side**2 for fine, side in sides)

    def tasks(self) -> tuple[Block, ...]:
        """The squares of the grid that are summarised one by one, row by row."""
        return blocks(self.shape, self.task)

    def windows(self, task: Block) -> tuple[Block, ...]:
        """The squares of a task, in pixels of the grid."""
        return tuple(
            Block(
                part.index,
                slice(task.y.start + part.y.start, task.y.start + part.y.stop),
                slice(task.x.start + part.x.start, task.x.start + part.x.stop),
            )
            for part in blocks(task.shape, self.window)
        )


def level_grid(grid: GeoBox, level: int) -> GeoBox:
    """The grid of a level: the same upper left corner, pixels 2^level times as wide."""
    size, own = 2**level, grid.transform
    shape = (-(-grid.shape[0] >> level), -(-grid.shape[1] >> level))
    wide = Affine(own.a * size, own.b * size, own.c, own.d * size, own.e * size, own.f)
    return GeoBox(shape, wide, grid.crs)
