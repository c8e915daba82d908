"""From which of its filter states a block goes on, and with which acquisitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.mapping.block import BlockWork
from terralatent.pipeline.mapping.growth.changed import has_data
from terralatent.pipeline.mapping.growth.held import Held
from terralatent.pipeline.mapping.job import MappingJob
from terralatent.pipeline.mapping.latents.states import (
    LAGS,
    Stops,
    state_days,
    stops_before,
)

__all__ = ["Step", "Walk", "plan_step"]

LATEST = 1.5
"""Times its lag, how far a state may stay behind the last acquisition before it is moved on."""

Places = NDArray[np.intp]


@dataclass(frozen=True)
class Walk:
    """Acquisitions that are filtered from a state on."""

    start: int
    """Place of the state among the lags."""

    since: float
    """Its day, since 1970-01-01."""

    dates: Mapping[str, Places]
    """By sensor, which acquisitions of the cube are filtered."""

    stops: Stops
    """States to be made on the way."""


@dataclass(frozen=True)
class Step(Walk):
    """How a block is brought up to date from one of its states."""

    first: int
    """The first date of the result that is written, if an acquisition is new to the block."""

    late: tuple[tuple[float, str], ...]
    """Days and sensors of acquisitions that came late, or are others than before."""

    went: Mapping[str, Places]
    """By sensor, those with data that are not in the cube any more, along its old axis."""

    moves: tuple[Walk, ...]
    """How older states are moved on that have fallen too far behind."""


def plan_step(job: MappingJob, work: BlockWork, held: Held) -> Step | None:
    """How a block goes on; None where no state is early enough, so that it is inferred anew.

    Reads coordinates, and pixels of acquisitions that came late or went.
    """
    days, block = state_days(work.group, work.block.index), work.block
    if not np.isfinite(days[0]):
        return None
    y, x = job.in_cube(block)
    now, then = job.open_cube(), job.open_cube_at(held.snapshot)
    calendars = {name: job.days_of(name) for name in job.sensors}
    calendar = np.sort(np.concatenate(list(calendars.values())))
    late: list[tuple[float, str]] = []
    went: dict[str, Places] = {}
    for name in job.sensors:
        if job.was_pending(held.snapshot, name, block):
            return None
        changed, before = (
            job.changed_dates(held.snapshot, name),
            job.days_of(name, held.snapshot),
        )
        came = changed.came[calendars[name][changed.came] <= days[0]]
        came = _with_data(now, name, came, y, x)
        went[name] = _with_data(then, name, changed.went, y, x)
        late += [(float(day), name) for day in (*calendars[name][came], *before[went[name]])]
    results, end = days_since_1970(job.dates), float(calendar[-1])
    changed_from = min([day for day, _ in late], default=np.inf)
    added_from = results[held.dates :].min(initial=np.inf)
    usable = np.flatnonzero((days < changed_from) & (days <= added_from))
    unmade = ~np.isfinite(days) & (end - calendar[0] > LATEST * np.array(LAGS))
    if not len(usable) or unmade.any():
        return None
    start, since, wanted = int(usable[0]), float(days[usable[0]]), stops_before(end, calendar)
    moves = [
        Walk(place, float(days[place]), _between(calendars, days[place], wanted[place]),
             {place: wanted[place]})
        for place in range(start + 1, len(LAGS))  # those up to the start are made on the way
        if end - days[place] > LATEST * LAGS[place]
    ]  # fmt: skip
    return Step(
        start=start,
        since=since,
        dates=_between(calendars, since, end),
        stops={place: max(day, since) for place, day in wanted.items() if place <= start},
        first=int(np.searchsorted(results, since)),
        late=tuple(sorted(set(late))),
        went=went,
        moves=tuple(moves),
    )


def _with_data(cube: Any, sensor: str, places: Places, y: slice, x: slice) -> Places:
    there = [place for place in places if has_data(cube[sensor], np.array([place]), y, x)]
    return np.array(there, np.intp)


def _between(calendars: Mapping[str, NDArray[np.float64]], since: float, until: float
             ) -> dict[str, Places]:  # fmt: skip
    """By sensor, the acquisitions after one day, up to another."""
    return {name: np.flatnonzero((own > since) & (own <= until)) for name, own in calendars.items()}
