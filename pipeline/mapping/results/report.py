"""How the filling of a result ended, and which of its blocks failed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from odc.geo.geobox import GeoBox

from terralatent.pipeline.cluster.stream import Failure
from terralatent.pipeline.region import Block
from terralatent.pipeline.sentence import Sentence

__all__ = ["LostBlock", "ResultReport"]


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
        """Where a task that failed lies on the store's grid, and why it failed."""
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


@dataclass(frozen=True, repr=False)
class ResultReport(Sentence):
    """How an embedding or decoding ended."""

    blocks: int
    """Blocks of the store."""

    computed: int
    """Blocks computed now; the others were there before."""

    pixels: int
    """Pixels computed now that lie inside some scene."""

    clipped: int
    """Values of the whole store that did not fit the packing."""

    wall: float
    """Seconds from first to last block."""

    seconds: Mapping[str, float]
    """Seconds of all workers together, by stage."""

    losses: tuple[LostBlock | str, ...]
    """What failed, or came from a cube that is not whole, one line each."""

    same: int = 0
    """Blocks that were left as they are: nothing changed since that they are made from."""

    replays: tuple[str, ...] = ()
    """Acquisitions of live latents that came late or changed, from when they were replayed, and in
    which blocks."""

    outliers: Mapping[str, float] = field(default_factory=dict)
    """For each sensor that was searched for them, the share of its observations, in the whole
    store, that no neighbour in time supports; they are masked."""

    def __str__(self) -> str:
        done = f"{self.computed} of {self.blocks} blocks"
        failed = sum(isinstance(loss, LostBlock) for loss in self.losses)
        others = self.blocks - failed - self.computed - self.same
        before = " (the others were done)" if others and not self.same else ""
        if self.same:
            before = f" ({self.same} unchanged{', the others were done' if others else ''})"
        lost = f", {failed} failed (the same command tries them again)" if failed else ""
        rate = f", {self.pixels / self.wall:,.0f} pixels/s" if self.pixels and self.wall else ""
        clipped = f", {self.clipped} values clipped to the packing's range" if self.clipped else ""
        outliers = (
            f", {share:.2%} of {name}'s observations taken as outliers"
            for name, share in self.outliers.items()
        )
        replays = "".join(f", {replay}" for replay in self.replays)
        pixels = f", {self.pixels:,} pixels{rate}"
        return f"{done}{before}{replays}{lost}{pixels}{clipped}{''.join(outliers)}"


def _span(edges: tuple[float, float]) -> str:
    return f"{edges[0]:.10g} to {edges[1]:.10g}"
