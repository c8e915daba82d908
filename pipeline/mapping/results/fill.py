"""Stores of results, such as latents and bands, filled block by block."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import zarr
from distributed import Client
from numpy.typing import NDArray

from terralatent.pipeline.cluster.client import Workers
from terralatent.pipeline.cluster.here import stream_here
from terralatent.pipeline.cluster.scheduler_loss import translated_scheduler_loss
from terralatent.pipeline.cluster.stream import Commits, Failure, Work, stream_blocks
from terralatent.pipeline.cluster.tasks import Run
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.losses import DONE, HELD, PARTIAL, PENDING
from terralatent.pipeline.device import on_gpu, warn_of_gpu
from terralatent.pipeline.mapping.block import BlockDone, Product, map_block
from terralatent.pipeline.mapping.growth.follow import follow
from terralatent.pipeline.mapping.growth.held import held_at, let_go, snapshots_held
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.latents.states import record_states
from terralatent.pipeline.mapping.memory import PROCESS, MemoryLimit
from terralatent.pipeline.mapping.results.layout import OUTLIERS
from terralatent.pipeline.mapping.results.origin import CubeOrigin, Origin
from terralatent.pipeline.mapping.results.report import LostBlock, ResultReport
from terralatent.pipeline.overviews.make import fill_overviews, open_tasks, outdate
from terralatent.pipeline.progress import Progress, Rate
from terralatent.pipeline.region import Block, blocks, grid_of
from terralatent.pipeline.store.arrays import (
    Layout,
)
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.damage import translated_errors
from terralatent.pipeline.store.history import keep_alone_for, keep_for
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import NotLaidOutError, Store
from terralatent.pipeline.store.whereabouts import MADE_FROM, MODEL_FOLDER, noted, place_beside

__all__ = ["fill", "fill_blocks", "model_of"]

GPU_THREADS = 8
"""Blocks that a process with a GPU works on: most of the time they are read and decompressed."""

TASK = 1_000_000_000
"""Bytes that a block should have before another is worked on beside it."""


def fill(
    product: Product,
    out: Store,
    workers: Workers,
    *,
    title: str,
    grow: Callable[[Store], None] | None = None,
    overviews: bool = True,
    progress: Progress | None = None,
) -> ResultReport:
    """Lay ``out`` out and compute every block of it that is not done. Computes on Dask workers.

    Errors over scenes, where the model wants them taken off, are estimated here before the first
    block and kept in ``out``, where workers find them.

    Args:
        product: What is computed.
        out: The store; one with the same identity is gone on with.
        workers: Who computes it.
        title: Of the progress and the commits.
        grow: Lays out what the store still lacks of this product; called within its lock.
        overviews: Whether overviews are made once all blocks are done.
        progress: Advanced by each block.

    Raises:
        InputError: If a worker may use too little memory, or ``out`` holds something else, is
            damaged or cannot be written, or is being written by another process.
    """
    layout, limit = product.layout(), MemoryLimit(workers.memory_bytes())
    layout = noted(layout, {MODEL_FOLDER: _folder_beside(out, product.job.model)})
    product.memory_plan(limit)  # too little is refused before anything is laid out
    run = partial(map_block, product, limit)
    assert isinstance(product.job, MappingJob)  # Datasets are kept by fill_given
    origin = CubeOrigin(product.job)
    return fill_blocks(
        layout, origin, run, out, workers,
        title=title, grow=grow, overviews=overviews, progress=progress,
    )  # fmt: skip


def fill_blocks(
    layout: Layout,
    origin: Origin,
    run: partial[BlockDone],
    out: Store,
    workers: Workers | None,
    *,
    title: str,
    grow: Callable[[Store], None] | None = None,
    overviews: bool = True,
    lasting: bool = True,
    progress: Progress | None = None,
) -> ResultReport:
    """Lay ``out`` out and have ``run`` compute every block that is not done, as :func:`fill` does.

    Args:
        layout: Of the store.
        origin: What its blocks are computed from.
        run: Computes and writes one block on a worker, as ``run(group, block)``; a partial of a
            function of a module with two arguments, the second of which is a :class:`MemoryLimit`.
        out: The store; one with the same identity is gone on with.
        workers: Who computes it; None: this process, one block after the other.
        title: Of the progress and the commits.
        grow: As for :func:`fill`.
        overviews: Whether overviews are made once all blocks are done.
        lasting: Whether ``out`` is there to stay. One that is not notes nothing in what it is made
            from, and commits each block, for its blocks are few and took long.
        progress: Advanced by each block.

    Raises:
        InputError: As :func:`fill` does.
    """
    total: dict[str, float] = {}
    failures: list[Failure[Block]] = []
    replays: dict[str, list[Block]] = {}
    lost_overviews: tuple[str, ...] = ()
    wall = 0.0
    with (
        writer_lock(out.location, command_line()) as lock,
        translated_errors(out),
        translated_scheduler_loss(),
        ExitStack() as stack,
    ):

        def join(tasks: int) -> Client | None:
            return stack.enter_context(_joining(origin, out, workers, tasks))

        # A new store is laid out only once there is somebody to fill it.
        joined = None if out.exists() else join(_blocks_of(layout))
        if lasting:
            follow(out, layout, origin)
        lay_out(out, noted(layout, {MADE_FROM: place_beside(out, origin.store.address)}))
        if grow is not None:
            grow(out)
        if lasting:
            keep_for(out.address, origin.store, origin.snapshot)
        root = out.group()
        shape, state = grid_of(root).shape, np.asarray(root["state"])
        every = blocks((shape[0], shape[1]), layout.identity["block"])
        tasks = [block for block in every if (state[..., *block.index] == PENDING).any()]
        if tasks:
            joined = joined or join(len(tasks))
            partial_input = origin.unfinished()
            origin.prepare(out)
            work = Work(
                run,
                partial(_record, partial_input, total, replays),
                smaller=_smaller,
                fields=partial(_progress_fields, Rate()),
            )
            begun = time.monotonic()
            commits = Commits(message=title) if lasting else Commits(message=title, every=1)
            shown = lock.tee(progress)
            if joined is None:
                failures = stream_here(out, tasks, work, commits, progress=shown)
            else:
                failures = stream_blocks(joined, out, tasks, work, commits, progress=shown)
            wall = time.monotonic() - begun
        if lasting and not failures and HELD in (root := out.group()):  # it has followed its origin
            keep_alone_for(out.address, origin.store, {origin.snapshot, *_made_from(root)})
        if overviews and not failures and (left := open_tasks(out)):
            assert workers is not None, "overviews are made by workers"
            joined = joined or join(len(left))
            assert joined is not None
            lost_overviews = fill_overviews(
                joined, out, left, memory=workers.memory_bytes(), progress=lock.tee(progress)
            ).losses
    root = out.group()
    outliers: Mapping[str, tuple[int, int]] = root.attrs.get(OUTLIERS, {})
    return ResultReport(
        blocks=len(every),
        computed=len(tasks) - len(failures) - int(total.get("same", 0)),
        pixels=int(total.pop("pixels", 0)),
        same=int(total.pop("same", 0)),
        clipped=int(np.asarray(root["clipped"]).sum()),
        wall=wall,
        seconds=total,
        losses=(
            *(LostBlock.of(failure, grid_of(root)) for failure in failures),
            *_partial_blocks(root, origin.kind),
            *lost_overviews,
        ),
        replays=tuple(
            f"{cause} in {len(own)} blocks: {', '.join(str(block.index) for block in own[:8])}"
            for cause, own in sorted(replays.items())
        ),
        outliers={name: count / max(among, 1) for name, (count, among) in outliers.items()},
    )


def model_of(store: Store) -> str | None:
    """The shipped model that a result was begun with, by name, so that it goes on with the same one
    whatever the default is by now; None where there is no result, or it had another model.

    Raises:
        InputError: If the store cannot be read.
    """
    try:
        return store.group().attrs.get("model_name") if store.exists() else None
    except NotLaidOutError:
        return None


def _folder_beside(out: Store, model: str) -> str:
    """Where the model's folder lies, as seen from a result; empty where it has its name alone."""
    return place_beside(out, model) if Path(model).is_absolute() else ""


def _blocks_of(layout: Layout) -> int:
    """How many blocks a store will have."""
    state = next(array for array in layout.groups[0].arrays if array.name == "state")
    return math.prod(state.shape[-2:])


def _joining(
    origin: Origin, out: Store, workers: Workers | None, tasks: int
) -> AbstractContextManager[Client | None]:
    """Who works on so many tasks: no more processes of this machine than there are of them, each at
    several at a time where a core would wait for a network or a GPU."""
    gpu = on_gpu(origin.device)
    if gpu:
        warn_of_gpu()
    if workers is None:
        return nullcontext()
    remote = origin.store.path is None or out.path is None
    threads = min(GPU_THREADS, len(os.sched_getaffinity(0))) if gpu else 1 + remote
    room = (workers.memory_bytes() - PROCESS) // TASK
    if gpu and workers.client in (None, "local"):
        workers = replace(workers, count=workers.count or 1)  # it has the whole GPU
    return workers.at_most(tasks).join(max(1, min(threads, room)))


def _smaller(run: Run[Block]) -> Run[Block]:
    """What a block is tried with whose worker died under it."""
    assert isinstance(run, partial)
    product, limit = run.args
    return partial(run.func, product, limit.halved())


def _partial_blocks(root: zarr.Group, kind: str) -> Iterator[str]:
    """In one line, the blocks whose part of the cube or the latents is not whole."""
    state = np.asarray(root["state"])
    marked = np.argwhere((state == PARTIAL).reshape(-1, *state.shape[-2:]).any(axis=0))
    if len(marked):
        places = ", ".join(str(tuple(int(n) for n in place)) for place in marked[:8])
        more = f" and {len(marked) - 8} more" if len(marked) > 8 else ""
        verb = "are" if kind.endswith("s") else "is"
        yield f"the {kind} {verb} not whole in {len(marked)} blocks: {places}{more}"


def _made_from(root: zarr.Group) -> set[str]:
    """Snapshots of what a result is made from that it still has something of."""
    windows = {str(one) for one in root["cube_snapshot"][...]} if "cube_snapshot" in root else set()
    return snapshots_held(root) | windows


def _progress_fields(rate: Rate, done: BlockDone) -> dict[str, float]:
    return {"pixels/s": rate.add(done.pixels)}


def _record(
    partial_input: NDArray[np.bool_],
    total: dict[str, float],
    replays: dict[str, list[Block]],
    group: zarr.Group,
    block: Block,
    done: BlockDone,
) -> None:
    """Write what blocks share; called by the coordinator alone."""
    anew = not done.first_date and group["state"].ndim == 2 and any(held_at(group, block.index))
    if done.live is not None:
        record_states(group, block.index, done.live, done.first_date)
        for sensor, time in done.live.late:
            cause = f"{sensor} of {time} came late or changed: replayed from {done.live.since} on"
            replays.setdefault(cause, []).append(block)
    let_go(group, block.index)
    own = np.asarray(group["state"][..., *block.index])  # of each window, where there are some
    now = PARTIAL if partial_input[block.index] else DONE
    group["state"][..., *block.index] = np.where(own == PENDING, now, own)
    if done.same:
        total["same"] = total.get("same", 0) + 1
        return
    outdate(group, block)
    if done.clipped or anew:
        there = 0 if anew else int(group["clipped"][block.index])
        group["clipped"][block.index] = there + done.clipped
    if done.outliers:
        before = dict(group.attrs[OUTLIERS])
        after = {name: np.add(before[name], more).tolist() for name, more in done.outliers.items()}
        group.attrs[OUTLIERS] = {**before, **after}
    for name, value in {"pixels": float(done.pixels), **done.seconds}.items():
        total[name] = total.get(name, 0.0) + value
