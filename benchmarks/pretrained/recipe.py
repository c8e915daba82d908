"""How the model that comes with the package is made: what it learns from, and how.

From version 1 on a change of anything here is another recipe, which needs another name: what was
shipped stays.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from terralatent.catalogs.simulation.climates.climate import CLIMATES

__all__ = ["KEPT_ASIDE", "PLACES", "RECIPE", "Recipe", "WorldName"]

KEPT_ASIDE = ("mediterranean", "plantations", "steppe")
"""Climates that no training sees: settings are chosen on their worlds, and the card has them."""

PLACES = {"flanders": "scenes", "tanzania": "scenes-tanzania"}
"""Real places, and the folders of their scenes beside the project."""

OPTICAL_AND_RADAR = ("sentinel-2-l2a", "sentinel-1-asc", "sentinel-1-desc")
SENSORS = (*OPTICAL_AND_RADAR, "landsat-c2-l2")


@dataclass(frozen=True, order=True)
class WorldName:
    """A simulated world."""

    climate: str
    seed: int

    def __str__(self) -> str:
        return f"{self.climate}-{self.seed}"


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, and for how long."""

    name: str = "s1s2l8"
    version: str = "1"
    """0 was a preview, whose reported rotations were not scored; from 1 on a name keeps its
    weights."""

    seeds: tuple[int, ...] = (201, 202, 203)
    """Of the worlds of each climate."""

    size: int = 64
    """Pixels along a world."""

    years: int = 2

    real_share: float = 0.1
    """How often a batch is of a real place, all places together; the rest is shared by worlds."""

    steps: int = 2000
    rate: float = 2e-3
    batch: int = 64
    trained: tuple[int, ...] = (0,)
    """Seeds of the trainings side by side, of which the best is kept."""

    widths: Mapping[str, int] = field(
        default_factory=lambda: {"sentinel-1-asc": 16, "sentinel-1-desc": 16}
    )
    """Of the hidden layers of encoders: two bands of backscatter need fewer than ten."""

    choices: Mapping[str, Any] = field(default_factory=lambda: {"season": False})
    """Of the model, see :class:`terralatent.pipeline.training.choices.Choices`. The day of year
    means other things on the two hemispheres, and made no difference to places never seen."""

    def worlds(self) -> tuple[WorldName, ...]:
        """Those to learn from."""
        climates = [climate for climate in CLIMATES if climate not in KEPT_ASIDE]
        return tuple(WorldName(climate, seed) for seed in self.seeds for climate in climates)

    def aside(self) -> tuple[WorldName, ...]:
        """Those on which settings are chosen."""
        return tuple(WorldName(climate, self.seeds[0]) for climate in KEPT_ASIDE)

    def to_json(self) -> dict[str, Any]:
        """All of it, JSON values."""
        return json.loads(json.dumps({**asdict(self), "kept_aside": KEPT_ASIDE}))

    def digest(self) -> str:
        """SHA-256 of it, in hexadecimal."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()


RECIPE = Recipe()
