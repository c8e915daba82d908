"""How blocks are divided so that they fit a worker's memory, and what is too little."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from terralatent.catalogs.errors import InputError
from terralatent.pipeline.mapping.bands import SensorBands
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.memory import PROCESS, MemoryLimit, MemoryPlan, plan_memory
from terralatent.pipeline.region import Block
from terralatent.pipeline.store.arrays import TIME_CHUNK

GB = 10**9


def mapping_job(
    dates: int, observed: Sequence[int] = (73, 60), block: int = 256, latents: int = 16
) -> MappingJob:
    """The job of a cube of two sensors, as far as its sizes go."""
    sizes = {"optical": (observed[0], 10), "radar": (observed[1], 2)}
    arrays = {f"{name}/data": np.empty((*size, 0), "int16") for name, size in sizes.items()}
    bands = tuple(map(str, range(10)))
    job: Any = SimpleNamespace(
        bands=tuple(SensorBands(name, bands, bands[:count]) for name, (_, count) in sizes.items()),
        times=tuple(range(dates)),
        open_cube=lambda: arrays,
        block=block,
        config=lambda: SimpleNamespace(latents=latents),
        _count=lambda sensor: sizes[sensor][0],
    )
    job.series_bytes = MappingJob.series_bytes.fget(job)  # type: ignore[attr-defined]
    return cast(MappingJob, job)


def plan_for(memory: float, dates: int = 12, halvings: int = 0, **sizes: Any) -> MemoryPlan:
    block, latents = sizes.get("block", 256), sizes.get("latents", 16)
    limit = MemoryLimit(int(memory * GB), halvings)
    return plan_memory(mapping_job(dates, **sizes), limit, latents * 4, block**2)


def test_a_plan_takes_a_whole_block_where_it_fits_and_shrinks_with_the_memory() -> None:
    assert plan_for(4) == MemoryPlan(256, TIME_CHUNK, 100_000)

    plans = [plan_for(memory, dates=73) for memory in (4, 2, 1.5, 1.3, 1.2)]

    sizes = [(plan.dates, plan.rows, plan.observations) for plan in plans]
    assert sizes == sorted(sizes, reverse=True)
    assert len({(dates, rows) for dates, rows, _ in sizes}) > 2
    assert all(plan.rows % 64 == 0 and plan.dates % TIME_CHUNK == 0 for plan in plans)


def test_more_latents_take_smaller_plans() -> None:
    plans = [plan_for(2.7, latents=latents) for latents in (4, 16, 64, 128)]

    sizes = [(plan.rows, plan.observations) for plan in plans]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0]


def test_what_is_too_little_is_refused_and_what_it_says_is_enough() -> None:
    with pytest.raises(InputError, match=r"256 x 256 pixels .* at least [\d.]+GB") as error:
        plan_for(0.8)
    words = str(error.value).split()
    enough = float(next(word for word in words if word.endswith("GB")).removesuffix("GB"))

    assert plan_for(enough).rows == 64
    with pytest.raises(InputError):
        plan_for(enough - 0.1)


def test_a_task_that_killed_its_worker_gets_a_smaller_plan_and_always_one() -> None:
    plans = [plan_for(4, dates=365, halvings=times) for times in range(12)]

    amounts = [plan.rows * plan.dates * plan.observations for plan in plans]
    assert amounts == sorted(amounts, reverse=True)
    assert amounts[1] < amounts[0]
    assert plans[-1].rows == 64
    assert plans[-1].dates == TIME_CHUNK


def test_more_dates_than_memory_are_inferred_in_groups() -> None:
    groups = list(plan_for(1.5, dates=365).date_groups(365))

    assert [date for group in groups for date in range(group.start, group.stop)] == list(range(365))
    assert all(group.start % TIME_CHUNK == 0 for group in groups)
    assert len(groups) > 1


def test_strips_are_the_rows_of_a_block() -> None:
    block = Block((1, 2), slice(256, 411), slice(512, 600))

    strips = MemoryPlan(64, TIME_CHUNK, 1).strips(block)

    assert [row for strip in strips for row in range(strip.y.start, strip.y.stop)] == [
        *range(256, 411)
    ]
    assert {(strip.index, strip.x.start, strip.x.stop) for strip in strips} == {((1, 2), 512, 600)}


def test_the_process_itself_counts() -> None:
    assert MemoryLimit(2 * PROCESS).task_bytes() == PROCESS
