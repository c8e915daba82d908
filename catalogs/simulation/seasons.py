"""What stands on every parcel through the seasons: crops, what follows them, and wild plants.

After a harvest a field carries stubble, a cover crop, weeds, or nothing until the next crop.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit

from terralatent.catalogs.simulation.climates.climate import Climate
from terralatent.catalogs.simulation.climates.covers import VEGETATION, LandCover, Plant
from terralatent.catalogs.simulation.crops import (
    Crop,
    Sown,
    onsets,
    season,
    sown_by_calendar,
    sown_by_climate,
    vary,
)
from terralatent.catalogs.simulation.weather import Weather, day_of_year
from terralatent.catalogs.simulation.wild import day_length, wild_canopy

__all__ = ["Canopies", "grow"]

COVER_CROP = Crop(Plant.COVER_CROP, 0, 0.0, 2.9, 32, 0.14, 190, 0.05, 0)
"""Days count from the harvest before it; it stands until the next seed-bed."""

STUBBLE_AREA, STUBBLE_DAYS = 0.55, 24.0
"""Leaf area of straw after a harvest, and the days in which it falls to a third."""

STRAW = {Plant.WHEAT, Plant.BARLEY, Plant.MAIZE, Plant.PEA, Plant.RICE, Plant.SORGHUM}
"""Crops that leave stubble."""

WEEDS, SEED_BED = 0.35, 15.0
"""Largest share of a fallow's plants among and between crops, and the days before emergence on
which a field is bare."""

FLOODING = 4.0
"""Days in which a field floods or runs dry."""


@dataclass(frozen=True)
class Canopies:
    """What stands on each parcel on each day, (days, parcels)."""

    plant: NDArray[np.int8]
    """:class:`Plant`."""

    leaf_area: NDArray[np.float32]
    """One-sided area of all leaves, green and aged, m2/m2."""

    senescence: NDArray[np.float32]
    """Share of the leaf area that has aged, 0 to 1."""

    flooded: NDArray[np.float32]
    """Share of the ground under standing water, 0 to 1."""

    @property
    def green_area(self) -> NDArray[np.float32]:
        """Green leaf area, m2/m2."""
        return self.leaf_area * (1 - self.senescence)

    def within(self, part: slice) -> Canopies:
        """Some of its days."""
        return Canopies(*(getattr(self, field.name)[part] for field in fields(self)))


def grow(
    cover: NDArray[np.int8],
    days: NDArray[np.datetime64],
    first_year: int,
    climate: Climate,
    weather: Weather,
    latitude: float,
    rng: Generator,
) -> Canopies:
    """Grow what covers the parcels.

    Args:
        cover: :class:`LandCover` of each parcel, (crop years, parcels).
        days: datetime64[D]; south of the equator half a year back.
        first_year: Crop year of the first row of ``cover``.
        climate: When crops are sown, and what wild plants follow.
        weather: Of ``days``.
        latitude: Degrees from the equator, for the length of the day.
        rng: Draws what differs from field to field.
    """
    shape = (len(days), cover.shape[1])
    canopies = Canopies(
        np.full(shape, Plant.STUBBLE, np.int8),
        np.zeros(shape, np.float32),
        np.ones(shape, np.float32),
        np.zeros(shape, np.float32),
    )
    by_calendar = climate.phenology == "calendar"
    daylight = day_length(day_of_year(days), latitude)
    rains = {} if by_calendar else onsets(days, climate, weather)
    crops = {LandCover[name.upper()] for name in climate.crops}
    for parcel, covers in enumerate(cover.T):
        own = np.random.default_rng(rng.integers(2**63))
        kind = LandCover(covers[0])
        if by_calendar and kind == LandCover.FOREST:
            _trees(canopies, parcel, days, own)
        elif by_calendar and kind in (LandCover.GRASS, LandCover.BUILT_UP):
            _grass(canopies, parcel, days, own)
        elif kind in crops and by_calendar:
            sown = sown_by_calendar(covers, days, first_year, own)
            _fields(canopies, parcel, sown, climate.cover_crops, own)
        elif kind in crops:
            by_year = dict(enumerate(map(LandCover, covers), first_year))
            by_year = {first_year - 1: kind, **by_year}
            _weeds(canopies, parcel, by_year, days, weather, daylight, own)
            sown = sown_by_climate(by_year, days, climate, weather, rains, own)
            _fields(canopies, parcel, sown, climate.cover_crops, own)
        elif kind in VEGETATION:
            _wild(canopies, parcel, kind, weather, daylight, own)
    return canopies


def _fields(
    canopies: Canopies, parcel: int, sown: list[Sown], cover_crops: float, rng: Generator
) -> None:
    """One arable parcel: its crops one after the other, and what stands between them."""
    weeds = canopies.leaf_area[:, parcel].copy()
    for n, (crop, day) in enumerate((field.crop, field.day) for field in sown):
        area, aged = season(crop, day)
        if weeds.any():
            bed = (day >= crop.emergence - SEED_BED) & (day < crop.emergence)
            _stand(canopies, parcel, Plant.STUBBLE, 0 * area, np.ones_like(area), bed)
        _stand(canopies, parcel, crop.plant, area, aged, area > 0)
        if (flooded := sown[n].flooded) is not None:
            since = day - crop.emergence
            wet = np.minimum(since - flooded[0], flooded[1] - since) / FLOODING
            under = np.maximum(canopies.flooded[:, parcel], wet.clip(0, 1))
            canopies.flooded[:, parcel] = under
        after = day >= crop.harvest
        bare_for = np.inf
        if n + 1 < len(sown):
            bare_for = sown[n + 1].crop.emergence + sown[n].apart - crop.harvest
        until = day < crop.harvest + bare_for
        if crop.plant in STRAW:
            straw = STUBBLE_AREA * np.exp(-(day - crop.harvest).clip(0) / STUBBLE_DAYS)
            stands = after & until & (straw >= weeds)
            _stand(canopies, parcel, Plant.STUBBLE, straw, np.ones_like(straw), stands)
        if bare_for > 120 and rng.random() < cover_crops:
            sown_after = rng.uniform(8, 30) if crop.harvest < 285 else rng.uniform(4, 10)
            own = vary(COVER_CROP, rng)
            along = day - crop.harvest - sown_after
            own = replace(own, emergence=0, growth=max(own.growth, 15), harvest=np.inf)
            area, aged = season(own, along)
            ploughed = along < bare_for - sown_after - rng.uniform(14, 45)
            _stand(canopies, parcel, own.plant, area, aged, (along > 0) & ploughed & (area > 0.15))


def _weeds(
    canopies: Canopies,
    parcel: int,
    covers: dict[int, LandCover],
    days: NDArray[np.datetime64],
    weather: Weather,
    daylight: NDArray[np.float64],
    rng: Generator,
) -> None:
    """What comes up by itself on a field: all of it in years of fallow, else a part."""
    fallow = VEGETATION[LandCover.FALLOW]
    area, aged, _ = wild_canopy(fallow, weather, daylight, rng)
    year = days.astype("datetime64[Y]").astype(int) + 1970
    lies = [number for number, cover in covers.items() if cover == LandCover.FALLOW]
    share = np.where(np.isin(year, lies), 1.0, rng.uniform(0.02, WEEDS))
    plant = Plant[fallow.plant.upper()]
    _stand(canopies, parcel, plant, share * area, aged, np.ones(len(days), bool))


def _wild(
    canopies: Canopies,
    parcel: int,
    cover: LandCover,
    weather: Weather,
    daylight: NDArray[np.float64],
    rng: Generator,
) -> None:
    """Land that nobody sows."""
    area, aged, flooded = wild_canopy(VEGETATION[cover], weather, daylight, rng)
    plant = Plant[VEGETATION[cover].plant.upper()]
    _stand(canopies, parcel, plant, area, aged, np.ones(len(area), bool))
    canopies.flooded[:, parcel] = flooded


def _grass(canopies: Canopies, parcel: int, days: NDArray[np.datetime64], rng: Generator) -> None:
    """Grassland: green all year, cut or grazed between April and October, dry in high summer."""
    day = day_of_year(days)
    vigour, pace = np.exp(0.15 * rng.standard_normal()), rng.uniform(14, 26)
    warm = expit(0.06 * (day - 85)) * expit(-0.05 * (day - 300))
    area = vigour * (1.4 + 2.2 * warm)
    first, every = rng.uniform(118, 150), rng.uniform(32, 60)
    for year in np.unique(days.astype("datetime64[Y]").astype(int)):
        start = np.datetime64(int(year), "Y").astype("datetime64[D]")
        since = (days - start).astype(float) + 1
        for cut in np.arange(first + rng.uniform(-5, 5), 285, every):
            regrown = 1 - 0.68 * np.exp(-(since - cut) / pace)
            area = np.where(since >= cut, np.minimum(area, area * regrown), area)
    dry = 0.4 * np.exp(-(((day - rng.uniform(200, 220)) / 28) ** 2)) * rng.uniform(0.3, 1)
    _stand(canopies, parcel, Plant.GRASS, area.clip(0.6), 0.05 + dry, np.ones(len(days), bool))


def _trees(canopies: Canopies, parcel: int, days: NDArray[np.datetime64], rng: Generator) -> None:
    """Forest: leaves out in spring and down in autumn, over an undergrowth that stays."""
    day = day_of_year(days)
    evergreen = rng.beta(0.6, 1.4)
    out, down = 118 + 5 * rng.standard_normal(), 305 + 6 * rng.standard_normal()
    leaves = 3.9 * (1 - evergreen) * expit(0.18 * (day - out)) * expit(-0.14 * (day - down - 6))
    area = 1.1 + 2.4 * evergreen + leaves
    aged = 0.05 + 0.9 * expit(0.13 * (day - down)) * leaves / area
    _stand(canopies, parcel, Plant.TREES, area, aged, np.ones(len(days), bool))


def _stand(
    canopies: Canopies,
    parcel: int,
    plant: Plant,
    area: NDArray[np.float64],
    aged: NDArray[np.float64],
    when: NDArray[np.bool_],
) -> None:
    canopies.plant[when, parcel] = plant
    canopies.leaf_area[when, parcel] = area[when]
    canopies.senescence[when, parcel] = aged[when]
