"""Tiny fleets: the made-up region of ``tests.made.catalogue`` in tiles of a few pixels."""

from __future__ import annotations

import shutil
from pathlib import Path

import geopandas
import torch
from shapely.geometry import box

from terralatent.models.annual import AnnualMap
from terralatent.pipeline.fleet.fleet import Fleet
from tests.made.catalogue import CRS, LEFT, SIDE, TOP, region
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

COMPONENTS = 3


def write_grid(path: Path, count: int = 2) -> Path:
    """Write count x count squares over the region, named by column and row, as a vector file."""
    side = 10.0 * SIDE / count
    names, squares = [], []
    for row in range(count):
        for column in range(count):
            left, top = LEFT + side * column, TOP - side * row
            names.append(f"t{column}{row}")
            squares.append(box(left + 1, top - side + 1, left + side - 1, top - 1))
    frame = geopandas.GeoDataFrame({"tile": names}, geometry=squares, crs=CRS)
    frame.to_file(path)
    return path


def planned_fleet(folder: Path, count: int = 2) -> Fleet:
    """Plan a fleet of count x count tiles of the made-up region."""
    folder.mkdir(parents=True, exist_ok=True)
    grid = write_grid(folder / "grid.geojson", count)
    return Fleet.plan(region(), grid, folder / "fleet.parquet")


def fleet_of_cubes(folder: Path, *, missing: tuple[str, ...] = ()) -> tuple[Fleet, Path]:
    """Plan one whose tiles have cubes of a year already, and a model with an annual map.

    All cubes lie at one place, where ``tests.made.opened.labels_of_squares`` has its labels; their
    pixels differ.
    """
    fleet = planned_fleet(folder)
    for seed, tile in enumerate(fleet.tiles):
        if tile.name not in missing:
            Path(tile.folder).mkdir(parents=True)
            period = ("2017-06-01", "2018-12-31")
            tiny_cube(Path(tile.folder) / "cube", side=18, block=9, seed=seed, period=period)
    whole = next(tile for tile in fleet.tiles if tile.name not in missing)
    model = made_up_model(Path(whole.folder) / "cube", folder / "model")
    weights = torch.randn(COMPONENTS, 12, 4, generator=torch.Generator().manual_seed(0))
    AnnualMap(0.05 * weights, torch.zeros(COMPONENTS), torch.ones(COMPONENTS)).save(model)
    return fleet, model


def moved(fleet: Fleet, to: Path) -> Fleet:
    """The same fleet in another folder, copied with all that it has."""
    shutil.copytree(fleet.path.parent, to)
    return Fleet.open(to / fleet.path.name)
