"""Crops: the course of their leaf area from emergence to harvest, and when each field bears which.

The leaf area of a crop grows along a logistic curve from emergence, ages along another, and is gone
at harvest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit

from terralatent.catalogs.simulation.climates.climate import Climate, Cycle
from terralatent.catalogs.simulation.climates.covers import LandCover, Plant
from terralatent.catalogs.simulation.weather import Weather

__all__ = [
    "CROPS", "Crop", "Sown", "onsets", "season", "sown_by_calendar", "sown_by_climate", "vary",
]  # fmt: skip


@dataclass(frozen=True)
class Crop:
    """The season of a crop; days count from 1 on 1 January of the year of its harvest."""

    plant: Plant
    emergence: float
    """First day of leaves; below 1 in the autumn before."""
    overwinters: float
    """Leaf area in winter, m2/m2."""
    leaf_area: float
    """Largest leaf area, m2/m2."""
    growth: float
    """Day of half the leaf area."""
    growth_rate: float
    """Of the logistic curve, a day."""
    senescence: float
    """Day on which half of the leaf area has aged."""
    senescence_rate: float
    """Of the logistic curve, a day."""
    harvest: float
    """Day on which the crop is taken away."""

    def between(self, emergence: float, harvest: float, leaf_area: float | None) -> Crop:
        """The same course from another emergence to another harvest, faster or slower."""
        pace = (harvest - emergence) / (self.harvest - self.emergence)
        size = 1.0 if leaf_area is None else leaf_area / self.leaf_area
        return Crop(
            self.plant,
            emergence,
            self.overwinters * size,
            self.leaf_area * size,
            emergence + pace * (self.growth - self.emergence),
            self.growth_rate / pace,
            emergence + pace * (self.senescence - self.emergence),
            self.senescence_rate / pace,
            harvest,
        )


CROPS = {
    LandCover.WINTER_WHEAT: Crop(Plant.WHEAT, -55, 0.7, 4.9, 105, 0.075, 181, 0.16, 207),
    LandCover.WINTER_BARLEY: Crop(Plant.BARLEY, -75, 0.9, 4.4, 96, 0.085, 163, 0.18, 189),
    LandCover.MAIZE: Crop(Plant.MAIZE, 133, 0.0, 4.2, 174, 0.125, 258, 0.10, 276),
    LandCover.POTATO: Crop(Plant.POTATO, 138, 0.0, 3.8, 162, 0.16, 236, 0.12, 263),
    LandCover.SUGAR_BEET: Crop(Plant.BEET, 112, 0.0, 4.1, 158, 0.11, 300, 0.025, 306),
    LandCover.PEA: Crop(Plant.PEA, 95, 0.0, 3.7, 130, 0.14, 177, 0.22, 190),
    LandCover.RICE: Crop(Plant.RICE, 0, 0.0, 5.0, 42, 0.11, 98, 0.11, 118),
    LandCover.SOY: Crop(Plant.SOY, 0, 0.0, 4.6, 45, 0.12, 103, 0.15, 122),
    LandCover.SORGHUM: Crop(Plant.SORGHUM, 0, 0.0, 3.9, 42, 0.11, 105, 0.09, 125),
}
"""Middle values; each field has its own around them. A climate may move them."""

OLD_LEAVES = 0.06
"""Share of the leaf area that is never quite green."""

SHED = 0.35
"""Share of the leaf area that is shed while it ages."""

ENOUGH_WATER, LEAST_LEAVES = 0.4, 0.3
"""Water of the root zone that a crop wants, and the share of its leaves that it has without any."""


@dataclass(frozen=True)
class Sown:
    """A crop on one field, in one season."""

    crop: Crop
    day: NDArray[np.float64]
    """The crop's day on each day of the simulation."""
    apart: float
    """Days from the beginning of its year to that of the next crop's."""
    flooded: tuple[float, float] | None = None
    """Days between which the field stands under water, counted from emergence."""


def season(crop: Crop, day: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leaf area and senescence of ``crop`` on ``day``, 0 before emergence and from harvest on."""
    growth = expit(crop.growth_rate * (day - crop.growth))
    aged = OLD_LEAVES + (1 - OLD_LEAVES) * expit(crop.senescence_rate * (day - crop.senescence))
    come_up = 1 - np.exp(-np.maximum(day - crop.emergence, 0) / 12)
    area = crop.overwinters * come_up + (crop.leaf_area - crop.overwinters) * growth
    area *= (1 - SHED * aged) * ((day >= crop.emergence) & (day < crop.harvest))
    return area, aged


def vary(crop: Crop, rng: Generator) -> Crop:
    """The season of one field: early or late as a whole, and in each of its stages."""
    late, stages = 6 * rng.standard_normal(), 3 * rng.standard_normal(3)
    size, pace = np.exp(0.15 * rng.standard_normal()), np.exp(0.10 * rng.standard_normal(2))
    senescence = crop.senescence + late + stages[1]
    return Crop(
        crop.plant,
        crop.emergence + late,
        crop.overwinters * size,
        min(crop.leaf_area * size, 7.0),
        crop.growth + late + stages[0],
        crop.growth_rate * pace[0],
        senescence,
        crop.senescence_rate * pace[1],
        crop.harvest + late + stages[1] + abs(stages[2]),
    )


def sown_by_calendar(
    covers: NDArray[np.int8], days: NDArray[np.datetime64], first_year: int, rng: Generator
) -> list[Sown]:
    """What a field bears in a climate that moves none of :data:`CROPS`, one crop a year."""
    crops = [vary(CROPS[LandCover(cover)], rng) for cover in covers]
    # The year before, so that the winter before the first crop is not always bare.
    before = vary(CROPS[LandCover(covers[0])], rng)
    starts = [f"{first_year + n}-01-01" for n in range(-1, len(crops))]
    since = [(days - np.datetime64(start)).astype(float) + 1 for start in starts]
    return [Sown(crop, day, 365) for crop, day in zip([before, *crops], since, strict=True)]


def sown_by_climate(
    covers: Mapping[int, LandCover],
    days: NDArray[np.datetime64],
    climate: Climate,
    weather: Weather,
    rains: Mapping[int, tuple[float, ...]],
    rng: Generator,
) -> list[Sown]:
    """What a field bears where the climate has its own cycles.

    Args:
        covers: Class by crop year.
        days: datetime64[D], without gaps.
        climate: Its cycles.
        weather: Day by day; what is not irrigated grows as far as there is water.
        rains: See :func:`onsets`.
        rng: Draws what is the field's own.
    """
    irrigated = rng.random() < climate.irrigated
    sown, begins = [], []
    for year, cover in covers.items():
        new_year = float((np.datetime64(f"{year}-01-01") - days[0]).astype(int)) - 1
        for cycle in climate.crops[cover.name.lower()].cycles:
            begin = new_year if cycle.rains is None else rains[year][cycle.rains]
            day = np.arange(len(days), dtype=np.float64) - begin
            sown.append((_of_field(cycle, day, weather, irrigated, rng), day, cycle.flooded))
            begins.append(begin)
    if not sown:
        return []
    apart = [*np.diff(begins), 365.0]
    return [Sown(crop, day, gap, wet) for (crop, day, wet), gap in zip(sown, apart, strict=True)]


def onsets(
    days: NDArray[np.datetime64], climate: Climate, weather: Weather
) -> dict[int, tuple[float, ...]]:
    """By year, the number of the day on which each rainy season of ``climate`` begins.

    After Liebmann & Marengo (2001), "Interannual variability of the rainy season and rainfall in
    the Brazilian Amazon basin": where the sum of the rain above its mean turns from falling to
    rising. Years of which the simulation has no such days get the day of other years.
    """
    summed = np.cumsum(weather.rain - weather.rain.mean())
    years = days.astype("datetime64[Y]").astype(int) + 1970
    before, after = (90, 15) if len(climate.rains) > 1 else (150, 20)
    begun: dict[int, list[float]] = {}
    for year in range(int(years[0]) - 1, int(years[-1]) + 2):
        new_year = int((np.datetime64(f"{year}-01-01") - days[0]).astype(int)) - 1
        begun[year] = []
        for height in climate.rains:
            window = new_year + round(height) + np.arange(-before, after)
            inside = window[(window >= 0) & (window < len(days))]
            whole = len(inside) == len(window)
            usual = new_year + height - 0.6 * before
            begun[year].append(float(inside[np.argmin(summed[inside])]) if whole else usual)
    return {year: tuple(days) for year, days in begun.items()}


def _of_field(
    cycle: Cycle, day: NDArray[np.float64], weather: Weather, irrigated: bool, rng: Generator
) -> Crop:
    """The crop of a cycle as one field has it, thirsty where it is dry and not watered."""
    template = next(crop for crop in CROPS.values() if crop.plant.name == cycle.plant.upper())
    crop = vary(template.between(cycle.emergence, cycle.harvest, cycle.leaf_area), rng)
    grows = (day > crop.emergence + 5) & (day < crop.senescence)
    if irrigated or cycle.flooded is not None or not grows.any():
        return crop
    water = float(np.minimum(weather.roots[grows] / ENOUGH_WATER, 1).mean())
    share = LEAST_LEAVES + (1 - LEAST_LEAVES) * water
    return replace(crop, leaf_area=crop.leaf_area * share, overwinters=crop.overwinters * share)
