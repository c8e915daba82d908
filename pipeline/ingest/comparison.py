"""The dates of a cube beside those of a search: what is new, better, changed in place, or less.

An item is known by its id. A catalogue may change it under that id: make its pixels anew, which it
says by a newer ``updated`` or another processing baseline, or correct its offset. Then its date is
read again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import baseline_key
from terralatent.catalogs.scenes.passes import ONE_PASS
from terralatent.pipeline.cube.items import NO_TIME, ItemRow
from terralatent.pipeline.cube.time_axis import SAME_ITEM, CubeDate

__all__ = ["Comparison", "RowKey", "change_fates", "compare_dates", "refuse_other_rule"]

_LOG = logging.getLogger(__name__)

RowKey = tuple[str, str, str]
"""Sensor, time and id: the :attr:`~terralatent.pipeline.cube.items.ItemRow.key` of an item."""

_BY_THE_USER = {"stated", "product"}
"""Where a scale and offset come from that no item states."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The dates of one sensor of a cube, and what a search found of it."""

    axis: tuple[CubeDate, ...]
    """All dates that the cube will have, ascending."""

    taken: tuple[tuple[CubeDate, CubeDate], ...]
    """Stored dates and the found ones that take their place."""

    left: tuple[tuple[CubeDate, CubeDate], ...]
    """Found dates that are left out, and the stored ones that stay instead."""

    changed: tuple[str, ...]
    """Ids of items that were changed in place, whose dates are read again."""

    @property
    def is_new(self) -> bool:
        """Whether a date has no pixels yet."""
        return any(date.stored is None for date in self.axis)


def compare_dates(stored: Sequence[CubeDate], found: Sequence[CubeDate]) -> Comparison:
    """Lay what was found into the dates of a cube, both ascending."""
    times = np.array([date.time for date in stored], "datetime64[us]")
    axis = {date.time: date for date in stored}
    taken: list[tuple[CubeDate, CubeDate]] = []
    left: list[tuple[CubeDate, CubeDate]] = []
    changed: set[str] = set()
    for new in found:
        begin, end = np.searchsorted(times, [new.time - SAME_ITEM, new.time + SAME_ITEM])
        near = [
            old
            for old in stored[begin : end + 1]
            if axis.get(old.time) is old and _is_same_pass(old, new)
        ]
        anew = {item for old in near for item in _changed(old, new)}
        if any(old.parts == new.parts for old in near) and not anew:
            continue
        if near and not all(_is_better(new, old) for old in near):
            left.append((new, near[0]))
            if anew:
                _LOG.warning(
                    "%s was changed in its catalogue, and its date stays as it is: the cube has "
                    "more of it than this search found",
                    min(anew),
                )
            continue
        for old in near:
            del axis[old.time]
            taken.append((old, new))
        while new.time in axis:  # another platform's
            new = replace(new, time=new.time + np.timedelta64(1, "ms"))
        axis[new.time] = new
        changed |= anew
    in_order = tuple(axis[time] for time in sorted(axis))
    return Comparison(in_order, tuple(taken), tuple(left), tuple(sorted(changed)))


def _is_same_pass(old: CubeDate, new: CubeDate) -> bool:
    """Whether two dates are of one acquisition, by two searches: near, of no two platforms, and on
    no two orbits; or of one item that states another time than before."""
    apart = abs(old.time - new.time)
    if old.ids & new.ids:
        return bool(apart <= SAME_ITEM)
    platforms = [set(str(date.facts["platform"]).split("+")) - {""} for date in (old, new)]
    if all(platforms) and not platforms[0] & platforms[1]:
        return False
    orbits = {int(old.facts["orbit"]), int(new.facts["orbit"])} - {-1}
    return bool(old.time == new.time) or (len(orbits) < 2 and bool(apart <= ONE_PASS))


def _changed(old: CubeDate, new: CubeDate) -> set[str]:
    """Ids of items of both dates that their catalogue changed in between."""
    there = {name: scaling for name, *scaling in old.parts}
    changed = {name for name, *scaling in new.parts if there.get(name, scaling) != scaling}
    changed |= {
        name
        for name, updated in new.updated.items()
        if name in there and _is_newer(updated, old.updated.get(name, ""))
    }
    baselines = [str(date.facts["baseline"]) for date in (old, new)]
    if old.ids == new.ids:
        if all(baselines) and baselines[0] != baselines[1]:
            changed |= new.ids
        if abs(old.time - new.time) > np.timedelta64(100, "ms"):
            changed |= new.ids
    return changed


def _is_newer(updated: str, before: str) -> bool:
    """Whether an item that was last changed at one time is another than one of ``before``.

    A time ahead of the clock says nothing but that it is another.
    """
    if not updated or not before or updated == before:
        return False
    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    return updated > before or before > now


def _is_better(found: CubeDate, stored: CubeDate) -> bool:
    """Whether what was found takes the place of what is stored; their items differ."""
    if found.ids == stored.ids:
        return True  # changed in place: what their catalogue says now counts
    if found.ids < stored.ids:
        return False  # some are not in the catalogue any more
    return found.ids > stored.ids or _baseline(found) >= _baseline(stored)


def _baseline(entry: CubeDate) -> tuple[int, int]:
    return max(baseline_key(baseline) for baseline in str(entry.facts["baseline"]).split("+"))


def refuse_other_rule(name: str, rows: Sequence[ItemRow], found: Sequence[CubeDate]) -> None:
    """Check that scales and offsets that no item states are those of before.

    Raises:
        InputError: If another one was stated, or the sensor was described anew.
    """
    there = {row.id: row for row in rows if row.sensor == name and row.fate != "dropped"}
    for new in found:
        assert new.acquisition is not None
        for item, now in zip(new.acquisition.items, new.acquisition.scalings, strict=True):
            was = there.get(item["id"])
            if was is None or (was.scale, was.offset) == (now.scale, now.offset):
                continue
            sources = {was.offset_from, now.offset_from}
            if sources <= _BY_THE_USER or (len(sources) == 1 and sources != {"bands"}):
                raise InputError(
                    f"{name}: {was.id} was stored with scale {was.scale:g} and offset "
                    f"{was.offset:g}, now it would have {now.scale:g} and {now.offset:g}, not by "
                    "its own word; one rule holds for a whole cube. Build another one (out=), or "
                    "state what was stated (offsets=)."
                )


def change_fates(
    name: str,
    dates: Comparison,
    rows: Sequence[ItemRow],
    fates: dict[RowKey, ItemRow],
    kept: dict[RowKey, ItemRow],
) -> None:
    """Change the fates of items that lost their place, and of those that did not get one.

    Args:
        name: Of the sensor.
        dates: What becomes of its dates.
        rows: The cube's items.
        fates: Those of the search; changed.
        kept: Those of items that it did not find; changed.
    """
    for old, new in dates.taken:
        for row in rows:
            if row.sensor == name and row.acquisition == old.time and row.key in kept:
                kept[row.key] = _dropped(row, f"replaced by {min(new.ids)}")
    for new, old in dates.left:
        for key, row in list(fates.items()):
            if row.sensor == name and row.acquisition == new.time:
                fates[key] = _dropped(row, f"the cube holds a better copy, {min(old.ids)}")
        for row in rows:  # what stays is listed as it was
            if row.sensor == name and row.acquisition == old.time:
                kept.pop(row.key, None)
                fates[row.key] = row
    _point_to_dates(name, dates.axis, rows, fates)


def _point_to_dates(
    name: str,
    axis: Sequence[CubeDate],
    rows: Sequence[ItemRow],
    fates: dict[RowKey, ItemRow],
) -> None:
    """Let items of the search name the cube's own dates, and of two times of change the later.

    What the cube holds of an item that cannot be used any more stays, and is listed as it was.
    """
    before = {row.key: row for row in rows if row.fate != "dropped"}
    places: defaultdict[str, list[CubeDate]] = defaultdict(list)
    for date in axis:
        for item in date.ids:
            places[item].append(date)
    for key, row in fates.items():
        near = [date for date in places[row.id] if abs(date.time - row.time) <= SAME_ITEM]
        if row.sensor != name or not near:
            continue
        date, was = min(near, key=lambda date: abs(date.time - row.time)), before.get(key)
        if row.fate != "dropped":
            updated, available = row.updated, row.available
            if date.stored is not None and was is not None:  # its pixels stay
                updated = max(updated, was.updated)
                available = min(filter(None, (available, was.available)), default="")
            fates[key] = replace(row, acquisition=date.time, updated=updated, available=available)
        elif date.stored is not None and was is not None:
            _LOG.warning(
                "%s was read before and cannot be used any more (%s); its date stays as it is",
                row.id,
                row.reason,
            )
            fates[key] = was


def _dropped(row: ItemRow, reason: str) -> ItemRow:
    return replace(
        row, fate="dropped", reason=reason, scale=np.nan, offset=np.nan, offset_from="",
        acquisition=NO_TIME, updated="", available="",
    )  # fmt: skip
