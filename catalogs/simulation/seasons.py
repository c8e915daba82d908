"""Leaf area and senescence through the seasons, by crop, with differences from field to field.

The leaf area of a crop grows along a logistic curve from emergence, ages along another, and is gone
at harvest; what then stands on the field is stubble, a cover crop, or nothing until the next crop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.special import expit

from terralatent.catalogs.simulation.landscape import LandCover
from terralatent.catalogs.simulation.weather import day_of_year

__all__ = ["CROPS", "Canopies", "Crop", "Plant", "grow"]


class Plant(IntEnum):
    """What stands on a parcel on a day; each has leaves of its own."""

    WHEAT = 0
    BARLEY = 1
    MAIZE = 2
    POTATO = 3
    BEET = 4
    PEA = 5
    GRASS = 6
    TREES = 7
    COVER_CROP = 8
    STUBBLE = 9


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


CROPS = {
    LandCover.WINTER_WHEAT: Crop(Plant.WHEAT, -55, 0.7, 4.9, 105, 0.075, 181, 0.16, 207),
    LandCover.WINTER_BARLEY: Crop(Plant.BARLEY, -75, 0.9, 4.4, 96, 0.085, 163, 0.18, 189),
    LandCover.MAIZE: Crop(Plant.MAIZE, 133, 0.0, 4.2, 174, 0.125, 258, 0.10, 276),
    LandCover.POTATO: Crop(Plant.POTATO, 138, 0.0, 3.8, 162, 0.16, 236, 0.12, 263),
    LandCover.SUGAR_BEET: Crop(Plant.BEET, 112, 0.0, 4.1, 158, 0.11, 300, 0.025, 306),
    LandCover.PEA: Crop(Plant.PEA, 95, 0.0, 3.7, 130, 0.14, 177, 0.22, 190),
}
"""Middle values; each field has its own around them."""

OLD_LEAVES = 0.06
"""Share of the leaf area that is never quite green."""

SHED = 0.35
"""Share of the leaf area that is shed while it ages."""

COVER_CROP = Crop(Plant.COVER_CROP, 0, 0.0, 2.9, 32, 0.14, 190, 0.05, 0)
"""Days count from the harvest before it; it stands until the next seed-bed."""

COVER_CROP_SHARE = 0.7
"""Of the fields that are bare from before autumn until spring."""

STUBBLE_AREA, STUBBLE_DAYS = 0.55, 24.0
"""Leaf area of straw after a harvest, and the days in which it falls to a third."""

STRAW = {Plant.WHEAT, Plant.BARLEY, Plant.MAIZE, Plant.PEA}
"""Crops that leave stubble."""


@dataclass(frozen=True)
class Canopies:
    """What stands on each parcel on each day, (days, parcels)."""

    plant: NDArray[np.int8]
    """:class:`Plant`."""

    leaf_area: NDArray[np.float32]
    """One-sided area of all leaves, green and aged, m2/m2."""

    senescence: NDArray[np.float32]
    """Share of the leaf area that has aged, 0 to 1."""

    @property
    def green_area(self) -> NDArray[np.float32]:
        """Green leaf area, m2/m2."""
        return self.leaf_area * (1 - self.senescence)


def grow(
    cover: NDArray[np.int8], days: NDArray[np.datetime64], first_year: int, rng: Generator
) -> Canopies:
    """Grow what covers the parcels.

    Args:
        cover: :class:`LandCover` of each parcel, (crop years, parcels).
        days: datetime64[D].
        first_year: Crop year of the first row of ``cover``.
        rng: Draws what differs from field to field.
    """
    shape = (len(days), cover.shape[1])
    canopies = Canopies(
        np.full(shape, Plant.STUBBLE, np.int8),
        np.zeros(shape, np.float32),
        np.ones(shape, np.float32),
    )
    for parcel, covers in enumerate(cover.T):
        own = np.random.default_rng(rng.integers(2**63))
        if covers[0] == LandCover.FOREST:
            _trees(canopies, parcel, days, own)
        elif covers[0] in (LandCover.GRASS, LandCover.BUILT_UP):
            _grass(canopies, parcel, days, own)
        elif covers[0] != LandCover.WATER:
            _fields(canopies, parcel, covers, days, first_year, own)
    return canopies


def season(crop: Crop, day: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Leaf area and senescence of ``crop`` on ``day``, 0 before emergence and from harvest on."""
    growth = expit(crop.growth_rate * (day - crop.growth))
    aged = OLD_LEAVES + (1 - OLD_LEAVES) * expit(crop.senescence_rate * (day - crop.senescence))
    come_up = 1 - np.exp(-np.maximum(day - crop.emergence, 0) / 12)
    area = crop.overwinters * come_up + (crop.leaf_area - crop.overwinters) * growth
    area *= (1 - SHED * aged) * ((day >= crop.emergence) & (day < crop.harvest))
    return area, aged


def _vary(crop: Crop, rng: Generator) -> Crop:
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


def _fields(
    canopies: Canopies,
    parcel: int,
    covers: NDArray[np.int8],
    days: NDArray[np.datetime64],
    first_year: int,
    rng: Generator,
) -> None:
    """One arable parcel: its crops one after the other, and what stands between them."""
    crops = [_vary(CROPS[LandCover(cover)], rng) for cover in covers]
    # The year before, so that the winter before the first crop is not always bare.
    before = _vary(CROPS[LandCover(covers[0])], rng)
    starts = [f"{first_year + n}-01-01" for n in range(-1, len(crops))]
    since = [(days - np.datetime64(start)).astype(float) + 1 for start in starts]
    all_crops = [before, *crops]
    for n, (crop, day) in enumerate(zip(all_crops, since, strict=True)):
        area, aged = season(crop, day)
        _stand(canopies, parcel, crop.plant, area, aged, area > 0)
        after = day >= crop.harvest
        bare_for = np.inf
        if n < len(crops):
            bare_for = all_crops[n + 1].emergence + 365 - crop.harvest
        until = day < crop.harvest + bare_for
        if crop.plant in STRAW:
            straw = STUBBLE_AREA * np.exp(-(day - crop.harvest).clip(0) / STUBBLE_DAYS)
            _stand(canopies, parcel, Plant.STUBBLE, straw, np.ones_like(straw), after & until)
        if bare_for > 120 and rng.random() < COVER_CROP_SHARE:
            sown = rng.uniform(8, 30) if crop.harvest < 285 else rng.uniform(4, 10)
            own = _vary(COVER_CROP, rng)
            along = day - crop.harvest - sown
            own = replace(own, emergence=0, growth=max(own.growth, 15), harvest=np.inf)
            area, aged = season(own, along)
            ploughed = along < bare_for - sown - rng.uniform(14, 45)
            _stand(canopies, parcel, own.plant, area, aged, (along > 0) & ploughed & (area > 0.15))


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
