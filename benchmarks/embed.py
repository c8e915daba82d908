"""How many pixels a second `embed` takes from store to store.

    python benchmarks/embed.py [SCENES] [--model MODEL] [--workers N] [--cache FOLDER] [--quick]

SCENES is a folder with a static catalogue and a region.geojson, ../shared/scenes by default. Its
scenes are built into a cube, and a year of them (73 dates of Sentinel-2, 57 of Sentinel-1) is
repeated in space to 512 x 512 pixels; both cubes are kept in FOLDER for the next time. Without
MODEL the weights are random: the work is the same. Monthly latents, 16 of them, are written packed.
Starting the workers, and what each does once in its life, is told apart. One line for each
measurement.
"""

from __future__ import annotations

import argparse
import math
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from distributed import Client
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.search import search_scenes
from terralatent.models.checkpoint import save_model
from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.models.observations import Observations
from terralatent.pipeline import build_cube, embed
from terralatent.pipeline.arrays import ArrayLayout, GroupLayout, Layout, coordinate, grid_arrays
from terralatent.pipeline.clusters import client_for
from terralatent.pipeline.region import blocks, grid_of
from terralatent.pipeline.store import ABOUT, lay_out, open_group, open_repository, snapshot_id

DATES = {"sentinel-2-l2a": 73, "sentinel-1-asc": 57}
"""Dates of each sensor in the cube, evenly spread over its year."""

YEAR = ("2017-12-01", "2018-11-30")
WANTED = 1500
"""Pixels a second that must be reached with 2 workers on 2 cores."""


def main() -> int:
    """Measure and print; 1 where the scenes are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[2] / "shared" / "scenes"
    parser.add_argument("scenes", nargs="?", type=Path, default=default)
    parser.add_argument("--model", type=Path, help="a model's folder; random weights by default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "terralatent"))
    parser.add_argument("--quick", action="store_true", help="128 x 128 pixels")
    options = parser.parse_args()
    region = options.scenes / "region.geojson"
    if not region.exists():
        print(f"NOT MEASURED: there are no scenes at {options.scenes}", file=sys.stderr)
        return 1
    side, block = (128, 64) if options.quick else (512, 256)

    started = time.perf_counter()
    with (
        client_for("local", workers=options.workers) as client,
        tempfile.TemporaryDirectory() as temporary,
    ):
        client.run(_warm_up)
        count = options.workers
        print(f"starting {count} workers and their imports: {_since(started):.1f} s")
        cube = _repeated(_scenes(options.scenes, region, options.cache, client), side, block)
        model = options.model or _untrained(cube, Path(temporary, "model"))
        started = time.perf_counter()
        client.run(_compile, model)
        print(f"loading the model and compiling its smoother in each: {_since(started):.1f} s")
        before, began = sum(client.run(_cpu_seconds).values()), time.perf_counter()
        report = embed(cube, model, Path(temporary, "latents"), client=client)
        wall, cpu = _since(began), sum(client.run(_cpu_seconds).values()) - before
        peak = max(client.run(_peak_memory).values())

    spent = sum(report.seconds.values())
    print(
        f"{side} x {side} pixels x {sum(DATES.values())} dates, 16 latents, monthly: {wall:.1f} s"
    )
    for stage, told in (
        ("read", "read and unpack"),
        ("infer", "encode, infer and pack"),
        ("write", "write"),
    ):
        seconds = report.seconds[stage]
        print(f"  {told}: {seconds:.1f} s of the workers' time ({seconds / spent:.0%})")
    print(f"  CPU time of the workers: {cpu:.1f} s, {side**2 / cpu:,.0f} pixels a CPU second")
    print(f"  peak memory of a worker: {peak:.0f} MB")
    print(f"pixels a second: {side**2 / wall:,.0f} (wanted: at least {WANTED:,} on 2 cores)")
    return 0


def _scenes(scenes: Path, region: Path, cache: Path, client: Client) -> Path:
    """The cube of the scenes as they are, built once."""
    cube = cache / "scenes"
    found = search_scenes(scenes, region, *YEAR, list(DATES))
    try:
        build_cube(found, region, cube, block=64, client=client)
    except InputError:  # kept by other code, or of other scenes
        shutil.rmtree(cube)
        build_cube(found, region, cube, block=64, client=client)
    return cube


def _repeated(source: Path, side: int, block: int) -> Path:
    """A cube of ``side`` pixels made of copies of ``source``, written once."""
    cube = source.with_name(f"repeated-{side}-{snapshot_id(source)}")
    if cube.exists():
        return cube
    partial = cube.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    root = open_group(source)
    old = grid_of(root["sentinel-2-l2a"])
    grid = GeoBox((side, side), old.affine, old.crs)
    about: Any = root.attrs[ABOUT]["identity"]
    where = {"crs": str(grid.crs), "transform": list(grid.transform)[:6], "shape": [side, side]}
    identity = {**about, "grid": where, "block": block}
    groups = [_layout(root[name], name, grid, block) for name in DATES]
    lay_out(partial, Layout("cube", identity, (GroupLayout("", ()), *groups)))
    session = open_repository(partial).writable_session("main")
    target = zarr.open_group(session.store)
    for name, dates in DATES.items():
        for array in ("data", "quality"):
            if array in root[name]:
                pixels = np.asarray(root[name][array])[_chosen(root[name], dates)]
                copies = math.ceil(side / min(pixels.shape[-2:]))
                tiled = np.tile(pixels, (*(1,) * (pixels.ndim - 2), copies, copies))
                for part in blocks((side, side), block):
                    target[name][array][..., part.y, part.x] = tiled[..., part.y, part.x]
    session.commit("repeat the scenes in space")
    partial.rename(cube)
    return cube


def _layout(group: zarr.Group, name: str, grid: GeoBox, block: int) -> GroupLayout:
    """The group of one sensor on a wider grid, with fewer dates."""
    chosen, side, inner = _chosen(group, DATES[name]), grid.shape[0], min(64, block)
    arrays: list[ArrayLayout] = [*grid_arrays(grid)]
    for key, array in group.arrays():
        dims, attrs = array.metadata.dimension_names or (), dict(array.attrs)
        if dims[-2:] == ("y", "x"):
            lead = (len(chosen), *array.shape[1:-2])
            front = (min(16, len(chosen)), *array.shape[1:-2])
            arrays.append(
                ArrayLayout(
                    key, dims, (*lead, side, side), array.dtype.name, (*front, inner, inner),
                    (*front, block, block), array.fill_value, attrs,
                )
            )  # fmt: skip
        elif key == "state":
            count = math.ceil(side / block)
            whole = np.ones((math.ceil(len(chosen) / 16), count, count), np.uint8)
            arrays.append(coordinate(key, dims, whole, attrs))
        elif dims and key not in ("y", "x"):
            values = np.asarray(array)
            arrays.append(
                coordinate(key, dims, values[chosen] if dims == ("time",) else values, attrs)
            )
    return GroupLayout(name, tuple(arrays), dict(group.attrs))


def _chosen(group: zarr.Group, dates: int) -> np.ndarray:
    return np.linspace(0, len(np.asarray(group["time"])) - 1, dates).round().astype(int)


def _untrained(cube: Path, folder: Path) -> Path:
    """A model of default size with random weights."""
    sensors = []
    for name in DATES:
        group = open_group(cube)[name]
        bands, units = (
            [str(band) for band in np.asarray(group["band"])],
            group["data"].attrs["units"],
        )
        centre, spread = (-12.0, 4.0) if units == "dB" else (0.2, 0.1)
        many = {"centre": [centre] * len(bands), "spread": [spread] * len(bands)}
        sensors.append(SensorConfig(name=name, bands=bands, units=units, **many))
    save_model(GPVAE(ModelConfig(sensors=tuple(sensors))), folder, {})
    return folder


def _warm_up() -> None:
    import terralatent.pipeline.decode
    import terralatent.pipeline.embed
    import terralatent.pipeline.ingest  # noqa: F401


def _compile(folder: Path) -> None:
    """Infer a few made-up pixels: what a worker does once in its life."""
    from terralatent.models.checkpoint import load_model

    model = load_model(folder)
    days = torch.arange(128, dtype=torch.float64)
    seen = {
        sensor.name: Observations(
            days=days,
            values=torch.zeros(512, 128, len(sensor.bands)),
            valid=torch.ones(512, 128, len(sensor.bands), dtype=torch.bool),
            distance=torch.full((512, 128), 16.0),
            incidence=torch.full((128,), torch.nan),
        )
        for sensor in model.config.sensors
    }
    model.infer(seen, days)


def _cpu_seconds() -> float:
    return time.process_time()


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _since(began: float) -> float:
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
