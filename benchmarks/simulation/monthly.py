"""Whether simulated regions have the months of real pixels that are known by the month only.

    python -m benchmarks.simulation.monthly [TABLE] [--climate boreal] [--regions 3] [--seed N]

TABLE is a Parquet file in long form, one row a pixel and month, with ``date``, Sentinel-2's bands
as reflectance and ``VV``, ``VH`` in dB; ../shared/tables/canada-2017.parquet by default. Regions of
64 x 64 pixels are simulated, built into cubes, and brought to months as well: the median over a
month's clear dates, of radar the mean. Land without crops is left out of the simulation where the
table has none. A line of the table shows

    month, band | real: 5, 50, 95 % over pixels | simulated: 5, 50, 95 %

The real months hold clouds that no mask took away; what is simulated is masked, with the class
"snow" let through.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from benchmarks.simulation.realism import SENSORS, SIDE, simulated
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.clear import ClearRule
from terralatent.pipeline.cube.masking import Masking
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube

BANDS = ("B02", "B04", "B08", "B11", "NDVI", "VV", "VH")
WITH_SNOW = ClearRule(codes=(4, 5, 6, 7, 11))
"""What counts as clear: as usual, and snow."""

MONTHS = (1, 4, 5, 6, 7, 8, 10)


def main() -> int:
    """Measure and print; 1 where the table is absent."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    tables = Path(__file__).resolve().parents[3] / "shared" / "tables"
    parser.add_argument("table", nargs="?", type=Path, default=tables / "canada-2017.parquet")
    parser.add_argument("--climate", default="boreal", help="of the simulation")
    parser.add_argument("--regions", type=int, default=3, help="how many are simulated")
    parser.add_argument("--seed", type=int, default=0, help="of the first region")
    options = parser.parse_args()
    if not options.table.exists():
        print(f"NOT MEASURED: there is no table {options.table}", file=sys.stderr)
        return 1
    real = pd.read_parquet(options.table)
    real["month"] = real["date"].dt.month
    parts = []
    with tempfile.TemporaryDirectory() as temporary:
        for seed in range(options.seed, options.seed + options.regions):
            folder = simulated(Path(temporary) / f"region {seed}", SIDE, 1, seed, options.climate)
            parts.append(months_of(folder, Path(temporary) / f"cube {seed}"))
    print(f"{'':12s} {'real: 5, 50, 95 %':>26s} {options.climate + ': 5, 50, 95 %':>30s}")
    shown = pd.concat(parts)
    for table in (real, shown):
        table["NDVI"] = (table["B08"] - table["B04"]) / (table["B08"] + table["B04"])
    for month in MONTHS:
        for band in BANDS:
            lines = [
                "  ".join(f"{value:7.3f}" for value in table[band][table.month == month].quantile(
                    [0.05, 0.5, 0.95])) for table in (real, shown)
            ]  # fmt: skip
            print(f"{month:2d}  {band:8s} {lines[0]:>26s} {lines[1]:>30s}")
    return 0


def months_of(folder: Path, cube: Path) -> pd.DataFrame:
    """One row a pixel and month of the cropland of a simulated region."""
    outline = folder / "region.geojson"
    scenes = search_scenes(folder, outline, "2010-01-01", "2040-01-01", SENSORS)
    build_cube(scenes, outline, cube, block=SIDE)
    groups = open_cube(cube, masking={SENSORS[0]: Masking(rule=WITH_SNOW)})
    truth = xr.open_zarr(folder / "truth.zarr", consolidated=False)
    cover = truth["land_cover"]
    names = cover.attrs["flag_meanings"].split()
    crops = {"winter_wheat", "winter_barley", "spring_wheat", "maize", "soy", "potato", "grass"}
    codes = [c for c, name in zip(cover.attrs["flag_values"], names, strict=True) if name in crops]
    grown = np.isin(cover.to_numpy()[0], codes)
    columns: dict[str, np.ndarray] = {}
    for name in (name for name in SENSORS if name in groups.children):
        group = groups[name].to_dataset()
        data = group["data"].where(group["clear"])
        by_month = data.groupby("time.month")
        months = (by_month.median() if name == SENSORS[0] else by_month.mean()).compute()
        months = months.reindex(month=np.arange(1, 13))
        for band in months["band"].to_numpy():
            of_band = months.sel(band=band).transpose("month", "y", "x").to_numpy()[:, grown]
            columns.setdefault(str(band).upper(), of_band.ravel())
    columns["month"] = np.repeat(np.arange(1, 13), int(grown.sum()))
    return pd.DataFrame(columns)


if __name__ == "__main__":
    sys.exit(main())
