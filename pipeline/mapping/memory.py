"""How a block goes through the memory of a worker: strips of rows, some dates, and batches."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from distributed import get_worker

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.cube.series import HALO
from terralatent.pipeline.mapping.batches import BATCH_OBSERVATIONS, batch_bytes
from terralatent.pipeline.mapping.job import Pairing
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import TIME_CHUNK, inner_chunk

__all__ = ["PROCESS", "Budget", "Pieces", "cut_pieces"]

PROCESS = 700_000_000
"""What a worker takes beside its blocks: libraries, a compiled smoother, the model."""

FEWEST_OBSERVATIONS = 10_000
"""Pixels times dates, seen and asked for, of the smallest batch that is worth its calls."""

WRITING = 2
"""Copies of what one chunk of dates holds while it is compressed and written."""

SAFE = 0.9
"""Of what is there, the part that is planned with."""


@dataclass(frozen=True)
class Pieces:
    """The pieces in which a block is read, inferred and written."""

    rows: int
    """Rows of pixels that are read at a time."""

    dates: int
    """Dates asked for that are inferred at a time."""

    observations: int
    """Pixels times dates, seen and asked for, that go through the model at a time, on a CPU."""

    def strips(self, block: Block) -> list[Block]:
        """The rows of a block that are read together, one after the other."""
        starts = range(block.y.start, block.y.stop, self.rows)
        return [
            Block(block.index, slice(y, min(y + self.rows, block.y.stop)), block.x) for y in starts
        ]

    def parts(self, dates: int) -> Iterator[slice]:
        """So many dates, as many together as are inferred together."""
        for first in range(0, dates, self.dates):
            yield slice(first, min(first + self.dates, dates))


@dataclass(frozen=True)
class Budget:
    """What a worker process may take, and what a task of it does."""

    memory: int
    """Bytes of a process; less where Dask was told of a lower limit."""

    halvings: int = 0
    """How often the worker of a task died under it: each time it is given half as much."""

    def halved(self) -> Budget:
        """That of a task whose worker died under it once more."""
        return replace(self, halvings=self.halvings + 1)

    def task(self) -> int:
        """Bytes of a task, without its process, on this worker; of one thread where there is none.

        They are what a process has, shared by its threads.
        """
        limit, threads = self.memory, 1
        with suppress(ValueError):  # not on a worker
            worker = get_worker()
            limit = min(limit, worker.memory_manager.memory_limit or limit)
            threads = worker.state.nthreads
        return max(0, limit - PROCESS) // threads


def cut_pieces(pairing: Pairing, budget: Budget, result: int, held: int) -> Pieces:
    """Cut blocks so that a task stays within its budget.

    All dates together if that can be, because what is encoded once serves them all; then as many
    rows as fit; then as large a batch. Series of a pixel take what the cube holds of it, its masks
    and distances, and as much again of one sensor while that is read.

    Args:
        pairing: The cube, and the dates asked for.
        budget: What a task may take.
        result: Bytes that a pixel and date have in the results.
        held: Pixels whose results are held until they are written together.

    Raises:
        InputError: If the smallest pieces do not fit; what a worker that died makes them smaller
            by ends there.
    """
    block = pairing.block
    series, seen = _series_bytes(pairing)
    dates, least = len(pairing.times), inner_chunk(block)
    inferring = batch_bytes(pairing.config())

    def size(rows: int, some: int, batch: int) -> float:
        halo = (rows + 2 * HALO) * (block + 2 * HALO) / (rows * block)
        shard = min(some, TIME_CHUNK)
        return (
            rows * block * series * halo
            + held * result * (min(some, dates) + WRITING * shard)
            + batch * inferring
        ) / SAFE

    def fewest(some: int) -> int:
        return max(FEWEST_OBSERVATIONS, seen + min(some, dates))

    smallest = math.ceil(size(least, TIME_CHUNK, fewest(TIME_CHUNK)))
    limit = budget.task()
    if limit < smallest:
        raise InputError(
            f"A block of {block} x {block} pixels takes a worker of one thread at least "
            f"{math.ceil((smallest + PROCESS) / 1e8) / 10}GB of memory; give it more, with "
            "--memory where it is started here, or build the cube with a smaller --block."
        )
    limit = max(smallest, limit >> budget.halvings)
    for some in range(math.ceil(dates / TIME_CHUNK) * TIME_CHUNK, 0, -TIME_CHUNK):
        for rows in range(block, 0, -least):
            left = int((limit - size(rows, some, 0)) * SAFE / inferring)
            if left >= fewest(some) or (rows, some) == (least, TIME_CHUNK):
                most = max(BATCH_OBSERVATIONS >> budget.halvings, fewest(some))
                return Pieces(rows, some, max(min(most, left), fewest(some)))
    raise AssertionError("the smallest pieces are the last that were tried")


def _series_bytes(pairing: Pairing) -> tuple[int, int]:
    """What the series of a pixel take while they are read, and how many dates they have."""
    cube = pairing.open_cube()
    kept, reading, count = 0, 0, 0
    for name in pairing.sensors:
        dates, bands = cube[f"{name}/data"].shape[:2]
        packed = bands * cube[f"{name}/data"].dtype.itemsize
        told = np.dtype(bool).itemsize + np.dtype(np.float32).itemsize
        kept += dates * (packed + told)
        reading = max(reading, dates * (packed + 2 * told))
        count += dates
    return kept + reading, count
