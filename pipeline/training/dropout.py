"""Observation dropout: which observations the encoder does not see in one training step.

The likelihood counts every observation, q sees a random part of them: still a bound on the
evidence, and what teaches the model to fill gaps. Three kinds of gap are drawn, as they occur:
single dates (clouds), contiguous windows (a winter), and whole sensors (an orbit that ended).

On request bands are dropped as well, so that a model pretrained on all of them can read a cube that
has some: those of one resolution, a random half, all but one, or a single one stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from terralatent.catalogs.sources.sensors import SENSORS
from terralatent.models.observations import Observations

__all__ = [
    "LONGEST_WINDOW_DAYS",
    "BandGroups",
    "band_groups",
    "drop_bands",
    "drop_observations",
    "seeded",
]

BandGroups = Mapping[str, Sequence[Sequence[int]]]
"""For each sensor, the places of its bands that are published in one resolution."""

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
DROP_BANDS = 0.3
"""Chance that a sensor loses bands for the whole batch."""
DROP_ANGLE = 0.5
"""Chance that a sensor's angle of incidence is not known to the whole batch: some providers state
it, others do not."""
KINDS = (0.4, 0.7, 0.9)
"""Below which of a draw those of one resolution stay, a random half, all but one; above, one."""


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


def band_groups(bands: Mapping[str, Sequence[str]]) -> BandGroups:
    """Group the bands of each sensor by the resolution in which they are published.

    Args:
        bands: Of each sensor, in the order that observations have.
    """
    groups = {}
    for name, own in bands.items():
        alike = SENSORS[name].by_resolution() if name in SENSORS else (tuple(own),)
        places = [[own.index(band) for band in some if band in own] for some in alike]
        groups[name] = [some for some in places if some]
    return groups


def drop_bands(
    observations: Mapping[str, Observations], groups: BandGroups, generator: torch.Generator
) -> dict[str, Observations]:
    """Drop bands of some sensors for all of a batch, which the encoder then does not see.

    Of some sensors those of one resolution stay, a random half, all but one, or a single one; only
    bands that the batch has are chosen. A series of which nothing would be left keeps all. Of half
    of the sensors the angle of incidence is not known either.

    Args:
        observations: What is left of a batch after :func:`drop_observations`, on the CPU.
        groups: See :func:`band_groups`.
        generator: Draws are made in the order of the sensors' names.
    """
    seen = dict(observations)
    for name in sorted(observations):
        series = observations[name]
        chance, kind, which, angle = torch.rand(
            4, generator=generator, dtype=torch.float64
        ).tolist()
        if angle < DROP_ANGLE:
            series = replace(series, incidence=torch.full_like(series.incidence, torch.nan))
            seen[name] = series
        order = torch.randperm(series.valid.shape[-1], generator=generator)
        there = series.valid.flatten(0, 1).any(0)
        order = order[there[order]]
        if chance >= DROP_BANDS or len(order) < 2:
            continue
        alike = [[band for band in group if bool(there[band])] for group in groups.get(name, ())]
        alike = [group for group in alike if 0 < len(group) < len(order)]
        half, all_but_one, single = (order[:n].tolist() for n in (len(order) // 2, -1, 1))
        resolution = alike[int(which * len(alike))] if alike else half
        kept = (resolution, half, all_but_one, single)[sum(kind >= edge for edge in KINDS)]
        hidden = torch.ones_like(there)
        hidden[kept] = False
        seen[name] = replace(series, valid=series.valid & ~hidden)
    return _spare_all(observations, seen)


def _spare_all(
    before: Mapping[str, Observations], after: Mapping[str, Observations]
) -> dict[str, Observations]:
    """Give series of which nothing is left all back that they had."""
    if not before:
        return dict(after)

    def some(series: Mapping[str, Observations]) -> Tensor:
        return torch.stack([own.valid.flatten(1).any(1) for own in series.values()]).any(0)

    lost = (some(before) & ~some(after))[:, None, None]
    return {
        name: replace(own, valid=own.valid | (lost & before[name].valid))
        for name, own in after.items()
    }


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
