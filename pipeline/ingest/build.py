"""Scenes to a cube: read by read units on Dask workers, harmonised, committed as they come.

A cube that is there grows: what a later search found is put in its place, see
:mod:`terralatent.pipeline.ingest.growing`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client
from odc.geo.geobox import GeoBox
from shapely.geometry.base import BaseGeometry

from terralatent.catalogs.scenes.aoi import read_outline
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.signing import require_keys
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.local import memory_bytes
from terralatent.pipeline.cluster.scheduler_loss import telling_lost_scheduler
from terralatent.pipeline.cluster.stream import Failure, stream_blocks
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.layout import cube_layout
from terralatent.pipeline.cube.losses import Loss, told_losses
from terralatent.pipeline.cube.states import PENDING
from terralatent.pipeline.ingest.growing import abandon_growth, begin_growth, show_growth
from terralatent.pipeline.ingest.growth import as_stored, plan_growth
from terralatent.pipeline.ingest.read_tasks import GoneError, ReadUnit, open_units
from terralatent.pipeline.ingest.unit_work import read_unit, record_unit
from terralatent.pipeline.ingest.windows import READ_THREADS, unit_cut
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import grid
from terralatent.pipeline.store.damage import telling_damage
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import (
    BRANCH,
    GROWING,
    STEP,
    exists,
    is_growing,
    lay_out,
    open_group,
    snapshot_id,
)

__all__ = ["BuildReport", "build_cube"]

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

    new: int = 0
    """Dates that a cube has grown by in this run, those counted that replaced others."""

    def __str__(self) -> str:
        dates = ", ".join(f"{count} {name}" for name, count in self.sensors.items())
        idle = not self.units and not self.losses
        work = "nothing left to read" if idle else f"{self.units} read units"
        grown = f"{self.new} of them new; " if self.new else ""
        return f"{dates} dates ({grown}{work})"


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
    workers: int | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build the cube of a region from its scenes, go on with it, or let it grow. Computes.

    The same call again does what is not done yet: units that are pending, and of those that are
    partial the dates whose missing scenes may be back. Where all is done it writes nothing. Scenes
    of a later search add their new acquisitions, each in its place in time, and replace those that
    were processed anew; readers see all of that in one commit, or nothing of it.

    Args:
        scenes: What a search found.
        region: As for :func:`terralatent.catalogs.scenes.aoi.read_outline`.
        out: Path or URL of the cube.
        resolution: Pixel size in the units of ``crs``.
        crs: A projected CRS; the region's UTM zone by default.
        block: Pixels along y and x of a block, up to 64 or a multiple of 64.
        memory: What a worker may use, such as ``4GB``; it bounds the size of a read unit, and the
            processes that are started here.
        requests: Requests to one host at the same time. Shared evenly by the workers that are there
            when the build begins, or that were asked for; each has one at least.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`; by default processes on this
            machine, for as long as the call lasts.
        workers: Worker processes to start; one for each core of this machine by default.
        progress: Told of each read unit.

    Returns:
        The dates of each sensor, and what could not be read: masked in the cube and marked
        ``partial``, never silently zero.

    Raises:
        InputError: If an argument cannot be used, if no scene touches the region, or if ``out``
            exists and holds something else: another grid, other sensors, another rule.
    """
    outline = read_outline(region)
    scenes.require(outline)
    require_keys(scenes.place, scenes.hrefs())
    pixels = grid(outline, resolution, crs)
    layout = cube_layout(scenes, pixels, block)
    with (
        writer_lock(out, command_line()) as lock,
        telling_damage(out),
        telling_lost_scheduler(),
        ExitStack() as stack,
    ):
        work = _Work(
            out,
            scenes,
            pixels,
            block,
            memory,
            requests,
            client,
            workers,
            lock.tee(progress),
            stack,
        )
        if not exists(out):
            work.workers()  # a new store is laid out only once there is somebody to fill it
        lay_out(out, as_stored(out, layout, scenes))
        while (branch := work.next_branch()) is not None:
            work.fill(branch)
    cube = open_group(out)
    sensors = [name for name in scenes.asked if name in cube]
    return BuildReport(
        store=str(out),
        snapshot=snapshot_id(out),
        sensors={name: cube[f"{name}/time"].shape[0] for name in sensors},
        units=work.done,
        new=work.new,
        losses=(
            *(loss for name in sensors for loss in told_losses(cube[name].attrs["losses"])),
            *_lost_units(work.failures),
        ),
    )


@dataclass(eq=False)
class _Work:
    """What a build has to do, and who does it."""

    out: str | Path
    scenes: Scenes
    pixels: GeoBox
    block: int
    memory: str
    requests: int
    client: Client | str | None
    count: int | None
    progress: Progress
    stack: ExitStack
    done: int = 0
    new: int = 0
    failures: list[Failure[ReadUnit]] = field(default_factory=list)
    _filled: bool = False
    _workers: Client | None = None

    def __post_init__(self) -> None:
        limit = memory_bytes(self.memory)
        self._cuts = {
            name: unit_cut(
                self.scenes.sensor(name),
                self.scenes.acquisitions(name),
                self.pixels,
                self.block,
                limit,
            )
            for name in self.scenes.asked
        }

    def workers(self) -> Client:
        """The client; processes of this machine are started when they are first needed."""
        if self._workers is None:
            made = client_for(self.client, workers=self.count, memory=self.memory)
            self._workers = self.stack.enter_context(made)
        return self._workers

    def next_branch(self) -> str | None:
        """The branch to fill next; None where all is done. A cube begins to grow here."""
        if self.failures:
            return None
        if is_growing(self.out):
            try:
                self.units(GROWING)
            except GoneError:  # begun for scenes that are not there any more
                abandon_growth(self.out)
        else:  # what a kill may have left: a branch with nothing on it
            abandon_growth(self.out)
        if not is_growing(self.out) and not self.is_pending(BRANCH):
            growth = plan_growth(open_group(self.out), self.scenes)
            if growth is not None:
                begin_growth(self.out, growth)
                self.new += growth.new
        if is_growing(self.out):
            return GROWING
        return None if self._filled else BRANCH

    def fill(self, branch: str) -> None:
        """Read what is open on a branch; what grew is shown when nothing is pending."""
        self._filled = True
        units = self.units(branch)
        if units:
            workers = self.workers()
            many = max(1, len(workers.nthreads()), self.count or 1)  # those asked for may come yet
            at_once = max(1, self.requests // many)
            failures = stream_blocks(
                workers,
                self.out,
                units,
                partial(read_unit, store=str(self.out), threads=READ_THREADS, at_once=at_once),
                record_unit,
                message="build",
                total=len(units),
                branch=branch,
                metadata=STEP if branch == GROWING else None,
                progress=self.progress,
            )
            self.done += len(units) - len(failures)
            self.failures += failures
        if branch == GROWING and not self.failures:
            show_growth(self.out, f"grow to {self.scenes.period[1]}")

    def units(self, branch: str) -> list[ReadUnit]:
        """The read units that are open on a branch.

        Raises:
            GoneError: If the search does not find the scenes of one.
        """
        cube = open_group(self.out, branch=branch)
        cuts = {name: cut for name, cut in self._cuts.items() if name in cube}
        return list(open_units(cube, self.scenes, self.pixels, self.block, cuts))

    def is_pending(self, branch: str) -> bool:
        """Whether there are read units without pixels."""
        cube = open_group(self.out, branch=branch)
        states = (np.asarray(cube[f"{name}/state"]) for name in self._cuts if name in cube)
        return any(bool((state == PENDING).any()) for state in states)


def _lost_units(failures: Sequence[Failure[ReadUnit]]) -> Iterator[Loss]:
    for failure in failures:
        unit = failure.task
        days = [str(a.time.astype("datetime64[D]")) for a in unit.acquisitions]
        item = f"every scene from {days[0]} to {days[-1]} (unit {unit.name})"
        yield Loss(unit.sensor.name, item, "", failure.reason)
