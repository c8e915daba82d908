"""What `embed` costs: speed and where time goes, what workers bring and blocks cost, and rivals.

    python -m benchmarks.embed [SCENES] [--quick] [--only PART ...] [--rounds 3] [--model MODEL]
                               [--device cuda] [--memory 4GB] [--cache FOLDER]

SCENES is a folder with a static catalogue and a region.geojson, ../shared/scenes by default. Its
scenes are built into a cube, and a year of them (73 dates of Sentinel-2, 60 of Sentinel-1) is
repeated in space; the cubes are kept in FOLDER for the next time. Without MODEL the weights are
random: the work is the same. Monthly latents, 16 of them, are written packed, from store to store,
by two worker processes on the CPU. Starting them, and what each does once in its life, is counted
by the part `start` alone. One line for each figure, with what was wanted of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.embed.cube import DATES, random_model, repeated_cube, scenes_cube
from benchmarks.embed.gpu import measure_device, missing_device
from benchmarks.embed.latency import LATE_S, compare_threads
from benchmarks.embed.map_blocks import PACKING, map_cube
from benchmarks.embed.memory import Case, hold_memory
from benchmarks.embed.scaling import compare_blocks, compare_workers
from benchmarks.embed.scheduler import load_scheduler
from benchmarks.embed.stages import print_table, start_timing, time_stages
from benchmarks.embed.start_up import time_start
from benchmarks.embed.workers import Cost, cost_of, fresh_workers
from terralatent.pipeline import embed, open_latents
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.repository import Store

WANTED = 15_000
"""Pixels a second that must be reached with 2 workers on 2 cores, by either kind of encoders."""


@dataclass(frozen=True)
class Bench:
    """What the parts measure with."""

    scenes: Path
    """Folder of the scenes."""

    cache: Path
    """Where cubes are kept."""

    folder: Path
    """Where results are written; empty at first."""

    given: Path | None
    """A model's folder, or None for random weights."""

    quick: bool
    """Whether cubes are small and each run is done once."""

    repeats: int
    """Runs of which the median counts, unless it is quick."""

    memory: str
    """What a worker may use."""

    device: str
    """What the part ``device`` is for."""

    @property
    def side(self) -> int:
        """Pixels along y and x of a cube of four blocks."""
        return 256 if self.quick else 512

    @property
    def rounds(self) -> int:
        """How often a run is done of which the median counts."""
        return 1 if self.quick else self.repeats

    def cube(self, side: int, block: int | None = None) -> Path:
        """A cube of so many pixels along y and x, in blocks of half of :attr:`side`."""
        source = scenes_cube(self.scenes, self.cache)
        return repeated_cube(source, side, block or self.side // 2)

    def model(self, cube: Path) -> Path:
        """The model that was given, or one of random weights for the sensors of ``cube``."""
        return self.given or self.random_model(cube, 16)

    def random_model(self, cube: Path, latents: int) -> Path:
        """A model of random weights for the sensors of ``cube``."""
        made = self.folder / f"model of {latents}"
        return made if made.exists() else random_model(cube, made, latents)


def main() -> int:
    """Measure and print; 1 where the scenes are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("scenes", nargs="?", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="smaller, each run once")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=tuple(PARTS))
    parser.add_argument("--rounds", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--model", type=Path, help="a model's folder; random weights by default")
    parser.add_argument("--device", default="cuda", help="of the part `device`: cuda or cuda:N")
    parser.add_argument("--memory", default="4GB", help="what a worker may use")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "terralatent"))
    options = parser.parse_args()
    if not (options.scenes / "region.geojson").exists():
        print(f"NOT MEASURED: there are no scenes at {options.scenes}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(
            options.scenes, options.cache, Path(folder), options.model, options.quick,
            options.rounds, options.memory, options.device,
        )  # fmt: skip
        for part in options.only:
            began = time.perf_counter()
            PARTS[part](bench)
            print(f"({part}: {time.perf_counter() - began:.0f} s in all)", flush=True)
    return 0


def _speed(bench: Bench) -> None:
    """Pixels a second with either kind of encoders, and where the workers' time goes."""
    side = bench.side if bench.quick else 2 * bench.side
    cube = bench.cube(side)
    model = bench.model(cube)
    dates = " + ".join(str(count) for count in DATES.values())
    print(f"# {side} x {side} pixels x {dates} dates, 16 latents, monthly, 2 workers")
    with fresh_workers(2, model, bench.memory) as client:
        time_stages(client)
        for encoder in ("float32", "bfloat16"):
            start_timing(client)
            cost = cost_of(
                client,
                lambda encoder=encoder: embed(
                    cube, model, bench.folder / encoder,
                    encoder=encoder, device="cpu", client=client, memory=bench.memory,
                ),
            )  # fmt: skip
            print(f"{encoder} encoders: {cost.wall:.1f} s, {side**2 / cost.cpu:,.0f} pixels a CPU "
                  f"second, peak memory of a worker {cost.peak:.0f} MB")  # fmt: skip
            print_table(client, cost.wall)
            print(f"{encoder} encoders, pixels a second: {side**2 / cost.wall:,.0f} "
                  f"(wanted: at least {WANTED:,} on 2 cores)")  # fmt: skip


def _workers(bench: Bench) -> None:
    """What a second worker brings."""
    cube = bench.cube(bench.side)
    print(f"# {bench.side} x {bench.side} pixels by 1 worker and by 2")
    compare_workers(cube, bench.model(cube), bench.folder, bench.memory, bench.rounds)


def _blocks(bench: Bench) -> None:
    """What four times the blocks cost."""
    few, many = bench.cube(bench.side), bench.cube(2 * bench.side)
    print(f"# 4 and 16 blocks of {bench.side // 2} x {bench.side // 2} pixels")
    model = bench.model(few)
    compare_blocks(few, many, 4, model, bench.folder, bench.memory, bench.rounds)


def _memory(bench: Bench) -> None:
    """Whether workers stay within what they may use."""
    side, block = bench.side, bench.side // 2
    few, many = bench.cube(side), bench.cube(2 * side)
    usual, wide = (bench.random_model(few, latents) for latents in (16, 64))
    print(f"# blocks of {block} x {block} pixels, 2 workers, float32 encoders")
    cases = [
        Case(
            memory, dates, cube, model, f"{size} x {size} pixels, {dates} dates, {latents} latents"
        )
        for memory, dates, cube, size, model, latents in (
            ("4GB", "monthly", few, side, usual, 16),
            ("4GB", "5D", few, side, usual, 16),
            ("4GB", "monthly", few, side, wide, 64),
            ("1.5GB", "monthly", few, side, usual, 16),
            ("1.5GB", "monthly", many, 2 * side, usual, 16),
            ("1.5GB", "5D", few, side, usual, 16),
            ("2GB", "5D", few, side, usual, 16),
            ("2GB", "monthly", few, side, wide, 64),
            ("2.5GB", "5D", few, side, wide, 64),
        )
    ]
    hold_memory(cases, bench.folder / "memory")


def _far(bench: Bench) -> None:
    """What a second block a process brings where cube and result are far away."""
    side = bench.side if bench.quick else 2 * bench.side
    cube = bench.cube(side)
    for late in LATE_S:
        print(
            f"# {side} x {side} pixels, cube and result on S3, {late * 1e3:.0f} ms late, 2 workers"
        )
        compare_threads(cube, bench.model(cube), side, late, bench.memory, bench.rounds)


def _scheduler(bench: Bench) -> None:
    """What the scheduler knows and holds."""
    print("# `dask scheduler` and 2 `dask worker`, simulated blocks")
    # Of Dask's own logs on a scheduler the longest is full after a thousand tasks.
    first, last = (1_500, 3_000) if bench.quick else (2_000, 10_000)
    load_scheduler(bench.folder / "scheduler", first, last)


def _mapped(bench: Bench) -> None:
    """`embed` beside the same model mapped by xarray, each in worker processes of its own."""
    side, block = bench.side, bench.side // 2
    cube = bench.cube(side)
    model, out = bench.model(cube), bench.folder / "mapped"
    print(f"# {side} x {side} pixels beside xarray.map_blocks(...).to_zarr(...), 2 workers")
    costs: dict[str, list[Cost]] = {"embed": [], "map_blocks": []}
    for turn in range(bench.rounds):
        ours, theirs = out / f"embed {turn}", out / f"map_blocks {turn}"
        with fresh_workers(2, model, bench.memory) as client:
            costs["embed"].append(
                cost_of(
                    client,
                    lambda client=client, ours=ours: embed(
                        cube, model, ours, device="cpu", client=client, memory=bench.memory
                    ),
                )
            )
        dates = open_latents(ours)["time"].values
        with fresh_workers(2, model, bench.memory) as client, client.as_current():
            costs["map_blocks"].append(
                cost_of(
                    client,
                    lambda theirs=theirs, dates=dates: map_cube(cube, model, dates, block, theirs),
                )
            )
    middle = {
        name: (median(cost.wall for cost in runs), median(cost.peak for cost in runs))
        for name, runs in costs.items()
    }
    for name, (wall, peak) in middle.items():
        print(f"{name}: {wall:.1f} s, peak memory of a worker {peak:.0f} MB "
              f"(median of {bench.rounds})")  # fmt: skip
    (wall, peak), (others_wall, others_peak) = middle["embed"], middle["map_blocks"]
    print(f"embed to map_blocks, time: {wall / others_wall:.2f} (wanted: at most 1)")
    print(f"embed to map_blocks, memory: {peak / others_peak:.2f} (wanted: less than 1)")
    print(f"their latents differ by {_steps_apart(ours, theirs)} packing steps at most "
          "(wanted: at most 1)")  # fmt: skip


def _steps_apart(embedded: Path, mapped: Path) -> int:
    """The largest difference of the packed integers of two stores."""
    here, there = Store.of(embedded).group(), Store.of(mapped).group()
    furthest = 0
    for block in blocks(here["mean"].shape[-2:], 256):
        for name in PACKING:
            ours, theirs = (
                np.asarray(group[name][..., block.y, block.x]).astype(np.int64)
                for group in (here, there)
            )
            furthest = max(furthest, int(np.abs(ours - theirs).max()))
    return furthest


def _device(bench: Bench) -> None:
    """A GPU worker, where there is a GPU."""
    if missing := missing_device(bench.device):
        print(f"NOT MEASURED: the part device; {missing}")
        return
    side, small = (1024, 256) if bench.quick else (2048, 512)
    cubes = bench.cube(side, 256), bench.cube(small, 128)
    model = bench.model(cubes[0])
    measure_device(*cubes, model, bench.folder / "device", bench.device, bench.memory)


def _start(bench: Bench) -> None:
    """What one small block takes from command to result."""
    side = 64
    print(f"# {side} x {side} pixels, one block, from the command on, by the model of the package")
    time_start(bench.cube(side, side), bench.given, bench.folder / "start", bench.rounds)


PARTS = {
    "start": _start,
    "speed": _speed,
    "workers": _workers,
    "blocks": _blocks,
    "memory": _memory,
    "far": _far,
    "scheduler": _scheduler,
    "mapped": _mapped,
    "device": _device,
}


if __name__ == "__main__":
    sys.exit(main())
