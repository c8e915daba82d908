"""What a worker does with one read unit, and what the coordinator writes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from terralatent.pipeline.cube.losses import Loss, entries_of, entries_within
from terralatent.pipeline.cube.states import DONE, PARTIAL
from terralatent.pipeline.ingest.pixels import read_pixels
from terralatent.pipeline.ingest.read_tasks import ReadUnit
from terralatent.pipeline.store.repository import open_group

__all__ = ["read_unit", "record_unit"]


def read_unit(
    cube: Any, unit: ReadUnit, *, store: str, threads: int, at_once: int
) -> tuple[Loss, ...]:
    """Read one unit and write its shards; runs on a worker.

    Args:
        cube: Root group, writable.
        unit: Which pixels of which dates.
        store: Where the cube is: dates that only moved are copied from an earlier snapshot.
        threads: Files read at the same time.
        at_once: Requests to each host at the same time.

    Returns:
        What is missing from it.
    """
    window = unit.window
    group = cube[unit.sensor.name]
    arrays = {name: group[name] for name in ("data", "quality") if name in group}
    pixels = {
        name: np.empty((unit.count, *array.shape[1:-2], *window.shape), array.dtype)
        for name, array in arrays.items()
    }
    if unit.kept:
        before = group if unit.base is None else open_group(store, snapshot=unit.base)[group.path]
        _copy_kept(unit, before, pixels)
    losses = unit.known
    if unit.acquisitions:
        found = read_pixels(
            unit.acquisitions,
            unit.sensor,
            unit.grid[window.y, window.x],
            source=unit.source,
            access=unit.access,
            grid=unit.grid,
            threads=threads,
            at_once=at_once,
            together=unit.together,
            into=pixels,
            places=unit.places,
        )
        losses = (*losses, *found.losses)
    for name, array in arrays.items():
        array[unit.dates, ..., window.y, window.x] = pixels[name]
    return losses


def _copy_kept(unit: ReadUnit, before: Any, pixels: Mapping[str, np.ndarray]) -> None:
    """Copy the dates that the store has, one row of blocks at a time: no second unit in memory."""
    places, index = (np.array(each) for each in zip(*unit.kept, strict=True))
    first, last = int(index.min()), int(index.max()) + 1
    y = unit.window.y
    for name, into in pixels.items():
        for top in range(y.start, y.stop, unit.block):
            rows = slice(top, min(top + unit.block, y.stop))
            stored = before[name][first:last, ..., rows, unit.window.x]
            into[places, ..., rows.start - y.start : rows.stop - y.start, :] = stored[index - first]


def record_unit(cube: Any, unit: ReadUnit, losses: tuple[Loss, ...]) -> None:
    """Write the state of a unit and what it lost; runs in the coordinator."""
    group = cube[unit.sensor.name]
    group["state"][unit.states] = PARTIAL if losses else DONE
    before = list(group.attrs["losses"])
    gone = entries_within(before, [unit.shard], unit.window)
    after = [entry for entry in before if entry not in gone]
    after += entries_of(unit.name, unit.window, losses)
    if after != before:
        after.sort(key=lambda entry: (entry["item"], entry["band"], entry["unit"]))
        group.attrs["losses"] = after
