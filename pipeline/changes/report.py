"""How a map of changes ended."""

from __future__ import annotations

from dataclasses import dataclass

from terralatent.pipeline.changes.marks import Marked
from terralatent.pipeline.mapping.results.report import LostBlock, ResultReport
from terralatent.pipeline.sentence import Sentence

__all__ = ["ChangeReport"]


@dataclass(frozen=True, repr=False)
class ChangeReport(Sentence):
    """How many pixels changed, of each date of the map."""

    map: ResultReport
    """Of the blocks."""

    marked: tuple[Marked, ...]
    """Empty where some blocks failed: nothing is marked before all are done."""

    rate: float
    """Of false discoveries."""

    @property
    def losses(self) -> tuple[LostBlock | str, ...]:
        """What failed, or came from what is not whole."""
        if self.marked:
            return self.map.losses
        return (*self.map.losses, "nothing is marked as changed before all blocks are done")

    def __str__(self) -> str:
        changed, unchanged, not_known = (
            sum(getattr(own, name) for own in self.marked)
            for name in ("changed", "unchanged", "not_known")
        )
        if not self.marked:
            return f"{self.map}, nothing marked yet"
        every = changed + unchanged + not_known
        dates = f" on {len(self.marked)} dates" if len(self.marked) > 1 else ""
        return (
            f"{self.map}: {changed:,} of {every:,} pixels changed{dates} (false discovery rate "
            f"{self.rate:g}), {not_known:,} are not known enough"
        )
