"""What a worker does with one block: its series strip by strip, and what is told of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import zarr

from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.mapping.job import Pairing
from terralatent.pipeline.mapping.memory import Pieces
from terralatent.pipeline.mapping.results import BlockDone, Clock
from terralatent.pipeline.mapping.scene_errors import kept_scene_errors
from terralatent.pipeline.region import Block

__all__ = ["BlockWork"]


class BlockWork:
    """A block on its way through a worker.

    Args:
        pairing: What to infer from, and when.
        group: Root of the store of results.
        block: Which pixels.
        pieces: How much of it is read at a time.
    """

    def __init__(self, pairing: Pairing, group: zarr.Group, block: Block, pieces: Pieces) -> None:
        self.clock = Clock()
        self.clipped = 0
        """Values that did not fit the packing."""
        self.observations = np.zeros((len(pairing.sensors), *block.shape), np.uint16)
        """Clear acquisitions, (sensor, y, x), of the strips that were read."""
        self._pairing, self._block = pairing, block
        self._strips = pieces.strips(block)
        self._errors = kept_scene_errors(group) if pairing.corrects else None
        self._kept: SeriesBlock | None = None
        self._pixels = 0
        self._outliers: dict[str, tuple[int, int]] = {}
        self._counted = False

    def strips(self) -> Iterator[tuple[slice, SeriesBlock]]:
        """Yield the rows within the block of each strip, and their series.

        A strip that is the whole block is read once, however often it is asked for.
        """
        for strip in self._strips:
            with self.clock.time("read"):
                series = self._kept or self._pairing.read(strip, self._errors)
            rows = slice(strip.y.start - self._block.y.start, strip.y.stop - self._block.y.start)
            if not self._counted:
                self._count(rows, series)
            if len(self._strips) == 1:
                self._kept = series
            yield rows, series
        self._counted = True

    def done(self) -> BlockDone:
        """What the coordinator is told."""
        return BlockDone(self._pixels, self.clipped, self.clock.seconds, self._outliers)

    def _count(self, rows: slice, series: SeriesBlock) -> None:
        self._pixels += int(series.seen.sum())
        self.observations[:, rows] = series.observations.reshape(-1, *series.shape)
        for name, (taken, looks) in series.outliers().items():
            before = self._outliers.get(name, (0, 0))
            self._outliers[name] = (before[0] + taken, before[1] + looks)
