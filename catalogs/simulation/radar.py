"""What Sentinel-1 measures over a simulated region: the water-cloud model, and speckle.

Attema & Ulaby (1978), "Vegetation modeled as a water cloud": a canopy scatters by itself and
weakens what comes from the soil. Speckle is a gamma variable of unit mean, correlated between
neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from terralatent.catalogs.simulation.climates.backscatter import WaterCloud
from terralatent.catalogs.simulation.climates.covers import VEGETATION, LandCover
from terralatent.catalogs.simulation.landscape import smooth_noise
from terralatent.catalogs.simulation.orbits import Track
from terralatent.catalogs.simulation.surface import Surface

__all__ = ["LOOKS", "Radar", "speckle"]

DRY_LEAVES = 0.65
"""Share of its weight in the model that leaf area loses when it ages."""

ROUGHNESS = 1.3
"""Standard deviation in dB between fields."""

BUILT_UP, BUILT_UP_SPREAD = (-5.8, -14.3), (3.2, 2.0)
WATER = (-19.0, -27.0)
"""dB."""

STEMS = (-9.0, -19.0)
"""dB that water and upright stems reflect together where no leaves hide them (double bounce)."""

STONE = (-11.0, -18.5)
"""dB of rock."""

FROZEN, ICE_BELOW = 0.12, -1.5
"""Moisture in m3/m3 that frozen soil seems to have, and degrees below which it is frozen."""

WET_SNOW, THAWS = 3.0, 0.5
"""dB that wet snow swallows, and degrees from which snow is wet; through dry snow one sees."""

WIND = 1.6
"""Standard deviation in dB over days, on water."""

CALIBRATION = 0.5
"""Standard deviation in dB of what a whole scene is off."""

TEXTURE, FIELD_NOISE = 1.7, 0.45
"""Standard deviation in dB between pixels of a field at all times, and of a field on a date."""

INTERCEPTED = 0.5
"""dB that rain on leaves adds."""

LOOKS = 13.0
"""Equivalent number of looks of a pixel."""

SPECKLE_SCALE, SPECKLE_SHARED = 1.0, 0.15
"""Pixels of 10 m over which speckle keeps together, and its correlation between VV and VH."""

USUAL_INCIDENCE = 39.0


@dataclass(frozen=True)
class Radar:
    """Backscatter of a surface."""

    surface: Surface
    roughness: NDArray[np.float64]
    """dB, of each parcel."""
    texture: NDArray[np.float64]
    """What differs from pixel to pixel, standard normal, (y, x)."""
    model: WaterCloud
    buildings: dict[str, NDArray[np.float32]]
    """dB beside the mean of built-up land for each direction, (2, y, x): walls face one of them."""

    @classmethod
    def over(cls, surface: Surface, rng: Generator) -> Radar:
        """Draw what differs from place to place."""
        size = len(surface.land.parcel)
        walls = {
            direction: np.stack([smooth_noise(size, 0.8, rng) for _ in range(2)]).astype(np.float32)
            for direction in ("ascending", "descending")
        }
        rough = ROUGHNESS * rng.standard_normal(surface.land.parcels)
        texture, model = smooth_noise(size, 1.0, rng), WaterCloud.usual()
        if not surface.world.default:
            model = model.drawn(rng)
        return cls(surface, rough, texture, model, walls)

    def backscatter(self, day: int, track: Track, rng: Generator) -> NDArray[np.float32]:
        """Return gamma nought of VV and VH as linear power without speckle, (2, y, x).

        Args:
            day: Number of the day.
            track: Of the pass; has the angle of incidence and the direction.
            rng: Of this date: wind on the water, and what differs from field to field.
        """
        surface, canopies = self.surface, self.surface.canopies
        parcel, plant = surface.land.parcel, canopies.plant[day]
        slant = np.cos(np.radians(track.zenith))
        bulk = canopies.leaf_area[day] * (1 - DRY_LEAVES * canopies.senescence[day])
        cover = surface.cover(day)
        weight = bulk[parcel] * surface.land.vigour
        if surface.world.climate.phenology == "weather":
            weight += np.array([_wood(number) for number in range(max(LandCover) + 1)])[cover]
        weather, wet_leaves = surface.weather, INTERCEPTED * (surface.weather.rain[day] > 3.0)
        frozen = surface.world.climate.snow and weather.temperature[day] < ICE_BELOW
        moisture = FROZEN if frozen else weather.moisture[day]
        wind, own = WIND * rng.standard_normal(), rng.standard_normal(surface.land.parcels)
        flooded = canopies.flooded[day][parcel]
        bands = []
        for band in range(2):
            alone, weakens = self.model.alone[band], self.model.weakens[band]
            soil = self.model.soil[band] + self.roughness
            soil = soil + self.model.moist[band] * moisture
            through = np.exp(-2 * weakens[plant][parcel] * weight / slant)
            leaves = _power(alone[plant] + wet_leaves)[parcel]
            ground = _power(soil)[parcel]
            if flooded.any():
                stems = _power(STEMS[band]) * (1 - np.exp(-0.5 * weight))
                ground = (1 - flooded) * ground + flooded * (_power(WATER[band] + wind) + stems)
            power = leaves * (1 - through) + ground * through
            if weather.snow[day] > 0 and weather.temperature[day] > THAWS:
                power *= 1 - weather.snow[day] * (1 - _power(-WET_SNOW)) * through
            stony = cover == LandCover.ROCK
            sealed = surface.land.sealed[stony]
            power[stony] = sealed * _power(STONE[band]) + (1 - sealed) * power[stony]
            built = cover == LandCover.BUILT_UP
            walls = BUILT_UP[band] + BUILT_UP_SPREAD[band] * self.buildings[track.direction][band]
            sealed = surface.land.sealed[built]
            power[built] = sealed * _power(walls[built]) + (1 - sealed) * power[built]
            power[cover == LandCover.WATER] = _power(WATER[band] + wind)
            tilt = slant / np.cos(np.radians(USUAL_INCIDENCE))
            power *= tilt * _power(TEXTURE * self.texture + FIELD_NOISE * own[parcel])
            bands.append(gaussian_filter(power, 0.8, mode="nearest"))
        return np.stack(bands).astype(np.float32)


def speckle(size: int, rng: Generator) -> NDArray[np.float32]:
    """Draw speckle for VV and VH, factors of unit mean, (2, size, size).

    By Wilson & Hilferty (1931), "The distribution of chi-square": the cube root of a gamma variable
    is nearly normal.
    """
    first, own = smooth_noise(size, SPECKLE_SCALE, rng), smooth_noise(size, SPECKLE_SCALE, rng)
    second = SPECKLE_SHARED * first + np.sqrt(1 - SPECKLE_SHARED**2) * own
    root = 1 - 1 / (9 * LOOKS) + np.stack([first, second]) / (3 * np.sqrt(LOOKS))
    return np.asarray(root.clip(0.1) ** 3, dtype=np.float32)


def _wood(cover: int) -> float:
    """What stands on a class in any season, in m2/m2 of leaves."""
    known = {int(kind): vegetation.wood for kind, vegetation in VEGETATION.items()}
    return known.get(cover, 0.0)


def _power(decibel: NDArray[np.floating] | float) -> NDArray[np.float64]:
    return np.asarray(10.0 ** (np.asarray(decibel, dtype=np.float64) / 10))
