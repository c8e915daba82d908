"""How well hidden Sentinel-2 acquisitions are predicted, beside unlearned gap filling.

    python benchmarks/gapfill.py [CATALOGUE] [--seed N] [--steps N] [--quick]

CATALOGUE is a static catalogue, ../shared/scenes by default. For each hold-out (seeds 0, 1 and 2,
or the one given) whole acquisitions are taken out of the catalogue: 14 scattered ones more than 85
% clear and all such of one 45-day window. A cube is built from the rest, a model trained on it
with default settings, and decoded at their times. Truth is what their mask says is clear; clean
truth is the part of it where B02 lies within 0.02 of the median of all clear looks within 16 days,
because some haze escapes the mask. The processes' settings are chosen once on acquisitions hidden
from the training period, and once in hindsight on the truth itself, which nobody could do.

A value that is not finite fails the run (exit code 1).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import baselines
import numpy as np
import torch
import xarray as xr
from baselines import Array, Filled, Mask
from numpy.typing import NDArray
from shapely import union_all
from shapely.geometry import box, shape

from terralatent.catalogs.item import sensed_at
from terralatent.catalogs.scenes import Scenes
from terralatent.catalogs.search import search_scenes
from terralatent.catalogs.sensors import SENSORS
from terralatent.pipeline.cube import open_cube
from terralatent.pipeline.decode import decode, open_bands
from terralatent.pipeline.ingest import build_cube
from terralatent.pipeline.train import train

SENSOR = "sentinel-2-l2a"
SCATTERED = 14
CLEAR = 0.85
WINDOW_DAYS = 45.0
CLEAN = 0.02
CLEAN_DAYS = 16.0
ALPHA = 0.1
METHODS = (
    "linear interpolation",
    "Whittaker",
    "per-band GP, chosen fairly",
    "per-band GP, in hindsight",
    "terralatent",
)


@dataclass(frozen=True)
class Truth:
    """Every Sentinel-2 look at the pixels inside the scenes."""

    times: NDArray[np.datetime64]
    """(time,)"""

    days: Array
    """Days since 1970, (time,)."""

    values: Array
    """Reflectance, (pixel, time, band); 0 where not clear."""

    clear: Mask
    """(pixel, time)"""

    clean: Mask
    """Clear and free of haze, as far as B02 tells, (pixel, time)."""

    inside: Mask
    """Which pixels of the grid these are, (y * x,)."""


def main() -> int:
    """Measure and print the table; 1 where the scenes are absent or a value is not finite."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "shared" / "scenes"
    parser.add_argument("catalogue", nargs="?", type=Path, default=default)
    parser.add_argument("--seed", type=int, help="one hold-out instead of three")
    parser.add_argument("--steps", type=int, help="training steps instead of the default")
    parser.add_argument("--quick", action="store_true", help="one hold-out, 20 steps")
    options = parser.parse_args()
    if not options.catalogue.exists():
        print(f"NOT MEASURED: there are no scenes at {options.catalogue}", file=sys.stderr)
        return 1
    seeds = [options.seed or 0] if options.quick or options.seed is not None else [0, 1, 2]
    steps = options.steps if options.steps is not None else 20 if options.quick else None
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        region = region_of(options.catalogue)
        scenes = search_scenes(options.catalogue, region, "1980-01-01", "2100-01-01")
        build_cube(scenes, region, work / "all")
        truth = read_truth(work / "all")
        rows = [measure(work / str(seed), scenes, region, truth, seed, steps) for seed in seeds]
    if len(rows) > 1:
        print(f"\nMean of {len(rows)} hold-outs")
        tell(
            {
                name: {k: np.mean([r[name][k] for r in rows]) for k in rows[0][name]}
                for name in METHODS
            }
        )
    return 0 if np.isfinite([row["terralatent"]["rmse"] for row in rows]).all() else 1


def region_of(catalogue: Path) -> object:
    """The catalogue's region.geojson, or the box around all its footprints."""
    beside = catalogue / "region.geojson"
    if beside.exists():
        return beside
    items = search_scenes(catalogue, "-180,-90,180,90", "1980-01-01", "2100-01-01").items
    return box(*union_all([shape(item["geometry"]) for item in items]).bounds)


def read_truth(cube: Path) -> Truth:
    """Read every look of the whole cube; computes."""
    group = open_cube(cube, clear=True)[SENSOR].to_dataset()
    data = group["data"].transpose("y", "x", "time", "band").to_numpy()
    values = data.reshape(-1, *data.shape[2:])
    clear = np.isfinite(values).all(-1)
    inside = clear.any(1)
    values, clear = values[inside], clear[inside]
    times = group["time"].to_numpy().astype("datetime64[us]")
    days = times.astype(np.int64) / 86_400e6
    blue = np.where(clear, values[..., 0], np.nan)
    clean = np.zeros_like(clear)
    for at, day in enumerate(days):
        near = blue[:, np.abs(days - day) <= CLEAN_DAYS]
        some = clear[:, at]
        clean[some, at] = np.abs(blue[some, at] - np.nanmedian(near[some], axis=1)) < CLEAN
    return Truth(times, days, np.nan_to_num(values), clear, clean, inside)


def choose(truth: Truth, candidates: Mask, seed: int) -> NDArray[np.integer]:
    """Acquisitions to hide: scattered clear ones and all of a window; indices, ascending."""
    draw = np.random.default_rng(seed)
    clear = np.flatnonzero((truth.clear.mean(0) > CLEAR) & candidates)
    start = draw.uniform(truth.days[0] + 30, truth.days[-1] - 30 - WINDOW_DAYS)
    window = clear[(truth.days[clear] >= start) & (truth.days[clear] < start + WINDOW_DAYS)]
    rest = np.setdiff1d(clear, window)
    scattered = draw.choice(rest, min(SCATTERED, len(rest) // 2), replace=False)
    return np.sort(np.concatenate([scattered, window]))


def measure(
    work: Path, scenes: Scenes, region: object, truth: Truth, seed: int, steps: int | None
) -> Mapping[str, Mapping[str, float]]:
    """Fill one hold-out by every method, and print the scores."""
    held = choose(truth, np.ones(len(truth.days), bool), seed)
    seen = truth.clear.copy()
    seen[:, held] = False
    print(f"\nHold-out {seed}: {len(held)} acquisitions, {int(truth.clear[:, held].sum()):,} looks")
    filled = {**unlearned(truth, seen, held, seed)}
    filled["terralatent"] = model(work, scenes, region, truth, held, seed, steps)
    scores = {name: score(filled[name], truth, held) for name in METHODS}
    tell(scores)
    return scores


def unlearned(
    truth: Truth, seen: Mask, held: NDArray[np.integer], seed: int
) -> Mapping[str, Filled]:
    """The four baselines, each band alone."""
    known = truth.values, seen, truth.days
    left = np.ones(len(truth.days), bool)
    left[held] = False
    inner = choose(truth, left, seed + 1000)
    inside = seen.copy()
    inside[:, inner] = False
    _, chosen = baselines.best_process(
        truth.values, inside, truth.days, inner, truth.values[:, inner], seen[:, inner]
    )
    hindsight, best = baselines.best_process(
        *known, held, truth.values[:, held], truth.clear[:, held]
    )
    penalty = baselines.choose_penalty(*known, inner)
    print(f"  settings: Whittaker {penalty:g}; GP (days, noise) fairly {chosen[0]}, ", end="")
    print(f"in hindsight {best[0]} for the first band")
    return {
        "linear interpolation": baselines.linear(*known, held),
        "Whittaker": baselines.whittaker(*known, held, penalty),
        "per-band GP, chosen fairly": baselines.process_with(chosen, *known, held),
        "per-band GP, in hindsight": hindsight,
    }


def model(
    work: Path,
    scenes: Scenes,
    region: object,
    truth: Truth,
    held: NDArray[np.integer],
    seed: int,
    steps: int | None,
) -> Filled:
    """Build a cube without the held-out acquisitions, train on it, decode at their times."""
    work.mkdir()
    hidden = set(truth.times[held].astype("datetime64[s]").tolist())
    kept = [
        item
        for item in scenes.items
        if not (
            item["collection"] == SENSOR
            and sensed_at(item).astype("datetime64[s]").item() in hidden
        )
    ]
    rest = Scenes.gather(
        kept,
        [SENSORS[name] for name in scenes.asked],
        source=scenes.source,
        period=scenes.period,
    )
    rest.to_parquet(work / "scenes.parquet")
    build_cube(Scenes.from_parquet(work / "scenes.parquet"), region, work / "cube")
    started = time.perf_counter()
    report = train(
        [work / "cube"], work / "model", seed=seed, **({} if steps is None else {"steps": steps})
    )
    print(f"  trained in {time.perf_counter() - started:.0f} s: {report}")
    dates = work / "dates.txt"
    dates.write_text("".join(f"{when}\n" for when in truth.times[held]))
    decode(work / "cube", work / "model", SENSOR, str(dates), work / "bands")
    bands = open_bands(work / "bands")
    low, high = (flat(bands[name], truth) for name in ("q05", "q95"))
    return Filled(flat(bands["mean"], truth), interval=(low, high))


def flat(bands: xr.DataArray, truth: Truth) -> Array:
    """Lay (time, band, y, x) out as (pixel, time, band) for the pixels inside the scenes."""
    values = bands.transpose("y", "x", "time", "band").to_numpy()
    return values.reshape(-1, *values.shape[2:])[truth.inside]


def score(filled: Filled, truth: Truth, held: NDArray[np.integer]) -> Mapping[str, float]:
    """Errors over all bands of all clear looks, in reflectance, and what the interval is worth."""
    target = truth.values[:, held]
    clear, clean = truth.clear[:, held], truth.clean[:, held]
    error = filled.mean - target
    told = {
        "rmse": float(np.sqrt(np.square(error[clear]).mean())),
        "mae": float(np.abs(error[clear]).mean()),
        "rmse clean": float(np.sqrt(np.square(error[clean]).mean())),
        "mae clean": float(np.abs(error[clean]).mean()),
    }
    if filled.interval is None:
        return told
    low, high = filled.interval
    for name, mask in (("", clear), (" clean", clean)):
        under, over = (low - target)[mask], (target - high)[mask]
        width = (high - low)[mask]
        miss = np.maximum(under, 0) + np.maximum(over, 0)
        told[f"cover{name}"] = float(((under <= 0) & (over <= 0)).mean())
        told[f"width{name}"] = float(width.mean())
        told[f"interval{name}"] = float((width + 2 / ALPHA * miss).mean())
    return told


def tell(scores: Mapping[str, Mapping[str, float]]) -> None:
    """Print a table, one method a line; for all truth, then for clean truth."""
    best = scores["per-band GP, in hindsight"]
    for suffix, title in (("", "all truth"), (" clean", "clean truth")):
        print(f"  {title:28s}   RMSE    of GP      MAE   90 % cover    width  interval score")
        for name, told in scores.items():
            rmse = told["rmse" + suffix]
            line = f"  {name:28s} {rmse:.4f}   {rmse / best['rmse' + suffix]:6.3f}"
            line += f"   {told['mae' + suffix]:.4f}"
            if "cover" + suffix in told:
                line += f"   {100 * told['cover' + suffix]:8.1f} %   {told['width' + suffix]:.4f}"
                line += f"   {told['interval' + suffix]:.4f}"
            print(line)


if __name__ == "__main__":
    torch.set_num_threads(2)
    sys.exit(main())
