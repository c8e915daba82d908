"""Windows of files over HTTP by GDAL in threads, and by async-tiff over obstore.

    python -m benchmarks.ingest.ranges [--side 1024] [--dates 16] [--rounds 3] [--open 8 24]

Each reads the pixels that a window is made from, out of all files of made-up scenes, with as many
files in flight as the other, and decodes on two cores. Nothing is warped. Their pixels must be
equal. async-tiff is no dependency: `pip install async-tiff`.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import numpy as np
import rasterio
from obstore.store import HTTPStore
from rasterio.windows import Window

from benchmarks.ingest.file_server import counted
from benchmarks.ingest.scenes import make_scenes
from terralatent.pipeline.ingest.raster import GDAL_OPTIONS

SHIFT = 300
"""Pixels of 10 m from the first of a file to the first of the window."""

DECODING = 2
"""Threads of async-tiff that decode."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=1024, help="pixels of 10 m of the window")
    parser.add_argument("--dates", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--open", type=int, nargs="+", default=[8, 24], help="files in flight")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "made"
        make_scenes(folder, side=options.side, dates={"sentinel-2-l2a": options.dates}, copies=16)
        paths = sorted(str(path.relative_to(folder)) for path in folder.glob("sentinel-2-l2a/*/*"))
        for latency in (0.02, 0.1):
            with counted(folder, Path(temporary) / "log", latency=latency) as server:
                for flying in options.open:
                    print(f"# answers {1000 * latency:.0f} ms late, {flying} files in flight")
                    best = [(float("inf"), 0.0, 0)] * 2
                    for _ in range(options.rounds):
                        pixels = []
                        for way, run in enumerate((_gdal, _async_tiff)):
                            server.forget()
                            seconds, cpu, read = _timed(
                                run, server.url, paths, flying, options.side
                            )
                            best[way] = min(best[way], (seconds, cpu, len(server.answers())))
                            pixels.append(read)
                        assert all(map(np.array_equal, *pixels)), "their pixels differ"
                    for name, (seconds, cpu, requests) in zip(
                        ("GDAL", "async-tiff"), best, strict=True
                    ):
                        print(f"{name}: {seconds:.2f} s, {cpu:.2f} s of CPU, {requests} requests")
                    print(f"async-tiff to GDAL: {best[1][0] / best[0][0]:.2f}")


def _timed(
    run: Callable[[str, Sequence[str], int, int], list[np.ndarray]],
    url: str,
    paths: Sequence[str],
    flying: int,
    side: int,
) -> tuple[float, float, list[np.ndarray]]:
    """Seconds that it takes, those of this process's cores, and what it read."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    read = run(url, paths, flying, side)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - began, cpu, read


def _window(width: int, side: int) -> Window:
    """Of a file of that many columns: bands of 10 m have those beyond the window on both sides."""
    ratio = (side + 2 * SHIFT) // width
    return Window(SHIFT // ratio, SHIFT // ratio, side // ratio, side // ratio)


def _gdal(url: str, paths: Sequence[str], flying: int, side: int) -> list[np.ndarray]:
    def read(path: str) -> np.ndarray:
        name = f"/vsicurl/{url}/{path}#{uuid4().hex[:8]}"  # as at each reading of a build
        with (
            rasterio.Env(**GDAL_OPTIONS),
            rasterio.DatasetReader(name, driver=["GTiff"], sharing=False) as file,
        ):
            pixels: np.ndarray = file.read(1, window=_window(file.width, side))
            return pixels

    with ThreadPoolExecutor(flying) as pool:
        return list(pool.map(read, paths))


def _async_tiff(url: str, paths: Sequence[str], flying: int, side: int) -> list[np.ndarray]:
    from async_tiff import TIFF, ThreadPool

    pool = ThreadPool(DECODING)

    async def read(store: HTTPStore, path: str, slots: asyncio.Semaphore) -> np.ndarray:
        async with slots:
            level = (await TIFF.open(path, store=store)).ifd(0)
            window, size = _window(level.image_width, side), level.tile_width
            first, last = window.row_off // size, -(-(window.row_off + window.height) // size)
            places = [(x, y) for y in range(first, last) for x in range(first, last)]
            tiles = await level.fetch_tiles(places)
        decoded = await asyncio.gather(*(tile.decode(pool=pool) for tile in tiles))
        tile = np.asarray(decoded[0])
        whole = np.empty(((last - first) * size,) * 2, tile.dtype)
        for (x, y), pixels in zip(places, decoded, strict=True):
            top, left = (y - first) * size, (x - first) * size
            whole[top : top + size, left : left + size] = np.asarray(pixels)[..., 0]
        start = window.row_off - first * size
        return whole[start : start + window.height, start : start + window.width]

    async def read_all() -> list[np.ndarray]:
        store = HTTPStore(url, client_options={"allow_http": True})
        slots = asyncio.Semaphore(flying)
        return await asyncio.gather(*(read(store, path, slots) for path in paths))

    return asyncio.run(read_all())


if __name__ == "__main__":
    main()
