"""The weather of a simulated region, day by day: cloud, rain, warmth, and the water of the soil."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr

from terralatent.catalogs.simulation.climates.climate import Climate

__all__ = ["Weather", "day_of_year", "make_weather"]

DRIEST, WETTEST = 0.08, 0.38
"""Soil moisture in m3/m3: of air-dry soil, and of soil that holds no more."""

WETTING = 0.0045
"""Soil moisture gained by one millimetre of rain."""

WARM_SPELLS = 3.0
"""Standard deviation in degrees of a day's warmth around the season's."""

ROOTS_HOLD = 110.0
"""Millimetres of water that the root zone holds."""

THIRST = (0.4, 0.15)
"""Millimetres a day that plants and sun take at 0 degrees, and more for each degree."""

MELTS = 3.0
"""Millimetres of snow that melt in a day, for each degree above freezing (degree-day factor)."""

LIES = 6.0
"""Millimetres of water in the snow that covers 63 % of the ground."""

DROUGHT_RAIN, DROUGHT_LATE = (0.35, 0.6), 15.0
"""Factor of the rain of a year of drought, lowest and highest, and days by which it is late."""


@dataclass(frozen=True)
class Weather:
    """One value a day."""

    gloom: NDArray[np.float64]
    """How cloudy, 0 to 1, evenly distributed over many years where the climate is neither clear nor
    gloomy."""

    rain: NDArray[np.float64]
    """Millimetres."""

    moisture: NDArray[np.float64]
    """Of the topsoil, m3/m3."""

    temperature: NDArray[np.float64]
    """Degrees Celsius."""

    roots: NDArray[np.float64]
    """Water of the root zone as a share of what it holds."""

    snow: NDArray[np.float64]
    """Share of open ground under snow."""

    haze: NDArray[np.float64]
    """Factor of the depth of haze."""

    def within(self, part: slice) -> Weather:
        """Some of its days."""
        return Weather(*(getattr(self, field.name)[part] for field in fields(self)))


def make_weather(
    days: NDArray[np.datetime64], climate: Climate, rng: Generator, years: Generator
) -> Weather:
    """Weather for ``days``, persistent, with the seasons of ``climate``.

    Args:
        days: datetime64[D] without gaps; south of the equator half a year back, see
            :attr:`~terralatent.catalogs.simulation.climates.world.World.season_lag`.
        climate: Its curves.
        rng: Draws the days.
        years: Draws which years are late or dry, and warm spells.
    """
    late, wet = _years(days, climate, years)
    day = day_of_year(days) - late
    state = np.empty(len(days))
    state[0] = rng.standard_normal()
    for n in range(1, len(days)):
        fresh = np.sqrt(1 - climate.persistence**2) * rng.standard_normal()
        state[n] = climate.persistence * state[n - 1] + fresh
    gloom = ndtr(state + climate.gloom.over(day))
    amount = rng.gamma(0.8, 7.0, len(days))
    rain = np.where(gloom > 0.58, amount * (gloom - 0.3), 0.0)
    rain = rain * climate.rain.over(day).clip(0.0) * wet
    spells = _persistent(years.standard_normal(len(days)), 0.85)
    temperature = climate.temperature.over(day) + WARM_SPELLS * spells
    fallen, snow = _snow(rain, temperature) if climate.snow else (rain, np.zeros(len(days)))
    moisture = _topsoil(fallen, climate.drying.over(day), float(climate.moisture.over(day)[0]))
    roots = _roots(fallen, temperature)
    return Weather(gloom, rain, moisture, temperature, roots, snow, climate.haze.over(day).clip(0))


def day_of_year(days: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return the day of the year, 1 on 1 January."""
    since = days - days.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray(since.astype(np.float64) + 1)


def _years(
    days: NDArray[np.datetime64], climate: Climate, rng: Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Days by which the season of each day is late, and the factor of its rain.

    Years pass into each other half a year from the height of the rain.
    """
    height = climate.rain.waves[0][1] if climate.rain.waves else 183.0
    first, last = (day.astype("datetime64[Y]") for day in (days[0], days[-1]))
    every = np.arange(first - 1, last + 2)
    dry = rng.random(len(every)) < climate.drought
    late = climate.late * rng.standard_normal(len(every)) + DROUGHT_LATE * dry
    wet = np.where(dry, rng.uniform(*DROUGHT_RAIN, len(every)), 1.0)
    since = (days - every[0].astype("datetime64[D]")).astype(np.float64) - height + 183
    year = np.clip(since // 365.25, 0, len(every) - 1).astype(int)
    middle = (every.astype("datetime64[D]") - every[0].astype("datetime64[D]")).astype(np.float64)
    return np.interp(since - 183, middle, late), wet[year]


def _persistent(fresh: NDArray[np.float64], persistence: float) -> NDArray[np.float64]:
    """White noise made a persistent process of unit variance."""
    state = np.empty_like(fresh)
    state[0] = fresh[0]
    for n in range(1, len(fresh)):
        state[n] = persistence * state[n - 1] + np.sqrt(1 - persistence**2) * fresh[n]
    return state


def _topsoil(
    fallen: NDArray[np.float64], dries_in: NDArray[np.float64], held: float
) -> NDArray[np.float64]:
    """Moisture, m3/m3."""
    moisture = np.empty_like(fallen)
    for n, (water, days) in enumerate(zip(fallen, dries_in, strict=True)):
        held = DRIEST + (held - DRIEST) * np.exp(-1 / days) + WETTING * water
        held = min(held, WETTEST)
        moisture[n] = held
    return moisture


def _roots(fallen: NDArray[np.float64], temperature: NDArray[np.float64]) -> NDArray[np.float64]:
    """Water of the root zone, 0 to 1: a bucket that gives less the emptier it is."""
    wanted = (THIRST[0] + THIRST[1] * temperature).clip(0.0)
    held, share = 0.5 * ROOTS_HOLD, np.empty_like(fallen)
    for n, (water, taken) in enumerate(zip(fallen, wanted, strict=True)):
        given = taken * min(1.0, held / (0.5 * ROOTS_HOLD))
        held = min(max(held + water - given, 0.0), ROOTS_HOLD)
        share[n] = held / ROOTS_HOLD
    return share


def _snow(
    rain: NDArray[np.float64], temperature: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What reaches the soil as water in mm, and the share of open ground under snow."""
    lying, fallen, cover = 0.0, np.empty_like(rain), np.empty_like(rain)
    for n, (water, warmth) in enumerate(zip(rain, temperature, strict=True)):
        frozen = water if warmth < 0.5 else 0.0
        melted = min(lying, MELTS * max(warmth, 0.0))
        lying += frozen - melted
        fallen[n] = water - frozen + melted
        cover[n] = 1 - np.exp(-lying / LIES)
    return fallen, cover
