"""Blocks of a result that could not be computed, as they are told."""

from __future__ import annotations

from dataclasses import dataclass

from odc.geo.geobox import GeoBox

from terralatent.pipeline.cluster.stream import Failure
from terralatent.pipeline.region import Block

__all__ = ["LostBlock"]


@dataclass(frozen=True)
class LostBlock:
    """A block that failed, and was passed over; the same command tries it again."""

    index: tuple[int, int]
    """Which: its row and column among the blocks, as in the store's ``state``."""

    x: tuple[float, float]
    """Its edges, in units of the CRS."""

    y: tuple[float, float]

    worker: str
    """Host and port of the worker that tried it last; empty where that is not known."""

    reason: str
    """Its error in one line."""

    @classmethod
    def of(cls, failure: Failure[Block], grid: GeoBox) -> LostBlock:
        """Tell where a task that failed lies on the store's grid."""
        block = failure.task
        edges = grid[block.y, block.x].boundingbox
        worker = (failure.worker or "").rpartition("://")[2]
        x, y = (edges.left, edges.right), (edges.bottom, edges.top)
        return cls(block.index, x, y, worker, failure.reason)

    def row(self) -> dict[str, str]:
        """What a table of them shows, by column."""
        place = f"x {_span(self.x)}\ny {_span(self.y)}"
        return {
            "block": str(self.index),
            "place": place,
            "worker": self.worker,
            "reason": self.reason,
        }

    def __str__(self) -> str:
        place = f"x {_span(self.x)}, y {_span(self.y)}"
        where = f"{place}; worker {self.worker}" if self.worker else place
        return f"block {self.index}: {self.reason} ({where})"


def _span(edges: tuple[float, float]) -> str:
    return f"{edges[0]:.10g} to {edges[1]:.10g}"
