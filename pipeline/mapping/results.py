"""Stores of results, latents or bands: laid out, filled block by block, opened."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import odc.geo.xr  # noqa: F401  (gives xarray objects .odc)
import rioxarray  # noqa: F401  (gives xarray objects .rio)
import xarray as xr
import zarr
from distributed import Client
from numpy.typing import NDArray

from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.local import memory_bytes
from terralatent.pipeline.cluster.scheduler_loss import telling_lost_scheduler
from terralatent.pipeline.cluster.stream import Failure, stream_blocks
from terralatent.pipeline.cluster.tasks import Run
from terralatent.pipeline.command import command_line
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.losses import DONE, PARTIAL, PENDING, STATE_FLAGS
from terralatent.pipeline.cube.opened import grid_coords, lazy, times
from terralatent.pipeline.mapping.batches import on_gpu
from terralatent.pipeline.mapping.job import Pairing, unfinished
from terralatent.pipeline.mapping.memory import PROCESS, Budget
from terralatent.pipeline.mapping.report import LostBlock
from terralatent.pipeline.mapping.scene_errors import (
    SceneErrors,
    keep_scene_errors,
    kept_scene_errors,
)
from terralatent.pipeline.pace import Pace
from terralatent.pipeline.progress import Progress
from terralatent.pipeline.region import Block, blocks, grid_of
from terralatent.pipeline.store.arrays import (
    TIME_CHUNK,
    ArrayLayout,
    GroupLayout,
    Layout,
    grid_arrays,
    time_array,
)
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.damage import telling_damage
from terralatent.pipeline.store.history import keep_for
from terralatent.pipeline.store.location import local_path
from terralatent.pipeline.store.lock.writer import writer_lock
from terralatent.pipeline.store.repository import ABOUT, Store, exists, open_group

__all__ = [
    "OUTLIERS",
    "BlockDone",
    "Clock",
    "ResultReport",
    "fill",
    "open_result",
    "result_layout",
    "time_chunk",
]

log = logging.getLogger(__name__)

OUTLIERS = "outliers"
"""Attribute of a store: for each sensor that was searched for them, the outliers that were masked
and the looks they were of, in the blocks that are done."""


GPU_THREADS = 8
"""Blocks that a process with a GPU works on: most of the time they are read and decompressed."""

TASK = 1_000_000_000
"""Bytes that a block should have before another is worked on beside it."""


@dataclass(frozen=True)
class BlockDone:
    """What a worker says of a block that it wrote."""

    pixels: int
    """Pixels inside some scene."""

    clipped: int = 0
    """Values that did not fit the packing and were set to its end."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent, by stage: ``read``, ``infer``, ``write``."""

    outliers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """For each sensor that was searched for them: its outliers, and the looks they were of."""


class Clock:
    """Adds up the seconds a worker spends in each stage of a block."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Count the time of a ``with`` block for ``stage``."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begun


@dataclass(frozen=True)
class ResultReport:
    """How an embedding or decoding ended."""

    blocks: int
    """Blocks of the store."""

    computed: int
    """Blocks computed now; the others were there before."""

    pixels: int
    """Pixels computed now that lie inside some scene."""

    clipped: int
    """Values of the whole store that did not fit the packing."""

    wall: float
    """Seconds from first to last block."""

    seconds: Mapping[str, float]
    """Seconds of all workers together, by stage."""

    losses: tuple[LostBlock | str, ...]
    """What failed, or came from a cube that is not whole, one line each."""

    outliers: Mapping[str, float] = field(default_factory=dict)
    """For each sensor that was searched for them, the share of its looks, in the whole store, that
    no neighbour in time supports; they are masked."""

    def __str__(self) -> str:
        done = f"{self.computed} of {self.blocks} blocks"
        failed = sum(isinstance(loss, LostBlock) for loss in self.losses)
        before = " (the others were done)" if self.computed < self.blocks - failed else ""
        lost = f", {failed} failed (the same command tries them again)" if failed else ""
        rate = f", {self.pixels / self.wall:,.0f} pixels/s" if self.pixels and self.wall else ""
        clipped = f", {self.clipped} values clipped to the packing's range" if self.clipped else ""
        taken = (f", {share:.2%} of {name}'s looks taken as outliers"
                 for name, share in self.outliers.items())  # fmt: skip
        return f"{done}{before}{lost}, {self.pixels:,} pixels{rate}{clipped}{''.join(taken)}"


def result_layout(
    pairing: Pairing,
    kind: str,
    arrays: tuple[ArrayLayout, ...],
    identity: Mapping[str, Any],
    attributes: Mapping[str, Any],
) -> Layout:
    """Lay out a store on the cube's grid: ``arrays``, coordinates and the blocks' states.

    Reads no pixels. ``identity`` and ``attributes`` are added to those of ``pairing``.
    """
    grid = grid_of(pairing.open_cube()[pairing.sensors[0]])
    size = pairing.block
    counts = (math.ceil(grid.shape[0] / size), math.ceil(grid.shape[1] / size))
    times = time_array("time", "time", pairing.dates)
    states = tuple(
        ArrayLayout(name, ("block_y", "block_x"), counts, dtype, counts, fill_value=0, attrs=attrs)
        for name, dtype, attrs in (
            ("state", "uint8", STATE_FLAGS),
            ("clipped", "int64", {"long_name": "values that did not fit the packing"}),
        )
    )
    searched = [name for name in pairing.sensors if pairing.masks.of(name).outliers]
    counted = {OUTLIERS: {name: [0, 0] for name in searched}} if searched else {}
    everything = (*arrays, times, *grid_arrays(grid), *states)
    root = GroupLayout(
        "",
        everything,
        {
            **grid_attrs(grid),
            "coordinates": "spatial_ref",
            **pairing.attributes(),
            **counted,
            **attributes,
        },
    )
    return Layout(kind, {**pairing.identity(), **identity}, (root,))


def time_chunk(dates: int) -> int:
    """Dates in a chunk of a result with so many ``dates``."""
    return min(TIME_CHUNK, dates)


def fill(
    pairing: Pairing,
    out: str | Path,
    layout: Layout,
    run: Callable[[Budget, zarr.Group, Block], BlockDone],
    *,
    title: str,
    client: Client | str | None = None,
    workers: int | None = None,
    memory: str = "4GB",
    progress: Progress | None = None,
) -> ResultReport:
    """Lay ``out`` out and compute every block of it that is not done. Computes on Dask workers.

    Errors over scenes, where the model wants them taken off, are estimated here before the first
    block and kept in ``out``, where workers find them.

    Args:
        pairing: What the results come from.
        out: Path or URL of the store; one with the same identity is gone on with.
        layout: See :func:`result_layout`.
        run: Computes and writes one block on a worker within a budget; see
            :func:`terralatent.pipeline.cluster.stream.stream_blocks`.
        title: Of the progress and the commits.
        client: See :func:`terralatent.pipeline.cluster.client.client_for`.
        workers: As well.
        memory: What a worker may use.
        progress: Told of every block.

    Raises:
        InputError: If ``out`` holds something else, is damaged or cannot be written, or is being
            written by another process.
    """
    total: dict[str, float] = {}
    failures: list[Failure[Block]] = []
    wall = 0.0
    with (
        writer_lock(out, command_line()) as lock,
        telling_damage(out),
        telling_lost_scheduler(),
        ExitStack() as stack,
    ):
        # A new store is laid out only once there is somebody to fill it.
        joining = _joining(pairing, out, client, workers, memory)
        joined = None if exists(out) else stack.enter_context(joining)
        lay_out(Store.of(out), layout)
        keep_for(Store.of(out).address, pairing.cube, pairing.snapshot)
        root = open_group(out)
        shape, state = grid_of(root).shape, np.asarray(root["state"])
        every = blocks((shape[0], shape[1]), layout.identity["block"])
        tasks = [block for block in every if state[block.index] == PENDING]
        if tasks:
            joined = joined or stack.enter_context(joining)
            with telling_damage(pairing.cube):
                whole = unfinished(pairing.open_cube(), pairing.sensors)
                errors = _missing_errors(pairing, root)
            if errors is not None:
                keep_scene_errors(out, errors, pairing.open_cube())
            record = partial(_record, whole, total)
            begun = time.monotonic()
            failures = stream_blocks(
                joined, Store.of(out), tasks, partial(run, Budget(memory_bytes(memory))), record,
                smaller=_smaller, message=title, total=len(tasks), told=partial(_told_of, Pace()),
                progress=lock.tee(progress),
            )  # fmt: skip
            wall = time.monotonic() - begun
    root = open_group(out)
    losses: list[LostBlock | str] = [LostBlock.of(failure, grid_of(root)) for failure in failures]
    counts: Mapping[str, tuple[int, int]] = root.attrs.get(OUTLIERS, {})
    marked = np.argwhere(np.asarray(root["state"]) == PARTIAL)
    if len(marked):
        places = ", ".join(str(tuple(int(n) for n in place)) for place in marked[:8])
        more = f" and {len(marked) - 8} more" if len(marked) > 8 else ""
        losses.append(f"the cube is not whole in {len(marked)} blocks: {places}{more}")
    return ResultReport(
        blocks=len(every),
        computed=len(tasks) - len(failures),
        pixels=int(total.pop("pixels", 0)),
        clipped=int(np.asarray(root["clipped"]).sum()),
        wall=wall,
        seconds=total,
        losses=tuple(losses),
        outliers={name: some / max(looks, 1) for name, (some, looks) in counts.items()},
    )


def open_result(store: str | Path, kind: str, *, snapshot: str | None = None) -> xr.Dataset:
    """Open latents or bands: dask arrays, float32, NaN outside every scene. Reads no pixels.

    The CRS is known to ``.rio`` and ``.odc``; the store's own attributes are in ``attrs``.

    Raises:
        InputError: If there is no such store, or it is of another kind.
    """
    root = open_group(store, kind=kind, snapshot=snapshot)
    names = [name for name, _ in root.arrays() if name not in ("state", "clipped")]
    stored: dict[str, Any] = {name: root[name] for name in names}
    dims = {name: array.metadata.dimension_names or () for name, array in stored.items()}
    variables = {
        name: (dims[name], _values(array), _told(array))
        for name, array in stored.items()
        if {"y", "x"} <= set(dims[name])
    }
    coords = {
        name: (dims[name], times(array) if name == "time" else _labels(array))
        for name, array in stored.items()
        if dims[name] == (name,) and name not in ("y", "x")
    }
    opened = xr.Dataset(variables, coords={**coords, **grid_coords(root)})
    for name in opened.data_vars:
        opened[name].encoding["grid_mapping"] = "spatial_ref"
    return opened.assign_attrs(
        {key: value for key, value in root.attrs.items() if key not in (ABOUT, "coordinates")}
    )


def _joining(
    pairing: Pairing, out: str | Path, client: Client | str | None, workers: int | None, memory: str
) -> AbstractContextManager[Client]:
    """Who works, on several blocks at a time where a core would wait for a network or a GPU."""
    gpu = on_gpu(pairing.device)
    remote = local_path(pairing.cube) is None or local_path(out) is None
    threads = min(GPU_THREADS, len(os.sched_getaffinity(0))) if gpu else 1 + remote
    room = (memory_bytes(memory) - PROCESS) // TASK
    if gpu and client in (None, "local"):
        workers = workers or 1  # it has the whole GPU
    return client_for(client, workers=workers, memory=memory, threads=max(1, min(threads, room)))


def _smaller(run: Run[Block]) -> Run[Block]:
    """What a block is tried with whose worker died under it."""
    assert isinstance(run, partial)
    *given, budget = run.args
    return partial(run.func, *given, budget.halved())


def _missing_errors(pairing: Pairing, root: zarr.Group) -> SceneErrors | None:
    """Estimate the errors over scenes that the model wants taken off and the store lacks."""
    wanted = pairing.corrects and kept_scene_errors(root) is None
    return pairing.scene_errors() if wanted else None


def _labels(array: zarr.Array) -> NDArray[Any]:
    values = np.asarray(array[...])
    return values.astype(object).astype(str) if values.dtype.kind in "TO" else values


def _values(array: zarr.Array) -> da.Array:
    """What an array holds, lazily: unpacked where it is packed, else as it is."""
    stored = lazy(array)
    if "scale_factor" not in array.attrs:
        return stored
    return stored.map_blocks(
        _unpacked,
        scale_factor=float(array.attrs["scale_factor"]),
        fill_value=int(array.attrs["_FillValue"]),
        dtype=np.float32,
    )


def _unpacked(packed: NDArray[Any], *, scale_factor: float, fill_value: int) -> NDArray[np.float32]:
    values = packed.astype(np.float32)
    values *= np.float32(scale_factor)
    values[packed == fill_value] = np.nan
    return values


def _told(array: zarr.Array) -> dict[str, Any]:
    return {key: array.attrs[key] for key in ("long_name", "units") if key in array.attrs}


def _told_of(pace: Pace, done: BlockDone) -> dict[str, float]:
    return {"pixels/s": pace.add(done.pixels)}


def _record(
    partial_input: NDArray[np.bool_],
    total: dict[str, float],
    group: zarr.Group,
    block: Block,
    done: BlockDone,
) -> None:
    """Write what blocks share; called by the coordinator alone."""
    group["state"][block.index] = PARTIAL if partial_input[block.index] else DONE
    if done.clipped:
        group["clipped"][block.index] = done.clipped
    if done.outliers:
        before = dict(group.attrs[OUTLIERS])
        after = {name: np.add(before[name], more).tolist() for name, more in done.outliers.items()}
        group.attrs[OUTLIERS] = {**before, **after}
    for name, value in {"pixels": float(done.pixels), **done.seconds}.items():
        total[name] = total.get(name, 0.0) + value
