"""A store of results -> its overviews, in tasks on Dask workers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from distributed import Client

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cluster.scheduler_loss import translated_scheduler_loss
from terralatent.pipeline.cluster.stream import Commits, Work, stream_blocks
from terralatent.pipeline.cluster.tasks import Run
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.losses import DONE, PENDING
from terralatent.pipeline.overviews.layout import (
    KINDS,
    Plan,
    is_laid_out,
    lay_out_levels,
    plan_levels,
    shown,
)
from terralatent.pipeline.overviews.seasonal import SEASONAL, seasonal_order
from terralatent.pipeline.overviews.task import Task, summarise, tasks_of
from terralatent.pipeline.progress import Progress, ProgressChoice, choose_progress
from terralatent.pipeline.region import Block
from terralatent.pipeline.sentence import Sentence
from terralatent.pipeline.store.arrays import TIME_CHUNK
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.multiscales import MULTISCALES, OVERVIEWS, STATE, outdated
from terralatent.pipeline.store.repository import ABOUT, BRANCH, STEP, Store

__all__ = ["OverviewReport", "fill_overviews", "make_overviews", "open_tasks", "outdate"]

TITLE = "overviews"

PROCESS = 700_000_000
"""What a worker takes beside, where it has computed latents before."""


@dataclass(frozen=True, repr=False)
class OverviewReport(Sentence):
    """How the making of overviews ended."""

    levels: tuple[tuple[int, int], ...]
    """Rows and columns of each level, from the first on."""

    computed: int
    """Tasks done now; the others were done before."""

    wall: float
    """Seconds that they took."""

    losses: tuple[str, ...] = ()
    """What failed, one line each; the same command tries it again."""

    def __str__(self) -> str:
        if not self.levels:
            return "the grid is small; it needs no overviews"
        sizes = ", ".join(f"{columns} x {rows}" for rows, columns in self.levels)
        failed = f", {len(self.losses)} tasks failed" if self.losses else ""
        return f"{len(self.levels)} levels ({sizes} pixels), {self.computed} tasks{failed}"


def make_overviews(
    store: str | Path | Store,
    *,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: ProgressChoice = None,
) -> OverviewReport:
    """Make what overviews latents, bands or a map lack; computes on Dask workers, and writes.

    Each level is made from the pixels of the store. Its bytes depend on neither workers nor blocks.
    The same call again makes only what is not there; a store of at most 512 pixels along its longer
    side gets none.

    Args:
        store: Path or URL of a store of results, all of whose blocks are done.
        client: A Dask client, its address, or a kind of cluster, see
            :func:`terralatent.pipeline.cluster.client.client_for`.
        workers: Worker processes to start; one for each core of this machine by default.
        memory: What a worker may use, such as ``4GB``.
        progress: Advanced by every task; True: a bar, as by default in a notebook.

    Raises:
        InputError: If there is no such store, it is a cube or plain Zarr, some of its blocks are
            not done, it has overviews of another grid, or it cannot be written.

    Examples:
        >>> import terralatent as tl
        >>> tl.make_overviews("latents")
        OverviewReport: the grid is small; it needs no overviews
    """
    progress = choose_progress(progress)
    store, who = Store.of(store), Workers(client, workers, memory)
    kind = str(store.group().attrs[ABOUT]["kind"])  # raises, and names what is there instead
    if kind not in KINDS:
        raise InputError(f"{store} is a {kind} store; latents, bands or a map have overviews.")
    if store.is_plain:
        raise InputError(f"{store} is plain Zarr, which is only read; give the store it is from.")
    with (
        writer_lock(store.location, command_line()) as lock,
        translated_errors(store),
        translated_scheduler_loss(),
    ):
        left = int((np.asarray(store.group()["state"]) == PENDING).sum())
        if left:
            raise InputError(
                f"{store}: {left} of its blocks are not done, and overviews are made of whole ones "
                "alone; run the command that made it again first."
            )
        tasks = open_tasks(store)
        if not tasks:
            return _report(store, 0, 0.0, ())
        with who.join() as joined:
            return fill_overviews(
                joined, store, tasks, memory=who.memory_bytes(), progress=lock.tee(progress)
            )


def open_tasks(store: Store) -> list[Task]:
    """The tasks whose overviews are to be made; one at least where levels are not shown yet.

    Raises:
        InputError: If it has overviews of another grid.
    """
    root = store.group()
    plan = plan_levels(root)
    if not plan.pyramid.levels:
        return []
    every = tasks_of(plan)
    if not is_laid_out(root, plan, store):
        return every
    state = np.asarray(root[STATE])
    tasks = [task for task in every if state[task.index] != DONE]
    return tasks or ([] if MULTISCALES in root.attrs else every[-1:])


def fill_overviews(
    client: Client,
    store: Store,
    tasks: list[Task],
    *,
    memory: int,
    progress: Progress | None = None,
) -> OverviewReport:
    """Lay levels out where they are not, do ``tasks``, and show the levels when all are done.

    Call it inside :func:`terralatent.pipeline.store.lock.writer.writer_lock`.

    Args:
        client: Where to run.
        store: Of results, all of whose blocks are done.
        tasks: Of :func:`open_tasks`.
        memory: Bytes that a worker may use.
        progress: Advanced by every task.

    Raises:
        InputError: As :func:`~terralatent.pipeline.cluster.stream.stream_blocks` does.
    """
    plan, begun = plan_levels(store.group()), time.monotonic()
    if not is_laid_out(store.group(), plan, store):
        session = store.repository().writable_session(BRANCH)
        lay_out_levels(zarr.open_group(session.store, mode="r+"), plan)
        store.commit(session, "lay out the overviews", STEP)
    work: Work[Task, int] = Work(
        partial(summarise, plan, _dates(store.group(), plan, memory)), _record, smaller=_smaller
    )
    failures = stream_blocks(client, store, tasks, work, Commits(message=TITLE), progress=progress)
    losses = tuple(
        f"overviews of {plan.names[failure.task.array]}, square {failure.task.block.index}: "
        f"{failure.reason}"
        for failure in failures
    )
    if not losses:
        session = store.repository(anew=True).writable_session(BRANCH)
        root = zarr.open_group(session.store, mode="r+")
        if (order := seasonal_order(root, plan.pyramid.levels)) is not None:
            root[OVERVIEWS].attrs[SEASONAL] = order
        shown(root, plan)
        store.commit(session, "show the overviews", STEP)
    return _report(store, len(tasks) - len(losses), time.monotonic() - begun, losses)


def outdate(root: zarr.Group, block: Block) -> None:
    """Note that a block of a store was written anew: overviews of it, where there are any, are not
    shown from the commit on that has it, until they are made again.

    Args:
        root: Of the store, writable.
        block: Which pixels.
    """
    if STATE in root:
        side = plan_levels(root).pyramid.task
        rows, columns = (
            slice(own.start // side, -(-own.stop // side)) for own in (block.y, block.x)
        )
        outdated(root, (rows, columns))


def _record(group: zarr.Group, task: Task, _: int) -> None:
    group[STATE][task.index] = DONE


def _dates(root: zarr.Group, plan: Plan, memory: int) -> int:
    """Dates that a task holds at a time: as many as fit into a third of what a worker has, for it
    may be at two tasks, and Zarr has what it writes once more."""
    each = 1
    for name in plan.names:
        array: Any = root[name]
        dims = array.metadata.dimension_names
        sizes = [n for dim, n in zip(dims[:-2], array.shape, strict=False) if dim != "time"]
        each = max(each, prod(sizes) * array.dtype.itemsize * plan.pyramid.held())
    return max(1, min(TIME_CHUNK, (memory - PROCESS) // 3 // each))


def _smaller(run: Run[Task]) -> Run[Task]:
    """What a task is tried with whose worker died under it."""
    assert isinstance(run, partial)
    plan, dates = run.args
    return partial(run.func, plan, max(1, dates // 2))


def _report(store: Store, computed: int, wall: float, losses: tuple[str, ...]) -> OverviewReport:
    pyramid = plan_levels(store.group()).pyramid
    levels = tuple(pyramid.level_shape(level) for level in range(1, pyramid.levels + 1))
    return OverviewReport(levels, computed, wall, losses)
