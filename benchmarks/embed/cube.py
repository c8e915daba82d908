"""A cube of real scenes repeated in space, to any size, and a model of random weights that fits.

The scenes of the example are 64 x 64 pixels; clouds, gaps and calendars of a larger cube are
theirs. Both cubes are kept in a folder for the next time.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from odc.geo.geobox import GeoBox

from terralatent.catalogs.errors import InputError
from terralatent.catalogs.scenes.search import search_scenes
from terralatent.models.checkpoint import save_model
from terralatent.models.gpvae import GPVAE, ModelConfig, SensorConfig
from terralatent.pipeline import build_cube
from terralatent.pipeline.cluster.client import client_for
from terralatent.pipeline.cluster.stream import Commits, Work, stream_blocks
from terralatent.pipeline.region import Block, blocks, grid_of
from terralatent.pipeline.store.arrays import (
    ArrayLayout,
    GroupLayout,
    Layout,
    coordinate,
    grid_arrays,
)
from terralatent.pipeline.store.creation import lay_out
from terralatent.pipeline.store.repository import ABOUT, Store

__all__ = ["DATES", "random_model", "repeated_cube", "scenes_cube"]

DATES = {"sentinel-2-l2a": 73, "sentinel-1-asc": 60}
"""Dates of each sensor in a repeated cube, evenly spread over its year."""

YEAR = ("2017-12-01", "2018-11-30")


@lru_cache
def scenes_cube(scenes: Path, cache: Path) -> Path:
    """The cube of the scenes as they are, built once. Computes.

    Args:
        scenes: Folder with a static catalogue and a region.geojson.
        cache: Where the cube is kept.
    """
    cube, region = cache / "scenes", scenes / "region.geojson"
    searched = search_scenes(scenes, region, *YEAR, list(DATES))
    try:
        build_cube(searched, region, cube, block=64)
    except InputError:  # kept by other code, or of other scenes
        shutil.rmtree(cube)
        build_cube(searched, region, cube, block=64)
    return cube


def repeated_cube(
    source: Path, side: int, block: int, only: Sequence[tuple[int, int]] | None = None
) -> Path:
    """A cube of ``side`` pixels made of copies of ``source``, written once, beside it. Computes.

    Args:
        source: A small cube.
        side: Rows and columns.
        block: Pixels along a side of a block.
        only: Row and column of the blocks that are written; the others have no data. All if None.
    """
    dates = "+".join(str(count) for count in DATES.values())
    some = "" if only is None else f"-{len(only)}"
    name = f"repeated-{side}-by-{block}{some}-{dates}-{Store.of(source).snapshot()}"
    cube, partly = source.with_name(name), source.with_name(f"{name}.partial")
    if cube.exists():
        return cube
    shutil.rmtree(partly, ignore_errors=True)
    root = Store.of(source).group()
    old = grid_of(root["sentinel-2-l2a"])
    grid = GeoBox((side, side), old.affine, old.crs)
    about: Any = root.attrs[ABOUT]["identity"]
    where = {"crs": str(grid.crs), "transform": list(grid.transform)[:6], "shape": [side, side]}
    identity = {**about, "grid": where, "block": block}
    groups = [_layout(root[sensor], sensor, grid, block) for sensor in DATES]
    lay_out(Store.of(partly), Layout("cube", identity, (GroupLayout("", ()), *groups)))
    parts = [own for own in blocks((side, side), block) if only is None or own.index in only]
    with client_for("local") as client:
        failures = stream_blocks(
            client, Store.of(partly), parts, Work(partial(_write_copies, source), _nothing_shared),
            Commits(message="repeat the scenes in space"),
        )  # fmt: skip
    if failures:
        raise RuntimeError(f"{name} cannot be written: {failures[0].reason}")
    partly.rename(cube)
    return cube


def random_model(cube: Path, folder: Path, latents: int = 16) -> Path:
    """A model of default size with random weights that fits ``cube``: the work is the same."""
    sensors = []
    for name in DATES:
        group = Store.of(cube).group()[name]
        bands = [str(band) for band in np.asarray(group["band"])]
        units = group["data"].attrs["units"]
        centre, spread = (-12.0, 4.0) if units == "dB" else (0.2, 0.1)
        many = {"centre": [centre] * len(bands), "spread": [spread] * len(bands)}
        sensors.append(SensorConfig(name=name, bands=bands, units=units, **many))
    model = GPVAE(ModelConfig(sensors=tuple(sensors), latents=latents))
    generator = torch.Generator().manual_seed(0)
    for name in DATES:  # networks begin at zero, where no device and no dtype makes a difference
        last: Any = model.sensor(name).encoder.network[-1]
        torch.nn.init.normal_(last.weight, std=0.1, generator=generator)
    save_model(model, folder, {})
    return folder


def _write_copies(source: Path, target: zarr.Group, part: Block) -> None:
    """Write one block: what the source has at its rows and columns, over and over."""
    root = Store.of(source).group()
    for sensor, dates in DATES.items():
        for name in ("data", "quality"):
            if name in root[sensor]:
                pixels = np.asarray(root[sensor][name])[_chosen(root[sensor], dates)]
                rows, columns = (
                    np.arange(cut.start, cut.stop) % size
                    for cut, size in zip((part.y, part.x), pixels.shape[-2:], strict=True)
                )
                target[sensor][name][..., part.y, part.x] = pixels[..., rows[:, None], columns]


def _nothing_shared(group: zarr.Group, part: Block, result: None) -> None:
    """States were written as done when the cube was laid out."""


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
    """Places of so many dates, evenly spread; there are more."""
    return np.linspace(0, len(np.asarray(group["time"])) - 1, dates).round().astype(int)
