"""Regions with labelled polygons: simulated ones and real scenes, whole and with dates removed."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import geopandas
import numpy as np
import xarray as xr
from distributed import Client

from benchmarks.downstream.missing import NONE
from benchmarks.downstream.parcels.polygons import CLASS, Polygons, lay_polygons
from benchmarks.gapfill.cubes import build_once, rest_of
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import FIRST_YEAR, simulate
from terralatent.pipeline import open_cube
from terralatent.pipeline.cli.demo_landcover import outlines
from terralatent.pipeline.cli.demo_scores import open_truth

__all__ = ["MISSING", "TWO_THIRDS", "Region", "real_region", "simulated_region", "thinned"]

TWO_THIRDS = "two thirds"
MISSING = (NONE, TWO_THIRDS)
REMOVED = 2.0 / 3.0
"""Share of the acquisitions of every sensor."""

SENSOR = "sentinel-2-l2a"
"""Whose grid is asked for; all sensors of a cube have the same."""

YEAR = 2018
"""That of the labels of the real scenes."""

NO_CLASS = 99
LAND = {13: "grass", 60: "built-up"}
CROPS = {1200: "maize", 5100: "potato", 7900: "legumes"}
"""Names of codes; others stay numbers."""


@dataclass(frozen=True, eq=False)
class Region:
    """Scenes of a year, the cubes made of them, and where polygons with labels are from."""

    name: str
    work: Path
    """Folder of all that is made."""

    catalogue: Path
    """Folder of the scenes."""

    year: int
    seed: int
    """Of the acquisitions that are removed, and of the folds."""

    simulate: Callable[[Path], object] | None
    """Makes the scenes, if they are made."""

    def make(self, client: Client | None = None) -> None:
        """Simulate the scenes and build the cubes, what is not there yet; computes."""
        if self.simulate is not None:
            self.simulate(self.catalogue)
        outline = self.catalogue / "region.geojson"
        days = f"{self.year}-01-01", f"{self.year}-12-31"
        scenes = search_scenes(self.catalogue, outline, *days)
        build_once(self.cube(NONE), scenes, outline, {}, client)
        plan: dict[str, object] = {"removed": REMOVED, "seed": self.seed}
        build_once(self.cube(TWO_THIRDS), thinned(scenes, self.seed), outline, plan, client)

    @property
    def is_made(self) -> bool:
        """Whether all cubes are there."""
        return all(self.cube(missing).with_suffix(".json").exists() for missing in MISSING)

    def cube(self, missing: str) -> Path:
        """Where a cube lies, by what it lacks: one of :data:`MISSING`."""
        return self.work / "cubes" / missing.replace(" ", "-")

    def grid(self) -> xr.Dataset:
        """What is on the grid of the cubes. Reads no pixels."""
        return open_cube(self.cube(NONE))[SENSOR].to_dataset()

    def polygons(self) -> Polygons:
        """The labelled polygons on the grid of the cubes; computes."""
        grid = self.grid().odc.geobox
        if self.simulate is None:
            frame = _fields(geopandas.read_file(self.catalogue / "labels.geojson"))
            return lay_polygons(frame.to_crs(str(grid.crs)), grid, seed=self.seed)
        # A parcel that a river cuts is one polygon: none of its pieces may be in test alone.
        frame = outlines(open_truth(self.catalogue)).dissolve("parcel")
        return lay_polygons(frame.rename(columns={"cover": CLASS}), grid, seed=self.seed)

    def dates(self) -> dict[str, tuple[int, ...]]:
        """Acquisitions of each sensor in each cube. Reads no pixels."""
        trees = [open_cube(self.cube(missing)) for missing in MISSING]
        return {
            name: tuple(tree[name].sizes["time"] if name in tree else 0 for tree in trees)
            for name in trees[0].children
            if name != "items"
        }


def simulated_region(work: Path, seed: int, size: int) -> Region:
    """A temperate region of ``size`` x ``size`` pixels of 10 m, whose parcels are all known."""
    name = f"simulated-{seed}-{size}"
    make = partial(simulate, size=size, seed=seed)
    return Region(name, work / name, work / name / "scenes", FIRST_YEAR, seed, make)


def real_region(work: Path, scenes: Path, seed: int = 0) -> Region:
    """Real scenes with fields; their year alone, which the labels are of."""
    return Region("scenes", work / "scenes", scenes, YEAR, seed, None)


def thinned(scenes: Scenes, seed: int) -> Scenes:
    """Remove two thirds of the acquisitions of every sensor, at random. Reads no pixels.

    Args:
        scenes: All of them.
        seed: What is removed of a sensor depends on it, the sensor's name and number of
            acquisitions alone.
    """
    kept = set()
    for name, acquisitions in scenes.by_sensor.items():
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        order = random.permutation(len(acquisitions))
        for place in order[round(REMOVED * len(order)) :]:
            kept |= {(item["collection"], item["id"]) for item in acquisitions[place].items}
    items = [item for item in scenes.items if (item["collection"], item["id"]) in kept]
    return rest_of(scenes, items)


def _fields(frame: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Fields of the real scenes with a class: annual crops by crop, other land by its cover."""
    known = frame[frame["land_cover"] != NO_CLASS]
    names = [
        LAND.get(cover) or CROPS.get(crop, str(crop))
        for cover, crop in zip(known["land_cover"], known["crop"], strict=True)
    ]
    return known.assign(**{CLASS: names})
