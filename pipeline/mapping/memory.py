"""How a block goes through the memory of a worker: strips of rows, groups of dates, batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from distributed import get_worker

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.series import HALO
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.pixels.batches import BATCH_OBSERVATIONS, batch_bytes
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import TIME_CHUNK, inner_chunk

__all__ = ["PROCESS", "MemoryLimit", "MemoryPlan", "plan_memory"]

PROCESS = 700_000_000
"""What a worker takes beside its blocks: libraries, a compiled smoother, the model."""

FEWEST_OBSERVATIONS = 10_000
"""Pixels times dates, observed and requested, of the smallest batch that is worth its calls."""

WRITING = 2
"""Copies of what one chunk of dates holds while it is compressed and written."""

SAFE = 0.9
"""Of what is there, the part that is planned with."""


@dataclass(frozen=True)
class MemoryPlan:
    """How much of a block is read, inferred and written at a time."""

    rows: int
    """Rows of pixels of a strip, which are read together."""

    dates: int
    """Requested dates that are inferred together."""

    observations: int
    """Pixels times dates, observed and requested, that go through the model at a time, on a CPU."""

    def strips(self, block: Block) -> list[Block]:
        """The rows of a block that are read together, one strip after the other."""
        starts = range(block.y.start, block.y.stop, self.rows)
        return [
            Block(block.index, slice(y, min(y + self.rows, block.y.stop)), block.x) for y in starts
        ]

    def date_groups(self, dates: int) -> Iterator[slice]:
        """Divide so many dates into those that are inferred together."""
        for first in range(0, dates, self.dates):
            yield slice(first, min(first + self.dates, dates))


@dataclass(frozen=True)
class MemoryLimit:
    """What a worker process may take, and what a task of it does."""

    process: int
    """Bytes of a process; less where Dask has a lower limit for it."""

    halvings: int = 0
    """How often the worker of a task died under it: each time it is given half as much."""

    at_once: int | None = None
    """Tasks that the process works on at a time; as many as its worker has threads if None."""

    def halved(self) -> MemoryLimit:
        """That of a task whose worker died under it once more."""
        return replace(self, halvings=self.halvings + 1)

    def task_bytes(self) -> int:
        """Bytes of a task, without its process, on this worker; of one thread where there is none.

        They are what a process has, shared by its threads.
        """
        process, threads = self.process, 1
        with suppress(ValueError):  # not on a worker
            worker = get_worker()
            process = min(process, worker.memory_manager.memory_limit or process)
            threads = worker.state.nthreads
        return max(0, process - PROCESS) // (self.at_once or threads)


def plan_memory(
    job: InferenceJob,
    limit: MemoryLimit,
    result_bytes: int,
    held_pixels: int,
    *,
    pixel_bytes: int = 0,
) -> MemoryPlan:
    """Divide blocks so that a task stays within its limit.

    All dates together if that can be, because what is encoded once serves them all; then as many
    rows as fit; then as large a batch. Series of a pixel take what the cube holds of it, its masks
    and distances, and as much again of one sensor while that is read.

    Args:
        job: The cube, and the requested dates.
        limit: What a task may take.
        result_bytes: What a pixel and date have in the results.
        held_pixels: Pixels whose results are held until they are written together.
        pixel_bytes: What else a pixel that is read has, whatever the dates.

    Raises:
        InputError: If the smallest plan does not fit; halvings, where a worker died, end there.
    """
    block = job.block
    series_bytes, observed = job.series_bytes
    dates, least = len(job.times), inner_chunk(block)
    inferring = batch_bytes(job.config())

    def size(rows: int, group: int, batch: int) -> float:
        halo = (rows + 2 * HALO) * (block + 2 * HALO) / (rows * block)
        shard = min(group, TIME_CHUNK)
        return (
            rows * block * (series_bytes * halo + pixel_bytes)
            + held_pixels * result_bytes * (min(group, dates) + WRITING * shard)
            + batch * inferring
        ) / SAFE

    def fewest(group: int) -> int:
        return max(FEWEST_OBSERVATIONS, observed + min(group, dates))

    smallest = math.ceil(size(least, TIME_CHUNK, fewest(TIME_CHUNK)))
    available = limit.task_bytes()
    if available < smallest:
        raise InputError(
            f"A block of {block} x {block} pixels takes a worker of one thread at least "
            f"{math.ceil((smallest + PROCESS) / 1e8) / 10}GB of memory; give it more, with "
            "memory= where it is started here, or build the cube with a smaller block=."
        )
    available = max(smallest, available >> limit.halvings)
    for group in range(math.ceil(dates / TIME_CHUNK) * TIME_CHUNK, 0, -TIME_CHUNK):
        for rows in range(block, 0, -least):
            left = int((available - size(rows, group, 0)) * SAFE / inferring)
            if left >= fewest(group) or (rows, group) == (least, TIME_CHUNK):
                most = max(BATCH_OBSERVATIONS >> limit.halvings, fewest(group))
                return MemoryPlan(rows, group, max(min(most, left), fewest(group)))
    raise AssertionError("the smallest plan is the last that was tried")
