"""Which dates of a cube are others than in an earlier snapshot of it, and where they have pixels.

A date is another one if it came since, is made of other items, or of items that were changed or
lost, or if some of its pixels had not been read yet. What is read of the other dates is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.cube.layout import DATES_A_SHARD
from terralatent.pipeline.cube.series import read_dates

__all__ = ["ChangedDates", "changed_dates", "has_data"]

Places = NDArray[np.intp]

OF_ITEMS = ("sensor", "acquisition", "fate", "id", "scale", "offset", "updated")
"""Columns of the table of items that say whether pixels are the same."""

OF_DATES = ("baseline", "incidence")
"""Coordinates along time that do."""

Loss = tuple[str, int, tuple[int, ...], str]
"""Item, or place of a whole read task, then time shard, window and band."""


@dataclass(frozen=True, eq=False)
class ChangedDates:
    """The dates of a sensor that two snapshots of a cube do not share."""

    came: Places
    """Places along the later snapshot's axis, ascending."""

    went: Places
    """Places along the earlier one's, ascending."""


def changed_dates(
    then: zarr.Group, now: zarr.Group, sensors: Sequence[str]
) -> dict[str, ChangedDates]:
    """Compare the time axes of sensors; reads coordinates and the table of items, no pixels.

    Args:
        then: Root of the cube at the earlier snapshot; it need not have all of the sensors.
        now: Root of the cube at the later one.
        sensors: Names of groups.
    """
    items = [_items(root) for root in (then, now)]
    return {
        name: _compare(then, now, name, _axis(then, name, items[0]), _axis(now, name, items[1]))
        for name in sensors
    }


def _compare(
    then: zarr.Group,
    now: zarr.Group,
    sensor: str,
    before: Sequence[_Date],
    after: Sequence[_Date],
) -> ChangedDates:
    lost_then, lost_now = (_losses(root, sensor) for root in (then, now))
    shaky_then = _concerned(lost_then - lost_now, before)
    shaky_now = _concerned(lost_now - lost_then, after)
    places = {date: place for place, date in enumerate(before) if place not in shaky_then}
    same = {
        place: places[date]
        for place, date in enumerate(after)
        if date in places and place not in shaky_now
    }
    came = [place for place in range(len(after)) if place not in same]
    went = sorted(set(range(len(before))) - set(same.values()))
    return ChangedDates(np.array(came, np.intp), np.array(went, np.intp))


def has_data(group: Any, dates: Places, y: slice, x: slice) -> bool:
    """Whether any band of a sensor has a number on some of its dates in a window. Reads these."""
    data = group["data"]
    fill = int(data.attrs["_FillValue"])
    return bool((read_dates(data, dates, slice(None), y, x) != fill).any())


@dataclass(frozen=True)
class _Date:
    """What a date has in common with the same date of another snapshot alone."""

    time: int
    facts: tuple[str, ...]
    parts: frozenset[tuple[str, ...]]

    @property
    def ids(self) -> set[str]:
        """Of its items."""
        return {part[0] for part in self.parts}


def _items(root: zarr.Group) -> Mapping[tuple[str, int], frozenset[tuple[str, ...]]]:
    """By sensor and date, what of its items makes pixels; nothing of a cube without a table."""
    if "items" not in root:
        return {}
    table: Any = root["items"]
    columns = [np.asarray(table[name]) for name in OF_ITEMS if name in table]
    found: dict[tuple[str, int], set[tuple[str, ...]]] = {}
    for sensor, date, fate, *rest in zip(*columns, strict=True):
        if fate != "dropped":
            found.setdefault((str(sensor), int(date)), set()).add(tuple(str(own) for own in rest))
    return {key: frozenset(parts) for key, parts in found.items()}


def _axis(
    root: zarr.Group, sensor: str, items: Mapping[tuple[str, int], frozenset[tuple[str, ...]]]
) -> Sequence[_Date]:
    if sensor not in root:
        return ()
    group: Any = root[sensor]
    facts = zip(*(np.asarray(group[name]) for name in OF_DATES if name in group), strict=True)
    times = np.asarray(group["time"])
    return [
        _Date(int(time), tuple(str(own) for own in own_facts),
              items.get((sensor, int(time)), frozenset()))
        for time, own_facts in zip(times, facts, strict=True)
    ]  # fmt: skip


def _losses(root: zarr.Group, sensor: str) -> frozenset[Loss]:
    entries: Any = root[sensor].attrs.get("losses", ()) if sensor in root else ()
    return frozenset(
        (
            str(entry["item"]),
            int(str(entry["unit"]).partition("/")[0]),
            tuple(entry.get("window", ())),
            str(entry["band"]),
        )
        for entry in entries
    )


def _concerned(losses: Collection[Loss], axis: Sequence[_Date]) -> set[int]:
    """Places of the dates that losses are of: those of the item, or all of a read task's shard."""
    by_item: dict[str, set[int]] = {}
    for place, date in enumerate(axis):
        for item in date.ids:
            by_item.setdefault(item, set()).add(place)
    found: set[int] = set()
    for item, shard, *_ in losses:
        whole = range(shard * DATES_A_SHARD, (shard + 1) * DATES_A_SHARD)
        found |= by_item.get(item, set(whole))
    return found
