"""What the search for outliers masks: where the sky is known, by simulation, and of real scenes.

``python -m benchmarks.simulation.outliers [REGION...] [--seeds 0,1,2,3] [--cube CUBE] [--far
2,2.5,3]``

A region is a folder of ``terralatent simulate``; without any, one of 64 x 64 pixels is simulated by
each seed. Cubes are built in a temporary folder. Of the observations of Sentinel-2 that the mask
lets pass, by what truly was above: their number, and which share is masked as outliers. Then again
with a mask that fails: on every twelfth (``--every``) acquisition all observations pass. ``--cube``
adds a cube of real scenes, whose sky nobody knows: how many observations are outliers there, and
how far their blue lies from the pixel's median (haze and clouds are bright, shadows dark).
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
    thresholds = [float(text) for text in options.far.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        regions = options.regions or [
            simulate(Path(temporary) / seed, size=SIZE, seed=int(seed))
            for seed in options.seeds.split(",")
        ]
        simulated = [read_region(region) for region in regions]
    for name, every in (
        ("the mask as it is", 0),
        (f"it fails every {options.every}.", options.every),
    ):
        for far in thresholds if simulated else ():
            outliers.FAR = far
            print(f"\n{name}, threshold {far:g}: share of outliers among what it lets pass")
            print_shares(simulated, every)
    for far in thresholds if options.cube else ():
        outliers.FAR = far
        print_real(read_sensor(options.cube), far)


def read_sensor(cube: Path) -> SensorSeries:
    """All of a cube's Sentinel-2."""
    group = Store.of(cube).group()
    rows, columns = group[f"{SENSOR}/data"].shape[-2:]
    return read_series(group, [SENSOR], slice(0, rows), slice(0, columns)).by_sensor[SENSOR]


def read_region(folder: Path) -> tuple[SensorSeries, NDArray[np.uint8]]:
    """The series of a simulated region, and what truly was above each observation, (N, T)."""
    with tempfile.TemporaryDirectory() as work:
        region = folder / "region.geojson"
        scenes = search_scenes(folder, region, "1980-01-01", "2100-01-01", [SENSOR])
        build_cube(scenes, region, Path(work) / "cube", block=64)
        series = read_sensor(Path(work) / "cube")
    truth = open_truth(folder)[SENSOR].ds
    there = truth.time.values.astype("datetime64[s]").astype(float) / 86400.0
    date = np.abs(there[None, :] - series.days[:, None]).argmin(axis=1)
    sky = truth["sky"].values[date].repeat(2, axis=1).repeat(2, axis=2)
    return series, sky.reshape(len(sky), -1).T


def print_shares(regions: list[tuple[SensorSeries, NDArray[np.uint8]]], every: int) -> None:
    """Print the share of outliers by what truly was above; the mask fails on every so many-th
    acquisition, 0: on none."""
    parts = []
    for series, sky in regions:
        failing = np.zeros(len(series.days), dtype=bool)
        if every:
            failing[every // 2 :: every] = True
        data = (series.packed != series.fill_value).all(axis=2)
        observations = (series.clear | failing) & data
        outlying = outliers.find_outliers(series.packed, observations, series.days)
        parts.append(
            (
                sky[observations],
                outlying[observations],
                np.broadcast_to(failing, observations.shape)[observations],
            )
        )
    sky, outlying, failing = (np.concatenate(part) for part in zip(*parts, strict=True))
    for kind in SkyClass:
        for where, some in (("", ~failing), (", mask failed", failing)):
            of = (sky == kind) & some
            if of.any():
                name = kind.name.lower() + where
                print(f"{name:28} {of.sum():9,} observations {outlying[of].mean():8.2%}")
    print(f"{'all':28} {len(outlying):9,} observations {outlying.mean():8.2%}")


def print_real(series: SensorSeries, far: float) -> None:
    """Print how many observations of real scenes are outliers, and how far their blue lies off."""
    observations = (series.packed != series.fill_value).all(axis=2) & series.clear
    began = time.perf_counter()
    outlying = outliers.find_outliers(series.packed, observations, series.days)
    took = time.perf_counter() - began
    blue = np.where(
        observations, series.packed[..., 0] * series.scale_factor + series.add_offset, np.nan
    )
    rest = np.nanmedian(blue, axis=1, keepdims=True)
    off, every = (blue - rest)[outlying], (blue - rest)[observations]
    dates = np.count_nonzero(
        (outlying.sum(axis=0) > 0.5 * observations.sum(axis=0)) & observations.any(axis=0)
    )
    theirs, of_all = (np.quantile(blues, (0.1, 0.5, 0.9)).round(3) for blues in (off, every))
    print(
        f"\nreal scenes, threshold {far:g}: {outlying.sum():,} of {observations.sum():,} "
        f"observations ({outlying.sum() / observations.sum():.2%}) in {took:.1f} s, "
        f"on {dates} dates more than half\n"
        f"B02 less the pixel's median, 10, 50, 90 %: {theirs}, of all observations {of_all}"
    )


if __name__ == "__main__":
    main()
