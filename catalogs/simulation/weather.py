"""The weather of a simulated region, day by day: how cloudy, how much rain, how wet the soil."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import ndtr

__all__ = ["Weather", "make_weather"]

PERSISTENCE = 0.8
"""Correlation of the weather of one day with the next."""

DRIEST, WETTEST = 0.08, 0.38
"""Soil moisture in m3/m3: of air-dry soil, and of soil that holds no more."""

WETTING = 0.0045
"""Soil moisture gained by one millimetre of rain."""


@dataclass(frozen=True)
class Weather:
    """One value a day."""

    gloom: NDArray[np.float64]
    """How cloudy, 0 to 1, evenly distributed over many years but more in winter."""

    rain: NDArray[np.float64]
    """Millimetres."""

    moisture: NDArray[np.float64]
    """Of the topsoil, m3/m3."""


def make_weather(days: NDArray[np.datetime64], rng: Generator) -> Weather:
    """Weather for ``days``, datetime64[D] without gaps; persistent, wetter and darker in winter."""
    season = np.cos(2 * np.pi * (day_of_year(days) - 15) / 365.25)
    state = np.empty(len(days))
    state[0] = rng.standard_normal()
    for n in range(1, len(days)):
        fresh = np.sqrt(1 - PERSISTENCE**2) * rng.standard_normal()
        state[n] = PERSISTENCE * state[n - 1] + fresh
    gloom = ndtr(state + 0.35 * season)
    amount = rng.gamma(0.8, 7.0, len(days))
    rain = np.where(gloom > 0.58, amount * (gloom - 0.3), 0.0)
    moisture = np.empty(len(days))
    held = 0.26 + 0.08 * season[0]
    for n, (fallen, winter) in enumerate(zip(rain, season, strict=True)):
        dries_in = 13.0 + 9.0 * winter  # days: 4 in July, 22 in January
        held = DRIEST + (held - DRIEST) * np.exp(-1 / dries_in) + WETTING * fallen
        held = min(held, WETTEST)
        moisture[n] = held
    return Weather(gloom, rain, moisture)


def day_of_year(days: NDArray[np.datetime64]) -> NDArray[np.float64]:
    """Return the day of the year, 1 on 1 January."""
    since = days - days.astype("datetime64[Y]").astype("datetime64[D]")
    return np.asarray(since.astype(np.float64) + 1)
