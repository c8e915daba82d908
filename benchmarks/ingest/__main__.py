"""What `build` costs: time beside odc-stac, bytes fetched, memory, and what an append writes.

    python -m benchmarks.ingest [SCENES] [--quick] [--rounds 3] [--only PART ...]

Made-up scenes come over HTTP, each answer 20 ms late, and for the speed 100 ms as well: tiles of
1,024 pixels, bands of 20 m beside those of 10 m, the first pixel of each file 300 pixels off the
region's. Both `build` and `odc.stac.load(...).to_zarr(...)` read the same items on the same two
worker processes, and write the same integers with the same compression; starting the workers is not
counted. So does lazycogs on two threads, where it is installed. SCENES is a folder
with a static catalogue and a region.geojson, ../shared/scenes by default, for the same comparison
on real scenes. One line for each figure, with what was wanted of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from pathlib import Path

import psutil
import rasterio
from distributed import Client
from odc.geo.geobox import GeoBox
from shapely.geometry import mapping

from benchmarks.ingest.file_server import Counted, counted
from benchmarks.ingest.lazy_cogs import IS_INSTALLED, lazily_to_zarr
from benchmarks.ingest.odc_stac import CHUNKINGS, computing, to_zarr
from benchmarks.ingest.scenes import CRS, Made, make_scenes
from terralatent.catalogs.documents.serve import serving
from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.aoi import read_aoi
from terralatent.catalogs.scenes.scenes import Scenes
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.local import memory_bytes
from terralatent.pipeline.ingest.build import build_cube
from terralatent.pipeline.ingest.windows import plan_windows
from terralatent.pipeline.region import grid

LATENCY = 0.02
WANTED = {LATENCY: 0.8, 0.1: 0.6}
"""Of the time of the fastest other way, by seconds that each answer is late."""

S2, S1 = "sentinel-2-l2a", "sentinel-1-asc"
PARTS = ("speed", "bytes", "memory", "append", "real")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("scenes", nargs="?", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="smaller, each way once")
    parser.add_argument("--rounds", type=int, help="times each way is measured; 3, 1 with --quick")
    parser.add_argument("--ways", nargs="+", default=[""], help="how names of ways begin; all")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    options = parser.parse_args()
    rounds = options.rounds or (1 if options.quick else 3)
    ways = tuple(options.ways)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "speed" in options.only:
            _speed(folder, rounds, ways, *((1024, 32) if options.quick else (2048, 32)))
        if "bytes" in options.only:
            _bytes(folder, 1 if options.quick else 2)
        if "memory" in options.only:
            _memory(folder, 32 if options.quick else 60)
        if "append" in options.only:
            _append(folder, 128 if options.quick else 512)
        if "real" in options.only:
            _real(folder, options.scenes, options.quick, rounds, ways)
    return 0


def _speed(folder: Path, rounds: int, ways: tuple[str, ...], side: int, dates: int) -> None:
    """Time beside odc-stac and lazycogs, and the bytes of a read window of the whole region."""
    print(f"# {side} x {side} pixels, {dates} dates, 10 bands and a mask")
    made = make_scenes(folder / "speed", side=side, dates={S2: dates}, copies=64)
    for latency, wanted in WANTED.items():
        print(f"# answers {1000 * latency:.0f} ms late")
        with (
            counted(made.folder, folder / "speed.log", latency=latency) as server,
            client_for("local", workers=2) as client,
        ):
            client.run(_warm_up)
            scenes = made.scenes(server.url)
            best = _race(scenes, made, client, folder / f"out {latency}", rounds, ways)
            _print_times(best, wanted)
            if latency == LATENCY:
                server.forget()
                build_cube(scenes, made.region(), folder / "counted", client=client)
                _print_bytes(server, made, side, "one read window", 1.3)


def _race(
    scenes: Scenes,
    made: Made | Path,
    client: Client,
    out: Path,
    rounds: int,
    begin: tuple[str, ...],
) -> dict[str, float]:
    """The best of ``rounds`` times of each way, taken in turns; prints them as they come.

    With the CPU seconds of all processes, which say more where other work is on the machine.
    """
    region = made if isinstance(made, Path) else made.region()
    window: GeoBox = grid(read_aoi(region), 10.0)
    ways: dict[str, Callable[[Path], object]] = {
        "build": lambda where: build_cube(scenes, region, where, client=client)
    }
    for name, chunks in CHUNKINGS.items():
        ways[f"odc-stac, {name} a chunk"] = to_zarr(scenes, window, chunks)
        if IS_INSTALLED:
            ways[f"lazycogs, {name} a chunk"] = lazily_to_zarr(scenes, window, chunks)
    ways["odc-stac, bare .compute()"] = computing(scenes, window, CHUNKINGS["1 date"])
    ways = {name: run for name, run in ways.items() if name.startswith(begin)}
    best = dict.fromkeys(ways, float("inf"))
    for turn in range(rounds):
        for name, run in ways.items():
            where = out / f"{name} {turn}"
            began, before = time.perf_counter(), _cpu()
            run(where)
            seconds = time.perf_counter() - began
            print(f"{name}: {seconds:.2f} s, {_cpu() - before:.2f} s of CPU", flush=True)
            best[name] = min(best[name], seconds)
            _remove(where)
    return best


def _cpu() -> float:
    """Seconds of CPU that this process and those it began have taken, the file server's too."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _print_times(best: dict[str, float], wanted: float) -> None:
    for name, seconds in best.items():
        print(f"best of {name}: {seconds:.2f} s")
    if not IS_INSTALLED:
        print("NOT MEASURED: lazycogs is not installed")
    build = best.get("build", float("inf"))
    if others := [seconds for name, seconds in best.items() if "chunk" in name]:
        print(f"build to the best of these: {build / min(others):.2f} (wanted: at most {wanted})")
    if bare := best.get("odc-stac, bare .compute()"):
        print(f"build to bare .compute(): {build / bare:.2f}")


def _bytes(folder: Path, dates: int, side: int = 4096, memory: str = "4GB") -> None:
    """Bytes of 2 x 2 read windows."""
    made = make_scenes(folder / "bytes", side=side, dates={S2: dates}, copies=1)
    with (
        counted(made.folder, folder / "bytes.log", latency=LATENCY) as server,
        client_for("local", workers=2) as client,
    ):
        scenes = made.scenes(server.url)
        pixels = grid(read_aoi(made.region()), 10.0)
        acquisitions = scenes.acquisitions(S2)
        plan = plan_windows(scenes.sensor(S2), acquisitions, pixels, 256, memory_bytes(memory))
        rows, columns = (sorted({w.index[axis] for w in plan.windows}) for axis in (0, 1))
        count = f"{len(rows)} x {len(columns)} read windows"
        print(f"# {side} x {side} pixels at --memory {memory}: {count}")
        build_cube(scenes, made.region(), folder / "windows", memory=memory, client=client)
        _print_bytes(server, made, side, count, 2.0)


def _print_bytes(server: Counted, made: Made, side: int, what: str, wanted: float) -> None:
    """Print the bytes that were requested over those of the tiles that the region touches."""
    answers = server.answers()
    paths = {answer.path for answer in answers}
    needed = sum(_needed(made.folder / path.lstrip("/"), side) for path in paths)
    requested = sum(answer.size for answer in answers)
    heads = sum(answer.method == "HEAD" for answer in answers)
    print(
        f"{len(paths)} files, {len(answers)} requests ({heads} of them HEAD), "
        f"{requested / 1e6:.1f} MB"
    )
    print(
        f"bytes requested over needed, {what}: {requested / needed:.2f} (wanted: at most {wanted})"
    )


def _needed(path: Path, side: int) -> int:
    """Bytes of the tiles of a file that the region touches, each once."""
    with rasterio.open(path) as file:
        assert file.crs == rasterio.CRS.from_string(CRS)
        (rows, columns), ratio = file.block_shapes[0], file.transform.a / 10.0
        total = 0
        first = round(300 / ratio)
        last = ceil((300 + side) / ratio)
        for y in range(first // rows, ceil(last / rows)):
            for x in range(first // columns, ceil(last / columns)):
                total += int(file.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1))
        return total


def _memory(folder: Path, dates: int, sides: Sequence[int] = (1024, 2048)) -> None:
    """Peak memory of the process tree of the command line."""
    print(f"# {dates} dates of {S2} (10 bands and a mask) and {S1} (2 bands), --memory 2GB")
    made = make_scenes(folder / "memory", side=max(sides), dates={S2: dates, S1: dates})
    peaks = []
    with counted(made.folder, folder / "memory.log", latency=LATENCY) as server:
        made.scenes(server.url).to_parquet(folder / "scenes.parquet")
        for side in sides:
            region = folder / f"{side}.geojson"
            region.write_text(json.dumps(mapping(made.region(side))))
            out = folder / f"memory{side}"
            peak, largest, seconds = _peak(folder / "scenes.parquet", region, out)
            peaks.append(peak)
            print(f"{side} x {side} pixels: peak {peak / 1e9:.2f} GB, {seconds:.0f} s; the largest "
                  f"process {largest / 1e9:.2f} GB (wanted: at most 2)")  # fmt: skip
            _remove(out)
    ratio = peaks[-1] / peaks[0]
    print(f"peak memory, {sides[-1]} to {sides[0]} pixels: {ratio:.2f} (wanted: at most 1.3)")


def _peak(scenes: Path, region: Path, out: Path) -> tuple[int, int, float]:
    """The most that a build and its processes hold at once, and one of them, in bytes; seconds."""
    main = "from terralatent.pipeline.cli.app import main; main()"
    began = time.perf_counter()
    build = subprocess.Popen(
        [sys.executable, "-c", main, "--quiet", "build", "--scenes", str(scenes),
         "--region", str(region), "--out", str(out), "--memory", "2GB"]
    )  # fmt: skip
    peak, largest, tree = 0, 0, psutil.Process(build.pid)
    while build.poll() is None:
        held = [0]
        with suppress(psutil.NoSuchProcess):
            for process in (tree, *tree.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    held.append(process.memory_info().rss)
        peak, largest = max(peak, sum(held)), max(largest, *held)
        time.sleep(0.05)
    if build.returncode:
        raise RuntimeError(f"the build ended with {build.returncode}")
    return peak, largest, time.perf_counter() - began


def _append(folder: Path, side: int, before: int = 73, more: int = 2) -> None:
    """What appending writes."""
    print(f"# {side} x {side} pixels, {before} dates and {more} more")
    made = make_scenes(folder / "append", side=side, dates={S2: before + more}, copies=64)
    out = folder / "grown"
    with (
        counted(made.folder, folder / "append.log") as server,
        client_for("local", workers=2) as client,
    ):
        build_cube(made.scenes(server.url, before), made.region(), out, client=client)
        old = _files(out)
        try:
            build_cube(made.scenes(server.url), made.region(), out, client=client)
        except InputError as error:
            print(f"NOT MEASURED: {error}")
            return
    written = sum(size for name, size in _files(out).items() if name not in old)
    share = written / sum(old.values())
    print(f"appending {more} dates to {before} writes {written / 1e6:.1f} MB, "
          f"{share:.2f} of the cube (wanted: at most 0.25)")  # fmt: skip


def _real(folder: Path, place: Path, quick: bool, rounds: int, ways: tuple[str, ...]) -> None:
    """The same comparison on real scenes, tiny files all of them."""
    region = place / "region.geojson"
    if not region.exists():
        print(f"NOT MEASURED: there are no scenes at {place}", file=sys.stderr)
        return
    with serving(place) as url, client_for("local", workers=2) as client:
        client.run(_warm_up)
        scenes = search_scenes(url, region, "2017-08-01", "2017-11-01" if quick else "2018-11-30")
        print(f"# real scenes: {scenes.summary()}")
        _print_times(_race(scenes, region, client, folder / "real", rounds, ways), 0.8)


def _files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in folder.rglob("*") if path.is_file()}


def _remove(folder: Path) -> None:
    """Make room: cubes are large."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def _warm_up() -> None:
    import icechunk  # noqa: F401
    import odc.stac
    import rasterio

    import terralatent.pipeline.ingest.build  # noqa: F401

    with rasterio.Env():
        odc.stac.load  # noqa: B018


if __name__ == "__main__":
    sys.exit(main())
