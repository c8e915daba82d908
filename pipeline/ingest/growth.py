"""What a later search adds to a cube: new dates in their places, better ones instead of others.

A cube never loses what it holds. A date that the search does not find any more stays as it is; one
of which the search finds other items is replaced where these are more, or of no older processing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.items.item import baseline_key
from terralatent.catalogs.period import Period
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cube.items import NO_TIME, ItemRow, in_order, rows_of, stored_rows
from terralatent.pipeline.cube.time_axis import CubeDate, found_dates, stored_dates
from terralatent.pipeline.store.arrays import Layout
from terralatent.pipeline.store.repository import (
    ABOUT,
    NotLaidOutError,
    describe,
    exists,
    open_group,
)

__all__ = ["Growth", "as_stored", "plan_growth", "require_rows"]

ONE_PASS = np.timedelta64(15, "m")
"""Two dates this near, on one orbit, are one acquisition told twice."""


@dataclass(frozen=True, eq=False)
class Growth:
    """How a cube will be when it has grown."""

    axes: Mapping[str, tuple[CubeDate, ...]]
    """For each sensor whose dates change, all of them, ascending."""

    rows: tuple[ItemRow, ...]
    """The whole table of items."""

    period: Period
    """First and last day of all searches together."""

    @property
    def new(self) -> int:
        """Dates without pixels: new ones, and those that take the place of another."""
        return sum(each.stored is None for axis in self.axes.values() for each in axis)


def plan_growth(cube: zarr.Group, scenes: Scenes) -> Growth | None:
    """Compare a cube with what a search found; reads coordinates, no pixels.

    Args:
        cube: Its root.
        scenes: Of the same region and sensors; of any period.

    Returns:
        How it will be; None if the search tells nothing new.

    Raises:
        InputError: If the search tells another scale or offset of items that the cube holds, which
            is another rule, or if the cube cannot grow.
    """
    rows = require_rows(cube)
    axes: dict[str, tuple[CubeDate, ...]] = {}
    fates = {row.key: row for row in rows_of(scenes)}
    kept = {row.key: row for row in rows if row.key not in fates}
    for name in scenes.sensors:
        found = found_dates(scenes.acquisitions(name))
        stored = stored_dates(_group(cube, name), name, rows, found)
        _refuse_other_rule(name, stored, found)
        axis, taken, left = _merged(stored, found)
        if len(axis) != len(stored) or any(each.stored is None for each in axis):
            axes[name] = axis
        _retell(name, taken, left, rows, fates, kept)
    period = _period(cube, scenes)
    told = in_order((*fates.values(), *kept.values()))
    same = [row.told for row in told] == [row.told for row in in_order(rows)]
    if same and not axes and period == _stored_period(cube):
        return None
    return Growth(axes, told, period)


def as_stored(out: str | Path, layout: Layout, scenes: Scenes) -> Layout:
    """Give the layout of a search what may differ in a cube that is there: its period, and sensors
    of which the search found nothing.

    Raises:
        InputError: If an older version made the cube, which cannot grow.
    """
    try:
        about = describe(out) if exists(out) else {}
    except NotLaidOutError:
        about = {}
    if about.get("kind") != layout.kind:
        return layout
    require_rows(open_group(out))
    stored = about["identity"]
    sensors = {
        name: layout.identity["sensors"].get(name, told)
        for name, told in stored["sensors"].items()
        if name in scenes.requested
    }
    same = {"period": stored["period"], "sensors": {**sensors, **layout.identity["sensors"]}}
    return replace(layout, identity={**layout.identity, **same})


def require_rows(cube: zarr.Group) -> tuple[ItemRow, ...]:
    """Read a cube's items.

    Raises:
        InputError: If an older version made it, which noted less.
    """
    if "items/acquisition" not in cube:
        raise InputError(
            "An older version of terralatent made this cube and did not note of which items its "
            "dates are made; it cannot go on or grow. Build it anew, under another --out."
        )
    table = cube["items"]
    assert isinstance(table, zarr.Group)
    return stored_rows(table)


def _merged(
    stored: Sequence[CubeDate], found: Sequence[CubeDate]
) -> tuple[tuple[CubeDate, ...], list[tuple[CubeDate, CubeDate]], list[tuple[CubeDate, CubeDate]]]:
    """Lay what was found into the dates of a cube.

    Returns:
        All dates, ascending; pairs of a stored date and the found one that takes its place; pairs
        of a found date that is left out and the stored one that stays.
    """
    axis = list(stored)
    taken: list[tuple[CubeDate, CubeDate]] = []
    left: list[tuple[CubeDate, CubeDate]] = []
    for each in found:
        near = [one for one in axis if one.stored is not None and _is_same_pass(one, each)]
        same = [one for one in near if one.parts == each.parts]
        if same:
            continue
        better = all(_is_better(each, one) for one in near)
        if near and not better:
            left.append((each, near[0]))
            continue
        for one in near:
            axis.remove(one)
            taken.append((one, each))
        axis.append(each)
    return tuple(sorted(axis, key=lambda one: one.time)), taken, left


def _is_same_pass(one: CubeDate, other: CubeDate) -> bool:
    orbits = {int(one.facts["orbit"]), int(other.facts["orbit"])} - {-1}
    return bool(one.time == other.time) or (
        len(orbits) < 2 and bool(abs(one.time - other.time) <= ONE_PASS)
    )


def _is_better(found: CubeDate, stored: CubeDate) -> bool:
    """Whether what was found takes the place of what is stored; their items differ."""
    if found.ids < stored.ids:
        return False  # some are not in the catalogue any more
    return found.ids > stored.ids or _baseline(found) >= _baseline(stored)


def _baseline(told: CubeDate) -> tuple[int, int]:
    return max(baseline_key(each) for each in str(told.facts["baseline"]).split("+"))


def _refuse_other_rule(name: str, stored: Sequence[CubeDate], found: Sequence[CubeDate]) -> None:
    there = {each: scaling for one in stored for each, *scaling in one.parts}
    for one in found:
        for each, *scaling in sorted(one.parts):
            if each in there and there[each] != scaling:
                was, now = there[each], scaling
                raise InputError(
                    f"{name}: {each} was stored with scale {was[0]:g} and offset {was[1]:g}, now "
                    f"it would have {now[0]:g} and {now[1]:g}; one rule holds for a whole cube. "
                    "Build another one (--out), or state what was stated (--offset)."
                )


def _retell(
    name: str,
    taken: Sequence[tuple[CubeDate, CubeDate]],
    left: Sequence[tuple[CubeDate, CubeDate]],
    rows: Sequence[ItemRow],
    fates: dict[tuple[str, str, str], ItemRow],
    kept: dict[tuple[str, str, str], ItemRow],
) -> None:
    """Change the fates of items that lost their place, and of those that did not get one.

    ``fates`` are those of the search, ``kept`` those of items that it did not find.
    """
    for old, new in taken:
        for row in rows:
            if row.sensor == name and row.acquisition == old.time and row.key in kept:
                kept[row.key] = _dropped(row, f"replaced by {min(new.ids)}")
    for new, old in left:
        for key, row in list(fates.items()):
            if row.sensor == name and row.acquisition == new.time:
                fates[key] = _dropped(row, f"the cube holds a better copy, {min(old.ids)}")
        for row in rows:  # what stays is told as it was
            if row.sensor == name and row.acquisition == old.time:
                kept.pop(row.key, None)
                fates[row.key] = row


def _dropped(row: ItemRow, reason: str) -> ItemRow:
    return replace(
        row, fate="dropped", reason=reason, scale=np.nan, offset=np.nan, offset_from="",
        acquisition=NO_TIME,
    )  # fmt: skip


def _period(cube: zarr.Group, scenes: Scenes) -> Period:
    first, last = _stored_period(cube)
    return min(first, scenes.period[0]), max(last, scenes.period[1])


def _stored_period(cube: zarr.Group) -> Period:
    about: Mapping[str, Mapping[str, Sequence[str]]] = cube.attrs[ABOUT]
    first, last = (date.fromisoformat(day) for day in about["identity"]["period"])
    return first, last


def _group(cube: zarr.Group, name: str) -> zarr.Group:
    found = cube[name]
    assert isinstance(found, zarr.Group)
    return found
