"""Which dates of a cube are others than in an earlier snapshot of it, and where they have pixels.

A date is another one if it came since, is made of other items, or of items that were changed or
lost, or if some of its pixels had not been read yet. What is read of the other dates is the same.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from terralatent.pipeline.cube.items import ItemRow, stored_rows
from terralatent.pipeline.cube.layout import DATES_A_SHARD
from terralatent.pipeline.cube.series import read_dates
from terralatent.pipeline.cube.time_axis import CubeDate, stored_dates

__all__ = ["ChangedDates", "changed_dates", "has_data"]

Places = NDArray[np.intp]

Loss = tuple[str, int, tuple[int, ...], str]
"""Item, or place of a whole read task, then time shard, window and band."""


@dataclass(frozen=True, eq=False)
class ChangedDates:
    """The dates of a sensor that two snapshots of a cube do not share."""

    came: Places
    """Places along the later snapshot's axis, ascending."""

    went: Places
    """Places along the earlier one's, ascending."""

    same: tuple[Places, Places]
    """Places of the dates that both have, along the earlier axis and along the later one."""


def changed_dates(
    then: zarr.Group, now: zarr.Group, sensors: Sequence[str]
) -> dict[str, ChangedDates]:
    """Compare the time axes of sensors; reads coordinates and the table of items, no pixels.

    Args:
        then: Root of the cube at the earlier snapshot; it need not have all of the sensors.
        now: Root of the cube at the later one.
        sensors: Names of groups.

    Raises:
        InputError: If an older version made the cube, which noted less of its dates.
    """
    rows = [_rows(root) for root in (then, now)]
    return {
        name: _compare(then, now, name, _axis(then, name, rows[0]), _axis(now, name, rows[1]))
        for name in sensors
    }


def _compare(
    then: zarr.Group,
    now: zarr.Group,
    sensor: str,
    before: Sequence[CubeDate],
    after: Sequence[CubeDate],
) -> ChangedDates:
    lost_then, lost_now = (_losses(root, sensor) for root in (then, now))
    shaky_then = _concerned(lost_then - lost_now, before)
    shaky_now = _concerned(lost_now - lost_then, after)
    places = {_key(date): place for place, date in enumerate(before)}
    pairs = [(places.get(_key(date), -1), place) for place, date in enumerate(after)]
    shared = [
        (earlier, later)
        for earlier, later in pairs
        if earlier >= 0 and earlier not in shaky_then and later not in shaky_now
    ]
    earlier = np.array([pair[0] for pair in shared], np.intp)
    later = np.array([pair[1] for pair in shared], np.intp)
    return ChangedDates(
        came=np.setdiff1d(np.arange(len(after)), later),
        went=np.setdiff1d(np.arange(len(before)), earlier),
        same=(earlier, later),
    )


def has_data(group: Any, dates: Places, y: slice, x: slice) -> bool:
    """Whether any band of a sensor has a number on some of its dates in a window. Reads these."""
    data = group["data"]
    fill = int(data.attrs["_FillValue"])
    return bool((read_dates(data, dates, slice(None), y, x) != fill).any())


def _rows(root: zarr.Group) -> Sequence[ItemRow]:
    table = root["items"]
    assert isinstance(table, zarr.Group)
    return stored_rows(table)


def _axis(root: zarr.Group, sensor: str, rows: Sequence[ItemRow]) -> Sequence[CubeDate]:
    if sensor not in root:
        return ()
    group = root[sensor]
    assert isinstance(group, zarr.Group)
    return stored_dates(group, sensor, rows)


def _key(date: CubeDate) -> Hashable:
    """What a date has in common with the same date of another snapshot alone."""
    facts = (str(date.facts["baseline"]), str(date.facts["incidence"]))
    return date.time, date.parts, tuple(sorted(date.updated.items())), facts


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


def _concerned(losses: Collection[Loss], axis: Sequence[CubeDate]) -> set[int]:
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
