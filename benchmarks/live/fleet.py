"""Fleets: 1,000 tiles planned, their status; and four tiles at once beside four runs in a row.

    python -m benchmarks.live.fleet [--tiles N] [--side PIXELS] [--rounds N] [--quick]
                                    [--only status|at-once] [--work DIR]

`plan`: N squares of 200 m as a file of polygons, and the squares of 50 km of a box that holds about
as many. `status`: N tiles with a cube each, real stores of 8 x 8 pixels and two sensors, as a
command of its own, imports included: with the notes that a build leaves, and without any, where
every store is opened. `at once`: `embed --fleet` of four tiles on two workers, and four `embed`
commands of the same cubes one after the other, each on two workers, in turn.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import geopandas
from shapely.geometry import box

from terralatent.pipeline.fleet.fleet import Fleet
from terralatent.pipeline.fleet.notes import DONE, Note, snapshots_of
from tests.made.models import made_up_model
from tests.made.tiny import tiny_cube

MAIN = "from terralatent.pipeline.cli import main; main()"

LEFT, TOP, SIDE = 500_000.0, 5_700_000.0, 200.0

DATES = "monthly"


def run(*arguments: str | Path) -> tuple[float, str]:
    """Run the command line in a process of its own; gives its seconds and its answer.

    Its processor time is printed as well: on a machine that others use it says more.
    """
    begun, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "--quiet", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = time.perf_counter() - begun
    processor = now.ru_utime - used.ru_utime + now.ru_stime - used.ru_stime
    print(f"  {arguments[0]}: {seconds:.2f} s, {processor:.2f} s of a processor")
    return seconds, done.stdout


def planned(folder: Path, count: int) -> Fleet:
    """Plan squares in rows of 40, and say how long that took."""
    squares = [
        box(LEFT + SIDE * x + 1, TOP - SIDE * y - SIDE + 1, LEFT + SIDE * x + SIDE - 1,
            TOP - SIDE * y - 1)
        for y, x in (divmod(number, 40) for number in range(count))
    ]  # fmt: skip
    names = [f"t{number:04d}" for number in range(count)]
    frame = geopandas.GeoDataFrame({"tile": names}, geometry=squares, crs="EPSG:32631")
    frame.to_file(folder / "grid.geojson")
    frame[["geometry"]].dissolve().to_file(folder / "region.geojson")
    out = folder / "fleet.parquet"
    seconds, _ = run(
        "fleet", "plan", "--region", folder / "region.geojson", "--grid", folder / "grid.geojson",
        "--out", out,
    )  # fmt: skip
    fleet = Fleet.open(out)
    print(f"plan, {len(fleet.tiles):,} polygons of a file: {seconds:.2f} s")
    return fleet


def plan_squares(folder: Path, count: int) -> None:
    """Plan squares of 50 km of a box of about so many."""
    wide = 1.3 * count**0.5 / 2.0  # degrees: two squares for each, roughly
    region = f"0,46,{min(wide, 40.0):.2f},{46 + min(wide / 2, 20.0):.2f}"
    seconds, _ = run(
        "fleet", "plan", "--region", region, "--grid", "utm-50km", "--out", folder / "big.parquet"
    )
    tiles = Fleet.open(folder / "big.parquet").tiles
    print(f"plan, utm-50km, {len(tiles):,} tiles in {region}: {seconds:.2f} s")


def measure_status(fleet: Fleet, folder: Path, rounds: int) -> None:
    """Fill a fleet with stores and time its status, with notes and without."""
    cube = tiny_cube(folder / "cube", side=8, block=8)
    for tile in fleet.tiles:
        shutil.copytree(cube, Path(tile.folder) / "cube")
    without = [run("status", "--fleet", fleet.path)[0] for _ in range(rounds)]
    for tile in fleet.tiles:
        Note(DONE, "", snapshots_of(tile, ("cube",)), "two sensors").write(tile, "build")
    answers = [run("status", "--fleet", fleet.path, "--json") for _ in range(rounds)]
    done = json.loads(answers[0][1])["counts"]["cube"]["done"]
    count = len(fleet.tiles)
    assert done == count, f"{done} of {count} tiles are done"
    seconds = statistics.median(seconds for seconds, _ in answers)
    print(f"status --fleet, {count:,} cubes with notes: {seconds:.2f} s (median of {rounds})")
    print(f"status --fleet, {count:,} cubes, each opened: {statistics.median(without):.2f} s")
    drawn, _ = run("status", "--fleet", fleet.path, "--picture", folder / "map.png")
    print(f"status --fleet --picture, {count:,} cubes with notes: {drawn:.2f} s")


def measure_at_once(folder: Path, side: int, rounds: int) -> None:
    """Embed four tiles as a fleet, and as four commands, in turn."""
    folder.mkdir()
    squares = [box(LEFT + SIDE * n + 1, TOP - SIDE + 1, LEFT + SIDE * n + SIDE - 1, TOP - 1)
               for n in range(4)]  # fmt: skip
    frame = geopandas.GeoDataFrame(
        {"tile": [f"t{n}" for n in range(4)]}, geometry=squares, crs="EPSG:32631"
    )
    frame.to_file(folder / "grid.geojson")
    fleet = Fleet.plan(frame, folder / "grid.geojson", folder / "fleet.parquet")
    for seed, tile in enumerate(fleet.tiles):
        Path(tile.folder).mkdir(parents=True)
        tiny_cube(Path(tile.folder) / "cube", side=side, block=64, seed=seed)
    model = made_up_model(Path(fleet.tiles[0].folder) / "cube", folder / "model", latents=16)
    together, apart = [], []
    for _ in range(rounds):
        for tile in fleet.tiles:
            shutil.rmtree(f"{tile.folder}/latents", ignore_errors=True)
            shutil.rmtree(f"{tile.folder}/.fleet", ignore_errors=True)
        how = ("--dates", DATES, "--workers", "2")
        together.append(run("embed", "--fleet", fleet.path, model, *how)[0])
        alone = 0.0
        for tile in fleet.tiles:
            out = folder / "alone" / tile.name
            shutil.rmtree(out, ignore_errors=True)
            alone += run("embed", f"{tile.folder}/cube", model, "--out", out, *how)[0]
        apart.append(alone)
        print(f"  a round: fleet {together[-1]:.1f} s, one after the other {apart[-1]:.1f} s")
    ratios = [one / other for one, other in zip(together, apart, strict=True)]
    print(
        f"embed, four tiles of {side} x {side} pixels, two workers: as a fleet "
        f"{statistics.median(together):.1f} s, one after the other "
        f"{statistics.median(apart):.1f} s, ratio {statistics.median(ratios):.2f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=1_000)
    parser.add_argument("--side", type=int, default=128, help="pixels along a tile of four")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="100 tiles, one round")
    parser.add_argument("--only", choices=("status", "at-once"), help="one part of it")
    parser.add_argument("--work", type=Path, help="a folder to work in; a temporary one by default")
    given = parser.parse_args()
    tiles, rounds = (100, 1) if given.quick else (given.tiles, given.rounds)
    side = 64 if given.quick else given.side
    with tempfile.TemporaryDirectory(dir=given.work) as temporary:
        folder = Path(temporary)
        if given.only != "at-once":
            fleet = planned(folder, tiles)
            plan_squares(folder, tiles)
            measure_status(fleet, folder, rounds)
        if given.only != "status":
            measure_at_once(folder / "four", side, rounds)


if __name__ == "__main__":
    main()
