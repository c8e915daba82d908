"""What a build would do, by the read tasks that are open and a few files of each sensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from distributed import Client
from odc.geo.geobox import GeoBox
from zarr.storage import MemoryStore

from terralatent.catalogs.scenes.aoi import Region, read_aoi
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.signing import require_keys
from terralatent.pipeline.cluster.client import workers_of
from terralatent.pipeline.cluster.local import memory_bytes
from terralatent.pipeline.cube.bands import BandRequest, choose_bands
from terralatent.pipeline.cube.layout import cube_layout
from terralatent.pipeline.cube.losses import PENDING
from terralatent.pipeline.ingest.estimate import estimate_reading
from terralatent.pipeline.ingest.growth import (
    MOVED,
    as_stored,
    lay_out_growth,
    plan_growth,
)
from terralatent.pipeline.ingest.read_tasks import ReadTask, open_tasks
from terralatent.pipeline.ingest.windows import plan_windows
from terralatent.pipeline.json_value import json_value
from terralatent.pipeline.region import Block, grid
from terralatent.pipeline.store.arrays import Layout
from terralatent.pipeline.store.creation import require_same
from terralatent.pipeline.store.repository import BRANCH, GROWING, Store

__all__ = ["BuildPlan", "SensorPlan", "plan_build"]


@dataclass(frozen=True)
class SensorPlan:
    """What a build would do for one sensor."""

    name: str
    """Of the sensor."""

    dates: int
    """All that the cube would have of it."""

    open_dates: int
    """Those of which something is to be read."""

    tasks: int
    """Read tasks."""

    window: tuple[int, int]
    """Rows and columns of the largest; (0, 0) where there is none."""

    fetch: int
    """Bytes to fetch."""

    store: int
    """Bytes to store."""

    seconds: float
    """What one worker would take."""

    files: int
    """Files that were opened to estimate that."""

    unread: tuple[str, ...] = ()
    """Files of those that could not be read, and why."""


@dataclass(frozen=True)
class BuildPlan:
    """What a build would do. Bytes and time are estimates from a few files of each sensor."""

    out: str
    """Where the cube would go."""

    there: bool
    """Whether it is there already, so that only what is missing counts."""

    crs: str
    """Of the grid."""

    shape: tuple[int, int]
    """Rows and columns of the grid."""

    resolution: float
    """Side of a pixel in units of the CRS."""

    block: int
    """Pixels along y and x of a block."""

    memory: str
    """What a worker may use."""

    workers: int
    """Processes or threads that would work at the same time."""

    period: tuple[str, str]
    """First and last day."""

    scenes: Mapping[str, int]
    """How many scenes (items) are used, merged and dropped."""

    sensors: tuple[SensorPlan, ...]
    """Of each sensor that has scenes."""

    @property
    def tasks(self) -> int:
        """Read tasks of all sensors."""
        return sum(sensor.tasks for sensor in self.sensors)

    @property
    def fetch(self) -> int:
        """Bytes to fetch."""
        return sum(sensor.fetch for sensor in self.sensors)

    @property
    def store(self) -> int:
        """Bytes to store."""
        return sum(sensor.store for sensor in self.sensors)

    @property
    def seconds(self) -> float:
        """What the workers would take together, if none slows another."""
        alone = sum(sensor.seconds for sensor in self.sensors)
        return alone / max(1, min(self.workers, self.tasks))

    def to_json(self) -> dict[str, Any]:
        """Its values and their sums, as JSON holds them; read tasks are ``units`` there."""
        sums = {name: getattr(self, name) for name in ("tasks", "fetch", "store", "seconds")}
        plan = {**asdict(self), **sums}
        plan["sensors"] = [_with_units(sensor) for sensor in plan["sensors"]]
        values: dict[str, Any] = json_value(_with_units(plan))
        return values


def _with_units(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"units" if name == "tasks" else name: value for name, value in values.items()}


def plan_build(
    scenes: Scenes,
    region: Region,
    out: str | Path,
    *,
    resolution: float = 10.0,
    crs: str | None = None,
    block: int = 256,
    bands: BandRequest = None,
    memory: str = "4GB",
    client: Client | str | None = None,
    workers: int | None = None,
) -> BuildPlan:
    """Estimate what :func:`~terralatent.pipeline.ingest.build.build_cube` would do. Writes nothing.

    A few files of each sensor are opened, and pixels of them are read, packed and compressed, to
    estimate bytes and time.

    Args:
        scenes: As for ``build_cube``, as all that follows.
        region: The region.
        out: Where the cube would go; what is done there does not count.
        resolution: Pixel size.
        crs: A projected CRS.
        block: Pixels along y and x of a block.
        bands: Those to keep.
        memory: What a worker may use.
        client: Who would work; no processes are started for a plan.
        workers: Processes that would be started.

    Raises:
        InputError: As ``build_cube`` does; and if none of a sensor's files could be read.
    """
    store = Store.of(out)
    outline = read_aoi(region)
    scenes = choose_bands(scenes, store, bands)
    scenes.require(outline)
    require_keys(scenes.place, scenes.hrefs())
    pixels = grid(outline, resolution, crs)
    limit = memory_bytes(memory)
    layout = cube_layout(scenes, pixels, block)
    windows = {
        name: plan_windows(scenes.sensor(name), scenes.acquisitions(name), pixels, block, limit)
        for name in scenes.sensors
    }
    there = store.exists()
    if there:
        require_same(store, layout.kind, json_value(as_stored(store, layout, scenes).identity))
    cube = _as_it_will_be(store, scenes) if there else _laid_out(layout)
    tasks = list(open_tasks(cube, scenes, pixels, block, windows))
    fates = Counter(fate.fate for fate in scenes.fates)
    return BuildPlan(
        out=str(out),
        there=there,
        crs=str(pixels.crs),
        shape=(pixels.shape[0], pixels.shape[1]),
        resolution=abs(float(pixels.resolution.x)),
        block=block,
        memory=memory,
        workers=workers_of(client, workers),
        period=(str(scenes.period[0]), str(scenes.period[1])),
        scenes={fate: fates[fate] for fate in ("used", "merged", "dropped")},
        sensors=tuple(_sensor_plan(name, scenes, tasks, pixels, block) for name in scenes.sensors),
    )


def _sensor_plan(
    name: str, scenes: Scenes, tasks: Sequence[ReadTask], pixels: GeoBox, block: int
) -> SensorPlan:
    own = [task for task in tasks if task.sensor.name == name]
    dates = len(scenes.acquisitions(name))
    if not own:
        return SensorPlan(name, dates, 0, 0, (0, 0), 0, 0, 0.0, 0)
    todo: Counter[tuple[int, int]] = Counter()
    windows: dict[tuple[int, int], Block] = {}
    stored = 0
    for task in own:
        windows[task.window.index] = task.window
        todo[task.window.index] += len(task.acquisitions)
        stored += len(task.acquisitions) * task.window.shape[0] * task.window.shape[1]
    acquisitions = {a.time: a for task in own for a in task.acquisitions}
    estimate = estimate_reading(
        scenes, name, [acquisitions[time] for time in sorted(acquisitions)],
        list(windows.values()), pixels, block,
    )  # fmt: skip
    fetch = sum(todo[index] * size for index, size in zip(windows, estimate.fetched, strict=True))
    return SensorPlan(
        name=name,
        dates=dates,
        open_dates=len(acquisitions),
        tasks=len(own),
        window=max((task.window.shape for task in own), key=lambda shape: shape[0] * shape[1]),
        fetch=round(fetch),
        store=round(stored * estimate.stored),
        seconds=fetch * estimate.fetching + stored * estimate.storing,
        files=estimate.files,
        unread=estimate.unread,
    )


def _laid_out(layout: Layout) -> zarr.Group:
    """A cube to be, in memory."""
    root = zarr.open_group(MemoryStore(), mode="w")
    for part in layout.groups:
        group = root.require_group(part.path) if part.path else root
        group.update_attributes(dict(part.attrs))
        for array in part.arrays:
            array.create(group)
    return root


def _as_it_will_be(store: Store, scenes: Scenes) -> zarr.Group:
    """A cube that is there as it will be when it has grown: a copy in memory, without pixels."""
    growing = store.is_growing()
    cube = store.group(kind="cube", branch=GROWING if growing else BRANCH)
    growth = None if growing else plan_growth(cube, scenes)
    if growth is None:
        return cube
    root = zarr.open_group(MemoryStore(), mode="w")
    root.update_attributes(cube.attrs.asdict())
    for path, group in cube.groups():
        into = root.require_group(path)
        into.update_attributes(group.attrs.asdict())
        for name, array in group.arrays():
            made = into.create_array(
                name, shape=array.shape, dtype=array.dtype, chunks=array.chunks,
                shards=array.shards, fill_value=array.fill_value,
            )  # fmt: skip
            if name not in ("data", "quality"):
                made[...] = array[...]
    lay_out_growth(root, growth, store.snapshot())
    for name in growth.axes:
        if (np.asarray(cube[f"{name}/state"]) == PENDING).any():  # it is filled before it grows
            moved: Any = root[name].attrs[MOVED]
            root[name].attrs[MOVED] = {**moved, "index": [-1] * len(moved["index"])}
    return root
