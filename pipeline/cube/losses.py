"""How far work on a store has come: states of its parts, and what of them could not be read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # it brings what reads rasters, which `status` does without
    from terralatent.pipeline.region import Block

__all__ = [
    "DONE",
    "HELD",
    "LOSSES_LISTED",
    "PARTIAL",
    "PENDING",
    "STALE",
    "STATE_FLAGS",
    "Entry",
    "Loss",
    "entries_in",
    "entries_of",
    "entries_within",
    "losses_of",
]

PENDING, DONE, PARTIAL = 0, 1, 2
"""States of a time shard of a block of a cube, or of a block of a result, as stores keep them: not
done yet; done; done with something missing, which is masked, marked and named."""

STATE_FLAGS: Mapping[str, Any] = {
    "flag_values": [PENDING, DONE, PARTIAL],
    "flag_meanings": "pending done partial",
}
"""Attributes of an array of states, by CF."""

STALE = "stale"
"""Array of latents that go on from states: which dates of a block are of before its newest
acquisitions, see :mod:`terralatent.pipeline.mapping.latents.states`."""

HELD = "held"
"""Array of a result beside its states: which pending blocks have whole values of an earlier
snapshot, see :mod:`terralatent.pipeline.mapping.growth.held`."""

LOSSES_LISTED = 20
"""Losses that are listed one by one; of more than these there is the number."""

Entry: TypeAlias = Mapping[str, Any]
"""One of the attribute ``losses`` of a sensor's group: a :class:`Loss`, the read task (``unit``) in
which it was lost, whose name begins with the time shard, and its ``window``: first and last row and
column, the last excluded."""


@dataclass(frozen=True)
class Loss:
    """Something of a scene that could not be read; its pixels are masked in the cube."""

    sensor: str
    """Name of the sensor."""

    item: str
    """Id of the item; of a whole read task that was lost, its place."""

    band: str
    """The band; empty where a whole read task was lost."""

    reason: str
    """Why, in one line."""

    def __str__(self) -> str:
        return f"{self.sensor} {self.item}{' ' if self.band else ''}{self.band}: {self.reason}"


def entries_of(task: str, window: Block, losses: Iterable[Loss]) -> Iterator[dict[str, Any]]:
    """What a cube keeps of the losses of a read task, by its name."""
    edges = [window.y.start, window.y.stop, window.x.start, window.x.stop]
    for loss in losses:
        yield {"unit": task, "window": edges, **asdict(loss)}


def entries_within(entries: Iterable[Entry], shards: Collection[int], window: Block) -> list[Entry]:
    """Those of some time shards that reach into a window."""
    return [entry for entry in entries_in(entries, shards) if _overlaps(entry, window)]


def entries_in(entries: Iterable[Entry], shards: Collection[int]) -> list[Entry]:
    """Those of some time shards."""
    return [entry for entry in entries if int(str(entry["unit"]).partition("/")[0]) in shards]


def losses_of(entries: Iterable[Entry]) -> tuple[Loss, ...]:
    """The losses that a cube keeps, each file once, however many read tasks it failed in."""
    names = [field.name for field in fields(Loss)]
    losses: dict[Sequence[str], Loss] = {}
    for entry in entries:
        loss = Loss(**{name: str(entry[name]) for name in names})
        losses.setdefault((loss.sensor, loss.item, loss.band), loss)
    return tuple(losses.values())


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
