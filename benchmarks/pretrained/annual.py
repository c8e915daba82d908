"""The map of years to components that comes with a model: fitted to cubes it was trained on."""

from __future__ import annotations

from pathlib import Path

from benchmarks.pretrained.recipe import PLACES, Recipe
from benchmarks.pretrained.worlds import real_cube, world_cube
from terralatent.models.annual import AnnualMap
from terralatent.pipeline.training.adapting.pretrained import read_pretrained
from terralatent.pipeline.training.annual_map import annual_map_of
from terralatent.pipeline.training.sampler import PixelSampler

__all__ = ["map_years"]

PIXELS = 256
"""Of each cube."""


def map_years(work: Path, shared: Path, recipe: Recipe, model: Path) -> AnnualMap:
    """Fit the map of a model to a world of each climate of its recipe, and real places. Computes.

    Args:
        work: Where the cubes are; those of real places are built where need be.
        shared: Folder of the real scenes.
        recipe: Of the model.
        model: Its folder.
    """
    cubes = [world_cube(work, world) for world in recipe.worlds() if world.seed == recipe.seeds[0]]
    cubes += [real_cube(work, shared, name) for name in PLACES]
    base, pools = read_pretrained(model), []
    for cube in cubes:  # one by one: sensors differ
        pools += PixelSampler(base.open_cubes(cube, None, seed=0), seed=0).pool(PIXELS)
    found = annual_map_of(base.model, pools)
    assert found is not None
    return found
