"""Read tasks of a build: which are open, what a worker does with one, what is recorded of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from terralatent.catalogs.documents.access import Access
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.acquisition import Acquisition
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.sensors import Sensor
from terralatent.catalogs.sources.sources import Source
from terralatent.pipeline.cube.layout import DATES_A_SHARD
from terralatent.pipeline.cube.losses import (
    DONE,
    PARTIAL,
    PENDING,
    Entry,
    Loss,
    entries_of,
    entries_within,
    losses_of,
)
from terralatent.pipeline.cube.time_axis import CubeDate, found_dates, stored_dates
from terralatent.pipeline.ingest.growth import MOVED, require_rows
from terralatent.pipeline.ingest.pixels import read_pixels
from terralatent.pipeline.ingest.windows import ReadWindows
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.repository import Store

__all__ = ["GoneError", "ReadResult", "ReadTask", "open_tasks", "record_task", "run_task"]


class GoneError(InputError):
    """A date has no pixels yet, and a search does not find its scenes."""


@dataclass(frozen=True, eq=False)
class ReadTask:
    """What one task reads and writes: whole shards of one sensor. Picklable and small."""

    sensor: Sensor
    """The sensor, as its source sees it."""

    shard: int
    """Index of the time shard."""

    count: int
    """Dates of the shard."""

    window: Block
    """Pixels of the grid; its edges are edges of blocks."""

    block: int
    """Pixels along y and x of a block."""

    places: tuple[int, ...]
    """Places within the shard of the dates that are read, ascending."""

    acquisitions: tuple[Acquisition, ...]
    """What is read there."""

    kept: tuple[tuple[int, int], ...]
    """Places of the other dates, whose pixels the store has, and their indices on its time axis."""

    base: str | None
    """The snapshot in which it has them; None: the newest."""

    known: tuple[Loss, ...]
    """What is missing from the dates that are not read."""

    grid: GeoBox
    """The cube's grid."""

    source: Source
    """Where the files come from."""

    access: Access
    """What files may be read."""

    together: int
    """Dates that are read together."""

    @property
    def dates(self) -> slice:
        """Dates of the sensor's time axis."""
        start = self.shard * DATES_A_SHARD
        return slice(start, start + self.count)

    @property
    def states(self) -> tuple[int, slice, slice]:
        """Where this task lies in the sensor's ``state`` array."""
        y, x = self.window.y, self.window.x
        size = self.block
        return (
            self.shard,
            slice(y.start // size, -(-y.stop // size)),
            slice(x.start // size, -(-x.stop // size)),
        )

    @property
    def name(self) -> str:
        """What messages and the store call this task: shard, first row and column of pixels."""
        return f"{self.shard}/{self.window.y.start}/{self.window.x.start}"


def open_tasks(
    cube: Any, scenes: Scenes, pixels: GeoBox, block: int, windows: Mapping[str, ReadWindows]
) -> Iterator[ReadTask]:
    """Yield the read tasks of a cube that are not done; reads states and coordinates, no pixels.

    Of a task that is partial only the dates are read again of which something is missing; of one
    that is pending all, but those that only moved since the cube began to grow.

    Args:
        cube: Root group.
        scenes: What a search found; a date that it does not find is not read again.
        pixels: Its grid.
        block: Pixels along y and x of a block.
        windows: Those of each sensor, see
            :func:`terralatent.pipeline.ingest.windows.plan_windows`.

    Raises:
        GoneError: If a date has no pixels yet and the search does not find it.
    """
    rows = require_rows(cube)
    for name, plan in windows.items():
        group = cube[name]
        dates = stored_dates(group, name, rows, found_dates(scenes.acquisitions(name)))
        state = np.asarray(group["state"][...])
        for shard in range(state.shape[0]):
            axis = dates[shard * DATES_A_SHARD : (shard + 1) * DATES_A_SHARD]
            for window in plan.windows:
                task = ReadTask(
                    sensor=scenes.sensor(name),
                    shard=shard,
                    count=len(axis),
                    window=window,
                    block=block,
                    grid=pixels,
                    source=replace(scenes.place, where=""),  # may hold a key; no file is read by it
                    access=scenes.access,
                    together=plan.together,
                    **_NOTHING,
                )
                states = state[task.states]
                if (states == PENDING).any():
                    yield replace(task, **_pending(group, task, axis))
                elif (states == PARTIAL).any():
                    what = _partial(group, task, axis)
                    if what["acquisitions"]:
                        yield replace(task, **what)


_NOTHING: dict[str, Any] = {
    "places": (),
    "acquisitions": (),
    "kept": (),
    "base": None,
    "known": (),
}


def _pending(group: Any, task: ReadTask, axis: Sequence[CubeDate]) -> dict[str, Any]:
    """All dates of a task that has no pixels, or those of another place on the time axis."""
    moved: Any = group.attrs.get(MOVED)
    index = [-1] * len(axis)
    if moved is not None and task.shard >= moved["shard"]:
        index = moved["index"][task.dates]
    read = [place for place, old in enumerate(index) if old < 0]
    gone = [axis[place] for place in read if axis[place].acquisition is None]
    if gone:
        items = ", ".join(sorted(item for date in gone for item in date.ids)[:3])
        raise GoneError(
            f"The cube has no pixels yet of {len(gone)} dates of {task.sensor.name} that this "
            f"search does not find ({items}, ...); search as it was begun, or remove it."
        )
    known: list[Loss] = []
    if moved is not None:
        entries = entries_within(moved["losses"], range(len(moved["index"])), task.window)
        known = _missing(entries, [axis[place] for place, old in enumerate(index) if old >= 0])
    return {
        **_to_read(read, axis),
        "kept": tuple((place, old) for place, old in enumerate(index) if old >= 0),
        "base": None if moved is None else moved["from"],
        "known": tuple(known),
    }


def _partial(group: Any, task: ReadTask, axis: Sequence[CubeDate]) -> dict[str, Any]:
    """The dates of a task of which something is missing, as far as their files are known."""
    entries = entries_within(group.attrs["losses"], [task.shard], task.window)
    lost = {str(entry["item"]) for entry in entries}
    wanted = [
        date.acquisition is not None and (bool(date.ids & lost) or not entries) for date in axis
    ]
    kept = [place for place, read in enumerate(wanted) if not read]
    return {
        **_to_read([place for place, read in enumerate(wanted) if read], axis),
        "kept": tuple((place, task.dates.start + place) for place in kept),
        "known": tuple(_missing(entries, [axis[place] for place in kept])),
    }


def _to_read(places: Sequence[int], axis: Sequence[CubeDate]) -> dict[str, Any]:
    return {
        "places": tuple(places),
        "acquisitions": tuple(axis[place].acquisition for place in places),
    }


def _missing(entries: Sequence[Entry], dates: Sequence[CubeDate]) -> list[Loss]:
    """What is missing from some dates."""
    ids = {item for date in dates for item in date.ids}
    return [loss for loss in losses_of(entries) if loss.item in ids]


@dataclass(frozen=True)
class ReadResult:
    """What became of a read task."""

    losses: tuple[Loss, ...]
    """What is missing from it."""

    misplaced: tuple[Loss, ...] = ()
    """What was read where it lies, though its items place it elsewhere."""


def run_task(
    cube: Any,
    task: ReadTask,
    *,
    store: Store,
    threads: int,
    at_once: int,
    memory: int,
    strict_placement: bool,
) -> ReadResult:
    """Read one task and write its shards; runs on a worker.

    Args:
        cube: Root group, writable.
        task: Which pixels of which dates.
        store: Where the cube is: dates that only moved are copied from an earlier snapshot.
        threads: Files read at the same time.
        at_once: Requests to each host at the same time.
        memory: Bytes that may be decoded at the same time.
        strict_placement: See :func:`~terralatent.pipeline.ingest.pixels.read_pixels`.
    """
    window = task.window
    group = cube[task.sensor.name]
    arrays = {name: group[name] for name in ("data", "quality") if name in group}
    pixels = {
        name: np.full(
            (task.count, *array.shape[1:-2], *window.shape), array.fill_value, array.dtype
        )
        for name, array in arrays.items()
    }
    if task.kept:
        before = group if task.base is None else store.group(snapshot=task.base)[group.path]
        _copy_kept(task, before, pixels)
    result = ReadResult(task.known)
    if task.acquisitions:
        read = read_pixels(
            task.acquisitions,
            task.sensor,
            task.grid[window.y, window.x],
            source=task.source,
            access=task.access,
            grid=task.grid,
            threads=threads,
            at_once=at_once,
            memory=memory,
            strict_placement=strict_placement,
            together=task.together,
            into=pixels,
            places=task.places,
        )
        result = ReadResult((*task.known, *read.losses), read.misplaced)
    for name, array in arrays.items():
        array[task.dates, ..., window.y, window.x] = pixels[name]
    return result


def _copy_kept(task: ReadTask, before: Any, pixels: Mapping[str, np.ndarray]) -> None:
    """Copy the dates that the store has, one row of blocks at a time: no second task in memory."""
    places, index = (np.array(column) for column in zip(*task.kept, strict=True))
    first, last = int(index.min()), int(index.max()) + 1
    y = task.window.y
    for name, into in pixels.items():
        for top in range(y.start, y.stop, task.block):
            rows = slice(top, min(top + task.block, y.stop))
            stored = before[name][first:last, ..., rows, task.window.x]
            into[places, ..., rows.start - y.start : rows.stop - y.start, :] = stored[index - first]


def record_task(cube: Any, task: ReadTask, result: ReadResult) -> None:
    """Write the state of a task and what it lost; runs in the coordinator."""
    group, losses = cube[task.sensor.name], result.losses
    group["state"][task.states] = PARTIAL if losses else DONE
    before = list(group.attrs["losses"])
    gone = entries_within(before, [task.shard], task.window)
    after = [entry for entry in before if entry not in gone]
    after += entries_of(task.name, task.window, losses)
    if after != before:
        after.sort(key=lambda entry: (entry["item"], entry["band"], entry["unit"]))
        group.attrs["losses"] = after
