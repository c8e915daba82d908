"""The surface of a simulated region as a perfect Sentinel-2 would see it, on any day."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from terralatent.catalogs.simulation.canopy import BANDS, CanopyTable, soil_reflectance
from terralatent.catalogs.simulation.landscape import LandCover, Landscape
from terralatent.catalogs.simulation.orbits import Track, sun
from terralatent.catalogs.simulation.seasons import Canopies
from terralatent.catalogs.simulation.weather import DRIEST, WETTEST, Weather

__all__ = ["COARSE", "NADIR", "Surface", "halved"]

COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12")
"""Bands with pixels of 20 m."""

ROOF = (0.100, 0.128, 0.162, 0.180, 0.196, 0.206, 0.215, 0.222, 0.262, 0.252)
ASPHALT = (0.072, 0.084, 0.093, 0.098, 0.104, 0.108, 0.112, 0.114, 0.138, 0.128)
WATER = (0.036, 0.052, 0.038, 0.034, 0.022, 0.021, 0.018, 0.017, 0.008, 0.006)
"""Reflectance in the bands."""

SUN_NODES = (29.0, 44.0, 60.0, 76.0)
"""Zenith angles at which the canopies are computed; between them they are interpolated."""

OVERPASS = np.timedelta64(10 * 60 + 55, "m")
"""Time of the day, UTC, at which the sun lights the daily surface."""

BLUR = 0.55
"""Pixels of 10 m: standard deviation of the sensor's point spread."""

NADIR = None
"""A satellite straight above."""


@dataclass(frozen=True)
class Surface:
    """Everything the reflectance of a day depends on."""

    land: Landscape
    canopies: Canopies
    weather: Weather
    days: NDArray[np.datetime64]
    """datetime64[D], without gaps."""
    first_year: int
    """Crop year of the first row of the land's cover."""
    place: tuple[float, float]
    """Latitude and longitude, degrees."""
    tables: dict[tuple[Track | None, float], CanopyTable]
    """Canopies by satellite and zenith angle of the sun."""

    @classmethod
    def lit(
        cls,
        land: Landscape,
        canopies: Canopies,
        weather: Weather,
        days: NDArray[np.datetime64],
        first_year: int,
        place: tuple[float, float],
        tracks: tuple[Track, ...],
    ) -> Surface:
        """Compute the canopies as seen from nadir and from ``tracks``; takes some seconds."""
        tables = {}
        for track in (NADIR, *tracks):
            zenith, azimuth = (track.zenith, track.azimuth - 160.0) if track else (0.0, 0.0)
            for height in SUN_NODES:
                tables[track, height] = CanopyTable.compute(height, zenith, azimuth)
        return cls(land, canopies, weather, days, first_year, place, tables)

    def reflectance(self, day: int, track: Track | None = NADIR) -> NDArray[np.float32]:
        """Return the clear reflectance on day number ``day``, (band, y, x).

        Blurred as the sensor does it; bands of 20 m hold one value for four pixels.
        """
        land, parcel = self.land, self.land.parcel
        height = sun(self.days[day] + OVERPASS, *self.place)[0]
        wet = float((self.weather.moisture[day] - DRIEST) / (WETTEST - DRIEST))
        soil = soil_reflectance(land.brightness, wet)
        seen = self._table(track, height).reflectance(
            self.canopies.plant[day][parcel],
            self.canopies.senescence[day][parcel],
            self.canopies.leaf_area[day][parcel] * land.vigour,
            soil,
        )
        cover = self.cover(day)
        built, water = cover == LandCover.BUILT_UP, cover == LandCover.WATER
        roof, sealed = land.roof[built], land.sealed[built]
        hard = np.outer(ROOF, roof) + np.outer(ASPHALT, 1 - roof)
        # Low sun puts streets into the shade of houses.
        hard *= 1.12 - 0.0045 * height
        seen[:, built] = sealed * hard + (1 - sealed) * seen[:, built]
        seen[:, water] = np.array(WATER)[:, None]
        seen *= land.grain
        for band, name in zip(seen, BANDS, strict=True):
            gaussian_filter(band, BLUR, output=band, mode="nearest")
            if name in COARSE:
                band[:] = doubled(halved(band))
        return seen

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
        """Return the :class:`LandCover` of the calendar year of day number ``day``, (y, x)."""
        year = int(self.days[day].astype("datetime64[Y]").astype(int)) + 1970
        return self.land.land_cover(year - self.first_year)

    def _table(self, track: Track | None, height: float) -> CanopyTable:
        above = int(np.searchsorted(SUN_NODES, height).clip(1, len(SUN_NODES) - 1))
        low, high = SUN_NODES[above - 1], SUN_NODES[above]
        share = min(max((height - low) / (high - low), 0.0), 1.0)
        return self.tables[track, low].towards(self.tables[track, high], share)


def halved(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average four pixels to one, (..., y, x) to (..., y / 2, x / 2)."""
    y, x = image.shape[-2] // 2, image.shape[-1] // 2
    fours = image.reshape(*image.shape[:-2], y, 2, x, 2)
    return np.asarray(fours.mean((-3, -1)), dtype=np.float32)


def doubled(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Repeat each pixel four times, (..., y, x) to (..., 2 y, 2 x)."""
    return image.repeat(2, -2).repeat(2, -1)
