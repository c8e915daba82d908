"""Parameters of the water-cloud model of backscatter, which differ from place to place.

Attema & Ulaby (1978), "Vegetation modeled as a water cloud".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from terralatent.catalogs.simulation.climates.covers import Plant

__all__ = ["WaterCloud"]

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
    Plant.RICE: ((-9.8, -16.0), (0.20, 0.20)),
    Plant.SOY: ((-9.0, -15.0), (0.20, 0.22)),
    Plant.SORGHUM: ((-9.4, -15.4), (0.17, 0.18)),
    Plant.BROADLEAF: ((-7.6, -12.9), (0.40, 0.40)),
    Plant.CONIFER: ((-9.6, -14.6), (0.35, 0.35)),
    Plant.SHRUB: ((-10.2, -15.8), (0.30, 0.32)),
    Plant.DRY_GRASS: ((-11.2, -17.2), (0.18, 0.20)),
    Plant.PALM: ((-7.9, -13.4), (0.35, 0.36)),
    Plant.REED: ((-9.5, -16.0), (0.22, 0.22)),
}
"""Of each plant, for VV and VH: backscatter of a closed canopy in dB, and how much a unit of leaf
area weakens what passes."""

SOIL, MOIST = (-14.0, -22.8), (21.0, 18.0)
"""Soil in dB where there is no water, and what a unit of soil moisture (m3/m3) adds."""

PLACE_LEVEL, PLACE_SHARE = 1.5, 0.3
"""By how much they differ from place to place, in worlds that are drawn: standard deviation in dB
of levels, and of the logarithm of what weakens and of what moisture adds. An assumption, which
keeps a model from trusting levels that hold in simulation only."""

LEVELS_TOGETHER = 0.7
"""Correlation of the levels of VV and VH: what raises one raises the other."""


@dataclass(frozen=True)
class WaterCloud:
    """Of the water-cloud model at one place, for VV and VH."""

    alone: NDArray[np.float64]
    """Backscatter of a closed canopy in dB, (2, plant)."""
    weakens: NDArray[np.float64]
    """What a unit of leaf area weakens, (2, plant)."""
    soil: NDArray[np.float64]
    """dB where there is no water, (2,)."""
    moist: NDArray[np.float64]
    """dB for a unit of soil moisture, (2,)."""

    @classmethod
    def usual(cls) -> WaterCloud:
        """Those of the default world."""
        plants = [CANOPY[Plant(number)] for number in range(len(Plant))]
        alone, weakens = np.array(plants).transpose(1, 2, 0)
        return cls(alone, weakens, np.array(SOIL), np.array(MOIST))

    def drawn(self, rng: Generator) -> WaterCloud:
        """Those of another place."""
        level = PLACE_LEVEL * rng.standard_normal((2, self.alone.shape[1] + 1))
        level[1] = LEVELS_TOGETHER * level[0] + np.sqrt(1 - LEVELS_TOGETHER**2) * level[1]
        share = np.exp(PLACE_SHARE * rng.standard_normal((2, self.alone.shape[1] + 1)))
        return WaterCloud(
            self.alone + level[:, 1:],
            self.weakens * share[:, 1:],
            self.soil + level[:, 0],
            self.moist * share[:, 0],
        )
