"""What the search for outliers takes: where the sky is known, by simulation, and of real scenes.

``python -m benchmarks.simulation.outliers [REGION...] [--seeds 0,1,2,3] [--cube CUBE] [--far
2,2.5,3]``

A region is a folder of ``terralatent simulate``; without any, one of 64 x 64 pixels is simulated by
each seed. Cubes are built in a temporary folder. Of the looks of Sentinel-2 that the mask lets
pass, by what truly was above: their number, and which share is taken. Then again with a mask that
fails: on every twelfth (``--every``) acquisition all looks pass. ``--cube`` adds a cube of real
scenes, whose sky nobody knows: how many looks are taken there, and how far their blue lies from the
pixel's median (haze and clouds are bright, shadows dark).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.catalogs.simulation.sky import SkyClass
from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.cube import outliers
from terralatent.pipeline.cube.series import SensorSeries, read_series
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.store.repository import Store

SENSOR = "sentinel-2-l2a"
SIZE = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("regions", nargs="*", type=Path, help="simulated regions")
    parser.add_argument("--seeds", default="0,1,2,3", help="of simulation, with commas")
    parser.add_argument("--cube", type=Path, help="a cube of real scenes")
    parser.add_argument("--far", default=str(outliers.FAR), help="thresholds, with commas")
    parser.add_argument(
        "--every", type=int, default=12, help="acquisitions from failure to failure"
    )
    options = parser.parse_args()
    thresholds = [float(one) for one in options.far.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        regions = options.regions or [
            simulate(Path(temporary) / seed, size=SIZE, seed=int(seed))
            for seed in options.seeds.split(",")
        ]
        found = [read_region(region) for region in regions]
    for name, every in (
        ("the mask as it is", 0),
        (f"it fails every {options.every}.", options.every),
    ):
        for far in thresholds if found else ():
            outliers.FAR = far
            print(f"\n{name}, threshold {far:g}: share taken of the looks it lets pass")
            tell(found, every)
    for far in thresholds if options.cube else ():
        outliers.FAR = far
        real(read_sensor(options.cube), far)


def read_sensor(cube: Path) -> SensorSeries:
    """All of a cube's Sentinel-2."""
    group = Store.of(cube).group()
    rows, columns = group[f"{SENSOR}/data"].shape[-2:]
    return read_series(group, [SENSOR], slice(0, rows), slice(0, columns)).by_sensor[SENSOR]


def read_region(folder: Path) -> tuple[SensorSeries, NDArray[np.uint8]]:
    """The series of a simulated region, and what truly was above each look, (N, T)."""
    with tempfile.TemporaryDirectory() as work:
        outline = folder / "region.geojson"
        scenes = search_scenes(folder, outline, "1980-01-01", "2100-01-01", [SENSOR])
        build_cube(scenes, outline, Path(work) / "cube", block=64)
        series = read_sensor(Path(work) / "cube")
    truth = open_truth(folder)[SENSOR].ds
    there = truth.time.values.astype("datetime64[s]").astype(float) / 86400.0
    date = np.abs(there[None, :] - series.days[:, None]).argmin(axis=1)
    sky = truth["sky"].values[date].repeat(2, axis=1).repeat(2, axis=2)
    return series, sky.reshape(len(sky), -1).T


def tell(regions: list[tuple[SensorSeries, NDArray[np.uint8]]], every: int) -> None:
    """Print what is taken of each kind of look; ``every`` acquisition of so many fails, 0: none."""
    parts = []
    for series, sky in regions:
        failing = np.zeros(len(series.days), dtype=bool)
        if every:
            failing[every // 2 :: every] = True
        data = (series.packed != series.fill_value).all(axis=2)
        looks = (series.clear | failing) & data
        taken = outliers.find_outliers(series.packed, looks, series.days)
        parts.append((sky[looks], taken[looks], np.broadcast_to(failing, looks.shape)[looks]))
    sky, taken, failing = (np.concatenate(each) for each in zip(*parts, strict=True))
    for kind in SkyClass:
        for where, some in (("", ~failing), (", mask failed", failing)):
            of = (sky == kind) & some
            if of.any():
                print(f"{kind.name.lower() + where:28} {of.sum():9,} looks {taken[of].mean():8.2%}")
    print(f"{'all':28} {len(taken):9,} looks {taken.mean():8.2%}")


def real(series: SensorSeries, far: float) -> None:
    """Print what is taken of real looks."""
    looks = (series.packed != series.fill_value).all(axis=2) & series.clear
    began = time.perf_counter()
    taken = outliers.find_outliers(series.packed, looks, series.days)
    took = time.perf_counter() - began
    blue = np.where(looks, series.packed[..., 0] * series.scale_factor + series.add_offset, np.nan)
    rest = np.nanmedian(blue, axis=1, keepdims=True)
    off, every = (blue - rest)[taken], (blue - rest)[looks]
    dates = np.count_nonzero((taken.sum(axis=0) > 0.5 * looks.sum(axis=0)) & looks.any(axis=0))
    theirs, all_looks = (np.quantile(one, (0.1, 0.5, 0.9)).round(3) for one in (off, every))
    print(
        f"\nreal scenes, threshold {far:g}: {taken.sum():,} of {looks.sum():,} looks "
        f"({taken.sum() / looks.sum():.2%}) in {took:.1f} s, on {dates} dates more than half\n"
        f"B02 less the pixel's median, 10, 50, 90 %: {theirs}, of all looks {all_looks}"
    )


if __name__ == "__main__":
    main()
