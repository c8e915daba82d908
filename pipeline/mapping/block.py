"""One block on a worker: what is computed of it, strip by strip, and what is reported of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from terralatent.pipeline.cube.series import NEVER, SeriesBlock
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.growth.held import Held, held_at
from terralatent.pipeline.mapping.inference import InferenceJob
from terralatent.pipeline.mapping.memory import MemoryLimit, MemoryPlan
from terralatent.pipeline.mapping.scene_errors import kept_scene_errors
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import Layout

__all__ = [
    "DAYS",
    "Arrays",
    "BlockDone",
    "BlockWork",
    "Clock",
    "Followed",
    "GoesOn",
    "LiveDone",
    "Product",
    "map_block",
]

DAYS = "days_to_observation"
"""Array of a result: how far a date is from what was observed."""


class Arrays(Protocol):
    """The arrays of a result by name, indexed as a whole: a Zarr group, or one block in memory."""

    def __getitem__(self, name: str) -> Any:
        """An array, with ``shape``, reading and writing by slices."""

    def __contains__(self, name: object) -> bool:
        """Whether there is one."""

    def get(self, name: str, default: Any = None) -> Any:
        """What there is of a name."""


@runtime_checkable
class Followed(Protocol):
    """A job whose input grows, such as a cube."""

    def is_same_since(self, before: str, block: Block) -> bool:
        """Whether all that is read of a block is what an earlier snapshot has of it."""


@runtime_checkable
class GoesOn(Protocol):
    """A product whose blocks go on from what they hold, where they can."""

    def advance(self, work: BlockWork, held: Held) -> bool:
        """Bring a block up to date without inferring it anew; False where that cannot be."""


class Product(Protocol):
    """What is mapped: the arrays of a store of results, and how a block of them is computed.

    Small and picklable: every task carries it. A new kind of result is one more of these, and
    :func:`terralatent.pipeline.mapping.results.fill.fill` does the rest.
    """

    @property
    def job(self) -> InferenceJob:
        """What to infer from, and when."""

    def layout(self) -> Layout:
        """Lay out the store, see :func:`terralatent.pipeline.mapping.results.layout.result_layout`.

        Reads no pixels.
        """

    def memory_plan(self, limit: MemoryLimit) -> MemoryPlan:
        """How a block goes through the memory that a task has.

        Raises:
            InputError: If that is too little.
        """

    def compute(self, work: BlockWork) -> None:
        """Read, infer and write one block; runs on a worker and writes whole chunks."""


@dataclass(frozen=True)
class LiveDone:
    """What a worker reports of a block with states."""

    days: Mapping[int, float]
    """Of the states that were made, by their places among the lags."""

    stale: bool = False
    """Whether dates before the first that was written are of before acquisitions that came."""

    late: tuple[tuple[str, str], ...] = ()
    """Sensor and time, to the second, of acquisitions that came late and that the block was
    replayed for."""

    since: str = ""
    """From which time on, where it was."""


@dataclass(frozen=True)
class BlockDone:
    """What a worker reports of a block that it wrote."""

    pixels: int
    """Pixels inside some scene."""

    clipped: int = 0
    """Values that did not fit the packing and were set to its end."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time spent, by stage: ``read``, ``infer``, ``write``."""

    outliers: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """For each sensor that was searched for them: its outliers, and the observations they were of.
    """

    first_date: int = 0
    """The first date that was written; those before it were there."""

    live: LiveDone | None = None
    """What was made of filter states."""

    same: bool = False
    """Whether it was left as it is, because nothing changed that it is made from."""


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


class BlockWork:
    """A block on its way through a worker.

    Args:
        job: What to infer from, and when.
        group: The arrays of the result, such as its store's root, writable.
        block: Which pixels.
        plan: How much of it is read, inferred and written at a time.
    """

    def __init__(self, job: InferenceJob, group: Arrays, block: Block, plan: MemoryPlan) -> None:
        self.group, self.block, self.plan = group, block, plan
        self.clock = Clock()
        self.clipped = 0
        """Values that did not fit the packing."""
        self.observations = np.zeros((len(job.sensors), *block.shape), np.uint16)
        """Clear acquisitions, (sensor, y, x), of the strips that were read."""
        self.first_date = 0
        """The first of the requested dates that is to be written: those before it are there."""
        self.days = np.full((len(job.times), *block.shape), NEVER, np.uint16)
        """Days from each date to the nearest clear acquisition, (time, y, x), of these strips."""
        self.live: LiveDone | None = None
        """What was made of filter states."""
        self.same = False
        """Whether the block is left as it is."""
        self._job = job
        self._strips = plan.strips(block)
        self._errors = kept_scene_errors(group) if job.corrects else None
        self._kept: SeriesBlock | None = None
        self.inside = 0
        """Pixels inside some scene, of the strips that were read."""
        self._outliers: dict[str, tuple[int, int]] = {}
        self._counted = False

    def is_same_since(self, before: str) -> bool:
        """Whether all that is read of the block is what an earlier snapshot has of it."""
        assert isinstance(self._job, Followed), "Datasets have no snapshots"
        with self.clock.time("read"):
            return self._job.is_same_since(before, self.block)

    def date_groups(self) -> Iterator[slice]:
        """The requested dates that are to be written, those that are inferred together."""
        for dates in self.plan.date_groups(len(self._job.times)):
            if dates.stop > self.first_date:
                yield slice(max(dates.start, self.first_date), dates.stop)

    def strips(self) -> Iterator[tuple[slice, SeriesBlock]]:
        """Yield the rows within the block of each strip, and their series.

        A strip that is the whole block is read once, however often this is called.
        """
        for strip in self._strips:
            with self.clock.time("read"):
                series = self._kept or self._job.read(strip, self._errors)
            rows = slice(strip.y.start - self.block.y.start, strip.y.stop - self.block.y.start)
            if not self._counted:
                self._count(rows, series)
            if len(self._strips) == 1:
                self._kept = series
            yield rows, series
        self._counted = True

    def write_days_to_observation(self) -> None:
        """Write :attr:`days`, unless the result is of before there were any."""
        if DAYS in self.group:
            self.group[DAYS][:, self.block.y, self.block.x] = self.days

    def done(self) -> BlockDone:
        """What the coordinator gets to know."""
        return BlockDone(
            self.inside,
            self.clipped,
            self.clock.seconds,
            self._outliers,
            self.first_date,
            self.live,
            self.same,
        )

    def _count(self, rows: slice, series: SeriesBlock) -> None:
        self.inside += int(series.seen.sum())
        self.observations[:, rows] = series.observations.reshape(-1, *series.shape)
        days = series.days_to_observation(days_since_1970(self._job.dates))
        days[:, ~series.seen] = NEVER
        self.days[:, rows] = days.reshape(-1, *series.shape)
        for name, (outliers, observations) in series.outliers().items():
            before = self._outliers.get(name, (0, 0))
            self._outliers[name] = (before[0] + outliers, before[1] + observations)


def map_block(product: Product, limit: MemoryLimit, group: Arrays, block: Block) -> BlockDone:
    """Compute and write one block of a product; runs on a worker.

    Args:
        product: What is computed.
        limit: What the task may take.
        group: The arrays of the result, such as its store's root, writable.
        block: Which pixels.
    """
    work = BlockWork(product.job, group, block, product.memory_plan(limit))
    held = held_at(group, block.index)
    if len(held) == 1 and held[0] is not None:
        if isinstance(product, GoesOn) and product.advance(work, held[0]):
            return work.done()
        _keep_what_is_same(work, held[0])
    if not work.same:
        product.compute(work)
    return work.done()


def _keep_what_is_same(work: BlockWork, held: Held) -> None:
    """Let dates be that a block has already, where nothing changed that it is made from."""
    if work.is_same_since(held.snapshot):
        work.first_date = held.dates
        work.same = held.dates == len(work.days)
