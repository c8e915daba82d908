"""Scenes to a cube: read by tasks on Dask workers, harmonised, committed as they come.

A cube that is there grows: what a later search found is put in its place, see
:mod:`terralatent.pipeline.ingest.growth`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client
from odc.geo.geobox import GeoBox

from terralatent.catalogs.scenes.aoi import Region, read_aoi
from terralatent.catalogs.scenes.completeness import unusable
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.sources.signing import require_keys
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cluster.scheduler_loss import translated_scheduler_loss
from terralatent.pipeline.cluster.stream import Commits, Failure, Work, stream_blocks
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.bands import BandRequest, choose_bands
from terralatent.pipeline.cube.layout import cube_layout
from terralatent.pipeline.cube.losses import PENDING, Loss, losses_of
from terralatent.pipeline.ingest.culprits import read_by_halves
from terralatent.pipeline.ingest.growth import (
    abandon_growth,
    as_stored,
    begin_growth,
    plan_growth,
    show_growth,
)
from terralatent.pipeline.ingest.read_tasks import (
    GoneError,
    ReadResult,
    ReadTask,
    open_tasks,
    record_task,
    run_task,
)
from terralatent.pipeline.ingest.windows import READ_THREADS, ReadWindows, plan_windows
from terralatent.pipeline.progress import Progress, ProgressChoice, choose_progress
from terralatent.pipeline.region import grid
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import BRANCH, GROWING, STEP, Store

__all__ = ["BuildReport", "build_cube"]

log = logging.getLogger(__name__)

DECODED = 4
"""Of the memory of a worker, what part may be taken by pixels that are being decoded."""

REQUESTS_A_HOST = 64
"""Requests to one host at the same time, of all workers together; each may have one at least."""


@dataclass(frozen=True, repr=False)
class BuildReport(Sentence):
    """What a build ended with."""

    store: str
    """The cube."""

    snapshot: str
    """Its last commit."""

    sensors: Mapping[str, int]
    """Dates of each sensor."""

    tasks: int
    """Read tasks done by this run; 0 where nothing was left to do."""

    losses: tuple[Loss, ...]
    """What is masked or pending because it could not be read, in this run or one before."""

    new: int = 0
    """Dates that a cube has grown by in this run, those counted that replaced others."""

    @property
    def units(self) -> int:
        """:attr:`tasks`, by its first name."""
        return self.tasks

    def __str__(self) -> str:
        dates = ", ".join(f"{count} {name}" for name, count in self.sensors.items())
        idle = not self.tasks and not self.losses
        work = "nothing left to read" if idle else f"{self.tasks} read tasks"
        grown = f"{self.new} of them new; " if self.new else ""
        return f"{dates} dates ({grown}{work})"


def build_cube(
    scenes: Scenes,
    region: Region,
    out: str | Path,
    *,
    resolution: float = 10.0,
    crs: str | None = None,
    block: int = 256,
    bands: BandRequest = None,
    memory: str = "4GB",
    requests: int = REQUESTS_A_HOST,
    strict_placement: bool = False,
    client: Client | str | None = None,
    workers: int | None = None,
    progress: ProgressChoice = None,
) -> BuildReport:
    """Build the cube of a region from its scenes, go on with it, or let it grow. Computes.

    The same call again does what is not done yet: read tasks that are pending, and of those that
    are partial the dates whose missing scenes may be back. Where all is done it writes nothing.
    Scenes of a later search add their new acquisitions, each in its place in time, and replace
    those that were processed anew; readers see all of that in one commit, or nothing of it.

    Args:
        scenes: What a search found.
        region: As for :func:`terralatent.catalogs.scenes.aoi.read_aoi`.
        out: Path or URL of the cube.
        resolution: Pixel size in the units of ``crs``.
        crs: A projected CRS; the region's UTM zone by default.
        block: Pixels along y and x of a block, up to 64 or a multiple of 64.
        bands: Those to keep: of every sensor that has some of them, or by sensor; one that none is
            named of keeps all. By default those of a cube that is there, else all that some item
            has. The mask band is kept always.
        memory: What a worker may use, such as ``4GB``; it bounds the size of a read task, and the
            processes that are started here.
        requests: Requests to one host at the same time. Shared evenly by the workers that are there
            when the build begins, or that were requested; each has one at least.
        strict_placement: Whether files are masked whose items place them elsewhere than they do
            themselves. By default they are read where they lie, in the CRS and the footprint that
            their items state, with a warning.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`; by default processes on this
            machine, for as long as the call lasts.
        workers: Worker processes to start; one for each core of this machine by default.
        progress: Given each read task as it ends; True: a bar, as by default in a notebook.

    Returns:
        The dates of each sensor, and what could not be read: masked in the cube and marked
        ``partial``, never silently zero. A sensor of which no item can be used is a loss too. Bands
        that some items lack are no data there, and logged.

    Raises:
        InputError: If an argument cannot be used, if no sensor has one of ``bands``, if no scene
            touches the region, or if ``out`` exists and holds something else: another grid, other
            sensors or bands, another rule.

    Examples:
        >>> import terralatent as tl
        >>> radar = ["sentinel-1-asc"]
        >>> scenes = tl.search_scenes("scenes", "region.geojson", "2018-05", "2018-05", radar)
        >>> tl.build_cube(scenes, "region.geojson", out="meadow")
        BuildReport: 2 sentinel-1-asc dates (... read tasks)
        >>> tl.open_cube("meadow")["sentinel-1-asc"]["band"].values.tolist()
        ['vv', 'vh']
    """
    progress = choose_progress(progress)
    store = Store.of(out)
    outline = read_aoi(region)
    scenes = choose_bands(scenes, store, bands)
    scenes.require(outline)
    require_keys(scenes.place, scenes.hrefs())
    pixels = grid(outline, resolution, crs)
    layout = cube_layout(scenes, pixels, block)
    who = Workers(client, workers, memory)
    done = new = 0
    failures: list[Failure[ReadTask]] = []
    with (
        writer_lock(store.location, command_line()) as lock,
        translated_errors(store),
        translated_scheduler_loss(),
        ExitStack() as stack,
    ):
        limit = who.memory_bytes()
        windows = _windows(scenes, pixels, block, limit)
        read = partial(
            run_task,
            store=store,
            threads=READ_THREADS,
            memory=limit // DECODED,
            strict_placement=strict_placement,
        )
        build = _Build(store, scenes, pixels, block, windows, read)

        @cache
        def started() -> Client:
            return stack.enter_context(who.join())

        if not store.exists():
            started()  # a new store is laid out only once there is somebody to fill it
        lay_out(store, as_stored(store, layout, scenes))
        filled = False
        while not failures:
            new += _begin_growth(build)
            growing = store.is_growing()
            if filled and not growing:
                break
            branch = GROWING if growing else BRANCH
            if tasks := _open_tasks(build, branch):
                # Workers that were requested may come yet.
                many = max(1, len(started().nthreads()), workers or 1)
                at_once = max(1, requests // many)
                failures = _fill(build, branch, tasks, started(), at_once, lock.tee(progress))
                done += len(tasks) - len(failures)
            filled = True
            if growing and not failures:
                show_growth(store, f"grow to {scenes.period[1]}")
    if build.misplaced:
        _warn_misplaced(build.misplaced)
    return _report(build, done, new, failures)


@dataclass(frozen=True, eq=False)
class _Build:
    """What is built, and where."""

    store: Store
    """Of the cube."""

    scenes: Scenes
    """What a search found."""

    pixels: GeoBox
    """The grid."""

    block: int
    """Pixels along y and x of a block."""

    windows: Mapping[str, ReadWindows]
    """How each sensor is read."""

    read: Callable[..., ReadResult]
    """Reads a task, given ``at_once``."""

    misplaced: set[Loss] = field(default_factory=set)
    """Files whose items place them elsewhere than they do themselves."""

    def record(self, cube: Any, task: ReadTask, result: ReadResult) -> None:
        """Write down what became of a task."""
        record_task(cube, task, result)
        self.misplaced.update(result.misplaced)


def _windows(scenes: Scenes, pixels: GeoBox, block: int, limit: int) -> dict[str, ReadWindows]:
    return {
        name: plan_windows(scenes.sensor(name), scenes.acquisitions(name), pixels, block, limit)
        for name in scenes.requested
    }


def _open_tasks(build: _Build, branch: str) -> list[ReadTask]:
    """The read tasks that are open on a branch.

    Raises:
        GoneError: If the search does not find the scenes of one.
    """
    cube = build.store.group(branch=branch)
    windows = {name: plan for name, plan in build.windows.items() if name in cube}
    return list(open_tasks(cube, build.scenes, build.pixels, build.block, windows))


def _fill(
    build: _Build,
    branch: str,
    tasks: Sequence[ReadTask],
    client: Client,
    at_once: int,
    progress: Progress,
) -> list[Failure[ReadTask]]:
    """Read what is open on a branch, with so many requests of a worker to each host at once.

    Returns:
        The tasks that failed for good.
    """
    stream = partial(
        stream_blocks,
        client,
        build.store,
        work=Work(partial(build.read, at_once=at_once), build.record),
        commits=Commits(
            message="build", branch=branch, metadata=STEP if branch == GROWING else None
        ),
    )

    def read_part(task: ReadTask, retries: int) -> list[Failure[ReadTask]]:
        return stream(tasks=[task], in_flight=1, retries=retries)

    failures = stream(tasks=tasks, progress=progress)
    return [left for failure in failures for left in read_by_halves(failure, read_part)]


def _warn_misplaced(files: Collection[Loss]) -> None:
    first = min(files, key=lambda file: (file.sensor, file.item, file.band))
    items = len({(file.sensor, file.item) for file in files})
    log.warning(
        "%d %s files elsewhere than these lie themselves, in the CRS and the footprint of "
        "the item; they were read where they lie, such as %s (strict_placement=True masks them)",
        items,
        "item places its" if items == 1 else "items place their",
        first,
    )


def _begin_growth(build: _Build) -> int:
    """Let a cube without pending pixels begin to grow, if the search adds any; gives the new dates.

    One that has begun goes on, unless its scenes are not there any more.
    """
    if build.store.is_growing():
        try:
            _open_tasks(build, GROWING)
        except GoneError:
            abandon_growth(build.store)
        else:
            return 0
    else:  # what a kill may have left: a branch with nothing on it
        abandon_growth(build.store)
    if _is_pending(build):
        return 0
    growth = plan_growth(build.store.group(), build.scenes)
    if growth is None:
        return 0
    if growth.changed:
        log.info(
            "%d items, such as %s, were changed in their catalogue: their dates are read again",
            len(growth.changed),
            growth.changed[0],
        )
    begin_growth(build.store, growth)
    return growth.new


def _is_pending(build: _Build) -> bool:
    """Whether there are read tasks without pixels, of what readers see."""
    cube = build.store.group()
    states = (np.asarray(cube[f"{name}/state"]) for name in build.windows if name in cube)
    return any(bool((state == PENDING).any()) for state in states)


def _report(
    build: _Build, done: int, new: int, failures: Sequence[Failure[ReadTask]]
) -> BuildReport:
    cube = build.store.group()
    sensors = [name for name in build.scenes.requested if name in cube]
    return BuildReport(
        store=str(build.store),
        snapshot=build.store.snapshot(),
        sensors={name: cube[f"{name}/time"].shape[0] for name in sensors},
        tasks=done,
        new=new,
        losses=(
            *(loss for name in sensors for loss in losses_of(cube[name].attrs["losses"])),
            *_lost_tasks(failures),
            *_lost_sensors(build.scenes),
        ),
    )


def _lost_sensors(scenes: Scenes) -> Iterator[Loss]:
    for lost in unusable(scenes):
        what = f"all of its {lost.items} items" if lost.items > 1 else "its only item"
        yield Loss(lost.sensor, f"{what}, such as {lost.first}", "", lost.reason)


def _lost_tasks(failures: Sequence[Failure[ReadTask]]) -> Iterator[Loss]:
    for failure in failures:
        task = failure.task
        days = [str(a.time.astype("datetime64[D]")) for a in task.acquisitions]
        item = f"every scene from {days[0]} to {days[-1]} (read task {task.name})"
        yield Loss(task.sensor.name, item, "", failure.reason)
