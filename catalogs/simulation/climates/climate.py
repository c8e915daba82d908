"""A climate: its seasons of warmth, rain and cloud, what grows in it and when, on which soils.

All of it is data, ``climates.toml`` beside this module. Days of the year are those of the northern
hemisphere; south of the equator the same seasons come half a year later.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, with_config

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.simulation.climates.covers import VEGETATION, LandCover, Plant
from terralatent.catalogs.simulation.climates.spectra import SOILS

__all__ = ["CLIMATES", "DEFAULT", "Climate", "Curve", "Cycle", "Rotation", "pick_climate"]

DEFAULT = "temperate"
"""The climate of a simulation that names none."""

YEAR = 365.25
STRICT = ConfigDict(extra="forbid")


@with_config(STRICT)
@dataclass(frozen=True)
class Curve:
    """Something that comes back every year: a mean and waves around it."""

    mean: float
    waves: tuple[tuple[float, float, int], ...] = ()
    """Of each its amplitude, the day of a peak, and how often it comes in a year."""

    def over(self, day: NDArray[np.float64]) -> NDArray[np.float64]:
        """Its values on days of the year, any shape."""
        total = np.full(day.shape, self.mean)
        for amplitude, peak, times in self.waves:
            total = total + amplitude * np.cos(2 * np.pi * times * (day - peak) / YEAR)
        return total


@with_config(STRICT)
@dataclass(frozen=True)
class Cycle:
    """One crop on a field, from its emergence to its harvest."""

    plant: str
    """Name of the :class:`Plant`."""
    emergence: float
    """Day of the year, below 1 in the year before; or days after the onset of :attr:`rains`."""
    harvest: float
    """Likewise."""
    leaf_area: float | None = None
    """Largest leaf area, m2/m2; None: as usual for the plant."""
    rains: int | None = None
    """Which of the climate's rains it waits for, from 0; None: it follows the calendar."""
    flooded: tuple[float, float] | None = None
    """Days between which the field stands under water, counted from emergence."""

    def __post_init__(self) -> None:
        if self.plant.upper() not in Plant.__members__:
            raise ValueError(f"plant {self.plant!r} is none of {', '.join(Plant.__members__)}")
        if not self.harvest > self.emergence:
            raise ValueError(f"harvest {self.harvest} is not after emergence {self.emergence}")


@with_config(STRICT)
@dataclass(frozen=True)
class Rotation:
    """What the fields of a class bear within a crop year."""

    share: float
    """Of the fields."""
    cycles: tuple[Cycle, ...] = ()
    """One after the other; none: as :data:`~terralatent.catalogs.simulation.seasons.CROPS` has it,
    or nothing that anybody sowed."""


@with_config(STRICT)
@dataclass(frozen=True)
class Climate:
    """One climate, as ``climates.toml`` describes it. Checked when it is read."""

    name: str
    title: str
    """What people call it, and where it is found."""
    latitudes: tuple[float, float]
    """Degrees from the equator."""
    longitudes: tuple[tuple[float, float], ...]
    """Ranges in degrees east."""
    hemispheres: tuple[Literal["north", "south"], ...] = ("north", "south")

    gloom: Curve = Curve(0.0)
    """How cloudy, in standard deviations of the weather: at 0 half of the days are clear."""
    persistence: float = 0.8
    """Correlation of the weather of one day with the next."""
    broken: tuple[float, float] = (0.47, 0.60)
    """Gloom, 0 to 1, below which no cloud is in the sky, and above which nothing else is."""
    haze: Curve = Curve(1.0)
    """Factor of the depth of haze: smoke and dust have their seasons."""
    rain: Curve = Curve(1.0)
    """Factor of the rain that gloomy days bring."""
    temperature: Curve = Curve(10.0)
    """Mean of the day, degrees Celsius."""
    moisture: Curve = Curve(0.26)
    """Of the topsoil where the weather begins, m3/m3."""
    drying: Curve = Curve(13.0)
    """Days in which the topsoil loses its water to a third."""
    snow: bool = True
    """Whether what falls below freezing lies."""
    rains: tuple[float, ...] = ()
    """Days of the year at the height of each rainy season, where plants wait for the rains."""
    late: float = 0.0
    """Standard deviation in days by which the seasons of a year are late."""
    drought: float = 0.0
    """Share of the years with late and little rain."""
    irrigated: float = 0.0
    """Share of the fields that never thirst."""

    phenology: Literal["calendar", "weather"] = "weather"
    """What wild plants follow: fixed days of a mild year, or each year's weather."""
    clustered: Mapping[str, float] = field(default_factory=dict)
    """Shares of the land of classes that stay and keep together, the first to choose first."""
    scattered: Mapping[str, float] = field(default_factory=dict)
    """Shares of classes that stay and lie among the fields."""
    arable: float = 0.0
    """Share of the fields."""
    crops: Mapping[str, Rotation] = field(default_factory=dict)
    """What fields bear, by class."""
    cover_crops: float = 0.0
    """Share of the fields sown with a cover crop when they are bare from before autumn on."""
    parcel: float = 220.0
    """Pixels of 10 m in a parcel, about."""
    river: float = 2.6
    """Half the width of the river, pixels of 10 m."""
    soils: Mapping[str, float] = field(default_factory=lambda: {"loam": 1.0})
    """Names of soils, and how likely each is."""

    def __post_init__(self) -> None:
        shares = [*self.clustered.values(), *self.scattered.values(), self.arable]
        if min(shares) < 0 or not 0.9 <= sum(shares) <= 1.001:
            raise ValueError(f"shares of land add up to {sum(shares):.3f}, not to 1")
        if bool(self.arable) != bool(self.crops):
            raise ValueError("fields and crops go together: give both or none")
        for name in (*self.clustered, *self.scattered, *self.crops):
            if name.upper() not in LandCover.__members__:
                raise ValueError(f"{name!r} is no land cover")
        for name in (*self.clustered, *self.scattered):
            if (cover := LandCover[name.upper()]) not in VEGETATION and cover != LandCover.WATER:
                raise ValueError(f"{name!r} is a crop: it does not stay")
        for rotation in self.crops.values():
            for cycle in rotation.cycles:
                if cycle.rains is not None and cycle.rains >= len(self.rains):
                    raise ValueError(f"there are {len(self.rains)} rains, not {cycle.rains + 1}")
        if unknown := set(self.soils) - set(SOILS):
            raise ValueError(f"soils {sorted(unknown)} are none of {', '.join(SOILS)}")
        for low, high in (self.latitudes, self.broken, *self.longitudes):
            if not low < high:
                raise ValueError(f"({low}, {high}) does not rise")

    @property
    def covers(self) -> tuple[LandCover, ...]:
        """The classes that there can be, by their numbers."""
        names = {"water", *self.clustered, *self.scattered, *self.crops}
        return tuple(sorted(LandCover[name.upper()] for name in names))


def pick_climate(name: str) -> Climate:
    """The climate called ``name``.

    Raises:
        InputError: If there is none.
    """
    if name not in CLIMATES:
        raise InputError(f"Unknown climate {name}; known are {', '.join(CLIMATES)}, and random.")
    return CLIMATES[name]


def _read() -> Mapping[str, Climate]:
    tables = tomllib.loads(Path(__file__).with_name("climates.toml").read_text("utf-8"))
    named = {name: {**table, "name": name} for name, table in tables.items()}
    return MappingProxyType(TypeAdapter(dict[str, Climate]).validate_python(named))


CLIMATES = _read()
"""The built-in climates by name, from ``climates.toml``."""
