"""Scenes to a cube: read by read units on Dask workers, harmonised, committed as they come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from dask.utils import parse_bytes
from distributed import Client
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.acquisition import Acquisition
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.outline import read_outline
from terralatent.catalogs.scenes import Scenes
from terralatent.catalogs.sensors import SENSORS, Sensor
from terralatent.pipeline.clusters import client_for
from terralatent.pipeline.layout import DATES_A_SHARD, STATES, cube_layout
from terralatent.pipeline.pixels import Loss, read_pixels
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import Block, blocks, grid
from terralatent.pipeline.storage import writer_lock
from terralatent.pipeline.store import lay_out, open_group, snapshot_id
from terralatent.pipeline.stream import Failure, stream_blocks

__all__ = ["BuildReport", "ReadUnit", "build_cube"]

WIDEST_UNIT = 2048
"""Pixels along y and x of a read unit at most."""

READ_THREADS = 8
"""Files that one task reads at the same time: a request waits longer than it computes."""


@dataclass(frozen=True, eq=False)
class ReadUnit:
    """What one task reads and writes: whole shards of one sensor. Picklable and small."""

    sensor: str
    """Name of the sensor."""

    shard: int
    """Index of the time shard."""

    window: Block
    """Pixels of the grid; its edges are edges of blocks."""

    block: int
    """Pixels along y and x of a block."""

    acquisitions: tuple[Acquisition, ...]
    """The dates of the shard."""

    grid: GeoBox
    """The cube's grid."""

    signing: str | None
    """How hrefs are signed."""

    @property
    def dates(self) -> slice:
        """Dates of the sensor's time axis."""
        start = self.shard * DATES_A_SHARD
        return slice(start, start + len(self.acquisitions))

    @property
    def states(self) -> tuple[int, slice, slice]:
        """Where this unit lies in the sensor's ``state`` array."""
        y, x = self.window.y, self.window.x
        size = self.block
        return (
            self.shard,
            slice(y.start // size, -(-y.stop // size)),
            slice(x.start // size, -(-x.stop // size)),
        )

    @property
    def name(self) -> str:
        """What messages and the store call this unit: shard, first row and column of pixels."""
        return f"{self.shard}/{self.window.y.start}/{self.window.x.start}"


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
        work = f"{self.units} read units" if self.units else "nothing left to read"
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
        memory: What a worker may use, such as ``4GB``; it bounds the size of a read unit.
        client: A Dask client or its address; processes on this machine for the time of the call by default.
        progress: Told of each read unit.

    Returns:
        The dates of each sensor, and what could not be read: masked in the cube and marked
        ``partial``, never silently zero.

    Raises:
        InputError: If an argument cannot be used, or if ``out`` exists and holds something else.
    """
    outline = read_outline(region)
    pixels = grid(outline, resolution, crs)
    limit = _bytes(memory)
    layout = cube_layout(scenes, pixels, block)
    sides = {name: _unit_side(SENSORS[name], block, limit) for name in scenes.sensors}
    with writer_lock(out):
        lay_out(out, layout)
        units = list(_open_units(open_group(out, kind="cube"), scenes, pixels, block, sides))
        failures: list[Failure[ReadUnit]] = []
        if units:
            with client_for(client) as workers:
                failures = stream_blocks(
                    workers,
                    out,
                    units,
                    partial(_read_unit, threads=READ_THREADS),
                    _record_unit,
                    message="build",
                    total=len(units),
                    progress=progress,
                )
    return BuildReport(
        store=str(out),
        snapshot=snapshot_id(out),
        sensors={name: len(scenes.acquisitions(name)) for name in scenes.sensors},
        units=len(units) - len(failures),
        losses=(*_losses(open_group(out), scenes.sensors), *_lost_units(failures)),
    )


def _open_units(
    cube: zarr.Group, scenes: Scenes, pixels: GeoBox, block: int, sides: Mapping[str, int]
) -> Iterator[ReadUnit]:
    """The read units of the cube that are not done."""
    for name, side in sides.items():
        acquisitions = scenes.acquisitions(name)
        state = np.asarray(cube[f"{name}/state"][...])  # type: ignore[index]
        for shard in range(state.shape[0]):
            dates = acquisitions[shard * DATES_A_SHARD : (shard + 1) * DATES_A_SHARD]
            for window in blocks((pixels.shape[0], pixels.shape[1]), side):
                unit = ReadUnit(name, shard, window, block, dates, pixels, scenes.signing)
                if (state[unit.states] != STATES["done"]).any():
                    yield unit


def _read_unit(cube: zarr.Group, unit: ReadUnit, *, threads: int) -> tuple[Loss, ...]:
    """Read one unit and write its shards; runs on a worker."""
    window = unit.window
    found = read_pixels(
        unit.acquisitions,
        SENSORS[unit.sensor],
        unit.grid[window.y, window.x],
        signing=unit.signing,
        threads=threads,
    )
    group = cube[unit.sensor]
    group["data"][unit.dates, :, window.y, window.x] = found.data  # type: ignore[index]
    if found.quality is not None:
        group["quality"][unit.dates, window.y, window.x] = found.quality  # type: ignore[index]
    return found.losses


def _record_unit(cube: zarr.Group, unit: ReadUnit, losses: tuple[Loss, ...]) -> None:
    """Write the state of a unit and what it lost; runs in the coordinator."""
    group = cube[unit.sensor]
    group["state"][unit.states] = STATES["partial" if losses else "done"]  # type: ignore[index]
    before: list[dict[str, str]] = list(group.attrs["losses"])  # type: ignore[arg-type]
    after = [entry for entry in before if entry["unit"] != unit.name]
    after += [{"unit": unit.name, **asdict(loss)} for loss in losses]
    if after != before:
        after.sort(key=lambda entry: (entry["item"], entry["band"], entry["unit"]))
        group.attrs["losses"] = after  # type: ignore[assignment]


def _losses(cube: zarr.Group, sensors: Sequence[str]) -> Iterator[Loss]:
    """What the cube says was lost, each file once however many units it failed in."""
    seen: set[tuple[str, str, str]] = set()
    for name in sensors:
        for entry in cube[name].attrs["losses"]:  # type: ignore[union-attr]
            fields: dict[str, str] = dict(entry)  # type: ignore[arg-type]
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
        yield Loss(unit.sensor, item, "", failure.reason)


def _bytes(memory: str) -> int:
    try:
        size = int(parse_bytes(memory))
    except ValueError as error:
        raise InputError(f"Memory {memory!r} is no size; give one such as 4GB.") from error
    if size <= 0:
        raise InputError(f"Memory {memory!r} must be above zero.")
    return size


def _unit_side(sensor: Sensor, block: int, limit: int) -> int:
    """Pixels along y and x of the widest unit of whole blocks that fits into memory."""
    mask = 2 if sensor.quality else 0
    raw = 4 if sensor.decibel else 2
    packed = np.dtype(sensor.packing.dtype).itemsize
    # As read, as packed, as encoded, and the passing copies of one item in double precision.
    pixel = DATES_A_SHARD * (len(sensor.bands) * (raw + 2 * packed) + 3 * mask)
    pixel += len(sensor.bands) * packed + 3 * np.dtype(np.float64).itemsize
    across = int((limit / 2 / pixel) ** 0.5) // block
    if across < 1:
        need = 2 * pixel * block**2 / 1e6
        raise InputError(
            f"A block of {block} pixels of {sensor.name} takes {need:.0f} MB a worker; "
            "give more --memory or a smaller --block."
        )
    return max(block, min(across * block, WIDEST_UNIT // block * block))
