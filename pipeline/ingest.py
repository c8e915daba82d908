"""Scenes to a cube: read by read units on Dask workers, harmonised, committed as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.outline import read_outline
from terralatent.catalogs.scenes import Scenes
from terralatent.catalogs.signing import require_keys
from terralatent.pipeline.clusters import client_for
from terralatent.pipeline.damage import telling_damage
from terralatent.pipeline.layout import STATES, cube_layout
from terralatent.pipeline.pixels import Loss, read_pixels
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import grid
from terralatent.pipeline.store import exists, lay_out, open_group, snapshot_id
from terralatent.pipeline.stream import Failure, stream_blocks
from terralatent.pipeline.units import ReadUnit, memory_bytes, open_units, unit_side
from terralatent.pipeline.writer import writer_lock

__all__ = ["BuildReport", "build_cube"]

READ_THREADS = 8
"""Files that one task reads at the same time: a request waits longer than it computes."""


REQUESTS_A_HOST = 64
"""Requests to one host at the same time, of all workers together; each may have one at least."""


@dataclass(frozen=True)
class BuildReport:
    """What a build ended with."""

    store: str
    """The cube."""

    snapshot: str
    """Its last commit."""

    sensors: Mapping[str, int]
    """Dates of each sensor."""

    units: int
    """Read units done by this run; 0 where nothing was left to do."""

    losses: tuple[Loss, ...]
    """What is masked or pending because it could not be read, in this run or one before."""

    def __str__(self) -> str:
        dates = ", ".join(f"{count} {name}" for name, count in self.sensors.items())
        idle = not self.units and not self.losses
        work = "nothing left to read" if idle else f"{self.units} read units"
        return f"{dates} dates ({work})"


def build_cube(
    scenes: Scenes,
    region: str | Path | Mapping[str, Any] | BaseGeometry,
    out: str | Path,
    *,
    resolution: float = 10.0,
    crs: str | None = None,
    block: int = 256,
    memory: str = "4GB",
    requests: int = REQUESTS_A_HOST,
    client: Client | str | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build the cube of a region from its scenes, or go on with it. Computes.

    The same call again does what is not done yet: units that are pending, and those that are
    partial, whose missing scenes may be back. Where all is done it writes nothing.

    Args:
        scenes: What a search found.
        region: As for :func:`terralatent.catalogs.outline.read_outline`.
        out: Path or URL of the cube.
        resolution: Pixel size in the units of ``crs``.
        crs: A projected CRS; the region's UTM zone by default.
        block: Pixels along y and x of a block, up to 64 or a multiple of 64.
        memory: What a worker may use, such as ``4GB``; it bounds the size of a read unit, and the
            processes that are started here.
        requests: Requests to one host at the same time. Shared evenly by the workers that are there
            when the build begins; each has one at least.
        client: A Dask client or its address; by default processes on this machine, for as long
            as the call lasts.
        progress: Told of each read unit.

    Returns:
        The dates of each sensor, and what could not be read: masked in the cube and marked
        ``partial``, never silently zero.

    Raises:
        InputError: If an argument cannot be used, if no scene touches the region, or if ``out``
            exists and holds something else.
    """
    outline = read_outline(region)
    scenes.require(outline)
    require_keys(scenes.place, scenes.hrefs())
    pixels = grid(outline, resolution, crs)
    limit = memory_bytes(memory)
    layout = cube_layout(scenes, pixels, block)
    sides = {name: unit_side(scenes.sensor(name), block, limit) for name in scenes.sensors}
    with writer_lock(out) as lock, telling_damage(out), ExitStack() as stack:
        # A new store is laid out only once there is somebody to fill it.
        workers = None if exists(out) else stack.enter_context(client_for(client, memory=memory))
        lay_out(out, layout)
        units = list(open_units(open_group(out, kind="cube"), scenes, pixels, block, sides))
        failures: list[Failure[ReadUnit]] = []
        if units:
            workers = workers or stack.enter_context(client_for(client, memory=memory))
            at_once = max(1, requests // max(1, len(workers.nthreads())))
            failures = stream_blocks(
                workers,
                out,
                units,
                partial(_read_unit, threads=READ_THREADS, at_once=at_once),
                _record_unit,
                message="build",
                total=len(units),
                progress=lock.telling(progress),
            )
    return BuildReport(
        store=str(out),
        snapshot=snapshot_id(out),
        sensors={name: len(scenes.acquisitions(name)) for name in scenes.sensors},
        units=len(units) - len(failures),
        losses=(*_losses(open_group(out), scenes.sensors), *_lost_units(failures)),
    )


def _read_unit(cube: Any, unit: ReadUnit, *, threads: int, at_once: int) -> tuple[Loss, ...]:
    """Read one unit and write its shards; runs on a worker."""
    window = unit.window
    found = read_pixels(
        unit.acquisitions,
        unit.sensor,
        unit.grid[window.y, window.x],
        source=unit.source,
        access=unit.access,
        grid=unit.grid,
        threads=threads,
        at_once=at_once,
    )
    group = cube[unit.sensor.name]
    group["data"][unit.dates, :, window.y, window.x] = found.data
    if found.quality is not None:
        group["quality"][unit.dates, window.y, window.x] = found.quality
    return found.losses


def _record_unit(cube: Any, unit: ReadUnit, losses: tuple[Loss, ...]) -> None:
    """Write the state of a unit and what it lost; runs in the coordinator."""
    group = cube[unit.sensor.name]
    group["state"][unit.states] = STATES["partial" if losses else "done"]
    before: list[dict[str, str]] = list(group.attrs["losses"])
    after = [entry for entry in before if entry["unit"] != unit.name]
    after += [{"unit": unit.name, **asdict(loss)} for loss in losses]
    if after != before:
        after.sort(key=lambda entry: (entry["item"], entry["band"], entry["unit"]))
        group.attrs["losses"] = after


def _losses(cube: Any, sensors: Sequence[str]) -> Iterator[Loss]:
    """What the cube says was lost, each file once however many units it failed in."""
    seen: set[tuple[str, str, str]] = set()
    for name in sensors:
        for entry in cube[name].attrs["losses"]:
            fields: dict[str, str] = dict(entry)
            fields.pop("unit")
            loss = Loss(**fields)
            if (key := (loss.sensor, loss.item, loss.band)) not in seen:
                seen.add(key)
                yield loss


def _lost_units(failures: Sequence[Failure[ReadUnit]]) -> Iterator[Loss]:
    for failure in failures:
        unit = failure.task
        days = [str(a.time.astype("datetime64[D]")) for a in unit.acquisitions]
        item = f"every scene from {days[0]} to {days[-1]} (unit {unit.name})"
        yield Loss(unit.sensor.name, item, "", failure.reason)
