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

from terralatent.catalogs.simulation.landscape import LandCover, smooth_noise
from terralatent.catalogs.simulation.orbits import Track
from terralatent.catalogs.simulation.seasons import Plant
from terralatent.catalogs.simulation.surface import Surface

__all__ = ["LOOKS", "Radar", "speckle"]

CANOPY = {
    Plant.WHEAT: ((-12.6, -18.3), (0.24, 0.16)),
    Plant.BARLEY: ((-12.2, -17.0), (0.22, 0.16)),
    Plant.MAIZE: ((-9.2, -15.0), (0.16, 0.18)),
    Plant.POTATO: ((-7.8, -13.8), (0.22, 0.24)),
    Plant.BEET: ((-8.3, -14.2), (0.24, 0.24)),
    Plant.PEA: ((-10.0, -15.9), (0.22, 0.22)),
    Plant.GRASS: ((-11.0, -17.0), (0.20, 0.20)),
    Plant.TREES: ((-8.9, -13.9), (0.35, 0.35)),
    Plant.COVER_CROP: ((-8.8, -15.2), (0.18, 0.20)),
    Plant.STUBBLE: ((-11.2, -17.4), (0.15, 0.15)),
}
"""Of each plant, for VV and VH: backscatter of a closed canopy in dB, and how much a unit of leaf
area weakens what passes."""

DRY_LEAVES = 0.65
"""Share of its weight in the model that leaf area loses when it ages."""

SOIL, MOIST = (-14.0, -22.8), (21.0, 18.0)
"""Soil in dB where there is no water, and what a unit of soil moisture (m3/m3) adds."""

ROUGHNESS = 1.3
"""Standard deviation in dB between fields."""

BUILT_UP, BUILT_UP_SPREAD = (-5.8, -14.3), (3.2, 2.0)
WATER = (-19.0, -27.0)
"""dB."""

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
    buildings: dict[str, NDArray[np.float32]]
    """dB beside the mean of built-up land for each direction, (2, y, x): walls face one of them."""

    @classmethod
    def over(cls, surface: Surface, rng: Generator) -> Radar:
        """Draw what differs from place to place."""
        size = len(surface.land.parcel)
        walls = {
            direction: np.stack([smooth_noise(size, 0.8, rng) for _ in SOIL]).astype(np.float32)
            for direction in ("ascending", "descending")
        }
        rough = ROUGHNESS * rng.standard_normal(surface.land.parcels)
        return cls(surface, rough, smooth_noise(size, 1.0, rng), walls)

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
        weight = bulk[parcel] * surface.land.vigour
        wet_leaves = INTERCEPTED * (surface.weather.rain[day] > 3.0)
        cover = surface.cover(day)
        wind, own = WIND * rng.standard_normal(), rng.standard_normal(surface.land.parcels)
        bands = []
        for band in range(2):
            alone = np.array([CANOPY[Plant(n)][0][band] for n in range(len(Plant))])
            weakens = np.array([CANOPY[Plant(n)][1][band] for n in range(len(Plant))])
            soil = SOIL[band] + MOIST[band] * surface.weather.moisture[day] + self.roughness
            through = np.exp(-2 * weakens[plant][parcel] * weight / slant)
            leaves = _power(alone[plant] + wet_leaves)[parcel]
            power = leaves * (1 - through) + _power(soil)[parcel] * through
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


def _power(decibel: NDArray[np.floating] | float) -> NDArray[np.float64]:
    return np.asarray(10.0 ** (np.asarray(decibel, dtype=np.float64) / 10))
