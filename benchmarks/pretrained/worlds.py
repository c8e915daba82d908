"""The cubes of a recipe: simulated worlds, and real places whole or without what is hidden."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.gapfill.cubes import PixelObservations, cube_of, prepare
from benchmarks.gapfill.holdouts import Rotation, clear_development, development, reported
from benchmarks.pretrained.recipe import PLACES, SENSORS, Recipe, WorldName
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.ingest.build import build_cube

__all__ = [
    "Place",
    "make_world",
    "make_worlds",
    "place_of",
    "real_cube",
    "world_cube",
    "world_place",
]


@dataclass(frozen=True)
class Place:
    """Scenes of which some acquisitions are hidden and predicted."""

    name: str
    catalogue: Path
    """Folder of its scenes."""
    work: Path
    """Folder of its cubes."""
    sensors: tuple[str, ...]
    """Those that its cubes have."""
    references: Path
    """Folder of what does not depend on these: errors of the GP in hindsight."""

    def rotations(self, kind: str) -> tuple[PixelObservations, tuple[Rotation, ...]]:
        """Its observations, and its rotations of a kind; their cubes are built where need be.

        Args:
            kind: ``development``; ``clear``, the same with clear acquisitions alone as truth, on
                which settings are chosen; or ``reported``.
        """
        observations = prepare(self.catalogue, self.work, sensors=self.sensors)
        choose = {
            "development": development,
            "clear": clear_development,
            "reported": reported,
        }[kind]
        rotations = tuple(r for r in choose(observations.days, observations.share) if r.scored)
        prepare(self.catalogue, self.work, rotations, self.sensors)
        return observations, rotations

    def cube(self, rotation: Rotation) -> Path:
        """The cube without what a rotation hides."""
        return cube_of(self.work, rotation.name)


def place_of(work: Path, shared: Path, name: str, sensors: Sequence[str] = SENSORS) -> Place:
    """A real place, seen by some sensors."""
    known = "-".join(sorted(sensors))
    folder = work / "places" / name / known
    return Place(name, shared / PLACES[name], folder, tuple(sensors), folder.parent)


def world_place(work: Path, world: WorldName) -> Place:
    """A simulated world, seen by all its sensors."""
    name = str(world)
    folder = work / "places" / name
    return Place(name, work / "scenes" / name, folder, SENSORS, folder)


def real_cube(work: Path, shared: Path, name: str) -> Path:
    """The cube of a real place by all sensors; built where it is not there."""
    place = place_of(work, shared, name)
    prepare(place.catalogue, place.work, sensors=place.sensors)
    return cube_of(place.work)


def world_cube(work: Path, world: WorldName) -> Path:
    """Where the cube of a simulated world lies."""
    return work / "worlds" / str(world)


def make_worlds(work: Path, recipe: Recipe, processes: int) -> None:
    """Simulate the worlds of a recipe and build their cubes, those that are not there yet."""
    worlds = [*recipe.worlds(), *recipe.aside()]
    wanted = [world for world in worlds if not _done(work, world).exists()]
    with (
        ProcessPoolExecutor(processes) as pool,
        client_for(workers=processes) as client,  # once: workers take seconds to start
    ):
        made = pool.map(partial(_simulate, work, recipe.size, recipe.years), wanted)
        for world, scenes in zip(wanted, made, strict=True):
            region = scenes / "region.geojson"
            cube = world_cube(work, world)
            shutil.rmtree(cube, ignore_errors=True)
            found = search_scenes(scenes, region, "1980-01-01", "2100-01-01")
            build_cube(found, region, cube, client=client)
            _done(work, world).touch()
            print(f"{world}: {found.summary()}", flush=True)


def make_world(work: Path, recipe: Recipe, world: WorldName) -> Path:
    """Simulate one world of a recipe, where it is not there yet; return its scenes' folder."""
    return _simulate(work, recipe.size, recipe.years, world)


def _simulate(work: Path, size: int, years: int, world: WorldName) -> Path:
    folder = work / "scenes" / str(world)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return simulate(folder, size=size, years=years, seed=world.seed, climate=world.climate)


def _done(work: Path, world: WorldName) -> Path:
    """What says that a world's cube is whole."""
    return world_cube(work, world).with_suffix(".done")
