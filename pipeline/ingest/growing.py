"""A cube that grows, out of sight: filled on a branch of its store, then shown in one step.

Readers see the branch ``main``. What is new is laid out on the branch ``growing``, whose commits
survive a kill, and filled there by the same loop that builds a cube. Dates that only move along
the time axis are copied from the snapshot that it grew from, not read again. When no read unit is
pending any more, ``main`` is set to it: before that readers see nothing of it, then all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.items import item_arrays
from terralatent.pipeline.cube.layout import DATES_A_SHARD, state_array, state_shape
from terralatent.pipeline.cube.losses import Entry, entries_in
from terralatent.pipeline.cube.states import PENDING
from terralatent.pipeline.cube.time_axis import CubeDate, date_arrays
from terralatent.pipeline.ingest.growth import Growth
from terralatent.pipeline.store.repository import (
    ABOUT,
    BRANCH,
    GROWING,
    MEANWHILE,
    STEP,
    open_repository,
)

__all__ = ["MOVED", "abandon_growth", "begin_growth", "lay_out_growth", "show_growth"]

MOVED = "moved"
"""Attribute of a sensor's group while it grows: the snapshot it grew ``from``, its first time shard
that changes (``shard``), for each date its index there (``index``, -1 where it is to be read), and
what was missing from the shards that change (``losses``). The root has ``from`` alone."""


def begin_growth(store: str | Path, growth: Growth) -> None:
    """Lay out what a cube grows to, on its branch; reads and writes no pixels.

    Time shards from the first one that changes are pending. What could not be read of their dates
    is read again where the search knows its files.
    """
    repository = open_repository(store)
    base = repository.lookup_branch(BRANCH)
    abandon_growth(store)
    repository.create_branch(GROWING, base)
    session = repository.writable_session(GROWING)
    lay_out_growth(zarr.open_group(session.store, mode="r+"), growth, base)
    session.commit("begin to grow", metadata=dict(STEP))


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


def show_growth(store: str | Path, message: str) -> str:
    """Let readers see what a cube has grown to; gives the snapshot.

    A call that was cut short may be made again.

    Raises:
        InputError: If the cube is not any more what it grew from.
    """
    repository = open_repository(store)
    tip, base = repository.lookup_branch(GROWING), repository.lookup_branch(BRANCH)
    session = repository.writable_session(GROWING)
    root = zarr.open_group(session.store, mode="r+")
    if MOVED in root.attrs:  # else a run was killed between these two steps
        moved: Any = root.attrs[MOVED]
        if moved["from"] != base:
            raise InputError(MEANWHILE)
        for group in (root, *(group for _, group in root.groups())):
            group.attrs.pop(MOVED, None)
        tip = session.commit(message)
    repository.reset_branch(BRANCH, tip, from_snapshot_id=base)
    abandon_growth(store)
    return str(tip)


def abandon_growth(store: str | Path) -> None:
    """Forget what a cube has begun to grow to, if it has; what readers see stays."""
    repository = open_repository(store)
    if GROWING in repository.list_branches():
        repository.delete_branch(GROWING)


def _grow_sensor(group: Any, axis: Sequence[CubeDate], base: str) -> None:
    before = [str(each) for each in np.asarray(group["time"][...]).astype("datetime64[us]")]
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
    again = [each.acquisition is not None and bool(each.ids & lost) for each in axis]
    index = [
        -1 if each.stored is None or read else each.stored
        for each, read in zip(axis, again, strict=True)
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
