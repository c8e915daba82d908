"""What means of 10,000 parcels cost, beside decoding every pixel of the same cube and dates.

    python -m benchmarks.embed.fields [SCENES] [--quick] [--side 1024] [--memory 4GB]
                                      [--cache FOLDER]

The cube is that of :mod:`benchmarks.embed`: real scenes repeated to SIDE x SIDE pixels, 73 dates of
Sentinel-2 and 60 of Sentinel-1, in blocks of 256. Parcels are squares of a little less than 10.24
pixels, turned by ten degrees, one for each 105 pixels. Model: the one that comes with the package;
12 dates, two worker processes that are there and warm. The table is written as Parquet. For each of
both: seconds, CPU seconds of the workers, and the peak memory of one; last the ratio.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import geopandas
import numpy as np
from distributed import Client
from shapely import affinity, box

from benchmarks.embed.cube import repeated_cube, scenes_cube
from benchmarks.embed.workers import Cost, cost_of, fresh_workers
from terralatent.models.shipped import model_folder
from terralatent.pipeline import decode, field_means
from terralatent.pipeline.region import grid_of
from terralatent.pipeline.store.repository import Store

SENSOR, DATES = "sentinel-2-l2a", "monthly:2018"

BLOCK, WORKERS = 256, 2

PARCEL = 10.24
"""Pixels along a side of the square that each parcel has for itself."""


def parcels(cube: Path) -> geopandas.GeoDataFrame:
    """Cover a cube with parcels that have a number and one of seven crops."""
    grid = grid_of(Store.of(cube).group()[SENSOR])
    edge, (left, _, _, top) = PARCEL * grid.affine.a, grid.extent.boundingbox.bbox
    count = int(grid.shape[0] / PARCEL)
    squares = [
        affinity.rotate(box(x + 3, y - edge + 3, x + edge - 3, y - 3), 10.0)
        for y in top - edge * np.arange(count)
        for x in left + edge * np.arange(count)
    ]
    numbers = np.arange(len(squares))
    known = {"parcel": [f"P{number}" for number in numbers], "crop": numbers % 7}
    return geopandas.GeoDataFrame(known, geometry=squares, crs=str(grid.crs))


def main() -> int:
    """Measure and print; 1 where the scenes are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("scenes", nargs="?", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="256 pixels along a side")
    parser.add_argument("--side", type=int, default=1024, help="pixels of the cube along a side")
    parser.add_argument("--memory", default="4GB", help="what a worker may use")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "terralatent"))
    options = parser.parse_args()
    if not (options.scenes / "region.geojson").exists():
        print(f"NOT MEASURED: there are no scenes at {options.scenes}", file=sys.stderr)
        return 1
    side = BLOCK if options.quick else options.side
    cube = repeated_cube(scenes_cube(options.scenes, options.cache), side, min(BLOCK, side // 2))
    fields = parcels(cube)
    print(f"# {len(fields):,} parcels, {side} x {side} pixels, 12 dates, {WORKERS} workers")
    how = {"device": "cpu", "memory": options.memory}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        decoded = measured(
            "decode", options.memory,
            lambda client: decode(
                cube, None, SENSOR, DATES, out / "bands", overviews=False, client=client, **how
            ),
        )  # fmt: skip
        table = out / "fields.parquet"
        summed = measured(
            "field_means", options.memory,
            lambda client: field_means(
                cube, None, SENSOR, DATES, fields, out=table, client=client, **how
            ),
        )  # fmt: skip
        print(f"table: {table.stat().st_size / 1e6:.1f} MB")
    here = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"peak memory of the process that asks, of both: {here:,.0f} MB")
    print(f"field_means / decode: {summed.wall / decoded.wall:.2f} of the seconds, "
          f"{summed.cpu / decoded.cpu:.2f} of the CPU seconds")  # fmt: skip
    print(f"parcels a CPU second: {len(fields) / summed.cpu:.1f}")
    return 0


def measured(name: str, memory: str, run: Callable[[Client], object]) -> Cost:
    """Do a run on fresh workers, and print what it cost."""
    with fresh_workers(WORKERS, model_folder(None), memory) as client:
        cost = cost_of(client, lambda: run(client))
    print(f"{name}: {cost.wall:.1f} s, {cost.cpu:.1f} CPU seconds of workers, "
          f"peak memory of a worker {cost.peak:,.0f} MB", flush=True)  # fmt: skip
    return cost


if __name__ == "__main__":
    sys.exit(main())
