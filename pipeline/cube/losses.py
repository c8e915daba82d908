"""How far work on a store has come: states of its parts, and what of them could not be read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # it brings what reads rasters, which `status` does without
    from terralatent.pipeline.region import Block

__all__ = [
    "DONE",
    "LOSSES_LISTED",
    "PARTIAL",
    "PENDING",
    "STATE_FLAGS",
    "Entry",
    "Loss",
    "entries_in",
    "entries_of",
    "entries_within",
    "told_losses",
]

PENDING, DONE, PARTIAL = 0, 1, 2
"""States of a time shard of a block of a cube, or of a block of a result, as stores keep them: not
done yet; done; done with something missing, which is masked, marked and named."""

STATE_FLAGS: Mapping[str, Any] = {
    "flag_values": [PENDING, DONE, PARTIAL],
    "flag_meanings": "pending done partial",
}
"""Attributes of an array of states, by CF."""
LOSSES_LISTED = 20
"""Losses that are listed one by one; of more than these there is the number."""

Entry: TypeAlias = Mapping[str, Any]
"""One of the attribute ``losses`` of a sensor's group: a :class:`Loss`, the ``unit`` in which it
was lost, whose name begins with the time shard, and its ``window``: first and last row and column,
the last excluded."""


@dataclass(frozen=True)
class Loss:
    """Something of a scene that could not be read; its pixels are masked in the cube."""

    sensor: str
    """Name of the sensor."""

    item: str
    """Id of the item; of a whole read unit that was lost, its place."""

    band: str
    """The band; empty where a whole read unit was lost."""

    reason: str
    """Why, in one line."""

    def __str__(self) -> str:
        return f"{self.sensor} {self.item}{' ' if self.band else ''}{self.band}: {self.reason}"


def entries_of(unit: str, window: Block, losses: Iterable[Loss]) -> Iterator[dict[str, Any]]:
    """What a cube keeps of the losses of a read unit."""
    edges = [window.y.start, window.y.stop, window.x.start, window.x.stop]
    for loss in losses:
        yield {"unit": unit, "window": edges, **asdict(loss)}


def entries_within(entries: Iterable[Entry], shards: Collection[int], window: Block) -> list[Entry]:
    """Those of some time shards that reach into a window."""
    return [each for each in entries_in(entries, shards) if _overlaps(each, window)]


def entries_in(entries: Iterable[Entry], shards: Collection[int]) -> list[Entry]:
    """Those of some time shards."""
    return [each for each in entries if int(str(each["unit"]).partition("/")[0]) in shards]


def told_losses(entries: Iterable[Entry]) -> tuple[Loss, ...]:
    """What is told of them: each file once, however many units it failed in."""
    names = [field.name for field in fields(Loss)]
    found: dict[Sequence[str], Loss] = {}
    for each in entries:
        loss = Loss(**{name: str(each[name]) for name in names})
        found.setdefault((loss.sensor, loss.item, loss.band), loss)
    return tuple(found.values())


def _overlaps(entry: Entry, window: Block) -> bool:
    if "window" not in entry:  # a cube of before windows were kept
        return True
    top, bottom, left, right = entry["window"]
    return bool(
        top < window.y.stop
        and bottom > window.y.start
        and left < window.x.stop
        and right > window.x.start
    )
