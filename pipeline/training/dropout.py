"""Observation dropout: which observations the encoder does not see in one training step.

The likelihood counts every observation, q sees a random part of them: still a bound on the
evidence, and what teaches the model to fill gaps. Three kinds of gap are drawn, as they occur:
single dates (clouds), contiguous windows (a winter), and whole sensors (an orbit that ended).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from terralatent.models.observations import Observations

__all__ = ["LONGEST_WINDOW_DAYS", "drop_observations", "seeded"]

LONGEST_WINDOW_DAYS = 90.0
SHORTEST_WINDOW_DAYS = 10.0
DROP_SENSOR = 0.15
"""Chance that one sensor is dropped for the whole batch."""
KEEP_DATES = 0.2
"""Chance that a series loses no single dates: what the model meets when it embeds."""
LARGEST_RATE = 0.7
"""Largest share of a series' dates that is dropped one by one."""
WINDOW = 0.5
"""Chance that a series has a window."""
WINDOW_SENSOR = 0.7
"""Chance that a sensor drops out during a series' window."""


def seeded(seed: int, *key: int) -> torch.Generator:
    """A generator on the CPU whose draws depend on ``seed`` and ``key`` alone."""
    state = np.random.SeedSequence([seed, *key]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def drop_observations(
    observations: Mapping[str, Observations], generator: torch.Generator
) -> dict[str, Observations]:
    """Drop a random part of a batch of N series, which the encoder then does not see.

    No series loses its last observation: one that would keeps a single date of its own, drawn at
    random. Validity is only ever taken away; values, days and distances stay.

    Args:
        observations: What the likelihood counts, for each sensor, on the CPU; N pixels each.
        generator: Draws are made in the order of the sensors' names, so that the same state of
            the generator gives the same masks in whatever order the mapping holds them.
    """
    names = sorted(name for name in observations if observations[name].days.numel())
    if not names:
        return dict(observations)
    series = len(observations[names[0]])
    lost = _dropped_sensor(len(names), generator)
    rate = LARGEST_RATE * torch.rand(series, 1, generator=generator)
    rate = torch.where(torch.rand(series, 1, generator=generator) < KEEP_DATES, 0.0, rate)
    begin, end = _windows([observations[name].days for name in names], series, generator)

    dropped, order = [], []
    for place, name in enumerate(names):
        days = observations[name].days
        draw = torch.rand(series, days.numel(), generator=generator)
        out = torch.rand(series, 1, generator=generator) < WINDOW_SENSOR
        drop = (draw < rate) | (out & (days >= begin) & (days <= end))
        dropped.append(torch.ones_like(drop) if place == lost else drop)
        order.append(draw)
    _spare_one(torch.cat([observations[name].observed for name in names], dim=1), dropped, order)
    seen = {name: observations[name].hide(drop) for name, drop in zip(names, dropped, strict=True)}
    return {name: seen.get(name, series) for name, series in observations.items()}


def _dropped_sensor(sensors: int, generator: torch.Generator) -> int | None:
    """The place of the sensor that the whole batch loses, None for most batches."""
    chance, which = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
    return int(which * sensors) if sensors > 1 and chance < DROP_SENSOR else None


def _windows(
    calendars: Sequence[Tensor], series: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """First and last day of each series' window, each (N, 1) float64; none where end < begin."""
    first = min(float(days[0]) for days in calendars)
    last = max(float(days[-1]) for days in calendars)
    draw = torch.rand(3, series, 1, generator=generator, dtype=torch.float64)
    length = SHORTEST_WINDOW_DAYS + draw[0] * (LONGEST_WINDOW_DAYS - SHORTEST_WINDOW_DAYS)
    middle = first + draw[1] * (last - first)
    length = torch.where(draw[2] < WINDOW, length, -1.0)
    return middle - length / 2, middle + length / 2


def _spare_one(observed: Tensor, dropped: Sequence[Tensor], order: Sequence[Tensor]) -> None:
    """Give series that lost everything one observation back, in place in ``dropped``.

    Args:
        observed: (N, T) bool over the dates of all sensors, as the likelihood counts them.
        dropped: (N, T_s) bool for each sensor.
        order: (N, T_s) random numbers; the largest among a series' own dates is given back.
    """
    lost = observed.any(dim=1) & ~(observed & ~torch.cat(list(dropped), dim=1)).any(dim=1)
    if not bool(lost.any()):
        return
    spared = torch.where(observed, torch.cat(list(order), dim=1), -1.0).argmax(dim=1)
    back = torch.zeros_like(observed)
    back[lost, spared[lost]] = True
    given = back.split([drop.shape[1] for drop in dropped], dim=1)
    for drop, spare in zip(dropped, given, strict=True):
        drop &= ~spare
