"""One new scene on a year: what `embed --live` takes beside a full `embed` of the same pixels.

    python -m benchmarks.live.append [--size 256] [--appends 24] [--seed N] [--cache FOLDER]
                                    [--quick]

A region is simulated and a cube built of its first year but for the last acquisitions, which then
come one after the other, and one that comes 20 days late. Monthly latents by the model that comes
with the package, on one worker that runs already. Seconds are those of the worker, reading and
writing included; bytes are what the run added to the store. At the end the store is compared with
one that a full run makes: in standard deviations, and in steps of the packing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from distributed import Client

from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.catalogs.simulation.simulate import simulate
from terralatent.pipeline import build_cube, embed, open_latents
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.mapping.latents.packing import MEAN_STEP, STD_STEP
from terralatent.pipeline.mapping.results.report import ResultReport
from terralatent.pipeline.store.repository import Store

WANTED = 1 / 20
YEAR = ("2018-01-01", "2018-12-31")
LATE_DAYS = 20
DATES = [*(f"2018-{month:02d}-01" for month in range(1, 13)), "2018-12-31"]


@dataclass(frozen=True)
class Run:
    """One command."""

    seconds: float
    """Of the worker."""

    wall: float
    bytes: int
    """Added to the store."""

    report: ResultReport


def main() -> int:
    """Measure and print; exit code 1 where live latents are off by more than they may be."""
    options = _parser().parse_args()
    size, appends = (64, 3) if options.quick else (options.size, options.appends)
    with tempfile.TemporaryDirectory() as temporary, client_for("local", workers=1) as client:
        folder = Path(temporary)
        region = (options.cache or folder) / f"region-{size}-{options.seed}"
        if not region.exists():
            simulate(region, size=size, seed=options.seed)
        return measure(region, folder, client, appends)


def measure(region: Path, folder: Path, client: Client, appends: int) -> int:
    """Let a cube grow, and keep latents beside it up to date."""
    outline = region / "region.geojson"
    scenes = search_scenes(region, outline, *YEAR)
    order = sorted(
        (acquisition.time, [str(item["id"]) for item in acquisition.items])
        for name in scenes.sensors
        for acquisition in scenes.acquisitions(name)
    )
    end = order[-1][0] - np.timedelta64(LATE_DAYS, "D")
    late = next(ids for time, ids in reversed(order) if time < end)
    coming = [ids for _, ids in order if ids != late][-appends:]
    missing = [*late, *(item for ids in coming for item in ids)]
    cube = folder / "cube"

    def build() -> None:
        build_cube(_without(scenes, missing), outline, cube, client=client)

    def run(out: str, *, live: bool) -> Run:
        place = folder / out
        with added_bytes(place) as added:
            report = embed(cube, out=place, dates=",".join(DATES), live=live, client=client)
        assert isinstance(report, ResultReport)
        assert not report.losses, report.losses
        return Run(sum(report.seconds.values()), report.wall, added[0], report)

    build()
    run("warm", live=True)  # compiles, and loads the model
    first = run("live", live=True)
    steps = []
    for ids in coming:
        missing = [item for item in missing if item not in ids]
        build()
        steps.append(run("live", live=True))
    missing = []
    build()
    replay = run("live", live=True)
    full = [run(f"full-{number}", live=False) for number in range(3)]
    seconds = median(own.seconds for own in full)
    print(f"{sum(len(own[1]) > 0 for own in order)} acquisitions, {first.report.pixels:,} pixels")
    print(f"full embed: {seconds:.2f} s of a worker, {full[0].bytes / 1e6:.1f} MB")
    print(f"the first with states: {first.seconds / seconds:.2f} of it, "
          f"{first.bytes / 1e6:.1f} MB")  # fmt: skip
    ordinary = [own.seconds / seconds for own in steps]
    print(f"one new scene, median of {len(steps)}: {median(ordinary):.4f} of it (wanted "
          f"{WANTED:.4f}), mean {np.mean(ordinary):.4f}, most {max(ordinary):.4f}; "
          f"{median(own.bytes for own in steps) / 1e6:.1f} MB")  # fmt: skip
    slowest = max(steps, key=lambda own: own.seconds)
    for name, own in (("median", sorted(steps, key=lambda own: own.seconds)[len(steps) // 2]),
                      ("slowest", slowest), ("full", full[0])):  # fmt: skip
        parts = ", ".join(f"{stage} {value:.2f} s" for stage, value in own.report.seconds.items())
        print(f"  {name}: {parts}")
    print(f"a scene {LATE_DAYS} days late: {replay.seconds / seconds:.3f} of it, "
          f"{replay.bytes / 1e6:.1f} MB")  # fmt: skip
    return compare(folder / "live", folder / "full-0")


def compare(live: Path, full: Path) -> int:
    """Print how far dates of live latents that are not stale are from a full run's."""
    current = ~np.asarray(Store.of(live).group()["stale"]).any(axis=(1, 2))
    a, b = (open_latents(place).isel(time=np.flatnonzero(current)) for place in (live, full))
    std = b["std"].values
    print(f"{current.sum()} of {len(current)} dates are not stale; beside a full run:")
    wrong = False
    for name, step in (("mean", MEAN_STEP), ("std", STD_STEP)):
        apart = np.abs(a[name].values - b[name].values)
        steps = np.rint(apart / step)
        share = float((steps[np.isfinite(std)] > 0).mean())
        off = float(np.nanmax(apart / std))
        wrong |= bool(np.nanmax(steps) > 1)
        print(f"  {name}: at most {off:.5f} of the std, {np.nanmax(steps):.0f} steps; "
              f"{share:.4%} of the values one step apart (wanted 0.1 %)")  # fmt: skip
    return int(wrong)


def _without(scenes: Scenes, missing: Collection[str]) -> Scenes:
    """What a search finds before some items are there."""
    return Scenes.gather(
        [item for item in scenes.items if item["id"] not in missing],
        scenes.wanted,
        source=scenes.place,
        period=scenes.period,
        access=scenes.access,
    )


@contextmanager
def added_bytes(place: Path) -> Iterator[list[int]]:
    """Count what a run adds to the files of a store."""
    before = _sizes(place)
    added = [0]
    yield added
    added[0] = sum(size for path, size in _sizes(place).items() if path not in before)


def _sizes(place: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in place.rglob("*") if path.is_file()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="pixels along the region")
    parser.add_argument("--appends", type=int, default=24, help="acquisitions that come in order")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="folder where regions are kept")
    parser.add_argument("--quick", action="store_true", help="a small region, three acquisitions")
    return parser


if __name__ == "__main__":
    sys.exit(main())
