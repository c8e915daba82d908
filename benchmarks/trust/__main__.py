"""What checksums, digests and the proxy cost `build`, `embed` and the opening of a store.

    python -m benchmarks.trust [SCENES] [--quick] [--only build embed open] [--rounds 5]
                               [--cache FOLDER]

Each is done as it is shipped and with one protection taken off, in turns on fresh workers, from
the same input; starting the workers is not counted. `build` reads made-up scenes over HTTP, each
answer 20 ms late, and late by nothing. `embed` maps random weights over a year of SCENES repeated
in space. `open` opens a store of many commits in a folder, and on S3 (moto, no latency).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from distributed import Client

from benchmarks.embed.cube import random_model, repeated_cube, scenes_cube
from benchmarks.embed.latency import far_store
from benchmarks.embed.workers import cost_of, fresh_workers
from benchmarks.ingest.file_server import counted
from benchmarks.ingest.scenes import make_scenes
from benchmarks.trust.without import WAYS, take_off, without
from terralatent.pipeline import build_cube, embed
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.store.repository import Store

MEMORY = "4GB"
S2 = "sentinel-2-l2a"
SHIPPED, UNCHECKED, DIRECT = WAYS
OPENINGS = 60


def main() -> int:
    """Measure and print; 1 where the scenes are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[3] / "shared" / "scenes"
    parser.add_argument("scenes", nargs="?", type=Path, default=default)
    parser.add_argument("--quick", action="store_true", help="smaller, each way once")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=tuple(PARTS))
    parser.add_argument("--rounds", type=int, default=5, help="runs of which the best counts")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "terralatent"))
    options = parser.parse_args()
    if not (options.scenes / "region.geojson").exists():
        print(f"NOT MEASURED: there are no scenes at {options.scenes}", file=sys.stderr)
        return 1
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as folder:
        for part in options.only:
            PARTS[part](Path(folder, part), options.scenes, options.cache, options.quick, rounds)
    return 0


def _build(folder: Path, scenes: Path, cache: Path, quick: bool, rounds: int) -> None:
    """A cube from files over HTTP."""
    side = 512 if quick else 1024
    made = make_scenes(folder / "scenes", side=side, dates={S2: 32}, copies=64)
    for late in (0.02, 0.0):
        print(f"# build: {side} x {side} pixels x 32 dates over HTTP, {late * 1e3:.0f} ms late")
        with counted(made.folder, folder / "log", latency=late) as server:
            found = made.scenes(server.url)

            def run(client: Client, out: Path, found: object = found) -> None:
                build_cube(found, made.region(), out, client=client)

            _compare(run, tuple(WAYS), folder / f"{late}", rounds)


def _embed(folder: Path, scenes: Path, cache: Path, quick: bool, rounds: int) -> None:
    """Latents of a cube that was itself written in the same way."""
    side = 256 if quick else 512
    print(f"# embed: {side} x {side} pixels, 16 latents, monthly, packed")
    cubes = {}
    for way in (SHIPPED, UNCHECKED):
        with without(way):
            own = cache / way.replace(" ", "-")
            cubes[way] = repeated_cube(scenes_cube(scenes, own), side, side // 2)
    model = random_model(cubes[SHIPPED], folder / "model", 16)

    def run(client: Client, out: Path) -> None:
        way = next(way for way in cubes if out.name.startswith(way))
        embed(cubes[way], model, out, device="cpu", client=client, memory=MEMORY)

    _compare(run, tuple(cubes), folder, rounds, model)
    sizes = {way: _size(cube) for way, cube in cubes.items()}
    print(f"bytes of the cube: {sizes[SHIPPED] / sizes[UNCHECKED]:.4f} of those without")


def _compare(
    run: Callable[[Client, Path], None],
    ways: tuple[str, ...],
    folder: Path,
    rounds: int,
    model: Path | None = None,
) -> None:
    """Print what each way takes, and the shipped one over the others."""
    costs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(rounds):
        for way in ways if turn % 2 == 0 else reversed(ways):
            started = fresh_workers(2, model, MEMORY) if model else client_for("local", workers=2)
            with without(way), started as client:
                client.run(take_off, way)
                out = folder / f"{way} {turn}"
                cost = cost_of(client, lambda client=client, out=out: run(client, out))
                costs[way].append((cost.wall, cost.cpu))
    # What other work of the machine adds is never negative: the best of equal runs has least of it.
    best = {way: tuple(map(min, zip(*runs, strict=True))) for way, runs in costs.items()}
    for way, (wall, cpu) in best.items():
        print(f"{way}: {wall:.2f} s, {cpu:.2f} CPU s of workers, "
              f"{_size(folder / f'{way} 0') / 1e6:.2f} MB (best of {rounds})")  # fmt: skip
    for way in ways[1:]:
        wall, cpu = (a / b for a, b in zip(best[SHIPPED], best[way], strict=True))
        print(f"shipped to {way}: time {wall:.3f}, CPU {cpu:.3f} (wanted of checksums: 1.03)")


def _open(folder: Path, scenes: Path, cache: Path, quick: bool, rounds: int) -> None:
    """The root group of a store, as every command opens it."""
    cube = repeated_cube(scenes_cube(scenes, cache / SHIPPED.replace(" ", "-")), 512, 64)
    snapshots = len(list((cube / "snapshots").iterdir()))
    print(f"# open: a cube of 64 blocks, {snapshots} snapshots, {_size(cube) / 1e6:.0f} MB")
    _print_openings("in a folder", str(cube), rounds)
    with far_store(cube, 0.0) as url:
        _print_openings("on S3", f"{url}/cube", rounds)
        checked = _median_s(lambda: Store.of(f"{url}/cube").require_sound(), rounds)
        print(f"check before a run that writes, on S3: {1e3 * checked:.1f} ms, opening included")


def _print_openings(where: str, store: str, rounds: int) -> None:
    times = {}
    for way in (SHIPPED, UNCHECKED):
        with without(way):
            times[way] = 1e3 * _median_s(lambda: Store.of(store).group(), rounds * OPENINGS // 5)
            print(f"{where}, {way}: {times[way]:.1f} ms")
    more = times[SHIPPED] - times[UNCHECKED]
    print(f"{where}, shipped less without: {more:.1f} ms (wanted: at most 50)")


def _median_s(run: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(max(3, times)):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return median(taken)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


PARTS = {"build": _build, "embed": _embed, "open": _open}

if __name__ == "__main__":
    sys.exit(main())
