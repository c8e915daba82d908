"""Where halves are compared: real places, and simulated worlds that no training saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pretrained.recipe import KEPT_ASIDE, PLACES, Recipe, WorldName
from benchmarks.pretrained.ship import SIBLINGS
from benchmarks.pretrained.worlds import make_worlds, real_cube, world_cube
from terralatent.models.shipped import DEFAULT

__all__ = ["DEVELOPMENT", "Region", "development", "make_all", "reported"]

SEED = 301
"""Of all worlds; the recipe of the model that comes with the package has other seeds."""

DEVELOPMENT = ("temperate", "savanna", "rice")
"""Climates on whose worlds factors are fitted."""


@dataclass(frozen=True)
class Region:
    """A cube, and the model that is asked there."""

    name: str
    place: str
    """A real place, or the climate of a world."""

    model: str
    """Name of one that comes with the package, or folder."""

    @property
    def is_real(self) -> bool:
        """Whether it is a real place."""
        return self.place in PLACES

    @property
    def world(self) -> WorldName:
        """Of a simulated region."""
        return WorldName(self.place, SEED)

    def is_there(self, shared: Path) -> bool:
        """Whether its scenes are there, or are simulated."""
        return not self.is_real or (shared / PLACES[self.place] / "catalog.json").exists()

    def cube(self, work: Path, shared: Path) -> Path:
        """Its cube; that of a real place is built where it is not there."""
        if self.is_real:
            return real_cube(work, shared, self.place)
        return world_cube(work, self.world)


@dataclass(frozen=True)
class Worlds(Recipe):
    """The worlds of some regions, simulated as those that models learn from."""

    names: tuple[WorldName, ...] = ()

    def worlds(self) -> tuple[WorldName, ...]:
        """All of them."""
        return self.names

    def aside(self) -> tuple[WorldName, ...]:
        """None beside."""
        return ()


def reported() -> list[Region]:
    """All that is reported. Of real places first the model that comes with the package, which has
    seen them in a tenth of its batches, then one of the same recipe that never did."""
    real = [Region(name, name, DEFAULT) for name in PLACES]
    unseen = [Region(f"{name}, never seen", name, str(SIBLINGS / name)) for name in PLACES]
    return [*real, *unseen, *(Region(name, name, DEFAULT) for name in KEPT_ASIDE)]


def development() -> list[Region]:
    """Worlds on which factors are fitted."""
    return [Region(name, name, DEFAULT) for name in DEVELOPMENT]


def make_all(work: Path, shared: Path, regions: Sequence[Region], processes: int) -> None:
    """Simulate the worlds of regions and build their cubes, where they are not there."""
    worlds = {region.world for region in regions if not region.is_real}
    if worlds:
        make_worlds(work, Worlds(names=tuple(sorted(worlds))), processes)
    for region in regions:
        region.cube(work, shared)
