"""How far the model is from a truth that is known: every day of a simulated region.

    python -m benchmarks.simulation.truth [REGION] [--size 128] [--seed N] [--steps N] [--dates
    DAYS] [--quick]

REGION is a folder that `terralatent simulate` wrote; without one, a region of --size pixels is
simulated into a temporary folder. A cube is built, a model is trained with default settings on all
its sensors and another, with as many steps, on Sentinel-2 alone. Then both are asked for the
surface every --dates days over the whole year, on up to 1,600 evenly spread pixels, and compared
with the true reflectance of the day: the surface without noise, so that intervals are those of
`std_signal`. Errors are in reflectance. Tables:

1. errors and intervals by band;
2. by the time to the nearest clear look of Sentinel-2 by the mask, in days;
3. by what truly was above the looks within 3 days that the mask let pass: such days of the pixels
   above, and for clouds and shadows, which it seldom lets pass, of all pixels that had one;
4. leaf area by a linear regression on the latents, on parcels that it was not fitted to;
5. what radar adds: Sentinel-2 as it is, and without all looks of windows of 45 and 90 days, which
   take turns until each day was in one, the first and the last of the year as well, which have
   looks on one side only. Windows are hidden from the posterior; training saw them, that of both
   models alike;
6. means of parcels: the standard deviation of `field_means`, the part of it that errors of
   acquisitions make, and, as a warning, what independent errors of pixels would give.

Columns: `share` of the values, `RMSE`, `MAE`, `50 %` and `90 %` how much of the truth the intervals
cover in per cent, `std` the root mean square of the standard deviation. A value that is not finite
fails the run (exit code 1).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from benchmarks.simulation import tables as truth_tables
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.catalogs.simulation.sky import SkyClass
from terralatent.pipeline.cli.demo_scores import open_truth
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.cube.series import SeriesBlock
from terralatent.pipeline.dates import days_since_1970
from terralatent.pipeline.fields.means import field_means
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.mapping.job import MappingJob, plan_job
from terralatent.pipeline.region import blocks
from terralatent.pipeline.training.train import train

SENSOR = "sentinel-2-l2a"
MOST_PIXELS = 1600
MOST_PARCELS, FEWEST_PIXELS = 40, 9
WINDOWS = (45, 90)
NEAR_DAYS = 3

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Region:
    """A simulated region at the days and pixels that are asked for; Q days, P pixels, B bands."""

    truth: xr.DataTree
    days: NDArray[np.datetime64]
    """(Q,), datetime64[D]"""
    chosen: Mask
    """Which pixels, (y, x)."""
    surface: Array
    """Clear reflectance, (P, Q, B)."""
    leaf_area: Array
    """m2/m2, (P, Q)."""
    parcel: NDArray[np.integer]
    """(P,)"""
    cover: NDArray[np.integer]
    """(P,)"""


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model says there, and how far the looks are from which it says so."""

    mean: Array
    """(P, Q, B)"""
    std: Array
    """Of the surface, (P, Q, B)."""
    latents: Array
    """Means, (P, Q, L)."""
    gap: Array
    """Days to the nearest look of Sentinel-2 that the mask lets pass, (P, Q)."""


def main() -> int:
    """Measure and print; 1 where a value is not finite."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("region", nargs="?", type=Path, help="a simulated region")
    parser.add_argument("--size", type=int, help="pixels along the region, 128 by default")
    parser.add_argument("--seed", type=int, default=0, help="of simulation and training")
    parser.add_argument("--steps", type=int, help="training steps instead of the default")
    parser.add_argument("--dates", type=int, help="days between the dates, 5 by default")
    parser.add_argument("--quick", action="store_true", help="64 pixels, 20 steps, every 10 days")
    options = parser.parse_args()
    size = options.size or (64 if options.quick else 128)
    steps = options.steps if options.steps is not None else 20 if options.quick else None
    every = options.dates or (10 if options.quick else 5)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = options.region or simulate(work / "region", size=size, seed=options.seed)
        cube = build(folder, work / "cube")
        region = read_region(folder, every)
        models = {}
        for name, sensors in (("S1+S2", None), ("S2", [SENSOR])):
            began = time.perf_counter()
            report = train(
                [cube], work / name, seed=options.seed, sensors=sensors,
                **({} if steps is None else {"steps": steps}),
            )  # fmt: skip
            print(f"{name}: trained in {time.perf_counter() - began:.0f} s: {report}", flush=True)
            models[name] = plan_job(cube, work / name, times_of(region.days))
        some = missed(region, models["S1+S2"])
        return 0 if measure(region, read_region(folder, every, some), models) else 1


def build(folder: Path, cube: Path) -> Path:
    """Build the cube of a simulated region, all of its acquisitions."""
    outline = folder / "region.geojson"
    scenes = search_scenes(folder, outline, "1980-01-01", "2100-01-01")
    print(f"{folder}: {scenes.summary()}", flush=True)
    build_cube(scenes, outline, cube, block=64)
    return cube


def spread_pixels(size: int) -> Mask:
    """Evenly spread pixels of a region of ``size`` x ``size``."""
    step = max(1, int(np.ceil(size / MOST_PIXELS**0.5)))
    chosen = np.zeros((size, size), dtype=bool)
    chosen[step // 2 :: step, step // 2 :: step] = True
    return chosen


def read_region(folder: Path, every: int, chosen: Mask | None = None) -> Region:
    """Read the truth every few days, on evenly spread pixels or those that are chosen."""
    truth = open_truth(folder)
    daily = truth["daily"].ds
    if chosen is None:
        chosen = spread_pixels(daily.sizes["y"])
    y, x = (xr.DataArray(at, dims="pixel") for at in np.nonzero(chosen))
    some = daily.isel(time=slice(every // 2, None, every))
    grid = truth.ds[["parcel", "land_cover"]].isel(y=y, x=x)
    # One day after the other: all pixels of all days are more than memory need hold.
    reflectance = [some["reflectance"][day].values[:, chosen] for day in range(some.sizes["time"])]
    area = [some["leaf_area"][day].values[chosen] for day in range(some.sizes["time"])]
    return Region(
        truth,
        some.time.values.astype("datetime64[D]"),
        chosen,
        np.stack(reflectance).transpose(2, 0, 1),
        np.stack(area).T,
        grid["parcel"].values,
        grid["land_cover"].values[0],
    )


def times_of(days: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The hour at which Sentinel-2 passes: the truth of a day is that of its light."""
    return days.astype("datetime64[us]") + np.timedelta64(11, "h")


def measure(region: Region, clouded: Region, models: dict[str, MappingJob]) -> bool:
    """Print the tables; whether all values are finite. ``clouded`` is of :func:`missed` pixels."""
    answers = {name: ask(region, job) for name, job in models.items()}
    ours, job = answers["S1+S2"], models["S1+S2"]
    bands = list(job.config().sensor(SENSOR).bands)
    error, gap = ours.mean - region.surface, ours.gap
    print(f"\n{error.shape[0]} pixels at {error.shape[1]} dates, {len(bands)} bands")
    table = truth_tables.Table("surface")
    table.add("all bands", error, ours.std)
    for at, band in enumerate(bands):
        table.add(band, error[..., at], ours.std[..., at])
    for name, some in truth_tables.classes(gap):
        table.add(f"{name} days", error, ours.std, some)
    for name, some in skies(region, job):
        table.add(name, error, ours.std, some)
    if clouded.chosen.any():
        theirs = ask(clouded, job)
        name, some = next(skies(clouded, job))
        name = f"{name.partition(' in ')[0]}, all such pixels"
        table.add(name, theirs.mean - clouded.surface, theirs.std, some)
    fine = table.print()
    fine &= truth_tables.leaves(region, ours)
    hidden = {
        days: {name: ask(region, each, window=days) for name, each in models.items()}
        for days in WINDOWS
    }
    fine &= truth_tables.radar(region, {0: answers, **hidden})
    return fine and parcels(region, job)


def ask(region: Region, job: MappingJob, *, window: int | None = None) -> Answer:
    """Infer and decode at the region's days and pixels.

    Args:
        region: Where and when.
        job: Of its cube.
        window: Hide all looks of Sentinel-2 in windows of so many days, each in its turn, and ask
            for the days within; None hides nothing.
    """
    number = (region.days - region.days[0]).astype(int) // (window or 10**6)
    parts = []
    for block in blocks(region.chosen.shape, job.block):
        places = np.flatnonzero(region.chosen[block.y, block.x])
        if places.size:
            series = job.read(block)
            turns = [
                ask_block(job, series, places, region.days[number == turn], window)
                for turn in np.unique(number)
            ]
            parts.append([np.concatenate(each, axis=1) for each in zip(*turns, strict=True)])
    # Blocks go row by row, and so do pixels within them; the region's pixels go by whole rows.
    place = np.arange(region.chosen.size).reshape(region.chosen.shape)
    order = [
        place[block.y, block.x][region.chosen[block.y, block.x]]
        for block in blocks(region.chosen.shape, job.block)
    ]
    rank = np.argsort(np.concatenate(order))
    return Answer(*(np.concatenate(each)[rank] for each in zip(*parts, strict=True)))


def ask_block(
    job: MappingJob,
    series: SeriesBlock,
    places: NDArray[np.intp],
    days: NDArray[np.datetime64],
    window: int | None,
) -> tuple[Array, Array, Array, Array]:
    """Some pixels of a block on some days: mean, std, latents, days to the nearest look."""
    own = series.by_sensor[SENSOR]
    if window is not None:
        away = np.floor(own.days) - days[0].astype(int)
        own = replace(own, clear=own.clear & ~((away >= 0) & (away < window)))
        series = replace(series, by_sensor={**series.by_sensor, SENSOR: own})
    times = times_of(days)
    asked = replace(job, times=tuple(int(one) for one in times.astype(np.int64)))
    model, when = job.load(), torch.from_numpy(days_since_1970(times))
    found: list[list[Array]] = [[], [], []]
    for _, mean, var in asked.infer(series, places):
        bands = model.decode(SENSOR, mean, var, when.to(mean.device))
        for column, part in zip(found, (bands.mean, bands.std_signal, mean), strict=True):
            column.append(part.cpu().double().numpy())
    looks = own.observations(places).observed.numpy()
    apart = np.abs(np.floor(own.days)[:, None] - days.astype(int)[None, :])
    gap = np.where(looks[:, :, None], apart[None], np.inf).min(axis=1)
    return (*(np.concatenate(column) for column in found), gap)  # type: ignore[return-value]


def passed_looks(region: Region, job: MappingJob) -> tuple[NDArray[np.datetime64], Mask, Array]:
    """Days (T,), which looks the mask lets pass, and what truly was above, (T, y, x)."""
    group = open_cube(job.cube)[SENSOR].ds
    truth = region.truth[SENSOR].ds
    taken, there = (one.time.values.astype("datetime64[m]") for one in (group, truth))
    date = np.abs(there[None, :] - taken[:, None]).argmin(axis=1)
    above = truth["sky"].values[date].repeat(2, axis=1).repeat(2, axis=2)
    return taken.astype("datetime64[D]"), group["clear"].values, above


def missed(region: Region, job: MappingJob) -> Mask:
    """Up to so many pixels at which the mask let a cloud or a shadow pass, (y, x)."""
    _, looks, above = passed_looks(region, job)
    places = np.flatnonzero((looks & (above >= SkyClass.THIN_CLOUD)).any(axis=0))
    kept = places[:: max(1, -(-len(places) // MOST_PIXELS))]
    chosen = np.zeros(region.chosen.shape, dtype=bool)
    chosen.ravel()[kept] = True
    return chosen


def skies(region: Region, job: MappingJob) -> Iterator[tuple[str, Mask]]:
    """Where looks were close by, what truly was above them: names, and where, (P, Q)."""
    days, looks, above = passed_looks(region, job)
    looks, above = looks[:, region.chosen].T, above[:, region.chosen].T
    close = np.abs((days[:, None] - region.days[None, :]).astype(int)) <= NEAR_DAYS
    kinds = {
        "cloud or shadow": above >= SkyClass.THIN_CLOUD,
        "haze": above == SkyClass.HAZE,
        "nothing": above == SkyClass.CLEAR,
    }
    left = np.ones((len(looks), len(region.days)), dtype=bool)
    for name, kind in kinds.items():
        found = np.einsum("pt,tq->pq", (looks & kind).astype(np.float32), close) > 0
        yield f"{name} in a passed look", found & left
        left &= ~found
    yield f"no look within {NEAR_DAYS} days", left


def parcels(region: Region, job: MappingJob) -> bool:
    """Means of parcels beside their true means; whether all values are finite."""
    parcel = region.truth.ds["parcel"].values
    numbers, counts = np.unique(parcel, return_counts=True)
    large = numbers[counts >= FEWEST_PIXELS]
    kept = large[np.linspace(0, len(large) - 1, min(MOST_PARCELS, len(large))).astype(int)]
    labels = np.where(np.isin(parcel, kept), parcel + 1, 0)
    found = field_means(job.cube, job.model, SENSOR, times_of(region.days), labels)
    return truth_tables.fields(found, true_means(region, parcel, kept))


def true_means(region: Region, parcel: NDArray[np.integer], kept: Sequence[int]) -> Array:
    """Mean reflectance of parcels, (parcel, Q, B)."""
    daily = region.truth["daily"].ds["reflectance"]
    inside = np.stack([parcel == number for number in kept]).reshape(len(kept), -1).astype(float)
    inside /= inside.sum(axis=1, keepdims=True)
    days = daily.sel(time=region.days.astype("datetime64[ns]"))
    every = [days[at].values.reshape(days.shape[1], -1) for at in range(len(region.days))]
    return np.stack([inside @ one.T for one in every], axis=1)


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
