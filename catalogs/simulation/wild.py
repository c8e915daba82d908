"""Wild plants through the seasons: leaves come and go with warmth, light and the soil's water.

By the growing season index of Jolly et al. (2005), "A generalized, bioclimatic index to predict
foliar phenology in response to climate": the product of ramps over temperature, day length and
dryness (here of the root zone), averaged over three weeks. What the index takes away dies, stands
for a while and falls.
"""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from terralatent.catalogs.simulation.climates.covers import Vegetation
from terralatent.catalogs.simulation.weather import Weather

__all__ = ["day_length", "growing_season", "wild_canopy"]

WARM, LIGHT, DRY = (4.0, 12.0), (10.0, 11.5), 0.12
"""Degrees, hours of day and water of the roots between which, or from which on, leaves grow."""

MEMORY = 21
"""Days over which plants average."""

REGROWS = 500.0
"""Days in which a felled plantation has closed to 63 %."""

Series = NDArray[np.float64]


def day_length(day: NDArray[np.float64], latitude: float) -> Series:
    """Hours from sunrise to sunset, on days of the year in the calendar of the place."""
    declination = np.radians(-23.44) * np.cos(2 * np.pi * (day + 10) / 365.25)
    dawn = -np.tan(np.radians(latitude)) * np.tan(declination)
    return np.asarray(24 / np.pi * np.arccos(np.clip(dawn, -1, 1)))


def growing_season(
    vegetation: Vegetation, weather: Weather, daylight: Series, late: float, thirst: float
) -> Series:
    """The index of each day, 0 to 1.

    Args:
        vegetation: Says what it waits for.
        weather: Day by day.
        daylight: Hours, day by day.
        late: Days by which these plants are behind others.
        thirst: Water of the root zone from which there is enough.
    """
    ramps = {
        "warmth": _ramp(weather.temperature, *WARM),
        "light": _ramp(daylight, *LIGHT),
        "water": _ramp(weather.roots, DRY, thirst),
    }
    index = np.ones(len(daylight))
    for need in vegetation.needs:
        index = index * ramps[need]
    mean = np.convolve(index, np.ones(MEMORY) / MEMORY)[: len(index)]
    mean[: MEMORY - 1] *= MEMORY / np.arange(1, MEMORY)  # of those days that there were
    days = np.arange(len(index), dtype=float)
    return np.asarray(np.interp(days - late, days, mean))


def wild_canopy(
    vegetation: Vegetation, weather: Weather, daylight: Series, rng: Generator
) -> tuple[Series, Series, Series]:
    """Leaf area, the share of it that is dead, and the share of ground under water, (days,).

    Args:
        vegetation: What grows.
        weather: Day by day.
        daylight: Hours, day by day.
        rng: Draws what differs from parcel to parcel.
    """
    late, vigour = max(5 * rng.standard_normal(), -8.0), np.exp(0.18 * rng.standard_normal())
    thirst = float(np.clip(vegetation.thirst * np.exp(0.15 * rng.standard_normal()), 0.2, 0.95))
    index = growing_season(vegetation, weather, daylight, late, thirst)
    green = (vegetation.always + vegetation.seasonal * index) * vigour
    if rng.random() < vegetation.felled * len(index) / 365.25:
        since = np.arange(len(index)) - rng.integers(len(index))
        stands = np.where(since < 0, 1.0, 0.12 + 0.88 * (1 - np.exp(-since.clip(0) / REGROWS)))
        green = green * stands
    falls, dead, standing = np.exp(-1 / vegetation.litter), 0.0, np.empty(len(index))
    for n, lost in enumerate(np.maximum(-np.diff(green, prepend=green[0]), 0.0)):
        dead = dead * falls + lost
        standing[n] = dead
    # Leaves that live for years are never all of one green.
    area = (green / 0.95 + standing).clip(0.0, 7.9)
    low, high = vegetation.water
    wet = _ramp(weather.roots, 0.3, 1.0)
    wet = np.convolve(wet, np.ones(MEMORY) / MEMORY)[: len(wet)]
    depth = np.clip(rng.normal(0.0, 0.15), -0.3, 0.3) if high else 0.0
    flooded = ((low + (high - low) * wet) + depth).clip(0.0, 1.0) if high else np.zeros(len(wet))
    return area, (1 - green / area.clip(1e-6)).clip(0.0, 1.0), flooded


def _ramp(values: Series, low: float, high: float) -> Series:
    return np.asarray(((values - low) / (high - low)).clip(0.0, 1.0))
