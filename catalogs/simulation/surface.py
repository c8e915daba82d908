"""The surface of a simulated region as a perfect instrument would see it, on any day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from terralatent.catalogs.simulation.canopy import BANDS, CanopyTable, soil_reflectance
from terralatent.catalogs.simulation.climates.covers import LandCover, Plant
from terralatent.catalogs.simulation.climates.spectra import (
    MSI,
    ROCK,
    SHALLOW_WATER,
    SNOW,
    SOILS,
    Instrument,
)
from terralatent.catalogs.simulation.climates.world import World
from terralatent.catalogs.simulation.landscape import Landscape
from terralatent.catalogs.simulation.orbits import Track, sun
from terralatent.catalogs.simulation.seasons import Canopies
from terralatent.catalogs.simulation.weather import DRIEST, WETTEST, Weather

_Scalar = TypeVar("_Scalar", bound=np.generic)

__all__ = ["COARSE", "NADIR", "Surface", "halved"]

COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12")
"""Bands with pixels of 20 m."""

ROOF = (0.100, 0.128, 0.162, 0.180, 0.196, 0.206, 0.215, 0.222, 0.262, 0.252)
ASPHALT = (0.072, 0.084, 0.093, 0.098, 0.104, 0.108, 0.112, 0.114, 0.138, 0.128)
WATER = (0.036, 0.052, 0.038, 0.034, 0.022, 0.021, 0.018, 0.017, 0.008, 0.006)
"""Reflectance in the bands."""

SUN_NODES = (29.0, 44.0, 60.0, 76.0)
"""Zenith angles at which the canopies are computed; between them they are interpolated."""

USUAL_BRIGHTNESS = 0.52
"""Of soil, in the mean; stones are brighter or darker with it."""

SHELTER, CROWNS = 0.55, 0.12
"""Share of the snow below that a unit of leaf area hides, as an exponent, and the least that shows:
some of it lies on the crowns."""

FREEZES = -4.0
"""Mean temperature of a month from which water is frozen and carries snow."""

BLUR = 0.55
"""Pixels of 10 m: standard deviation of the sensor's point spread."""

NADIR = None
"""A satellite straight above."""


@dataclass(frozen=True)
class Surface:
    """Everything the reflectance of a day depends on."""

    world: World
    land: Landscape
    canopies: Canopies
    weather: Weather
    days: NDArray[np.datetime64]
    """datetime64[D], without gaps."""
    tables: dict[tuple[Instrument, Track | None, float], CanopyTable]
    """Canopies by instrument, satellite and zenith angle of the sun."""

    @classmethod
    def lit(
        cls,
        world: World,
        land: Landscape,
        canopies: Canopies,
        weather: Weather,
        days: NDArray[np.datetime64],
        views: Iterable[tuple[Instrument, Track | None]],
    ) -> Surface:
        """Compute the canopies as ``views`` see them; takes some seconds."""
        heights = [sun(day + world.overpass, *world.ground.middle)[0] for day in days]
        low, high = np.searchsorted(SUN_NODES, [min(heights), max(heights)])
        last = len(SUN_NODES) - 1
        nodes = SUN_NODES[min(max(low - 1, 0), last - 1) : max(min(high, last), 1) + 1]
        plants = [Plant(number) for number in np.unique(canopies.plant)]
        tables = {}
        for kind, track in views:
            zenith, azimuth = 0.0, 0.0
            if track is not None:
                zenith, azimuth = track.zenith, track.azimuth - world.sun_azimuth
            for height in nodes:
                table = CanopyTable.compute(height, zenith, azimuth, plants, kind)
                tables[kind, track, height] = table
        return cls(world, land, canopies, weather, days, tables)

    def reflectance(self, day: int, track: Track | None = NADIR) -> NDArray[np.float32]:
        """Return the clear reflectance in Sentinel-2's bands on day number ``day``, (band, y, x).

        Blurred as the sensor does it; bands of 20 m hold one value for four pixels.
        """
        seen = self.sharp(day, MSI, track)
        for band, name in zip(seen, BANDS, strict=True):
            gaussian_filter(band, BLUR, output=band, mode="nearest")
            if name in COARSE:
                band[:] = doubled(halved(band))
        return seen

    def sharp(
        self, day: int, instrument: Instrument, track: Track | None = NADIR
    ) -> NDArray[np.float32]:
        """Return the clear reflectance in an instrument's bands, (band, y, x), without any blur."""
        land, parcel, canopies = self.land, self.land.parcel, self.canopies
        height = sun(self.days[day] + self.world.overpass, *self.world.ground.middle)[0]
        area = canopies.leaf_area[day][parcel] * land.vigour
        seen = self._table(instrument, track, height).reflectance(
            canopies.plant[day][parcel],
            canopies.senescence[day][parcel],
            area,
            self._ground(day, instrument),
        )
        cover = self.cover(day)
        built, water = cover == LandCover.BUILT_UP, cover == LandCover.WATER
        roof, sealed = land.roof[built], land.sealed[built]
        hard = np.outer(instrument.read_off(ROOF), roof)
        hard += np.outer(instrument.read_off(ASPHALT), 1 - roof)
        # Low sun puts streets into the shade of houses.
        hard *= 1.12 - 0.0045 * height
        seen[:, built] = sealed * hard + (1 - sealed) * seen[:, built]
        stony = cover == LandCover.ROCK
        bright = land.brightness[stony] / USUAL_BRIGHTNESS
        stone = np.outer(instrument.read_off(ROCK), bright)
        seen[:, stony] = land.sealed[stony] * stone + (1 - land.sealed[stony]) * seen[:, stony]
        seen[:, water] = instrument.read_off(WATER)[:, None]
        seen *= land.grain
        if self.weather.snow[day] > 0.01:
            white = self.snow(day)
            seen *= 1 - white
            seen += white * instrument.read_off(SNOW).astype(np.float32)[:, None, None]
        return seen

    def snow(self, day: int) -> NDArray[np.float32]:
        """Return the share of each pixel that shows snow on day number ``day``, (y, x)."""
        area = self.canopies.leaf_area[day][self.land.parcel] * self.land.vigour
        shows = CROWNS + (1 - CROWNS) * np.exp(-SHELTER * area)
        month = self.weather.temperature[max(day - 30, 0) : day + 1].mean()
        shows = np.where(self.cover(day) == LandCover.WATER, month < FREEZES, shows)
        return np.asarray(self.weather.snow[day] * shows, dtype=np.float32)

    def number(self, time: np.datetime64) -> int:
        """The number of the day of ``time``."""
        return int((time.astype("datetime64[D]") - self.days[0]).astype(int))

    def green_area(self, day: int) -> NDArray[np.float32]:
        """Return the green leaf area in m2/m2 on day number ``day``, (y, x)."""
        area = self.canopies.green_area[day][self.land.parcel] * self.land.vigour
        cover = self.cover(day)
        gardens = np.where(cover == LandCover.BUILT_UP, 1 - self.land.sealed, 1)
        return np.asarray(area * gardens, dtype=np.float32)

    def cover(self, day: int) -> NDArray[np.uint8]:
        """Return the :class:`LandCover` of the crop year of day number ``day``, (y, x)."""
        in_the_north = self.days[day] - self.world.season_lag
        year = int(in_the_north.astype("datetime64[Y]").astype(int)) + 1970
        return self.land.land_cover(year - self.world.first_crop_year)

    def _ground(self, day: int, instrument: Instrument) -> NDArray[np.float32]:
        """Reflectance of what lies below the canopies: soils, wet or dry, or shallow water."""
        moisture = self.weather.moisture[day]
        wet = float((moisture - DRIEST) / (WETTEST - DRIEST))
        soil = soil_reflectance(self.land.brightness, wet, instrument)
        first, second = (instrument.read_off(SOILS[name]) for name in self.world.soils)
        if not (first == second).all() or not (first == 1).all():
            between = self.land.soil * (second - first)[:, None, None]
            soil = (soil * (first[:, None, None] + between)).astype(np.float32)
        flooded = self.canopies.flooded[day]
        if flooded.any():
            under = flooded[self.land.parcel]
            shallow = instrument.read_off(SHALLOW_WATER).astype(np.float32)
            soil = (1 - under) * soil + under * shallow[:, None, None]
        return soil

    def _table(self, instrument: Instrument, track: Track | None, height: float) -> CanopyTable:
        nodes = sorted({node for _, _, node in self.tables})
        above = int(np.searchsorted(nodes, height).clip(1, len(nodes) - 1))
        low, high = nodes[above - 1], nodes[above]
        share = min(max((height - low) / (high - low), 0.0), 1.0)
        tables = self.tables[instrument, track, low], self.tables[instrument, track, high]
        return tables[0].towards(tables[1], share)


def halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average four pixels to one, (..., y, x) to (..., y / 2, x / 2)."""
    y, x = image.shape[-2] // 2, image.shape[-1] // 2
    fours = image.reshape(*image.shape[:-2], y, 2, x, 2)
    return np.asarray(fours.mean((-3, -1)), dtype=np.float32)


def doubled(image: NDArray[_Scalar]) -> NDArray[_Scalar]:
    """Repeat each pixel four times, (..., y, x) to (..., 2 y, 2 x)."""
    return image.repeat(2, -2).repeat(2, -1)
