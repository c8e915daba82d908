"""Random numbers of a simulation: one seed, and for everything that is drawn its own stream."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.random import Generator

from terralatent.catalogs.simulation.orbits import Pass

__all__ = ["Draws", "Key"]


class Key(IntEnum):
    """What is drawn."""

    LAND = 0
    WEATHER = 1
    SEASONS = 2
    RADAR = 3
    SKY = 4
    RESIDUAL = 5
    NOISE = 6
    CALIBRATION = 7
    SPECKLE = 8
    FIELDS = 9
    WORLD = 10
    SOILS = 11
    YEARS = 12
    ACQUIRED = 13


@dataclass(frozen=True)
class Draws:
    """None of its streams depends on which others are drawn, how often, or in which order."""

    seed: int

    def of(self, key: Key, taken: Pass | None = None) -> Generator:
        """The stream of ``key``, for one pass where it is drawn for each."""
        when = [] if taken is None else [int(taken.time.astype(np.int64)), taken.track.orbit]
        return np.random.default_rng([self.seed, int(key), *when])
