"""Bytes that a picture reads: of latents of noise, which nothing compresses, and of a cube."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from odc.geo.geobox import GeoBox
from rasterio import Affine
from zarr.core.sync import sync

from terralatent.pipeline import make_overviews
from terralatent.pipeline.cube.layout import grid_attrs
from terralatent.pipeline.cube.opened import open_cube
from terralatent.pipeline.mapping.results.layout import state_arrays
from terralatent.pipeline.overviews.layout import lay_out_levels, level_path, plan_levels, shown
from terralatent.pipeline.overviews.seasonal import SEASONAL
from terralatent.pipeline.pictures.cube import clear_share, clearest
from terralatent.pipeline.region import blocks
from terralatent.pipeline.store.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
    time_array,
)
from terralatent.pipeline.store.chunks import chunk_keys
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import BRANCH, Store

__all__ = ["bytes_read", "bytes_shown", "coarse_latents", "whole_latents"]

DATES, LATENTS, BLOCK = 12, 16, 256
FILLED = 4
"""The finest level that is filled of a large store."""

READ = """
import sys
from pathlib import Path
from matplotlib.figure import Figure
from terralatent.pipeline.pictures.show import show
from terralatent.pipeline.pictures import cube, latents

def read():
    return int(Path("/proc/self/io").read_text().split()[1])

store, out, *words = sys.argv[1:]
options = dict(zip((word[2:] for word in words[::2]), words[1::2]))
if "level" in options:
    options["level"] = int(options["level"])
headings = []
def draw(strips, heading, below=0.0):  # the pixels are there by now, fonts are none of the store's
    headings.append(heading)
    return Figure(), Figure()
latents.draw = cube.draw = draw
first = {} if "sensor" in options else {"variable": "0"}
show(store, out, date="2018-01-15", **first)  # what is imported on first use
before = read()
show(store, out, **options)
print(read() - before, headings[-1].where.split(" · ")[-1], sep="|")
"""


def whole_latents(path: Path, side: int) -> Path:
    """Latents of ``side`` pixels in blocks, with their overviews."""
    _lay_out(path, side)
    random = np.random.default_rng(0)
    session = Store.of(path).repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    for block in blocks((side, side), BLOCK):
        shape = (DATES, LATENTS, *block.shape)
        root["mean"][..., block.y, block.x] = random.normal(0, 4000, shape).astype(np.int16)
        root["std"][..., block.y, block.x] = random.normal(15_000, 2000, shape).astype(np.uint16)
    root["state"][...] = 1
    Store.of(path).commit(session, "noise")
    make_overviews(path, workers=2)
    return path


def coarse_latents(path: Path, side: int) -> Path:
    """Latents of ``side`` pixels, of which coarse levels alone are filled."""
    _lay_out(path, side)
    random = np.random.default_rng(0)
    session = Store.of(path).repository().writable_session(BRANCH)
    root: Any = zarr.open_group(session.store, mode="r+")
    plan = plan_levels(root)
    lay_out_levels(root, plan)
    for level in range(FILLED, plan.pyramid.levels + 1):
        group = root[level_path(level)]
        for name in ("mean", "std", "std_rms"):
            array = group[name]
            centre, width = (0, 4000) if name == "mean" else (15_000, 2000)
            for date in range(DATES):
                values = random.normal(centre, width, array.shape[1:])
                array[date] = values.astype(array.dtype)
    root["overviews"].attrs[SEASONAL] = list(range(LATENTS))
    root["overviews/state"][...] = 1
    root["state"][...] = 1
    shown(root, plan)
    Store.of(path).commit(session, "noise")
    return path


def bytes_read(store: Path, out: Path, words: Sequence[str]) -> tuple[int, str]:
    """Bytes that a process reads while it draws, by the kernel's count, and what it drew."""
    command = [sys.executable, "-c", READ, str(store), str(out), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, heading = done.stdout.strip().rsplit("\n", 1)[-1].split("|")
    return int(count), heading


def bytes_shown(cube: Path, sensor: str, most: int | None) -> int:
    """Bytes of the shards that hold what a picture of ``sensor`` shows: those of its clearest
    ``most`` dates, of all for None, and the masks of all sensors, of which the share that is clear
    comes. Computes: reads masks."""
    root = Store.of(cube).group()
    times = np.asarray(root[sensor]["time"])
    shares = clear_share(open_cube(cube, clear=False)[sensor].ds)
    places = clearest(times, shares, most) if most else np.arange(len(times))
    data: Any = root[sensor]["data"]
    shards = set(places // data.shards[0])
    total = sum(
        _size(data, key)
        for key in chunk_keys(data)
        if int(key.split("/c/")[1].split("/")[0]) in shards
    )
    masks = [group["quality"] for _, group in root.groups() if "quality" in group]
    return total + sum(_size(mask, key) for mask in masks for key in chunk_keys(mask))


def _size(array: Any, key: str) -> int:
    return int(sync(array.store.getsize(key)))


def _lay_out(path: Path, side: int) -> None:
    grid = GeoBox((side, side), Affine(10.0, 0.0, 5e5, 0.0, -10.0, 5.7e6), "EPSG:32631")
    months = [np.datetime64(f"2018-{month:02}-15", "us") for month in range(1, DATES + 1)]
    arrays = tuple(
        ArrayLayout(
            name, ("time", "latent", "y", "x"), (DATES, LATENTS, side, side), dtype,
            chunks=(DATES, LATENTS, 64, 64), shards=(DATES, LATENTS, BLOCK, BLOCK),
            fill_value=fill, attrs={"scale_factor": step, "_FillValue": fill},
        )
        for name, dtype, fill, step in (
            ("mean", "int16", -32768, 2.5e-4),
            ("std", "uint16", 65535, 2e-5),
        )
    )  # fmt: skip
    root = GroupLayout(
        "",
        (
            *arrays,
            time_array("time", "time", months),
            coordinate("latent", ("latent",), np.arange(LATENTS)),
            *grid_arrays(grid),
            *state_arrays(grid, BLOCK),
        ),
        grid_attrs(grid),
    )
    lay_out(Store.of(path), Layout("latents", {"block": BLOCK}, (root,)))
