"""Growth of a cube by a later search: new dates in their places, better ones instead of others.

A cube never loses what it holds. A date that the search does not find any more stays as it is; one
of which the search finds other items is replaced where these are more, or of no older processing;
one whose items were changed in place is read again, see
:mod:`terralatent.pipeline.ingest.comparison`.

Readers see the branch ``main``. What is new is laid out on the branch ``growing``, whose commits
survive a kill, and filled there by the same loop that builds a cube. Dates that only move along
the time axis are copied from the snapshot that it grew from, not read again. When no read task is
pending any more, ``main`` is set to it: before that readers see nothing of it, then all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.period import Period
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.pipeline.cube.items import (
    ItemRow,
    in_order,
    item_arrays,
    rows_of,
    stored_rows,
)
from terralatent.pipeline.cube.layout import DATES_A_SHARD, state_array, state_shape
from terralatent.pipeline.cube.losses import PENDING, Entry, entries_in
from terralatent.pipeline.cube.time_axis import CubeDate, date_arrays, found_dates, stored_dates
from terralatent.pipeline.ingest.comparison import change_fates, compare_dates, refuse_other_rule
from terralatent.pipeline.store.arrays import Layout
from terralatent.pipeline.store.repository import (
    ABOUT,
    BRANCH,
    GROWING,
    MEANWHILE,
    STEP,
    NotLaidOutError,
    Store,
)

__all__ = [
    "MOVED",
    "Growth",
    "abandon_growth",
    "as_stored",
    "begin_growth",
    "lay_out_growth",
    "plan_growth",
    "require_rows",
    "show_growth",
]

MOVED = "moved"
"""Attribute of a sensor's group while it grows: the snapshot it grew ``from``, its first time shard
that changes (``shard``), for each date its index there (``index``, -1 where it is to be read), and
what was missing from the shards that change (``losses``). The root has ``from`` alone."""


@dataclass(frozen=True, eq=False)
class Growth:
    """How a cube will be when it has grown."""

    axes: Mapping[str, tuple[CubeDate, ...]]
    """For each sensor whose dates change, all of them, ascending."""

    rows: tuple[ItemRow, ...]
    """The whole table of items."""

    period: Period
    """First and last day of all searches together."""

    changed: tuple[str, ...] = ()
    """Ids of items that their catalogue changed since they were read: they are read again."""

    @property
    def new(self) -> int:
        """Dates without pixels: new ones, and those that take the place of another."""
        return sum(date.stored is None for axis in self.axes.values() for date in axis)


def plan_growth(cube: zarr.Group, scenes: Scenes) -> Growth | None:
    """Compare a cube with what a search found; reads coordinates, no pixels.

    Args:
        cube: Its root.
        scenes: Of the same region and sensors; of any period.

    Returns:
        How it will be; None if the search finds nothing new.

    Raises:
        InputError: If items that the cube holds would have another scale or offset by another rule,
            not by their own word, or if the cube cannot grow.
    """
    rows = require_rows(cube)
    axes: dict[str, tuple[CubeDate, ...]] = {}
    fates = {row.key: row for row in rows_of(scenes)}
    kept = {row.key: row for row in rows if row.key not in fates}
    changed: list[str] = []
    for name in scenes.sensors:
        found = found_dates(scenes.acquisitions(name))
        stored = stored_dates(_group(cube, name), name, rows, found)
        refuse_other_rule(name, rows, found)
        dates = compare_dates(stored, found)
        if dates.is_new:
            axes[name] = dates.axis
        changed += dates.changed
        change_fates(name, dates, rows, fates, kept)
    period = _period(cube, scenes)
    table = in_order((*fates.values(), *kept.values()))
    same = [row.text for row in table] == [row.text for row in in_order(rows)]
    if same and not axes and period == _stored_period(cube):
        return None
    return Growth(axes, table, period, tuple(changed))


def as_stored(store: Store, layout: Layout, scenes: Scenes) -> Layout:
    """Give the layout of a search what may differ in a cube that is there: its period, and sensors
    of which the search found nothing.

    Raises:
        InputError: If an older version made the cube, which cannot grow.
    """
    try:
        about = store.about() if store.exists() else {}
    except NotLaidOutError:
        about = {}
    if about.get("kind") != layout.kind:
        return layout
    require_rows(store.group())
    stored = about["identity"]
    sensors = {
        name: layout.identity["sensors"].get(name, kept)
        for name, kept in stored["sensors"].items()
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
            "dates are made; it cannot go on or grow. Build it anew, under another out=."
        )
    table = cube["items"]
    assert isinstance(table, zarr.Group)
    return stored_rows(table)


def _period(cube: zarr.Group, scenes: Scenes) -> Period:
    first, last = _stored_period(cube)
    return min(first, scenes.period[0]), max(last, scenes.period[1])


def _stored_period(cube: zarr.Group) -> Period:
    about: Mapping[str, Mapping[str, Sequence[str]]] = cube.attrs[ABOUT]
    first, last = (date.fromisoformat(day) for day in about["identity"]["period"])
    return first, last


def _group(cube: zarr.Group, name: str) -> zarr.Group:
    group = cube[name]
    assert isinstance(group, zarr.Group)
    return group


def begin_growth(store: Store, growth: Growth) -> None:
    """Lay out what a cube grows to, on its branch; reads and writes no pixels.

    Time shards from the first one that changes are pending. What could not be read of their dates
    is read again where the search knows its files.
    """
    repository = store.repository()
    base = repository.lookup_branch(BRANCH)
    abandon_growth(store)
    repository.create_branch(GROWING, base)
    session = repository.writable_session(GROWING)
    lay_out_growth(zarr.open_group(session.store, mode="r+"), growth, base)
    store.commit(session, "begin to grow", STEP)


def lay_out_growth(root: zarr.Group, growth: Growth, base: str) -> None:
    """Change arrays and attributes of a cube, all but its pixels, to what it grows to.

    Args:
        root: Of the cube, writable.
        growth: What it grows to.
        base: The snapshot in which it is now.
    """
    for name, axis in growth.axes.items():
        _grow_sensor(root[name], axis, base)
    table: Any = root["items"]
    for array in item_arrays(growth.rows):
        array.create(table, overwrite=True)
    about: dict[str, Any] = dict(root.attrs[ABOUT])
    period = [str(day) for day in growth.period]
    about = {**about, "identity": {**about["identity"], "period": period}}
    root.update_attributes({ABOUT: about, MOVED: {"from": base}})


def show_growth(store: Store, message: str) -> str:
    """Let readers see what a cube has grown to; gives the snapshot.

    A call that was cut short may be made again.

    Raises:
        InputError: If the cube is not any more what it grew from.
    """
    repository = store.repository()
    tip, base = repository.lookup_branch(GROWING), repository.lookup_branch(BRANCH)
    session = repository.writable_session(GROWING)
    root = zarr.open_group(session.store, mode="r+")
    if MOVED in root.attrs:  # else a run was killed between these two steps
        moved: Any = root.attrs[MOVED]
        if moved["from"] != base:
            raise InputError(MEANWHILE)
        for group in (root, *(group for _, group in root.groups())):
            group.attrs.pop(MOVED, None)
        tip = store.commit(session, message)
    repository.reset_branch(BRANCH, tip, from_snapshot_id=base)
    abandon_growth(store)
    return str(tip)


def abandon_growth(store: Store) -> None:
    """Forget what a cube has begun to grow to, if it has; what readers see stays."""
    repository = store.repository()
    if GROWING in repository.list_branches():
        repository.delete_branch(GROWING)


def _grow_sensor(group: Any, axis: Sequence[CubeDate], base: str) -> None:
    before = [str(time) for time in np.asarray(group["time"][...]).astype("datetime64[us]")]
    first = _first_change(before, axis) // DATES_A_SHARD
    for name in ("data", "quality"):
        if name in group:
            array = group[name]
            array.resize((len(axis), *array.shape[1:]))
    for layout in date_arrays(axis):
        layout.create(group, overwrite=True)

    old = np.asarray(group["state"][...])
    rows, columns = group["data"].shape[-2:]
    block = group["data"].shards[-1]
    states = np.full(state_shape(len(axis), (rows, columns), block), PENDING, dtype=np.uint8)
    states[:first] = old[:first]
    state_array(states).create(group, overwrite=True)

    losses: Sequence[Entry] = group.attrs["losses"]
    lost = {entry["item"] for entry in losses}
    again = [date.acquisition is not None and bool(date.ids & lost) for date in axis]
    index = [
        -1 if date.stored is None or read else date.stored
        for date, read in zip(axis, again, strict=True)
    ]
    stay = entries_in(losses, range(first))
    moved = {
        "from": base,
        "shard": first,
        "index": index,
        "losses": [entry for entry in losses if entry not in stay],
    }
    group.update_attributes({MOVED: moved, "losses": stay})


def _first_change(before: Sequence[str], axis: Sequence[CubeDate]) -> int:
    """The first date that is not what it was; there is one."""
    same = (old == new.stored for old, new in zip(range(len(before)), axis, strict=False))
    return next((index for index, is_same in enumerate(same) if not is_same), len(before))
