"""Whether a simulated region behaves as the real scenes do.

    python -m benchmarks.simulation.realism [SIMULATED ...] [--real SCENES] [--size 256] [--seed N]
                                            [--climate NAME] [--regions N]

SIMULATED is a folder that `terralatent simulate` wrote; without one, regions of the climate are
simulated into a temporary folder, one for each seed from --seed on. Where the real scenes lack
bands, those of the simulation are left out too. SCENES is a folder with a static catalogue and a
region.geojson, ../shared/scenes by default; the same folder twice compares the real scenes with
themselves. Both are built into
cubes. Because the share of clear dates, the part of an error that is common to a scene and more
depend on how large a scene is, all numbers are of windows as large as the real region (at most 64 x
64 pixels): up to 9 of them spread evenly over each simulated region. A line of the table shows

    what | real | simulated: mean over windows | lowest and highest window | ratio or difference

with a star where the real number lies outside the range of the simulated windows by more than its
width, and by more than 5 % of itself. ``benchmarks/simulation/statistics.py`` defines each number.
Sentinel-1's directions are compared where both have them; a direction that only the simulation has
stands beside the real direction that there is.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import xarray as xr

from benchmarks.simulation.statistics import Statistic, optical, radar
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.sources.sensors import SENSORS as SENSORS_BY_NAME
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.ingest.build import build_cube

SIDE = 64
"""Pixels along a window, and along a block of the cubes."""

OPTICAL = "sentinel-2-l2a"
RADAR = ("sentinel-1-asc", "sentinel-1-desc")
SENSORS = (OPTICAL, *RADAR)

Table = Mapping[str, tuple[Statistic, ...]]
"""The statistics of one window, by sensor."""


def main() -> int:
    """Measure and print; 1 where the real scenes are absent."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("simulated", nargs="*", type=Path)
    parser.add_argument("--real", type=Path, default=default)
    parser.add_argument("--size", type=int, default=256, help="pixels along the simulated region")
    parser.add_argument("--years", type=int, default=1, help="years that are simulated")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    parser.add_argument("--climate", default="temperate", help="of the simulation")
    parser.add_argument("--regions", type=int, default=1, help="how many are simulated")
    parser.add_argument("--quick", action="store_true", help="one region of 64 x 64 pixels")
    options = parser.parse_args()
    if not (options.real / "region.geojson").exists():
        print(f"NOT MEASURED: there are no scenes at {options.real}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folders = options.simulated
        if not folders:
            size = SIDE if options.quick else options.size
            folders = [
                simulated(work / f"simulated {seed}", size, options.years, seed, options.climate)
                for seed in range(options.seed, options.seed + options.regions)
            ]
        described = narrowed(options.real, work)
        cube = work / "cube of the real scenes"
        (real,) = list(tables(options.real, cube, 1, described))
        windows = [
            table
            for number, folder in enumerate(folders)
            for table in tables(folder, work / f"cube {number}", 3, described)
        ]
    print_tables(real, windows)
    return 0


def simulated(folder: Path, size: int, years: int, seed: int, climate: str) -> Path:
    """Simulate a region into ``folder``."""
    from terralatent.catalogs.simulation.simulate import simulate

    simulate(folder, size=size, years=years, seed=seed, climate=climate)
    return folder


def narrowed(folder: Path, work: Path) -> list[Path]:
    """A description of Sentinel-2 by the bands that a folder's items have; none: it has all."""
    item = json.loads(next((folder / OPTICAL).glob("*/*.json")).read_text())
    sensor = SENSORS_BY_NAME[OPTICAL]
    present = sensor.asset_keys(item["assets"])
    if len(present) == len(sensor.bands):
        return []
    file = work / "narrowed.toml"
    bands = ", ".join(f'{band} = ["{key}"]' for band, key in present.items())
    file.write_text(f'[sensors.{OPTICAL}]\nlike = "{OPTICAL}"\nbands = {{ {bands} }}\n')
    return [file]


def tables(folder: Path, cube: Path, most: int, described: Sequence[Path] = ()) -> Iterator[Table]:
    """Build the cube of a folder's scenes and measure up to ``most`` x ``most`` windows of it.

    Of Sentinel-2 those bands that ``described`` has, see :func:`narrowed`.
    """
    region = folder / "region.geojson"
    scenes = search_scenes(folder, region, "1980-01-01", "2100-01-01", SENSORS, described=described)
    print(f"{folder}: {scenes.summary()}", flush=True)
    build_cube(scenes, region, cube, block=SIDE)
    groups = open_cube(cube)
    names = [name for name in SENSORS if name in groups.children]
    size = groups[names[0]].sizes
    for y, x in product(starts(size["y"], most), starts(size["x"], most)):
        statistics = {}
        for name in names:
            window = groups[name].to_dataset().isel(y=slice(y, y + SIDE), x=slice(x, x + SIDE))
            statistics[name] = tuple(measure(name, window))
        yield statistics


def starts(size: int, most: int) -> Sequence[int]:
    """Where windows along an axis of ``size`` pixels begin, apart if there is room."""
    if size < 2 * SIDE or most == 1:
        return [max(0, (size - SIDE) // 2)]
    count = min(most, size // SIDE)
    return [int(at) for at in np.linspace(0, size - SIDE, count).round()]


def measure(name: str, window: xr.Dataset) -> Iterator[Statistic]:
    """The statistics of one sensor in one window, whose pixels outside all scenes are left out."""
    window = window.drop_vars("state", errors="ignore").load()
    seen = window["data"].notnull().any(("time", "band"))
    window = window.isel(y=seen.any("x").to_numpy(), x=seen.any("y").to_numpy())
    pixel = float(abs(window["x"][1] - window["x"][0]))
    with warnings.catch_warnings():
        # Pixels that one date does not show are NaN; what is left of them is selected by name.
        warnings.simplefilter("ignore", RuntimeWarning)
        yield from (optical if name == OPTICAL else radar)(window, pixel)


def print_tables(real: Table, windows: Sequence[Table]) -> None:
    """Print a table for each sensor of the simulated regions."""
    names = [name for name in SENSORS if any(name in table for table in windows)]
    for name in names:
        beside = name if name in real else next((other for other in RADAR if other in real), None)
        if beside is None:
            continue
        own = [table[name] for table in windows if name in table]
        title = name if beside == name else f"{name}, beside the real {beside}"
        print(f"\n{title}, {len(own)} simulated window{'s' if len(own) > 1 else ''}")
        print(
            f"  {'':38s} {'real':>8s} {'simul.':>8s} {'low':>8s} {'high':>8s}  ratio or difference"
        )
        for statistic in real[beside]:
            values = [of.value for table in own for of in table if of.name == statistic.name]
            print(row(statistic, np.array(values)))


def row(real: Statistic, values: np.ndarray) -> str:
    """One line: the real number, the mean over windows, their range, and how they compare."""
    known = values[np.isfinite(values)]
    if not known.size or not np.isfinite(real.value):
        shown = f"{real.value:8.3f} {known.mean() if known.size else np.nan:8.3f}"
        return f"  {real.name:38s} {shown}  not to be compared"
    mean, low, high = known.mean(), known.min(), known.max()
    numbers = " ".join(f"{value:{_form(real.value)}}" for value in (real.value, mean, low, high))
    compared = f"x {mean / real.value:.2f}" if real.ratio else f"{mean - real.value:+.3f}"
    outside = max(low - real.value, real.value - high)
    far = len(known) > 1 and outside > max(high - low, 0.05 * abs(real.value))
    return f"  {real.name:38s} {numbers}  {compared:>8s}{' *' if far else ''}"


def _form(value: float) -> str:
    return "8.4f" if abs(value) < 0.1 else "8.3f" if abs(value) < 30 else "8.1f"


if __name__ == "__main__":
    sys.exit(main())
